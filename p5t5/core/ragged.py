"""Lists of different lengths in two flat arrays, and the example format that training eats."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Ragged:
    """Rows of different lengths: row ``i`` is ``values[offsets[i]:offsets[i + 1]]``.

    ``offsets`` is int64 with one entry more than there are rows, starting at 0.
    """

    values: np.ndarray
    offsets: np.ndarray

    @staticmethod
    def from_lists(lists: Iterable[Sequence], dtype=np.int32) -> Ragged:
        lists = list(lists)
        lengths = np.fromiter((len(part) for part in lists), np.int64, len(lists))
        flat = [np.asarray(part, dtype) for part in lists if len(part)]
        values = np.concatenate(flat) if flat else np.zeros(0, dtype)
        return Ragged.from_lengths(values, lengths)

    @staticmethod
    def from_lengths(values: np.ndarray, lengths: np.ndarray) -> Ragged:
        offsets = np.zeros(len(lengths) + 1, np.int64)
        np.cumsum(lengths, out=offsets[1:])
        if offsets[-1] != len(values):
            raise ValueError(f"lengths sum to {offsets[-1]}, but there are {len(values)} values")
        return Ragged(values, offsets)

    @staticmethod
    def concatenate(parts: Sequence[Ragged], dtype=np.int32) -> Ragged:
        """The rows of all parts, in order; ``dtype`` is used only when there are no parts."""
        if not parts:
            return Ragged(np.zeros(0, dtype), np.zeros(1, np.int64))
        values = np.concatenate([part.values for part in parts])
        return Ragged.from_lengths(values, np.concatenate([part.lengths for part in parts]))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, row: int) -> np.ndarray:
        return self.values[self.offsets[row] : self.offsets[row + 1]]

    @property
    def lengths(self) -> np.ndarray:
        return np.diff(self.offsets)

    @property
    def row_of_value(self) -> np.ndarray:
        """int64 [len(values)]: which row each value belongs to."""
        return np.repeat(np.arange(len(self)), self.lengths)

    def take(self, rows: np.ndarray) -> Ragged:
        """The given rows (repeats allowed), in the given order, without a Python loop."""
        rows = np.asarray(rows, np.int64)
        starts = self.offsets[rows]
        lengths = self.offsets[rows + 1] - starts  # not self.lengths: there may be millions of rows
        return Ragged.from_lengths(self.values[positions(starts, lengths)], lengths)

    def to_lists(self) -> list[list]:
        return [self[row].tolist() for row in range(len(self))]

    def padded(self, fill, width: int | None = None) -> np.ndarray:
        """[rows, width] with ``fill`` behind each row; ``width`` defaults to the longest row."""
        lengths = self.lengths
        width = int(lengths.max(initial=0)) if width is None else width
        table = np.full((len(self), width), fill, self.values.dtype)
        table[np.arange(width) < lengths[:, None]] = self.values
        return table


def positions(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """int64: ``starts[0], starts[0]+1, …, starts[1], …``: the flat places of many runs."""
    places = np.repeat(starts - (np.cumsum(lengths) - lengths), lengths)
    places += np.arange(len(places))  # in place: a third large array would take as long as the rest
    return places
