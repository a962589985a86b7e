"""Cells of one column → numbers: what a cell says, and whether it says it."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

# How tables write "nothing here" where a number or a time belongs; in ids they are ids (traps.md 29).
MISSING = ("", "na", "n/a", "n.a.", "nan", "nat", "null", "none", "\\n", "-", "--", "—", "?", "<na>")
LARGEST_RATING = 1e6
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_COMMA = re.compile(r"[+-]?\d+,\d+", re.ASCII)


def distinct(column: pa.Array) -> tuple[np.ndarray, list[Any]]:
    """(int64 [n]: which distinct value each cell is, −1 where null; the distinct values as Python objects)."""
    if not isinstance(column, pa.DictionaryArray):
        if pa.types.is_nested(column.type):
            texts = [None if value is None else [value] for value in column.to_pylist()]
            return np.where([text is None for text in texts], -1, 0).astype(np.int64), [[]]
        column = column.dictionary_encode()
    codes = pc.fill_null(column.indices.cast(pa.int64()), -1).to_numpy(zero_copy_only=False)
    values = column.dictionary.to_pylist()
    return codes, [
        value.decode("utf-8", "replace") if isinstance(value, bytes) else value for value in values
    ]


def ratings(
    column: pa.Array, read: Callable[[Any], float | None], missing: Collection[float] = ()
) -> tuple[np.ndarray, np.ndarray]:
    """(float64 [n], NaN where there is no rating; bool [n]: a cell that is neither a rating nor missing).

    ``read``: a cell → its rating, NaN where it says "none", None where it says nothing; ``missing``: ratings that
    stand for none.
    """
    codes, values = distinct(column)
    found = [read(value) for value in values]
    numbers = np.array([np.nan if rating is None else rating for rating in found] + [np.nan])
    bad = np.array([rating is None for rating in found] + [False])
    too_large = np.abs(numbers) > LARGEST_RATING
    numbers[too_large | np.isin(numbers, list(missing))] = np.nan
    return numbers[codes] + 0.0, (bad | too_large)[codes]  # −0 is 0


def number(value: Any) -> float | None:
    """NaN where missing, None where it is no number."""
    if isinstance(value, str):
        text = value.strip()
        if _NUMBER.fullmatch(text):
            return _finite(float(text))
        return np.nan if text.lower() in MISSING else None
    if isinstance(value, (int, float, Decimal)):
        read = float(value)
        return read if read != read else _finite(read)
    return np.nan if value is None else None


def has_decimal_commas(values: Iterable[Any]) -> bool:
    """Whether a column writes 4,5 for 4.5: several cells do so, and none has a point. (One cell may be a slip.)"""
    texts = [value.strip() for value in values if isinstance(value, str)]
    texts = [text for text in texts if text.lower() not in MISSING]
    numbers = [number(text) for text in texts]
    if any("." in text for text, read in zip(texts, numbers, strict=True) if read is not None):
        return False
    commas = sum(_COMMA.fullmatch(text) is not None for text in texts)
    others = sum(read is None for read in numbers) - commas
    return (commas >= 10 and others <= 0.1 * commas) or (
        commas >= 3 and not others and commas >= 0.5 * len(texts)
    )


def with_point(value: Any) -> Any:
    """ "4,5" → "4.5"; anything else as it is."""
    return value.replace(",", ".") if isinstance(value, str) and _COMMA.fullmatch(value.strip()) else value


def _finite(number: float) -> float | None:
    return number if np.isfinite(number) else None
