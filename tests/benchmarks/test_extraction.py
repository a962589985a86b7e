"""benchmarks/extraction.py: its figures by hand, and on a small data folder."""

from __future__ import annotations

import json
import sys

import pytest
from data.explanations.test_reviews import shop
from support.paths import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))
from extraction import main, scores


def test_scores_by_hand():
    assert scores(["a", "b", "c", "d"], ["b", "x"]) == {
        "precision": 0.25,
        "recall": 0.5,
        "f1": pytest.approx(1 / 3),
    }
    assert scores([], ["b"]) == {"precision": 0.0, "recall": 0.0, "f1": 0.0}


def test_on_a_small_folder(tmp_path, capsys):
    shop().write(tmp_path / "data")
    (tmp_path / "gold.json").write_text(json.dumps({"features": {"tone": 0, "strap": 1, "price": 2}}))
    main(["--data", str(tmp_path / "data"), "--gold", str(tmp_path / "gold.json")])
    rows = {row["case"]: row for row in map(json.loads, capsys.readouterr().out.splitlines())}
    assert rows["feature_words_precision"]["value"] == pytest.approx(
        2 / 3, abs=1e-3
    )  # tone and strap of three
    assert rows["feature_words_recall"]["value"] == pytest.approx(2 / 3, abs=1e-3)
    assert rows["reviews_with_an_explanation"]["value"] == 1.0
    assert "frequent_nouns_precision_at_gold_size" in rows
