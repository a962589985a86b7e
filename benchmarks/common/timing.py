"""Ratios measured fairly: each side at its own best batch size, the sides in turn, medians."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np


def seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def best_batch(run: Callable[[int], object], batches: tuple[int, ...]) -> int:
    """The batch size with the least time a user, of one timed call each after a warm one."""
    run(batches[0])
    return min(batches, key=lambda batch: seconds(lambda: run(batch)) / batch)


def interleaved(ours: Callable[[], object], theirs: Callable[[], object], repeats: int) -> tuple[list, list]:
    ours(), theirs()
    times: tuple[list, list] = ([], [])
    for _ in range(repeats):
        times[0].append(seconds(ours))
        times[1].append(seconds(theirs))
    return times


def summary(times: list[float], per: float = 1) -> dict:
    milliseconds = [1000 * t / per for t in times]
    return {
        "median_ms": statistics.median(milliseconds),
        "min_ms": min(milliseconds),
        "max_ms": max(milliseconds),
    }


def ratio_line(
    ours: list, theirs: list, our_users: int = 1, their_users: int = 1, **more
) -> tuple[float, dict]:
    value = (statistics.median(theirs) / their_users) / (statistics.median(ours) / our_users)
    return value, {"ours": summary(ours, our_users), "theirs": summary(theirs, their_users), **more}


def slope(x, y) -> float:
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])
