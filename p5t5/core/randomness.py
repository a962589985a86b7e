"""Counter-based random numbers: pure functions of a seed and integer keys.

A draw depends on what it is for (seed, epoch, row, …) and on nothing else: not on the batch it
falls in, not on how many draws came before. So every slicing of the work, and every resume, sees
the same data.
"""

from __future__ import annotations

import numpy as np

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def hashed(seed: int, *keys) -> np.ndarray:
    """uint64, broadcast over ``keys`` (integers or integer arrays): SplitMix64 of seed and keys."""
    # Mixed twice, or seed and first key could change places: (seed 0, epoch 1) would draw as (1, 0).
    return hashed_on(_mix(_mix(np.asarray(seed % 2**64, np.uint64))), *keys)


def hashed_on(state: np.ndarray, *keys) -> np.ndarray:
    """``hashed`` with more keys, from what it gave for the first ones: those that many draws share."""
    with np.errstate(over="ignore"):
        for key in keys:
            state = _mix(state + _mix(np.asarray(key).astype(np.int64).view(np.uint64)))
    return state


def uniform(seed: int, *keys) -> np.ndarray:
    """float64 in [0, 1), broadcast over ``keys``."""
    return between_0_and_1(hashed(seed, *keys))


def between_0_and_1(state: np.ndarray) -> np.ndarray:
    """float64 in [0, 1) from what `hashed` gave."""
    return (state >> np.uint64(11)).astype(np.float64) * 2.0**-53


def below(bound, seed: int, *keys) -> np.ndarray:
    """int64 in [0, bound), broadcast over ``bound`` and ``keys``."""
    return (uniform(seed, *keys) * bound).astype(np.int64)


def sample(rows: np.ndarray, most: int, seed: int) -> np.ndarray:
    """At most ``most`` of the different integers ``rows`` [n], drawn by the seed, in their order in ``rows``.

    Whether one of them is drawn before another depends on the two alone, not on the rest of ``rows``.
    """
    if len(rows) <= most:
        return rows
    return rows[np.sort(np.argsort(hashed(seed, rows), kind="stable")[:most])]


def fold_of(number: int, seed: int, *keys) -> np.ndarray:
    """int64 in [0, number), broadcast over ``keys``: the fold of each; equal keys share one."""
    return (hashed(seed, *keys) % np.uint64(number)).astype(np.int64)


def generator(seed: int, *keys: int) -> np.random.Generator:
    """A NumPy generator for work that wants a stream (a permutation, a fit)."""
    return np.random.default_rng([int(seed), *(int(key) for key in keys)])


def _mix(state: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        state = state + _GOLDEN
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return state ^ (state >> np.uint64(31))
