"""How well feature words are found in reviews, against a list that an outside tool mined from the same reviews.

python benchmarks/extraction.py --data data/instruments --gold features.json > results/DATASET-extraction.jsonl

``--gold``: JSON with the key "features": the words, most frequent first. The words are learnt from the training
reviews of leave-one-out, as `p5t5 prepare` does; the gold list saw all reviews. The baseline is the most frequent nouns
of the same reviews. One JSON line a case: {"case", "value", "detail"}.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from p5t5.data.explanations.build import explained, training_reviews
from p5t5.data.explanations.english import English
from p5t5.data.explanations.features import fit_words, frequent_nouns
from p5t5.data.records.loading import load_records


def scores(found: Sequence[str], gold: Sequence[str]) -> dict[str, float]:
    """Precision, recall and F1 of two lists of different words."""
    both = len(set(found) & set(gold))
    return {
        "precision": both / max(len(found), 1),
        "recall": both / max(len(gold), 1),
        "f1": 2 * both / max(len(found) + len(gold), 1),
    }


def emit(case: str, value: float, detail: dict[str, Any]) -> None:
    print(json.dumps({"case": case, "value": round(value, 4), "detail": detail}), flush=True)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="a data folder with reviews")
    parser.add_argument("--gold", type=Path, required=True)
    options = parser.parse_args(argv)
    gold = list(json.loads(options.gold.read_text())["features"])
    records, english = load_records(options.data), English()
    reviews = records.interactions.drop(columns=["feature", "explanation"], errors="ignore")
    records = replace(records, interactions=reviews)
    train = training_reviews(records, records.index())
    started = time.process_time()
    found = list(fit_words(train, english).features)
    seconds = time.process_time() - started
    detail = {"library": english.name, "training_reviews": len(train), "cpu_seconds": round(seconds, 2)}
    nouns = frequent_nouns(train, english)
    for name, words in (("feature_words", found), ("frequent_nouns", nouns)):
        same = words[: len(gold)]
        emit(
            f"{name}_precision_at_gold_size", scores(same, gold)["precision"], {**detail, "words": len(same)}
        )
        for size in (50, 100, 200):
            emit(f"{name}_precision_at_{size}", scores(words[:size], gold)["precision"], {"words": size})
    for figure, value in scores(found, gold).items():
        emit(f"feature_words_{figure}", value, {"words": len(found), "gold": len(gold)})
    started = time.process_time()
    about = explained(records).info["explanations"]
    detail = {"reviews": about["reviews"], "cpu_seconds_all": round(time.process_time() - started, 2)}
    emit("reviews_with_an_explanation", about["rows"] / about["reviews"], detail)


if __name__ == "__main__":
    main()
