"""Beyond accuracy: what the recommended lists are like.

Lists of ten give coverage, Gini, novelty and intra-list distance: totals of all lists together, without an interval and
without a winner (a random list covers more).
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
from scipy import sparse

from p5t5.baselines.base import item_counts, top_of
from p5t5.core.ragged import Ragged
from p5t5.data.splits import Split
from p5t5.data.text_features import word_features
from p5t5.metrics.beyond_accuracy import coverage, gini, intra_list_distance, novelty

LISTED = 10  # items of a list that are looked at
LIST_METRICS = ("coverage@10", "gini@10", "novelty@10", "distance@10")


class ListQuality:
    """Measures lists for one split."""

    def __init__(self, split: Split) -> None:
        self.split = split
        self.popularity = item_counts(split)

    @cached_property
    def _vectors(self) -> sparse.csr_array | None:
        """TF-IDF vectors of the items' words, length 1; None where no item is described."""
        vectors = word_features(self.split.data.items)
        return vectors if vectors.nnz else None

    def lists(self, table: np.ndarray, exclude: Ragged) -> np.ndarray:
        """int64 [n, 10]: the best items by the scores ``table`` [n, items], without those excluded."""
        table = table.copy()
        table[exclude.row_of_value, exclude.values] = -np.inf
        items = np.full((len(table), LISTED), -1, np.int64)
        best = top_of(table, min(LISTED, table.shape[1]))[0]
        items[:, : best.shape[1]] = best
        return items

    def totals(self, items: np.ndarray) -> dict[str, float]:
        """Of the lists int [n, k]: coverage@10, gini@10, novelty@10 (bits) and, with item texts, distance@10."""
        items = items[:, :LISTED]
        number_of_items = self.split.data.number_of_items
        found = {
            "coverage": coverage(items, number_of_items),
            "gini": gini(items, number_of_items),
            "novelty": _mean(novelty(items, self.popularity)),
        }
        if self._vectors is not None:
            found["distance"] = _mean(intra_list_distance(items, self._vectors))
        return {f"{name}@{LISTED}": value for name, value in found.items()}


def _mean(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")
