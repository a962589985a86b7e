"""Dates as people write them → seconds since 1970. Whole columns at a time; numbers are `time_units`' business."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

DAY = 86_400
ORDERS = {"dmy": "day first", "mdy": "month first", "ymd": "year first"}
DECISIVE = 20  # so many rows must speak for an order of day and month for one that speaks against it
STRAY = 0.05  # dates whose order cannot be decided stop an import only if they are more of the column

_MONTH_NAMES = """
january february march april may june july august september october november december
januar februar marz april mai juni juli august september oktober november dezember
janner feber maerz - - - - - - - - -
janvier fevrier mars avril mai juin juillet aout septembre octobre novembre decembre
enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre
gennaio febbraio marzo aprile maggio giugno luglio agosto settembre ottobre novembre dicembre
janeiro fevereiro marco abril maio junho julho agosto setembro outubro novembro dezembro
januari februari maart april mei juni juli augustus september oktober november december
- - mrt - - - - - - - - -
"""
# Abbreviations that mean one offset wherever they are used in data (IST, BST and the like do not).
_ZONES = {
    "": 0, "Z": 0, "UTC": 0, "GMT": 0, "UT": 0, "WET": 0, "CET": 1, "MEZ": 1, "CEST": 2, "MESZ": 2, "WEST": 1,
    "EET": 2, "EEST": 3, "MSK": 3, "JST": 9, "KST": 9, "EST": -5, "EDT": -4, "CST": -6, "CDT": -5, "MST": -7,
    "MDT": -6, "PST": -8, "PDT": -7, "AKST": -9, "AKDT": -8, "HST": -10, "AEST": 10, "AEDT": 11, "ACST": 9.5,
    "AWST": 8, "NZST": 12, "NZDT": 13,
}  # fmt: skip
_OFFSET = re.compile(r"(?:UTC|GMT|UT)?\s*([+-])(\d{1,2}):?(\d{2})?")

_ZONE = r"(?P<z>(?:(?:UTC|GMT|UT)\s*)?[+-]\d{1,2}(?::?\d{2})?|[A-Za-z]{1,5})(?:\s*[(\[][^)\]]*[)\]])?"
_CLOCK = (
    r"(?P<H>\d{1,2})(?:[:.h](?P<M>\d{2})(?:[:.](?P<S>\d{2})(?:[.,](?P<f>\d{1,9})\d*)?)?)?"
    r"\s*(?:Uhr|hrs|h)?\s*(?P<p>[AaPp]\.?\s?[Mm]\.?)?"
)
_TIME = rf"(?:(?:\s*[T,;@:_]\s*|\s+(?:at|um|às|à|a las)\s+|\s+){_CLOCK}(?:\s*{_ZONE})?)?"
_WEEKDAY = r"(?:\pL{2,13}\.?,?\s+)?"
_NAME = r"(?P<n>\pL{3,10})\.?"
_TH = r"(?:st|nd|rd|th|er|º|\.)?"
_DIGITS = (
    rf"^{_WEEKDAY}(?P<a>\d{{1,2}})\s?[-/.]\s?(?P<b>\d{{1,2}})\s?[-/.]\s?(?P<c>\d{{4}}|\d{{2}})\.?{_TIME}$"
)
_STYLES = (
    rf"^{_WEEKDAY}(?P<y>\d{{4}})\s?[-/.年]\s?(?P<m>\d{{1,2}})(?:\s?[-/.月]\s?(?P<d>\d{{1,2}})日?)?{_TIME}$",
    rf"^(?P<y>\d{{4}})-?(?P<m>\d{{2}})-?(?P<d>\d{{2}})[T\s_]?(?P<H>\d{{2}}):?(?P<M>\d{{2}})(?::?(?P<S>\d{{2}})(?:[.,](?P<f>\d{{1,9}})\d*)?)?(?:\s*{_ZONE})?$",
    rf"^{_WEEKDAY}(?P<d>\d{{1,2}}){_TH}[\s/.-]*(?:of\s+|de\s+)?{_NAME}[\s/.,-]*(?:de\s+|del\s+)?'?(?P<y>\d{{4}}|\d{{2}}){_TIME}$",
    rf"^{_WEEKDAY}{_NAME}[\s/-]*(?P<d>\d{{1,2}}){_TH}(?:,\s*|\s+|[/-])'?(?P<y>\d{{4}}|\d{{2}}){_TIME}$",
    rf"^(?P<y>\d{{4}})[\s/.-]+{_NAME}[\s/.-]+(?P<d>\d{{1,2}}){_TH}{_TIME}$",
    rf"^{_WEEKDAY}{_NAME}\s+(?P<d>\d{{1,2}}),?\s+{_CLOCK}(?:\s*{_ZONE})?,?\s+(?P<y>\d{{4}})$",
)
_TIME_FIRST = r"^(\d{1,2}:\d{2}(?::\d{2})?(?:\s?[AaPp]\.?[Mm]\.?)?),?\s+(.*\d.*)$"


def _months() -> dict[str, int]:
    """Names and their beginnings of three letters or more, without accents, where they mean one month."""
    found: dict[str, set[int]] = {}
    for line in _MONTH_NAMES.strip().splitlines():
        for number, name in enumerate(line.split(), 1):
            for end in range(3, len(name) + 1):
                found.setdefault(name[:end], set()).add(number)
    return {name: numbers.pop() for name, numbers in found.items() if len(numbers) == 1}


_MONTH = _months()


@dataclass
class DigitDates:
    """How many rows are dates in digits with the year last (07/14/2017), and which order of day and month they allow.

    ``only``: rows that are dates in one order of the two alone; ``both``: rows that are another date in the other order;
    ``dotted``: those of ``both`` with points, which are day first wherever people write so; ``year_first``: rows that
    may be 17/07/14, with what stands first and last in them.
    """

    rows: int = 0
    filled: int = 0
    only: dict[str, int] = field(default_factory=lambda: {"dmy": 0, "mdy": 0})
    both: int = 0
    dotted: int = 0
    year_first: int = 0
    first: set[str] = field(default_factory=set)
    last: set[str] = field(default_factory=set)
    example: dict[str, str] = field(default_factory=dict)

    def add(self, column: pa.Array) -> None:
        """Counts the cells of a column of strings (dictionary-encoded or not)."""
        encoded = column if isinstance(column, pa.DictionaryArray) else column.dictionary_encode()
        codes = pc.fill_null(encoded.indices.cast(pa.int64()), -1).to_numpy(zero_copy_only=False)
        numbers = np.bincount(codes + 1, minlength=len(encoded.dictionary) + 1)[1:]
        self.filled += int(numbers.sum())
        texts = _cleaned(encoded.dictionary)
        parts = _extracted(texts, _DIGITS)
        if parts is None:
            return
        which, groups = parts
        numbers, written = numbers[which], texts.take(pa.array(which))
        found = {order: _in_order(groups, order) for order in ORDERS}
        fits = {order: np.isfinite(seconds) for order, seconds in found.items()}
        self.rows += int(numbers.sum())
        for order, other in (("dmy", "mdy"), ("mdy", "dmy")):
            self._count(order, fits[order] & ~fits[other], numbers, written)
        unsure = fits["dmy"] & fits["mdy"] & (found["dmy"] != found["mdy"])
        dotted = pc.match_substring(written, ".").to_numpy(zero_copy_only=False)
        self.both += int(numbers[unsure].sum())
        self.dotted += int(numbers[unsure & dotted].sum())
        self._count("", unsure, numbers, written)
        self._count("ymd", fits["ymd"], numbers, written)
        self.year_first += int(numbers[fits["ymd"]].sum())
        self.first |= set(groups["a"].unique().to_pylist())
        self.last |= set(groups["c"].unique().to_pylist())

    def _count(self, order: str, rows: np.ndarray, numbers: np.ndarray, written: pa.Array) -> None:
        if order in self.only:
            self.only[order] += int(numbers[rows].sum())
        if rows.any():
            self.example.setdefault(order, written[int(np.flatnonzero(rows)[0])].as_py())

    def order(self) -> tuple[str | None, str]:
        """The order, None where it cannot be decided; and why, for a person."""
        dmy, mdy = self.only["dmy"], self.only["mdy"]
        # Years are fewer than days; in 14/07/17 either may be the year.
        if self.year_first >= (1 - STRAY) * self.rows and len(self.first) < len(self.last):
            return "ymd", f"{ORDERS['ymd']}, as in {self.example['ymd']}"
        for order, count, others in (("dmy", dmy, mdy), ("mdy", mdy, dmy)):
            if count and count >= DECISIVE * others:
                return order, f"{ORDERS[order]}, as in {self.example[order]}"
        if dmy and mdy:
            return None, " and ".join(f"{ORDERS[each]} in {self.example[each]}" for each in self.only)
        if self.dotted == self.both:
            return "dmy", "day first, as with points everywhere" if self.both else "day and month are alike"
        return None, f"{self.example['']} may be {ORDERS['dmy']} or {ORDERS['mdy']}, and no row tells"

    @property
    def are_stray(self) -> bool:
        """Whether they are so few of the column that they are slips."""
        return self.rows < STRAY * self.filled


def dates(texts: pa.Array, order: str | None = None) -> np.ndarray:
    """float64 [n]: seconds since 1970 (UTC where no zone is given, with fraction); NaN for what is not a date.

    ``texts``: strings. ``order``: of day and month in dates such as 07/04/2017; None: such cells are NaN.
    """
    out = np.full(len(texts), np.nan)
    if not len(texts):
        return out
    texts = _cleaned(texts)
    for kind in (
        pa.timestamp("us"),
        pa.timestamp("us", "UTC"),
    ):  # most columns are of one style, and that is ISO
        try:
            return texts.cast(kind).cast(pa.int64()).to_numpy(zero_copy_only=False) / 1e6
        except pa.ArrowException:
            continue
    open_ = np.arange(len(texts))
    styles = [(pattern, "") for pattern in _STYLES]
    if order:
        styles.insert(1, (_DIGITS, order))
    for pattern, digits in styles:
        found = _extracted(texts.take(pa.array(open_)), pattern)
        if found is None:
            continue
        which, groups = found
        seconds = _in_order(groups, digits) if digits else _seconds(groups)
        out[open_[which]] = seconds
        open_ = open_[np.isnan(out[open_])]
        if not len(open_):
            break
    return out


def typed(column: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """(float64 [n]: seconds of a date or timestamp column, NaN where missing; bool [n]: out of any calendar)."""
    moments = pd.to_datetime(pd.Series(column.to_pandas(date_as_object=False)), utc=True, errors="coerce")
    missing = moments.isna().to_numpy()
    since = ((moments - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(seconds=1)).to_numpy(np.float64)
    return np.where(missing, np.nan, since), missing & ~pc.is_null(column).to_numpy(zero_copy_only=False)


def _cleaned(texts: pa.Array) -> pa.Array:
    """Without brackets, quotes and odd spaces around; a time that stands before its date goes behind it."""
    texts = pc.utf8_trim_whitespace(texts.cast(pa.string()))
    if not pc.any(pc.match_substring_regex(texts, r"[^0-9T:Z.+ -]|^\d{1,2}:")).as_py():
        return texts
    texts = pc.replace_substring_regex(texts, r"[\x{200E}\x{200F}\x{FEFF}]", "")
    texts = pc.replace_substring_regex(texts, r"[\x{00A0}\x{2009}\x{202F}\s]+", " ")
    texts = pc.utf8_trim(texts, characters=" []{}'\"“”")
    return pc.replace_substring_regex(texts, _TIME_FIRST, r"\2 \1")


def _extracted(texts: pa.Array, pattern: str) -> tuple[np.ndarray, dict[str, pa.Array]] | None:
    """(int64: which texts match; the groups of those), or None where none does."""
    matched = pc.extract_regex(texts, pattern=pattern)
    which = np.flatnonzero(pc.is_valid(matched).to_numpy(zero_copy_only=False))
    if not len(which):
        return None
    if len(which) < len(texts):
        matched = matched.take(pa.array(which))
    return which, {kind.name: matched.field(place) for place, kind in enumerate(matched.type)}


def _in_order(groups: dict[str, pa.Array], order: str) -> np.ndarray:
    """``_seconds`` of dates in digits, NaN where they are none in this order."""
    named = {"y": "c", "m": "b", "d": "a"} if order == "dmy" else {"y": "c", "m": "a", "d": "b"}
    if order == "ymd":
        named = {"y": "a", "m": "b", "d": "c"}
    seconds = _seconds({**groups, **{ours: groups[theirs] for ours, theirs in named.items()}})
    if order == "ymd":  # 17/07/14: only a year of two digits stands first, and no day has four
        fits = pc.and_(pc.equal(pc.utf8_length(groups["a"]), 2), pc.equal(pc.utf8_length(groups["c"]), 2))
        seconds[~fits.to_numpy(zero_copy_only=False)] = np.nan
    return seconds


def _seconds(groups: dict[str, pa.Array]) -> np.ndarray:
    """float64: seconds since 1970 of the parts of dates; NaN where they are no moment."""
    number = {name: _whole(groups[name]) for name in "yHMS" if name in groups}
    size = len(groups["y"])
    zero = np.zeros(size, np.int64)
    year = number["y"]
    short = pc.less(pc.utf8_length(groups["y"]), 4).to_numpy(zero_copy_only=False)
    year = np.where(short, year + np.where(year < 69, 2000, 1900), year)
    month = _whole(groups["m"]) if "m" in groups else _mapped(groups["n"], _month_number)
    day = _whole(groups["d"], 1)
    hour, minute, second = (number.get(name, zero) for name in "HMS")
    good = (month >= 1) & (month <= 12) & (day >= 1) & (year >= 1) & (minute < 60) & (second <= 60)
    months = ((year - 1970) * 12 + np.where(good, month, 1) - 1).astype("datetime64[M]")
    start = months.astype("datetime64[D]").astype(np.int64)
    length = (months + 1).astype("datetime64[D]").astype(np.int64) - start
    if "p" in groups:
        half = pc.utf8_lower(pc.utf8_slice_codeunits(groups["p"], 0, 1))
        afternoon = pc.equal(half, "p").to_numpy(zero_copy_only=False)
        morning = pc.equal(half, "a").to_numpy(zero_copy_only=False)
        good &= ~(morning & (hour > 12))
        hour = np.where(afternoon & (hour < 12), hour + 12, np.where(morning & (hour == 12), 0, hour))
    good &= (day <= length) & ((hour < 24) | ((hour == 24) & (minute == 0) & (second == 0)))
    seconds = (start + day - 1) * float(DAY) + hour * 3600 + minute * 60 + second
    if "f" in groups:
        seconds += _whole(pc.utf8_rpad(groups["f"], 9, "0")) / 1e9
    if "z" in groups:
        seconds -= _mapped(groups["z"], _zone_seconds, float)
    return np.where(good, seconds, np.nan)


def _whole(texts: pa.Array, default: int = 0) -> np.ndarray:
    """int64 of digits; ``default`` where there are none."""
    filled = pc.if_else(pc.equal(texts, ""), str(default), texts)
    return filled.cast(pa.int64()).to_numpy(zero_copy_only=False)


def _mapped(texts: pa.Array, function, kind: type = int) -> np.ndarray:
    encoded = texts.dictionary_encode()
    values: np.ndarray = np.array([function(text) for text in encoded.dictionary.to_pylist()], kind)
    return values[encoded.indices.to_numpy(zero_copy_only=False)]


def _month_number(name: str) -> int:
    parts = unicodedata.normalize("NFKD", name.casefold())
    return _MONTH.get("".join(part for part in parts if not unicodedata.combining(part)), 0)


def _zone_seconds(name: str) -> float:
    """Seconds east of Greenwich; NaN for a zone that is not known."""
    if (hours := _ZONES.get(name.upper())) is not None:
        return hours * 3600
    found = _OFFSET.fullmatch(name)
    if found is None:
        return np.nan
    sign, hour, minute = found.groups()
    return (1 if sign == "+" else -1) * (int(hour) * 3600 + int(minute or 0) * 60)


def share_of_dates(values: Iterable[str]) -> float:
    """Which part of some cells are dates in any style and order."""
    texts = pa.array(list(values), pa.string())
    if not len(texts):
        return 0.0
    found = np.isfinite(dates(texts, "dmy")) | np.isfinite(dates(texts, "mdy"))
    return float(found.mean())
