"""95 % intervals by bootstrap over users, alone and paired.

Every statistic here is a function of the *means* of per-example values (the mean itself, a root of
it for RMSE, BLEU of mean n-gram counts), so one matrix product of resampling counts with the users'
sums gives all resamples at once.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from p5t5.core.randomness import generator

Statistic = Callable[[np.ndarray], np.ndarray]  # means [..., m] → values [...]
RESAMPLES = 1000
CHUNK = 100  # resamples that are multiplied at once: 100 × 22,000 users are 18 MB


class Interval(NamedTuple):
    """A value with its 95 % interval."""

    value: float
    low: float
    high: float


def first_mean(means: np.ndarray) -> np.ndarray:
    """The mean itself."""
    return means[..., 0]


def root_mean(means: np.ndarray) -> np.ndarray:
    """The root of the mean: RMSE from squared errors."""
    return np.sqrt(means[..., 0])


def bootstrap_interval(
    values: np.ndarray,
    seed: int = 0,
    *,
    users: np.ndarray | None = None,
    statistic: Statistic = first_mean,
    resamples: int = RESAMPLES,
) -> Interval:
    """The statistic of ``values`` [n] or [n, m] and its percentile interval (Efron and Tibshirani 1993).

    ``users`` int [n] says whose each example is: users are drawn, with all their examples, because
    examples of one user are not independent. Without it each example is its own user. Empty values
    give NaN, a single user an interval without width.
    """
    sums, counts = _by_user(values, users)
    if not len(sums):
        return Interval(np.nan, np.nan, np.nan)
    value = float(statistic(sums.sum(0) / counts.sum()))
    low, high = _percentiles(statistic(_means(sums, counts, seed, resamples)))
    return Interval(value, low, high)


def paired_bootstrap(
    a: np.ndarray,
    b: np.ndarray,
    seed: int = 0,
    *,
    users: np.ndarray | None = None,
    statistic: Statistic = first_mean,
    resamples: int = RESAMPLES,
) -> Interval:
    """statistic(a) − statistic(b) with its interval, both taken on the same drawn users.

    ``a`` and ``b`` hold the same examples in the same order. An interval that lies above 0 means
    that a's statistic is larger.
    """
    if len(a) != len(b):
        raise ValueError(f"a paired comparison needs the same examples: {len(a)} and {len(b)} were given")
    sums_a, counts = _by_user(a, users)
    sums_b, _ = _by_user(b, users)
    if not len(sums_a):
        return Interval(np.nan, np.nan, np.nan)
    total = counts.sum()
    difference = float(statistic(sums_a.sum(0) / total) - statistic(sums_b.sum(0) / total))
    drawn = statistic(_means(sums_a, counts, seed, resamples)) - statistic(
        _means(sums_b, counts, seed, resamples)
    )
    return Interval(difference, *_percentiles(drawn))


def resampling_counts(units: int, seed: int, resamples: int = RESAMPLES) -> np.ndarray:
    """float32 [resamples, units]: how often each unit is drawn when as many are drawn with replacement."""
    return _counts(units, seed, resamples)


@lru_cache(maxsize=2)
def _counts(units: int, seed: int, resamples: int) -> np.ndarray:
    draw = generator(seed, units, resamples)
    counts = np.empty((resamples, units), np.float32)
    for row in range(resamples):
        counts[row] = np.bincount(draw.integers(0, units, units), minlength=units)
    counts.flags.writeable = False
    return counts


def _by_user(values: np.ndarray, users: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Sums [users, m] and example counts [users]."""
    values = np.asarray(values, np.float64)
    values = values[:, None] if values.ndim == 1 else values
    if users is None:
        return values, np.ones(len(values))
    _, place = np.unique(np.asarray(users), return_inverse=True)
    counts = np.bincount(place).astype(np.float64)
    sums = np.stack([np.bincount(place, column, len(counts)) for column in values.T], 1)
    return sums, counts


def _means(sums: np.ndarray, counts: np.ndarray, seed: int, resamples: int) -> np.ndarray:
    """[resamples, m]: the mean of each resample."""
    drawn = resampling_counts(len(sums), seed, resamples)
    out = np.empty((resamples, sums.shape[1]))
    for start in range(0, resamples, CHUNK):
        part = drawn[start : start + CHUNK].astype(np.float64)
        out[start : start + CHUNK] = (part @ sums) / (part @ counts)[:, None]
    return out


def _percentiles(drawn: np.ndarray) -> tuple[float, float]:
    if np.isnan(drawn).all():
        return np.nan, np.nan
    low, high = np.nanpercentile(drawn, [2.5, 97.5])
    return float(low), float(high)
