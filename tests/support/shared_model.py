"""A tiny untrained model of twelve films as a folder, for tests of what is done with a folder."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from p5t5.checkpoint.creation import create_checkpoint
from p5t5.data.splits import leave_one_out
from p5t5.evaluation.results import FIELDS
from p5t5.text.prompts import load_prompts
from support.films import film_records

TASKS = ["rating/score", "rating/like", "sequential/next_item", "explanation/explain"]


def write_folders(root: Path) -> tuple[Path, Path]:
    """(model, data) folders in ``root``; the model has results, and files beside it that are nobody's business."""
    records = film_records()
    records.write(root / "data")
    split = leave_one_out(records.index())
    checkpoint = create_checkpoint(split, load_prompts(), model="tiny", vocabulary_size=400)
    checkpoint.info.tasks = list(TASKS)
    checkpoint.info.model = "/home/somebody/secret/pretrained"
    model = root / "model"
    checkpoint.save(model, "# card")
    (model / "results.json").write_text(json.dumps([result_row("seen", 0.25), result_row("held_out", 0.125)]))
    (model / "metrics.jsonl").write_text("{}\n")
    (model / "state-000012").mkdir()
    (model / "state-000012" / "optimizer.bin").write_bytes(b"\x80\x04")
    pd.DataFrame({"user_id": ["17"]}).to_parquet(model / "interactions.parquet")
    return model, root / "data"


def result_row(prompt: str, value: float) -> dict:
    """A row of results for the next item."""
    known = {
        "dataset": "films", "split": "test", "model": "p5t5", "family": "sequential", "task": "sequential/next_item",
        "prompt": prompt, "protocol": "filtered", "metric": "ndcg@10", "value": value, "ci95": [0.1, 0.3], "n": 8,
        "seed": 0, "seconds": 1.0, "checkpoint": "", "quoted": False, "variant": "main", "scheme": "loo",
        "aggregate": "seed", "text_decoding": "",
    }  # fmt: skip
    return {field: known[field] for field in FIELDS}
