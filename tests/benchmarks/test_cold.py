"""benchmarks/cold_start.py: what is held out is nowhere in training, and every scorer is asked the same rows."""

from __future__ import annotations

import json
import sys

import pandas as pd
import pytest
from support.paths import ROOT

from p5t5.checkpoint.creation import create_checkpoint
from p5t5.data.sources.simulated import simulate
from p5t5.data.splits import leave_one_out
from p5t5.text.prompts import load_prompts

sys.path.insert(0, str(ROOT / "benchmarks"))
import cold_start


@pytest.fixture(scope="module")
def records():
    return simulate(users=80, items=160, seed=4).records


def test_held_out_is_a_matter_of_the_id_alone():
    ids = pd.Series([f"i{number}" for number in range(4000)])
    found = cold_start.held_out(ids, 0.1, 0)
    assert 0.08 < found.mean() < 0.12
    assert (cold_start.held_out(ids[::-1], 0.1, 0)[::-1] == found).all()
    assert (cold_start.held_out(ids, 0.1, 1) != found).any()


def test_nothing_of_the_held_out_is_left(records):
    left, items, users = cold_start.without(records, 0.2, 0)
    assert items and users
    assert not set(left.interactions["item_id"]) & items and not set(left.interactions["user_id"]) & users
    assert set(left.items["item_id"]) == set(records.items["item_id"]) - items
    gone = records.interactions["item_id"].isin(items) | records.interactions["user_id"].isin(users)
    assert len(left.interactions) == (~gone).sum()


def test_it_runs_and_compares_on_the_same_rows(records, tmp_path, monkeypatch, capsys):
    records.write(tmp_path / "data")
    left, items, _ = cold_start.without(records, 0.1, 0)
    checkpoint = create_checkpoint(
        leave_one_out(left.index()), load_prompts(), vocabulary_size=500, user_identifiers="none"
    )
    checkpoint.info.tasks = ["sequential/next_item"]
    checkpoint.save(tmp_path / "model")
    arguments = f"--data {tmp_path}/data --model {tmp_path}/model --asked 20"
    monkeypatch.setattr(sys, "argv", ["cold_start.py", *arguments.split()])
    cold_start.main()
    lines = {line["case"]: line for line in map(json.loads, capsys.readouterr().out.splitlines())}
    among, text = (lines[f"new items among new: {name}"] for name in ("p5t5", "text similarity"))
    assert among["detail"]["items"] == len(items) and among["detail"]["n"] == text["detail"]["n"]
    assert lines["new items among all: p5t5"]["detail"]["items"] == 160
    # Nobody has visited a new item in training: popularity cannot put one among the first ten of all.
    assert lines["new items among all: popularity"]["detail"]["hr@10"] == 0
    assert {"less popularity", "less popularity by text"} <= set(among["detail"])
    assert among["detail"]["less text similarity"][0] == pytest.approx(
        among["value"] - text["value"], abs=2e-4
    )
    assert 0 <= lines["new users among all: count_floor"]["value"] <= 1
