"""Which column of somebody's table is which: by its name, else by what its first cells hold."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from p5t5.core.errors import UserError
from p5t5.data.sources.cells import MISSING, has_decimal_commas, number, with_point
from p5t5.data.sources.column_names import NAMES, by_name, counts_or_marks, plain_name
from p5t5.data.sources.dropped_rows import FEW
from p5t5.data.sources.rating_scales import find_scale, is_unmistakable
from p5t5.data.sources.time_units import in_seconds, number_style, share_of_times
from p5t5.data.sources.times import dates

OPTIONS = {
    "user_id": "--user",
    "item_id": "--item",
    "rating": "--rating",
    "timestamp": "--time",
    "review": "--review",
    "summary": "--summary",
    "feature": "--feature",
    "explanation": "--explanation",
}
MADE = ("feature", "explanation")  # columns that few have, and that `prepare` can make from others
NONE = "none"  # `--rating none`: leave the column out
_COMPARED = 200  # cells that are looked at to see how fine the times are
_ID_WORDS = re.compile(
    r"id|uuid|guid|no|nr|num|number|nummer|code|sku|ean|upc|gtin|isbn|asin|phone|tel|zip|plz|key|hash|ref|barcode"
)
_YEAR = re.compile(r"(?<!\d)(?:19|20)\d\d(?!\d)")


@dataclass(frozen=True)
class Guess:
    """A column of theirs, and why it was taken: "named", "by its name", "by its values", "the one that is left"."""

    theirs: str
    why: str


def guess_columns(
    sample: Mapping[str, Sequence[Any]], named: Mapping[str, str], where: str
) -> tuple[dict[str, Guess], list[str]]:
    """Our column → theirs, of an interactions file, and notes on columns that were not taken.

    ``sample``: the first cells of each column. ``named``: what the user said, ``none`` for "leave it out".
    Raises UserError where a named column is not there, users and items cannot be told, or a column that says time or
    rating cannot be read.
    """
    names = list(sample)
    guessing = _Guessing(
        {
            name: [with_point(cell) for cell in cells] if has_decimal_commas(cells) else cells
            for name, cells in sample.items()
        },
        where,
        {ours for ours, theirs in named.items() if theirs == NONE and theirs not in names},
    )
    found = guessing.found
    for ours, theirs in named.items():
        if ours not in guessing.left_out:
            found[ours] = Guess(
                existing(theirs, names, where, OPTIONS.get(ours, f"--columns {ours}=")), "named"
            )
    guessing.by_names()
    if "feature" not in named and "explanation" not in found:
        found.pop("feature", None)  # a feature of the item, say: ours is what an explanation is about
    guessing.by_values()
    taken = [guess.theirs for guess in found.values()]
    for name in taken:
        if taken.count(name) > 1:
            raise UserError(f"{where}: column {name} was named twice; a column can be one thing only.")
    return {ours: found[ours] for ours in OPTIONS if ours in found}, guessing.notes


@dataclass
class _Guessing:
    sample: dict[str, Sequence[Any]]
    where: str
    left_out: set[str]
    found: dict[str, Guess] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def free(self) -> list[str]:
        taken = {guess.theirs for guess in self.found.values()}
        return [name for name in self.sample if name not in taken]

    def open(self, ours: str) -> bool:
        return ours not in self.found and ours not in self.left_out

    def by_names(self) -> None:
        for ours in OPTIONS:
            if not self.open(ours):
                continue
            if ours == "timestamp":
                self._time_by_name()
            elif ours == "rating":
                self._rating_by_name()
            elif (theirs := by_name(ours, self.free())) is not None:
                if ours not in ("review", "summary") or _is_text(self.sample[theirs]):
                    self.found[ours] = Guess(theirs, "by its name")
                else:
                    self.notes.append(
                        f"column {theirs} is not our {ours}: few of its cells are texts; if it is, {OPTIONS[ours]} "
                        f"{theirs}"
                    )
        if "review" in self.found and self.open("summary") and "title" in self.free():
            self.found["summary"] = Guess("title", "by its name, beside a review")

    def _time_by_name(self) -> None:
        """The best filled and finest of the columns that are called times."""
        known = {name: place for place, name in enumerate(NAMES["timestamp"].split())}
        called = [name for name in self.free() if plain_name(name) in known]
        filled = {name: len(_known(self.sample[name])) for name in called}
        if not any(filled.values()):
            return
        readable = {name for name in called if filled[name] and may_be_time(self.sample[name])}
        most = max(filled[name] for name in readable or called)
        full = [name for name in called if filled[name] >= 0.5 * most and (name in readable or not readable)]
        fineness = {name: _fineness(self.sample[name], name) for name in full}
        best = max(full, key=lambda name: (fineness[name][0], -known[plain_name(name)]))
        self.found["timestamp"] = Guess(best, "by its name")
        for name in sorted(called, key=lambda name: known[plain_name(name)]):
            if name != best and known[plain_name(name)] < known[plain_name(best)]:
                why = "empty" if not filled[name] else "not filled often" if name not in full else ""
                why = why or (f"{fineness[name][1]} only" if name in readable else "not readable as times")
                self.notes.append(f"time: {best}, not {name} ({why}); if it is to be {name}, --time {name}")

    def _rating_by_name(self) -> None:
        known = NAMES["rating"].split()
        called = sorted(
            (name for name in self.free() if plain_name(name) in known and _known(self.sample[name])),
            key=lambda name: known.index(plain_name(name)),
        )
        if not called:
            return
        readable = [name for name in called if _scale(self.sample[name]) is not None]
        self.found["rating"] = Guess((readable or called)[0], "by its name")

    def by_values(self) -> None:
        """Times and ratings by what is in them, then users and items among what is left."""
        missing = [ours for ours in ("user_id", "item_id") if ours not in self.found]
        for ours, fits in (("timestamp", self._says_time), ("rating", self._says_rating)):
            fitting = [name for name in self.free() if fits(name)] if self.open(ours) else []
            others = [name for name in self.free() if _is_id(self.sample[name]) and name not in fitting]
            # Small numbers may be ids as well: enough columns must be left for those.
            if len(fitting) == 1 and len(others) >= len(missing):
                self.found[ours] = Guess(fitting[0], "by its values")
            elif len(fitting) > 1:
                self.notes.append(
                    f"{ours}: it cannot be told whether it is {' or '.join(fitting)}; say it with {OPTIONS[ours]}"
                )
        if self.open("timestamp"):
            for name in self.free():
                if _looks_like_time(self.sample[name]):
                    raise unreadable_time(self.where, name, self.sample[name])
        likely = [name for name in self.free() if _is_id(self.sample[name])]
        lists_items = missing == ["user_id"] and self._lists_items()
        if missing and len(likely) == len(missing) and not lists_items:
            why = "the one that is left" if len(missing) == 1 else "by its place: users before items"
            self.found |= {ours: Guess(name, why) for ours, name in zip(missing, likely, strict=True)}
            missing = []
        if missing:
            raise self._missing(missing, lists_items)

    def _lists_items(self) -> bool:
        """Whether no item comes twice: what lists the items of a shop, or one person's books, has no users."""
        cells = [str(cell) for cell in _known(self.sample[self.found["item_id"].theirs])]
        return len(cells) >= FEW and len(set(cells)) == len(cells)

    def _missing(self, missing: list[str], lists_items: bool) -> UserError:
        names = list(self.sample)
        if all(number(name) is not None for name in names):
            return UserError(
                f"{self.where}: its first line names no columns ({', '.join(names)}); "
                "name them in order with --header user,item,rating,time."
            )
        say = " and ".join(f"{OPTIONS[ours]} NAME" for ours in missing)
        if lists_items:
            item = self.found["item_id"].theirs
            return UserError(
                f"{self.where}: there is no column of users among {', '.join(names)}, and no {item} comes twice. A list of "
                "items belongs to --items, beside a file of who did what; what one person read or rated is the history of "
                f"one user, from which nothing can be learned of others. If a column does hold users, say it with {say}."
            )
        held = {"user_id": "users", "item_id": "items"}[missing[0]]
        both = "" if len(missing) == 1 else " and which the items"
        return UserError(
            f"{self.where}: which column holds the {held}{both}? There are {', '.join(names)}. Say it with {say}. "
            "(A row must be one interaction: one user, one item.)"
        )

    def _says_time(self, name: str) -> bool:
        """Dates, or numbers for a time that are no ids by their name, zeros in front or repetitions."""
        cells = _known(self.sample[name])[:100]
        if not cells or share_of_times(cells) < 0.9:
            return False
        if all(number(cell) is None for cell in cells):
            return True
        words = re.split(r"[\W_]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower())
        if any(_ID_WORDS.fullmatch(word) for word in words) or plain_name(name) in NAMES["item_id"].split():
            return False
        texts = [str(cell) for cell in cells]
        lengths = {len(text.split(".")[0]) for text in texts}
        repeated = len(set(texts)) < 0.5 * len(texts) and lengths != {8}
        return not (repeated or any(text.startswith("0") for text in texts))

    def _says_rating(self, name: str) -> bool:
        """Numbers of a scale (flags of 0 and 1 say that something happened, not how good it was), or stars."""
        if counts_or_marks(name):
            return False
        cells = _known(self.sample[name])
        if not cells or any(isinstance(cell, bool) for cell in cells):
            return False
        read = [number(cell) for cell in cells]
        if any(value is None for value in read):
            return is_unmistakable(_scale(cells))
        scale = {value for value in read if value is not None}
        few = 3 <= len(scale) <= min(21, max(2, len(cells) // 2))
        return few and min(scale) >= -10 and 2 <= max(scale) <= 100


def existing(theirs: str, names: Sequence[str], where: str, option: str) -> str:
    """``theirs`` if it is one of the names. Raises UserError with the nearest name."""
    if theirs in names:
        return theirs
    near = difflib.get_close_matches(theirs, names, 1)
    meant = f" Did you mean {near[0]}?" if near else ""
    raise UserError(f"{where}: no column {theirs} ({option}); there are {', '.join(names)}.{meant}")


def unreadable_time(where: str, column: str, cells: Sequence[Any]) -> UserError:
    """For a column that says time: what is in it, what was tried, what settles it."""
    return UserError(
        f"{where}: column {column} looks like the time of the interactions, but cannot be read: {shown(cells)}. Tried: ISO "
        "and other dates in digits, names of months (English, German, French, Spanish, Italian, Portuguese, Dutch), AM and PM, "
        "zones, seconds to nanoseconds since 1970, YYYYMMDD, days of a spreadsheet. Write it as 2026-01-31 12:00:00, name "
        f"another column with --time COLUMN, or leave it out with --time {NONE} (the order of the file counts then)."
    )


def unreadable_rating(where: str, column: str, cells: Sequence[Any]) -> UserError:
    """For a column that says rating: what is in it, what was tried, what settles it."""
    return UserError(
        f"{where}: column {column} looks like the ratings, but they cannot be read: {shown(cells)}. Tried: numbers, decimal "
        "commas, 4/5, stars, percent, letters, words. Say what each is with --rating_levels bad=1,ok=2,good=3, name another "
        f"column with --rating COLUMN, or leave it out with --rating {NONE}."
    )


def shown(cells: Sequence[Any], most: int = 3) -> str:
    """A few different filled cells."""
    texts = dict.fromkeys(str(cell)[:40] for cell in _known(cells))
    return ", ".join(map(repr, [*texts][:most]))


def may_be_time(cells: Sequence[Any]) -> bool:
    """What a column called "time" may hold: times, or numbers that count something (1, 2, 3, …)."""
    known = _known(cells)
    numbers = sum(number(cell) is not None for cell in known)
    return numbers >= 0.5 * len(known) or share_of_times(known[:_COMPARED]) >= 0.5


def _known(values: Sequence[Any]) -> list[Any]:
    return [v for v in values if v is not None and str(v).strip().lower() not in MISSING]


def _scale(cells: Sequence[Any]):
    return find_scale(Counter(str(cell) if isinstance(cell, (list, dict)) else cell for cell in cells))


def _fineness(cells: Sequence[Any], name: str) -> tuple[int, str]:
    """(3 … 0, in words): whether cells tell the second, the minute, the day, or only an order."""
    known = _known(cells)[:_COMPARED]
    if share_of_times(known) < 0.5:
        plain = np.array([read for cell in known if (read := number(cell)) is not None and read == read])
        if not len(plain) or number_style([plain], name) in ("seconds", "digits"):
            return 0, "an order"
    texts = pa.array([str(cell) for cell in known], pa.string())
    seconds = np.where(np.isnan(dates(texts, "mdy")), dates(texts, "dmy"), dates(texts, "mdy"))
    plain = np.array([read for cell in known if (read := number(cell)) is not None and read == read])
    if len(plain):
        seconds = np.concatenate([seconds, in_seconds(plain.copy(), number_style([plain], name))])
    seconds = seconds[np.isfinite(seconds)]
    for level, unit, what in ((1, 86_400, "whole days"), (2, 60, "whole minutes")):
        if not (seconds % unit).any():
            return level, what
    return 3, "seconds"


def _looks_like_time(cells: Sequence[Any]) -> bool:
    """Whether most cells hold a year and two more numbers, and yet cannot be read."""
    known = [str(cell) for cell in _known(cells)[:100]]
    dated = [
        text
        for text in known
        if len(text) <= 40 and _YEAR.search(text) and len(re.findall(r"\d+", text)) >= 3
    ]
    return bool(known) and len(dated) >= 0.9 * len(known) and share_of_times(known) < 0.5


def _is_text(values: Sequence[Any]) -> bool:
    """Most cells that are filled are no numbers, or none is filled."""
    known = _known(values)
    return not known or sum(number(value) is None for value in known) >= 0.5 * len(known)


def _is_id(values: Sequence[Any]) -> bool:
    """Whole numbers or short texts, most of them there, and no times."""
    known = _known(values)
    if not known or len(known) < len(values) / 2:
        return False
    short = sum(
        not isinstance(v, (float, list, dict)) and len(str(v)) <= 64 and "\n" not in str(v) for v in known
    )
    whole = all((read := number(v)) is None or float(read).is_integer() for v in known)
    dated = share_of_times(known[:100]) >= 0.9
    return whole and short == len(known) and not (dated and not all(isinstance(v, int) for v in known))
