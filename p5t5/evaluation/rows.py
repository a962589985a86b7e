"""The rows of a split that a task is asked about."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from p5t5.core.errors import UserError
from p5t5.core.randomness import sample
from p5t5.data.splits import Split
from p5t5.tasks.registry import TASKS

PROTOCOLS = ("filtered", "unfiltered")


def check_protocols(protocols: Sequence[str]) -> None:
    """Raises UserError for an unknown protocol."""
    if unknown := [name for name in protocols if name not in PROTOCOLS]:
        raise UserError(f"unknown protocol {unknown[0]!r}; choose among {', '.join(PROTOCOLS)}")


def row_metadata(split: Split, part: str, seed: int, checkpoint: str, variant: str) -> dict[str, Any]:
    """The fields that all result rows of one evaluation share."""
    return {
        "dataset": split.data.name,
        "split": part,
        "scheme": split.scheme,
        "seed": seed,
        "checkpoint": checkpoint,
        "variant": variant,
    }


def rows_of(split: Split, task: str, part: str, limit: int | None, seed: int) -> tuple[np.ndarray, str]:
    """int64 [n]: the rows to ask a task about, and ""; or no rows and a sentence why.

    ``limit``: maximum number of users, drawn by the seed. Raises UserError for an unknown task or a limit below 1.
    """
    if limit is not None and limit < 1:
        raise UserError(f"--limit {limit}: the number of users must be at least 1, or 0 for all")
    none = np.zeros(0, np.int64)
    if task not in TASKS:
        raise UserError(f"unknown task {task!r}; choose among {', '.join(TASKS)}")
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
        distinct_users = np.unique(users)
        chosen = sample(distinct_users, limit, seed)
        rows = rows[np.isin(users, chosen)]
    return rows, ""
