"""The base of all ranking baselines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from scipy import sparse

from p5t5.core.ragged import Ragged
from p5t5.data.splits import Split

HISTORIES_AT_ONCE = 1024  # histories scored at once: 1024 × 12,000 items are 50 MB of float32


class Scorer:
    """Ranks the catalogue given a history. ``histories``: Ragged of item numbers, oldest first."""

    name: str
    number_of_items: int
    nonnegative = True  # scores are counts or sums of similarities, 0 for an item without evidence
    needs_implicit = False  # needs the package implicit, an extra
    in_fusion = True  # False where its state describes single users: a checkpoint must not hold that

    def __init__(self, split: Split) -> None:
        raise NotImplementedError

    @classmethod
    def fitted(cls, split: Split) -> Scorer | None:
        """A scorer fitted on the training rows; None where the data gives it nothing to score by."""
        return cls(split)

    def state(self) -> dict[str, np.ndarray]:
        """Everything that `restored` needs: aggregates of the training rows, never an interaction."""
        raise NotImplementedError

    def _restore(self, state: Mapping[str, np.ndarray]) -> None:
        raise NotImplementedError

    @classmethod
    def restored(cls, state: Mapping[str, np.ndarray]) -> Scorer:
        """The scorer that returned this state, without its training data."""
        scorer = cls.__new__(cls)
        scorer._restore(state)
        return scorer

    def scores(self, histories: Ragged, users: np.ndarray | None = None) -> np.ndarray:
        """float32 [histories, items]: larger is better. ``users`` int [histories], for scorers that use them."""
        raise NotImplementedError

    def chunks(
        self, histories: Ragged, users: np.ndarray | None = None
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """(row numbers int64, their scores float32 [rows, items]) for CHUNK histories at a time."""
        for start in range(0, len(histories), HISTORIES_AT_ONCE):
            rows = np.arange(start, min(start + HISTORIES_AT_ONCE, len(histories)))
            yield rows, self.scores(histories.take(rows), None if users is None else users[rows])

    def top(
        self,
        histories: Ragged,
        k: int,
        exclude: Ragged | None = None,
        users: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """The best k items int64 [n, k] and their scores float32 [n, k]; −1 and −inf where fewer are left.

        ``exclude`` names items that must not be returned; equal scores go to the lower item number.
        """
        items = np.full((len(histories), k), -1, np.int64)
        best = np.full((len(histories), k), -np.inf, np.float32)
        for rows, table in self.chunks(histories, users):
            if exclude is not None:
                left_out = exclude.take(rows)
                table = table.copy()
                table[left_out.row_of_value, left_out.values] = -np.inf
            items[rows], best[rows] = top_of(table, k)
        return items, best

    def candidate_scores(
        self, histories: Ragged, candidates: Ragged, users: np.ndarray | None = None
    ) -> Ragged:
        """Ragged float32, aligned with ``candidates`` (item numbers)."""
        out = np.empty(len(candidates.values), np.float32)
        for rows, table in self.chunks(histories, users):
            chunk = candidates.take(rows)
            out[candidates.offsets[rows[0]] : candidates.offsets[rows[-1] + 1]] = table[
                chunk.row_of_value, chunk.values
            ]
        return Ragged(out, candidates.offsets)


def top_of(table: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k largest of each row of ``table`` float32 [n, items]: items int64 and scores float32 [n, k], descending.

    −1 and −inf where only −inf is left. Of equal scores the lower item number comes first, and is the one that is kept
    at the end of the list; NaN is never returned.
    """
    n, number_of_items = table.shape
    width = min(k, number_of_items)
    if np.isnan(table).any():
        table = np.where(np.isnan(table), -np.inf, table)
    threshold = np.partition(table, number_of_items - width, axis=1)[:, [number_of_items - width]]
    taken = table >= threshold
    tied_rows = np.flatnonzero(
        taken.sum(1) > width
    )  # rows with more scores equal to the last than there is room for
    if len(tied_rows):
        greater, equal = table[tied_rows] > threshold[tied_rows], table[tied_rows] == threshold[tied_rows]
        room = width - greater.sum(1, keepdims=True)
        taken[tied_rows] = greater | (equal & (np.cumsum(equal, 1, dtype=np.int32) <= room))
    taken_items = np.nonzero(taken)[1].reshape(n, width)
    scores = np.take_along_axis(table, taken_items, 1)
    order = np.argsort(-scores, axis=1, kind="stable")
    items = np.full((n, k), -1, np.int64)
    best = np.full((n, k), -np.inf, np.float32)
    best[:, :width] = np.take_along_axis(scores, order, 1)
    items[:, :width] = np.take_along_axis(taken_items, order, 1)
    items[best == -np.inf] = -1
    return items, best


def history_matrix(histories: Ragged, items: int, decay: float = 1.0) -> sparse.csr_array:
    """float32 [histories, items]: decay ** age summed over the history; the newest item has age 0."""
    age = np.repeat(histories.offsets[1:], histories.lengths) - 1 - np.arange(len(histories.values))
    weights = (np.float32(decay) ** age).astype(np.float32)
    shape = (len(histories), items)
    # A copy: sum_duplicates works in place, and the matrix would share its arrays with the histories.
    matrix = sparse.csr_array((weights, histories.values, histories.offsets), shape=shape, copy=True)
    matrix.sum_duplicates()
    return matrix


def item_counts(split: Split) -> np.ndarray:
    """float32 [items]: the number of training interactions of each item."""
    rows = split.rows("train")
    return np.bincount(split.data.item[rows], minlength=split.data.number_of_items).astype(np.float32)


def training_matrix(split: Split) -> sparse.csr_array:
    """float32 [users, items]: training interaction counts."""
    data, rows = split.data, split.rows("train")
    shape = (data.number_of_users, data.number_of_items)
    matrix = sparse.coo_array((np.ones(len(rows), np.float32), (data.user[rows], data.item[rows])), shape)
    return sparse.csr_array(matrix)
