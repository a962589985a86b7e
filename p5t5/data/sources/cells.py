"""Cells of one column → ids, ratings, times: what a cell says, and whether it says it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

# How tables write "nothing here" where a number or a time belongs; in ids they are ids (traps.md 29).
MISSING = ("", "na", "n/a", "nan", "nat", "null", "none", "\\n", "-")
LARGEST_RATING = 1e6
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_COMMA = re.compile(r"[+-]?\d+,\d+", re.ASCII)
_DATE = re.compile(
    r"\d{4}[-/]\d{1,2}(?:[-/]\d{1,2}(?:[T ]\d.*)?)?|\d{1,2}\.\d{1,2}\.\d{4}(?:[T ]\d.*)?", re.ASCII
)
_DAY_FIRST = re.compile(r"^(\d{1,2})\.(\d{1,2})\.(\d{4})", re.ASCII)  # with points it is so everywhere

# A number's size tells its unit: this many seconds, milliseconds, … lie after 1973 and before the year 5138.
UNITS = (("seconds", 1), ("milliseconds", 10**3), ("microseconds", 10**6), ("nanoseconds", 10**9))
_LARGEST_SECONDS = 1e11


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


def ratings(column: pa.Array, decimal_comma: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """(float64 [n], NaN where there is no number; bool [n]: a cell that is neither a number nor missing)."""
    codes, values = distinct(column)
    read = [_number(with_point(value) if decimal_comma else value) for value in values]
    numbers = np.array([np.nan if number is None else number for number in read] + [np.nan])
    bad = np.array([number is None for number in read] + [False])
    too_large = np.abs(numbers) > LARGEST_RATING
    numbers[too_large] = np.nan
    return numbers[codes] + 0.0, (bad | too_large)[codes]  # −0 is 0


def _number(value: Any) -> float | None:
    """NaN where missing, None where it is no number."""
    if isinstance(value, str):
        text = value.strip()
        if _NUMBER.fullmatch(text):
            return _finite(float(text))
        return np.nan if text.lower() in MISSING else None
    if isinstance(value, (int, float, Decimal)):
        number = float(value)
        return number if number != number else _finite(number)
    return np.nan if value is None else None


def has_decimal_commas(values: Iterable[Any]) -> bool:
    """Whether a column writes 4,5 for 4.5: several cells do so, and none has a point. (One cell may be a slip.)"""
    texts = [value.strip() for value in values if isinstance(value, str)]
    numbers = [_number(text) for text in texts]
    if any("." in text for text, number in zip(texts, numbers, strict=True) if number is not None):
        return False
    commas = [text for text in texts if _COMMA.fullmatch(text)]
    return len(commas) >= 10 and sum(number is None for number in numbers) <= 1.1 * len(commas)


def with_point(value: Any) -> Any:
    """ "4,5" → "4.5"; anything else as it is."""
    return value.replace(",", ".") if isinstance(value, str) and _COMMA.fullmatch(value.strip()) else value


def _finite(number: float) -> float | None:
    return number if np.isfinite(number) else None


def times(column: pa.Array) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(float64 [n]: a number in the file's unit, or a date's seconds, NaN where there is neither; bool [n]: it
    is a date; bool [n]: neither a time nor missing)."""
    if pa.types.is_temporal(column.type) and not pa.types.is_time(column.type):
        return _typed(column)
    if isinstance(column, pa.DictionaryArray):
        column = column.dictionary_decode()
    no_date = np.zeros(len(column), bool)
    try:
        if pa.types.is_nested(column.type) or pa.types.is_boolean(column.type):
            raise pa.ArrowInvalid("no times")
        numbers = pc.fill_null(column.cast(pa.float64()), np.nan).to_numpy(zero_copy_only=False)
        if not pa.types.is_string(column.type) or not np.isnan(numbers).any():
            unfit = np.abs(numbers) > 9e18
            return np.where(unfit, np.nan, numbers), no_date, unfit
    except pa.ArrowException:
        pass
    codes, values = distinct(column)
    texts = [value.strip() if isinstance(value, str) else value for value in values]
    read = [_number(text) for text in texts]
    numbers = np.array([np.nan if number is None else number for number in read] + [np.nan])
    numbers[np.abs(numbers) > 9e18] = np.nan
    bad = np.array([number is None for number in read] + [False])
    dates = [
        place for place, text in enumerate(texts)
        if read[place] is None and isinstance(text, str) and _DATE.fullmatch(text)
    ]  # fmt: skip
    is_date = np.zeros(len(numbers), bool)
    if dates:
        seconds = _seconds([texts[place] for place in dates])
        numbers[dates], is_date[dates], bad[dates] = seconds, np.isfinite(seconds), ~np.isfinite(seconds)
    bad[:-1] |= np.array(
        [number is not None and not np.isnan(number) and abs(number) > 9e18 for number in read], bool
    )
    return numbers[codes], is_date[codes], bad[codes]


def _typed(column: pa.Array) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    moments = pd.to_datetime(pd.Series(column.to_pandas(date_as_object=False)), utc=True, errors="coerce")
    missing = moments.isna().to_numpy()
    seconds = np.where(missing, np.nan, _since_1970(moments))
    return seconds, ~missing, missing & ~pc.is_null(column).to_numpy(zero_copy_only=False)


def _seconds(texts: list[str]) -> np.ndarray:
    """float64: seconds since 1970 of dates (UTC where no zone is given), NaN for what is none."""
    texts = [
        _DAY_FIRST.sub(lambda found: "-".join(part.zfill(2) for part in found.groups()[::-1]), text)
        for text in texts
    ]
    try:
        moments = pd.to_datetime(pd.Series(texts, dtype=object), utc=True, format="ISO8601", errors="coerce")
    except (ValueError, OverflowError):
        return np.full(len(texts), np.nan)
    return np.where(moments.isna(), np.nan, _since_1970(moments))


def _since_1970(moments: pd.Series) -> np.ndarray:
    since = (moments - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(seconds=1)
    return np.floor(since.to_numpy(np.float64))


def is_time(value: Any) -> bool:
    """Whether one value, as found in a file, is a date (20260131 too), or a number for a time of 1990 to 2039.

    (Article numbers of 13 digits are no times, not even milliseconds.)
    """
    if isinstance(value, (date, datetime)):
        return True
    if isinstance(value, str) and _DATE.fullmatch(value.strip()):
        return bool(np.isfinite(_seconds([value.strip()]))[0])
    number = _number(value)
    if number is None or number != number:
        return False
    return any(6.3e8 < number / parts < 2.2e9 for _, parts in UNITS) or (
        _compact_dates(np.array([number])) is not None
    )


def as_seconds(numbers: np.ndarray, is_date: np.ndarray | None) -> tuple[np.ndarray, str]:
    """Whole seconds (int64 [n]) and how the column was read: "seconds", "milliseconds", …, "dates".

    ``numbers``: float64, finite; used up. ``is_date``: bool [n] where some are seconds of a date already, None where
    none is. The unit is told from the median of (at most a million of) the numbers; numbers like 20260131 are dates.
    """
    plain = numbers if is_date is None else numbers[~is_date]  # numbers are ours: divided in place
    if not len(plain):
        return numbers.astype(np.int64), "dates"
    if (days := _compact_dates(plain)) is not None:
        unit, seconds = "dates written YYYYMMDD", days
    else:
        size = _size(plain)
        unit, parts = next((pair for pair in UNITS if size < _LARGEST_SECONDS * pair[1]), UNITS[-1])
        seconds = np.floor(np.divide(plain, parts, out=plain), out=plain).astype(np.int64)
    if is_date is None:
        return seconds, unit
    out = numbers.astype(np.int64)
    out[~is_date] = seconds
    return out, f"dates and {unit}"


def is_finer_than_seconds(numbers: np.ndarray) -> bool:
    """Whether `as_seconds` will take the numbers for milliseconds or finer, and so lose the order in a second."""
    return len(numbers) > 0 and _size(numbers) >= _LARGEST_SECONDS


def _size(numbers: np.ndarray) -> float:
    return float(np.median(np.abs(numbers[:: 1 + len(numbers) // 1_000_000])))


def _compact_dates(numbers: np.ndarray) -> np.ndarray | None:
    """Seconds of 20260131 (31 January 2026), or None where they are not all such dates."""
    if numbers.min() < 19000101 or numbers.max() > 21001231:
        return None
    whole = numbers.astype(np.int64)
    year, month, day = whole // 10000, whole // 100 % 100, whole % 100
    if (whole != numbers).any() or month.min() < 1 or month.max() > 12 or day.min() < 1 or day.max() > 31:
        return None
    months = (year - 1970) * 12 + month - 1
    days = months.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64) + day - 1
    return days * 86_400
