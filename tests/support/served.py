"""A small film catalogue, an untrained model of it, and the settings that serve it."""

from __future__ import annotations

from pathlib import Path

from p5t5.checkpoint.creation import create_checkpoint
from p5t5.data.splits import leave_one_out
from p5t5.serving.settings import Settings
from p5t5.tasks.registry import TASKS
from p5t5.text.prompts import load_prompts
from support.films import film_records


def save_films(root: Path, seed: int = 0) -> None:
    """``root``/data and ``root``/model."""
    records = film_records()
    records.write(root / "data")
    split = leave_one_out(records.index())
    checkpoint = create_checkpoint(split, load_prompts(), model="tiny", vocabulary_size=400, seed=seed)
    checkpoint.info.tasks = list(TASKS)
    checkpoint.save(root / "model")


def film_settings(root: Path, **changes) -> Settings:
    return Settings(**{"model": str(root / "model"), "data": str(root / "data"), **changes})
