"""Which rows of a split a task is asked about."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from p5t5.core.errors import UserError
from p5t5.core.randomness import hashed
from p5t5.data.splits import Split
from p5t5.tasks.registry import TASKS

PROTOCOLS = ("filtered", "unfiltered")


def _check(protocols: Sequence[str]) -> None:
    if unknown := [name for name in protocols if name not in PROTOCOLS]:
        raise UserError(f"there is no protocol {unknown[0]!r}; there are {', '.join(PROTOCOLS)}")


def _about(split: Split, part: str, seed: int, checkpoint: str, variant: str) -> dict[str, Any]:
    return {
        "dataset": split.data.name,
        "split": part,
        "scheme": split.scheme,
        "seed": seed,
        "checkpoint": checkpoint,
        "variant": variant,
    }


def rows_of(split: Split, task: str, part: str, limit: int | None, seed: int) -> tuple[np.ndarray, str]:
    """The rows of a task to ask about and "", or none and a sentence why."""
    if limit is not None and limit < 1:
        raise UserError(f"a limit of {limit} users: it must be at least 1, or 0 for all")
    none = np.zeros(0, np.int64)
    if task not in TASKS:
        raise UserError(f"there is no task {task!r}; there are {', '.join(TASKS)}")
    missing = TASKS[task].missing(split.data)
    if missing:
        return none, f"{task} is off: {split.data.name} has no {' and no '.join(missing)}"
    if reason := TASKS[task].why_off(split):
        return none, f"{task} is off: {reason}"
    rows = TASKS[task].eligible(split, part)
    if not len(rows):
        return none, f"{task} is off: {split.data.name} has no {part} row for it"
    if limit is not None:
        users = split.data.user[rows]
        known = np.unique(users)
        chosen = known[np.argsort(hashed(seed, known), kind="stable")[:limit]]
        rows = rows[np.isin(users, chosen)]
    return rows, ""
