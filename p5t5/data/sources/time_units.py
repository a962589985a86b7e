"""Columns of times → seconds since 1970: numbers in the unit that their size tells, and dates (`times`)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import date, datetime, timezone
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from p5t5.data.sources.cells import MISSING, distinct, number
from p5t5.data.sources.times import DAY, ORDERS, dates, share_of_dates, typed

# A number's size tells its unit: this many seconds, milliseconds, … lie after 1973 and before the year 5138.
UNITS = {"seconds": 1, "milliseconds": 10**3, "microseconds": 10**6, "nanoseconds": 10**9}
FORMATS = (*ORDERS, *UNITS, "excel", "digits")  # --time_format
_LARGEST_SECONDS = 1e11
_LARGEST = 9e18
_EXCEL_EPOCH = 25_569  # 1970-01-01 in days since the last day but one of 1899
_EXCEL = (29_221, 62_093)  # 1980 to 2069
_FITTING = 0.95  # the share of a column's numbers that must be dates for all of it to be read so
_DATE_WORDS = re.compile(
    r"date|datum|dat\b|day|fecha|data|jour|dia\b|tag\b|when|month|year|jahr", re.IGNORECASE
)
_ZERO_DATE = re.compile(r"0{4}[-/.]0{1,2}[-/.]0{1,2}(?:[ T]0.*)?")


def read_times(column: pa.Array, order: str | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(float64 [n]: a number in the file's unit, or a date's seconds, NaN where there is neither; bool [n]: it
    is a date; bool [n]: neither a time nor missing).

    ``order``: of day and month where dates are in digits with the year last; None: those cannot be read.
    """
    if pa.types.is_temporal(column.type) and not pa.types.is_time(column.type):
        seconds, bad = typed(column)
        return seconds, ~np.isnan(seconds), bad
    if isinstance(column, pa.DictionaryArray):
        column = column.dictionary_decode()
    no_date = np.zeros(len(column), bool)
    try:
        if pa.types.is_nested(column.type) or pa.types.is_boolean(column.type):
            raise pa.ArrowInvalid("no times")
        numbers = pc.fill_null(column.cast(pa.float64()), np.nan).to_numpy(zero_copy_only=False)
        if not pa.types.is_string(column.type) or not np.isnan(numbers).any():
            unfit = np.abs(numbers) > _LARGEST
            return np.where(unfit, np.nan, numbers), no_date, unfit
    except pa.ArrowException:
        pass
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        encoded = column.dictionary_encode()
        codes = pc.fill_null(encoded.indices.cast(pa.int64()), -1).to_numpy(zero_copy_only=False)
        found = dates(encoded.dictionary.cast(pa.string()), order)
        values = encoded.dictionary
    else:
        codes, objects = distinct(column)
        found, values = (
            np.full(len(objects), np.nan),
            pa.array([str(value) for value in objects], pa.string()),
        )
    is_date = np.isfinite(found)
    bad = np.zeros(len(found), bool)
    for place in np.flatnonzero(~is_date):
        text = values[int(place)].as_py()
        read = np.nan if _ZERO_DATE.fullmatch(text.strip()) else number(text)
        bad[place] = read is None or abs(read) > _LARGEST
        found[place] = np.nan if bad[place] or read is None else read
    return np.append(found, np.nan)[codes], np.append(is_date, False)[codes], np.append(bad, False)[codes]


def number_style(parts: Sequence[np.ndarray], column: str = "") -> str:
    """How the numbers of one file are to be read: a unit, "excel", or "digits" (20260131, 202601311530).

    ``parts``: float64, finite, in pieces. ``column``: its name; what is called a date may be days of a spreadsheet.
    """
    numbers = np.concatenate([part[:: 1 + len(part) * len(parts) // 1_000_000] for part in parts])
    if not len(numbers):
        return "seconds"
    called_date = bool(_DATE_WORDS.search(column))
    if np.isfinite(from_digits(numbers, short=called_date)).mean() >= _FITTING:
        return "digits"
    in_sheet = (numbers >= _EXCEL[0]) & (numbers < _EXCEL[1])
    if in_sheet.mean() >= _FITTING and (called_date or (numbers % 1 != 0).any()):
        return "excel"
    size = float(np.median(np.abs(numbers)))
    return next((unit for unit, parts in UNITS.items() if size < _LARGEST_SECONDS * parts), "nanoseconds")


def in_seconds(numbers: np.ndarray, style: str) -> np.ndarray:
    """float64: seconds since 1970, with their fraction; NaN where a number is no time in this style. May use
    ``numbers`` up."""
    if style == "digits":
        return from_digits(numbers, short=True)
    if style == "excel":
        return np.round((numbers - _EXCEL_EPOCH) * DAY, 3)
    return np.divide(numbers, UNITS[style], out=numbers)


def from_digits(numbers: np.ndarray, short: bool = False) -> np.ndarray:
    """float64: seconds of 20260131, 2026013115 (hour), 202601311530 (minute) and 20260131153059; NaN for others.

    ``short``: 2026 and 202601 are dates too.
    """
    out = np.full(len(numbers), np.nan)
    digits = np.floor(np.log10(np.maximum(numbers, 1))).astype(np.int64) + 1
    for length in (4, 6, 8, 10, 12, 14) if short else (8, 10, 12, 14):
        rows = np.flatnonzero((digits == length) & (numbers % 1 == 0))
        if not len(rows):
            continue
        left = numbers[rows].astype(np.int64)
        part = {}
        for name, needed in (("S", 14), ("M", 12), ("H", 10), ("d", 8), ("m", 6)):
            part[name] = left % 100 if length >= needed else np.full(len(left), name in "md", np.int64)
            left = left // 100 if length >= needed else left
        good = (left >= 1900) & (left <= 2100) & (part["m"] >= 1) & (part["m"] <= 12)
        months = ((left - 1970) * 12 + np.where(good, part["m"], 1) - 1).astype("datetime64[M]")
        start = months.astype("datetime64[D]").astype(np.int64)
        length_of_month = (months + 1).astype("datetime64[D]").astype(np.int64) - start
        good &= (part["d"] >= 1) & (part["d"] <= length_of_month)
        good &= (part["H"] < 24) & (part["M"] < 60) & (part["S"] < 60)
        seconds = (start + part["d"] - 1) * DAY + part["H"] * 3600 + part["M"] * 60 + part["S"]
        out[rows] = np.where(good, seconds, np.nan)
    return out


def described(style: str) -> str:
    """A style in words, for the notes."""
    return {"digits": "dates written YYYYMMDD", "excel": "days of a spreadsheet"}.get(style, style)


def share_of_times(values: Iterable[Any]) -> float:
    """Which part of some filled cells are dates in any style, or numbers for a time of 1995 to next year."""
    cells = [value for value in values if value is not None and str(value).strip().lower() not in MISSING]
    if not cells:
        return 0.0
    typed_ = [isinstance(value, (date, datetime)) for value in cells]
    numbers = [None if known else number(value) for value, known in zip(cells, typed_, strict=True)]
    texts = [
        str(value)
        for value, known, read in zip(cells, typed_, numbers, strict=True)
        if not known and read is None
    ]
    plain = np.array([read for read in numbers if read is not None and read == read], np.float64)
    latest = datetime.now(timezone.utc).timestamp() + 366 * DAY
    likely = np.zeros(len(plain), bool)
    for parts in UNITS.values():
        likely |= (plain / parts > 7.9e8) & (plain / parts < latest)
    compact = from_digits(plain)
    likely |= (compact > 6.3e8) & (compact < latest)
    of_texts = share_of_dates(texts) * len(texts) if texts else 0.0
    return (sum(typed_) + of_texts + float(likely.sum())) / len(cells)
