"""Ranking metrics with one relevant item a list (leave-one-out): functions of the truth's rank.

A **rank** is 0-based; −1 means that the truth was not returned, which always counts as a miss.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from p5t5.core.ragged import Ragged
from p5t5.core.randomness import hashed


def list_ranks(items: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """int64 [n]: where ``truth`` [n] stands in the ranked ``items`` [n, k]; −1 where it does not.

    A list shorter than k is filled with −1, which no truth equals.
    """
    found = (items == truth[:, None]) & (items >= 0)
    return np.where(found.any(1), found.argmax(1), -1)


def table_ranks(table: np.ndarray, truth: np.ndarray, exclude: Ragged | None = None) -> np.ndarray:
    """int64 [n]: the rank of item ``truth`` [n] by the scores ``table`` [n, items], without sorting.

    ``exclude``: items of each row that are taken out of the ranking. Equal scores go to the lower item
    number. −1 where the truth is excluded or scored −inf or NaN.
    """
    table = np.where(np.isnan(table), -np.inf, table)
    if exclude is not None:
        table[exclude.row_of_value, exclude.values] = -np.inf
    own = table[np.arange(len(truth)), truth][:, None]
    ahead = (table > own).sum(1)
    ahead += ((table == own) & (np.arange(table.shape[1]) < truth[:, None])).sum(1)
    return np.where(own[:, 0] == -np.inf, -1, ahead)


def candidate_ranks(scores: Ragged, answer: np.ndarray, seed: int = 0) -> np.ndarray:
    """int64 [n]: how many candidates of each row beat the one at place ``answer`` (−1: no answer, a miss).

    Ties are broken by a draw keyed by (seed, row, place): a scorer that says the same of all
    candidates gets chance, neither the first nor the last place. A truth scored NaN is a miss.
    """
    n = len(scores)
    row = scores.row_of_value
    place = np.arange(len(scores.values)) - scores.offsets[row]
    key = hashed(seed, row, place)
    at = np.clip(scores.offsets[:-1] + np.maximum(answer, 0), 0, max(len(scores.values) - 1, 0))
    if not len(scores.values):
        return np.full(n, -1)
    own_score, own_key = scores.values[at], key[at]
    value = np.nan_to_num(scores.values.astype(np.float64), nan=-np.inf)
    own = np.nan_to_num(own_score.astype(np.float64), nan=-np.inf)
    beats = (value > own[row]) | ((value == own[row]) & (key < own_key[row]))
    ranks = np.bincount(row[beats], minlength=n)
    missed = (answer < 0) | (answer >= scores.lengths) | np.isnan(own_score)
    return np.where(missed, -1, ranks)


def hit(ranks: np.ndarray, k: int) -> np.ndarray:
    """float64 [n]: 1 where the truth is among the first k (its mean is HR@k, which is recall@k here)."""
    ranks = np.asarray(ranks)
    return ((ranks >= 0) & (ranks < k)).astype(np.float64)


def ndcg(ranks: np.ndarray, k: int) -> np.ndarray:
    """float64 [n]: 1 / log2(rank + 2) where the truth is among the first k, else 0.

    With a single relevant item the ideal gain is 1, so this is NDCG@k (Järvelin and Kekäläinen 2002).
    """
    ranks = np.asarray(ranks)
    return hit(ranks, k) / np.log2(np.maximum(ranks, 0) + 2.0)


def ranking_values(ranks: np.ndarray, metrics: Iterable[str]) -> dict[str, np.ndarray]:
    """hr@k and ndcg@k of 0-based ranks (−1: a miss), by their names."""
    out = {}
    for metric in metrics:
        name, _, k = metric.partition("@")
        if name in ("hr", "ndcg"):
            out[metric] = {"hr": hit, "ndcg": ndcg}[name](ranks, int(k))
    return out
