"""A matrix of users × items (a column an item) as interactions: a row for each cell that says something."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from p5t5.data.sources.batches import Batch
from p5t5.data.sources.column_names import by_name
from p5t5.data.sources.header import is_known_name

LEAST = 6  # columns of items
_NUMBER = re.compile(r"[+-]?\d{1,3}(?:[.,]\d+)?", re.ASCII)
_MISSING = frozenset(("", "na", "n/a", "nan", "null", "none", "\\n", "-", "?", "."))
_MOST_VALUES = 21  # of one scale


class Wide:
    """Such a file: its columns (the first names the users, or the items), and what a zero means."""

    def __init__(self, names: Sequence[str], zeros_are_empty: bool) -> None:
        self.rows, *self.columns = names
        self.of_items = by_name("item_id", [self.rows]) is not None
        self.zeros_are_empty = zeros_are_empty

    @property
    def names(self) -> tuple[str, str, str]:
        """Of the interactions, in the order of a row."""
        return ("item_id", "user_id", "rating") if self.of_items else ("user_id", "item_id", "rating")

    def note(self, file: str) -> str:
        across, down = ("a user", "an item") if self.of_items else ("an item", "a user")
        zeros = ", 0 is no interaction" if self.zeros_are_empty else ""
        return f"{file} is a matrix: {down} a row, {across} a column ({self.columns[0]} … {self.columns[-1]}), cells are ratings{zeros}"

    def melted(self, batches: Iterator[Batch], wanted: Sequence[str]) -> Iterator[Batch]:
        """The interactions, row by row of the matrix."""
        for batch in batches:
            cells = np.array([_texts(batch.columns[name]) for name in self.columns], object).T
            filled = np.array([[self._is_filled(cell) for cell in row] for row in cells], bool).reshape(
                cells.shape
            )
            rows, columns = np.nonzero(filled)
            found: dict[str, Any] = {
                self.names[0]: np.array(_texts(batch.columns[self.rows]), object)[rows],
                self.names[1]: np.array(self.columns, object)[columns],
                self.names[2]: cells[rows, columns],
            }
            yield Batch(
                {name: pa.array(list(found[name]), pa.string()) for name in wanted},
                len(rows),
                lambda row, rows=rows, batch=batch: batch.place(int(rows[row])),  # type: ignore[misc]
                batch.bad,
            )

    def _is_filled(self, cell: str) -> bool:
        text = cell.strip()
        if self.zeros_are_empty and _NUMBER.fullmatch(text) and float(_point(text)) == 0:
            return False
        return text.lower() not in _MISSING


def wide(names: Sequence[str], sample: Mapping[str, Sequence[Any]]) -> Wide | None:
    """The matrix that a file's first rows look like; None for an ordinary table.

    Distinct ids in the first column, and else one small scale of numbers with gaps (or zeros) under names that no
    column of interactions has.
    """
    first, *others = names
    if len(others) < LEAST or sum(map(is_known_name, others)) > 0.2 * len(others):
        return None
    ids = [str(value) for value in sample[first]]
    if len(ids) < 2 or len(set(ids)) < len(ids):
        return None
    cells = [text.strip() for name in others for text in _texts(sample[name])]
    filled = [cell for cell in cells if cell.lower() not in _MISSING]
    if not filled or not all(_NUMBER.fullmatch(cell) for cell in filled):
        return None
    values = {float(_point(cell)) for cell in filled}
    zeros = sum(float(_point(cell)) == 0 for cell in filled)
    gaps = len(cells) - len(filled)
    if len(values) > _MOST_VALUES or (gaps + zeros) < 0.2 * len(cells):
        return None
    return Wide(names, not gaps and zeros > 0.3 * len(cells))


def _point(cell: str) -> str:
    return cell.strip().replace(",", ".")


def _texts(column: Any) -> list[str]:
    values = column.to_pylist() if isinstance(column, (pa.Array, pa.ChunkedArray)) else column
    return ["" if value is None or value != value else str(value) for value in values]
