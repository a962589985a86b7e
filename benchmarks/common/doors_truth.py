"""Readers of their own for the inputs of doors.py (csv, json, pandas), and the comparison with a data folder.

A truth is a frame of strings ``user`` and ``item``, and where the file has them ``rating`` (float),
``time`` (seconds since 1970, float) and ``text``.
"""

from __future__ import annotations

import csv
import gzip
import json
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from pathlib import Path

import pandas as pd

from common.doors_run import Outcome

DAY = 86_400


def lines_of(path: Path, encoding: str = "utf-8") -> list[str]:
    content = path.read_bytes()
    if content[:2] == b"\x1f\x8b":
        content = gzip.decompress(content)
    return content.decode(encoding).splitlines()


def rows_of(lines: Iterable[str], separator: str = ",", **options) -> list[list[str]]:
    """The cells of a file's rows, stripped; ``options`` as of csv.reader."""
    if len(separator) > 1:
        return [[cell.strip() for cell in line.split(separator)] for line in lines if line.strip()]
    read = csv.reader(lines, delimiter=separator, **options)
    return [[cell.strip() for cell in row] for row in read if any(row)]


def truth(rows: Iterable, user, item, rating=None, time=None, text=None) -> pd.DataFrame:
    """Columns from rows: each argument is a place (or key) of a row, or a function of it."""
    columns = {"user": user, "item": item, "rating": rating, "time": time, "text": text}
    made = {
        name: [take(row) if callable(take) else row[take] for row in rows]
        for name, take in columns.items()
        if take is not None
    }
    frame = pd.DataFrame(made)
    if "rating" in frame:
        frame["rating"] = frame["rating"].astype(float)
    return frame


def at(place, style: str) -> Callable:
    """Reads a cell as a time in ``style`` (strptime; "seconds", "ms", "excel", "mail")."""

    def read(row) -> float:
        cell = row[place]
        if style in ("seconds", "ms"):
            return float(cell) / (1000 if style == "ms" else 1)
        if style == "excel":
            return (float(cell) - 25_569) * DAY
        if style == "mail":  # Fri Jul 14 12:53:18 -0700 2017
            week, month, day, clock, zone, year = cell.split()
            return parsedate_to_datetime(f"{week}, {day} {month} {year} {clock} {zone}").timestamp()
        return datetime.strptime(cell, style).replace(tzinfo=timezone.utc).timestamp()

    return read


def json_lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in lines_of(path) if line.strip()]


def plain_id(value: str) -> str:
    """An id without what may be trimmed from it: spaces, a trailing .0."""
    text = str(value).strip()
    return text[:-2] if text.endswith(".0") else text


def differs(out: Outcome, want: pd.DataFrame, ratings: str = "same") -> str:
    """What is not as it should be in the folder, or "". Rows are compared as a multiset of (user, item).

    ``ratings``: "same", "levels" (as many levels, in the same order), "none" (no such column), "any".
    """
    got = out.interactions
    if out.code != 0 or got.empty:
        return f"exit code {out.code}, {len(got)} rows"
    if len(got) != len(want):
        return f"{len(got)} rows instead of {len(want)}"
    pairs = Counter(zip(map(plain_id, want["user"]), map(plain_id, want["item"]), strict=True))
    if Counter(zip(map(plain_id, got["user_id"]), map(plain_id, got["item_id"]), strict=True)) != pairs:
        return "other users or items"
    left = want.assign(user=want["user"].map(plain_id), item=want["item"].map(plain_id))
    right = got.assign(user=got["user_id"].map(plain_id), item=got["item_id"].map(plain_id))
    return _ratings(left, right, ratings) or _times(left, right) or _texts(left, right)


def _ratings(want: pd.DataFrame, got: pd.DataFrame, how: str) -> str:
    if how == "none":
        return "a rating that is none" if "rating" in got else ""
    if how == "any" or "rating" not in want:
        return ""
    if "rating" not in got:
        return "no rating"
    both = _together(want, got, "rating")
    if how == "same":
        return "" if (both["want"] - both["got"]).abs().max() < 1e-6 else "other ratings"
    levels = both.groupby("want")["got"].agg(["min", "max"]).sort_index()
    one_each = (levels["min"] == levels["max"]).all()
    return "" if one_each and levels["min"].is_monotonic_increasing and levels["min"].is_unique else "levels"


def _times(want: pd.DataFrame, got: pd.DataFrame) -> str:
    if "time" not in want:
        return ""
    if "timestamp" not in got:
        return "no time"
    both = _together(want, got.rename(columns={"timestamp": "time"}), "time")
    if (both["want"] - both["got"]).abs().max() > DAY:  # zones aside
        return "other times"
    for _, rows in both.sort_values(["want", "got"]).groupby("user"):
        if not rows["got"].is_monotonic_increasing or rows["got"].nunique() < rows["want"].nunique():
            return "another order, or ties, in a user's times"
    return ""


def _texts(want: pd.DataFrame, got: pd.DataFrame) -> str:
    if "text" not in want:
        return ""
    if "review" not in got:
        return "no reviews"
    return "" if Counter(want["text"]) == Counter(got["review"]) else "other reviews"


def _together(want: pd.DataFrame, got: pd.DataFrame, name: str) -> pd.DataFrame:
    """Both readings of one column, row beside row; repeats of a pair are paired by their values."""
    keys = ["user", "item"]
    frames = []
    for frame, called in ((want, "want"), (got, "got")):
        part = frame[[*keys, name]].rename(columns={name: called}).sort_values([*keys, called])
        frames.append(part.assign(repeat=part.groupby(keys).cumcount()))
    return frames[0].merge(frames[1], on=[*keys, "repeat"])


def titles_of(out: Outcome) -> dict[str, str]:
    """Item id → title, as far as there are titles."""
    if out.items.empty or "title" not in out.items:
        return {}
    found = zip(out.items["item_id"], out.items["title"], strict=True)
    return {plain_id(item): title for item, title in found if isinstance(title, str) and title.strip()}
