"""Items drawn as wrong answers: uniform over what the user has not met up to the row in question.

Only the past is looked at. Excluding a user's later items, too, would tell the model at training
time which items are held back for the test (they would never be wrong answers).
"""

from __future__ import annotations

import numpy as np

from p5t5.core.ragged import Ragged
from p5t5.core.randomness import below, uniform
from p5t5.data.records.tables import IndexedRecords

ROUNDS = 16  # of re-drawing, before the rows that still clash are drawn the slow, exact way
CELLS = 2**21  # numbers held at a time

# What a draw is for, so that draws of different kinds do not hang together.
NEGATIVE, EXACT, PLACE, COIN, GUESS, WHICH = range(1, 7)


class Met:
    """Answers: has the user of this row met this item up to and including this row?"""

    def __init__(self, data: IndexedRecords) -> None:
        self.data = data
        keys = data.user.astype(np.int64) * data.number_of_items + data.item
        self.keys, self.first = np.unique(keys, return_index=True)
        is_first = np.zeros(len(data) + 1, np.int64)
        is_first[self.first + 1] = 1
        self.met_before = np.cumsum(is_first)

    def __call__(self, rows: np.ndarray, items: np.ndarray) -> np.ndarray:
        """bool, broadcast over ``rows`` and ``items``."""
        keys = self.data.user[rows].astype(np.int64) * self.data.number_of_items + items
        place = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return (self.keys[place] == keys) & (self.first[place] <= rows)

    def count(self, rows: np.ndarray) -> np.ndarray:
        """int64: how many different items that are."""
        return self.met_before[rows + 1] - self.met_before[self.data.user_start[self.data.user[rows]]]


def draw_negatives(data: IndexedRecords, rows: np.ndarray, count: int, seed: int, epoch: int) -> Ragged:
    """Ragged int32: ``count`` different items a row that its user has not met (fewer if there are fewer).

    Pure function of (seed, epoch, row): the other rows asked for do not matter.
    """
    met = Met(data)
    available = data.number_of_items - met.count(rows)
    lengths = np.minimum(count, available)
    table = np.zeros((len(rows), min(count, data.number_of_items)), np.int32)
    # Where most items would be refused, rejection crawls.
    exact = (lengths < count) | (2 * lengths > available) | (4 * available < data.number_of_items)
    easy = np.flatnonzero(~exact)
    for part in _chunks(easy, table.shape[1]):
        table[part], clash = _by_rejection(data, met, rows[part], count, seed, epoch)
        exact[part[clash]] = True
    for part in _chunks(np.flatnonzero(exact), data.number_of_items):
        table[part] = _by_order(data, met, rows[part], table.shape[1], seed, epoch)
    return Ragged.from_lengths(table[np.arange(table.shape[1]) < lengths[:, None]], lengths)


def draw_candidates(
    data: IndexedRecords, rows: np.ndarray, count: int, seed: int, epoch: int
) -> tuple[Ragged, np.ndarray]:
    """(Ragged int32 of ``count`` items a row: its own and negatives; int32 place of its own)."""
    negatives = draw_negatives(data, rows, max(count - 1, 0), seed, epoch)
    lengths = negatives.lengths + 1
    place = below(lengths, seed, PLACE, epoch, rows)
    candidates = Ragged.from_lengths(np.zeros(int(lengths.sum()), np.int32), lengths)
    is_negative = np.ones(len(candidates.values), bool)
    is_negative[candidates.offsets[:-1] + place] = False
    candidates.values[is_negative] = negatives.values
    candidates.values[~is_negative] = data.item[rows]
    return candidates, place.astype(np.int32)


def draw_pairs(
    data: IndexedRecords, rows: np.ndarray, seed: int, epoch: int
) -> tuple[np.ndarray, np.ndarray]:
    """(int32 items, bool is_true): the row's own item, or by the toss of a coin one not met."""
    is_true = uniform(seed, COIN, epoch, rows) < 0.5
    negatives = draw_negatives(data, rows, 1, seed, epoch)
    is_true |= negatives.lengths == 0
    items = data.item[rows].astype(np.int32)
    items[~is_true] = negatives.values[negatives.offsets[:-1][~is_true]]
    return items, is_true


def _by_rejection(
    data: IndexedRecords, met: Met, rows: np.ndarray, count: int, seed: int, epoch: int
) -> tuple[np.ndarray, np.ndarray]:
    """(int32 [rows, count], the places of the rows where two rounds too many were needed)."""
    number = data.number_of_items
    draws = np.arange(count)
    table = below(number, seed, NEGATIVE, epoch, 0, rows[:, None], draws[None, :]).astype(np.int32)
    open_ = np.arange(len(rows))
    for attempt in range(1, ROUNDS + 1):
        bad = met(rows[open_, None], table[open_]) | _repeats(table[open_])
        open_, bad = open_[bad.any(1)], bad[bad.any(1)]
        if not len(open_):
            break
        row, draw = np.nonzero(bad)
        table[open_[row], draw] = below(number, seed, NEGATIVE, epoch, attempt, rows[open_[row]], draw)
    else:
        bad = met(rows[open_, None], table[open_]) | _repeats(table[open_])
        open_ = open_[bad.any(1)]
    return table, open_


def _by_order(
    data: IndexedRecords, met: Met, rows: np.ndarray, count: int, seed: int, epoch: int
) -> np.ndarray:
    """int32 [rows, count]: all items in a random order, those met last."""
    items = np.arange(data.number_of_items)
    order = uniform(seed, EXACT, epoch, rows[:, None], items[None, :])
    order[met(rows[:, None], items[None, :])] = 2.0
    return np.argsort(order, axis=1)[:, :count].astype(np.int32)


def _repeats(table: np.ndarray) -> np.ndarray:
    """bool [rows, n]: entries that stand further left in their row already."""
    order = np.argsort(table, axis=1, kind="stable")
    ordered = np.take_along_axis(table, order, 1)
    again = np.zeros(table.shape, bool)
    again[:, 1:] = ordered[:, 1:] == ordered[:, :-1]
    out = np.zeros(table.shape, bool)
    np.put_along_axis(out, order, again, 1)
    return out


def _chunks(rows: np.ndarray, width: int) -> list[np.ndarray]:
    """The rows in pieces of at most CELLS / width."""
    step = max(1, CELLS // max(width, 1))
    return [rows[start : start + step] for start in range(0, len(rows), step)]
