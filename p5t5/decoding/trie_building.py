"""Sorting identifiers into the levels of a trie: one sort, then a few passes per level, no Python per item."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from p5t5.core.errors import UserError


def checked_lengths(tokens: np.ndarray) -> np.ndarray:
    """int64 [items]: tokens before the first −1. Raises UserError where there are none, or others after it."""
    if tokens.min(initial=0) >= 0:
        return np.full(len(tokens), tokens.shape[1])
    present = tokens >= 0
    lengths = present.sum(1)
    if (lengths == 0).any():
        raise UserError(f"item {int(np.flatnonzero(lengths == 0)[0])} has an empty identifier")
    gap = (present[:, 1:] & ~present[:, :-1]).any(1)
    if gap.any():
        raise UserError(f"item {int(np.flatnonzero(gap)[0])}: its identifier has a token after a −1")
    return lengths


def as_codes(column: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """int [rows], the code of each row (−1 is kept), and int32, the distinct tokens, ascending."""
    low, high = int(column.min(initial=0)), int(column.max(initial=-1))
    if low >= 0 and len(
        column
    ):  # usually the tokens of a level are consecutive: a table is faster than a sort
        low = int(column.min())
    if high - low > 8 * len(column) + 65536:
        distinct, code = np.unique(column, return_inverse=True)
        ended = int(distinct[0] < 0)
        return code - ended, distinct[ended:].astype(np.int32)
    seen = np.zeros(high - low + 1, bool)
    seen[column - low] = True
    distinct = low + np.flatnonzero(seen)
    ended = int(low < 0)
    code = (
        column - (low + ended) if len(distinct) == len(seen) else (np.cumsum(seen) - 1 - ended)[column - low]
    )
    return code, distinct[ended:].astype(np.int32)


def sorted_columns(
    columns: Sequence[np.ndarray], sizes: Sequence[int]
) -> tuple[np.ndarray, list[np.ndarray]]:
    """(row numbers in lexicographic order, the columns in that order); one 64-bit sort where the codes fit into it."""
    rows = len(columns[0])
    bits, row_bits = [int(size + 1).bit_length() for size in sizes], int(rows).bit_length()
    if sum(bits) + row_bits > 63:
        order = np.lexsort(tuple(columns[::-1]))
        return order, [column[order] for column in columns]
    key = np.zeros(rows, np.int64)
    for column, width in zip(columns, bits, strict=True):
        key <<= width
        key |= column + 1
    key <<= row_bits
    key |= np.arange(rows)
    key.sort()
    order = key & ((1 << row_bits) - 1)
    key >>= row_bits
    out = []
    for width in bits[::-1]:  # reading the sorted key back is faster than gathering each column
        out.append((key & ((1 << width) - 1)) - 1)
        key >>= width
    return order, out[::-1]


def levels_of(columns: Sequence[np.ndarray], lengths: np.ndarray | None, numbers: np.ndarray):
    """(codes, first_child) of each level, from sorted columns; ``lengths`` None: all identifiers are full.

    Raises UserError for two equal identifiers, and for one that begins another.
    """
    rows = len(numbers)
    differs = np.zeros(rows, bool)  # from the row before, in any of the columns so far
    differs[:1] = True
    opens, starts = differs, np.zeros(1, np.int64)  # the rows that open a node of the level above
    codes: list[np.ndarray] = []
    first_child: list[np.ndarray | None] = []
    for level, column in enumerate(columns):
        if lengths is not None:
            _refuse_beginnings(differs, lengths, level, numbers)
        above, starts_above = opens, starts
        differs = differs.copy()
        differs[1:] |= column[1:] != column[:-1]
        opens = differs if lengths is None else differs & (lengths > level)
        starts = np.flatnonzero(opens)
        if lengths is None:
            first = np.flatnonzero(above[starts]) if rows else np.zeros(1, np.int64)
        else:
            first = np.searchsorted(starts, starts_above)
        one_each = len(starts) == len(starts_above) and bool((first == np.arange(len(starts))).all())
        first_child.append(None if one_each else np.append(first, len(starts)).astype(np.int32))
        codes.append(column[starts].astype(_smallest(int(column.max(initial=0)))))
    duplicates = np.flatnonzero(~differs)
    if len(duplicates):
        a, b = numbers[duplicates[0] - 1], numbers[duplicates[0]]
        raise UserError(f"items {int(a)} and {int(b)} have the same identifier")
    return codes, first_child


def _refuse_beginnings(differs: np.ndarray, lengths: np.ndarray, level: int, numbers: np.ndarray) -> None:
    continued = np.flatnonzero((lengths[:-1] == level) & (lengths[1:] > level) & ~differs[1:])
    if len(continued):
        a, b = numbers[continued[0]], numbers[continued[0] + 1]
        raise UserError(f"the identifier of item {int(a)} begins that of item {int(b)}: end them with </s>")


def _smallest(top: int) -> type:
    return np.uint8 if top < 256 else np.int16 if top < 32768 else np.int32
