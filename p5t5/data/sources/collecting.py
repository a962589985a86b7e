"""Gathers the rows of a table batch by batch: ids as numbers, so that memory holds what is kept and little else."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from p5t5.core.errors import UserError
from p5t5.data.records.building import MISSING_ID, UNFIT_ID
from p5t5.data.records.checks import MOST_RATING_VALUES
from p5t5.data.records.cleaning import clean_id, text_array
from p5t5.data.records.parquet import arrow_column
from p5t5.data.records.tables import TEXT_COLUMNS
from p5t5.data.sampling import draw_keys, drawn
from p5t5.data.sources import cells
from p5t5.data.sources.batches import Batch
from p5t5.data.sources.column_inference import OPTIONS
from p5t5.data.sources.column_styles import FileStyle
from p5t5.data.sources.dropped_rows import Problems
from p5t5.data.sources.files import REMEDIES
from p5t5.data.sources.time_units import described, in_seconds, number_style, read_times

NO_RATING = "rating is not a number"
NO_TIME = "time cannot be read"
_RATING_REMEDY = (
    f"write a number with a point (3.5), name another column with {OPTIONS['rating']}, or say what words mean with "
    "--rating_levels"
)
_TIME_REMEDY = (
    "write seconds, milliseconds or dates (2026-01-31, 31.01.2026), say the order of day and month with --time_format "
    f"dmy or mdy, or name another column with {OPTIONS['timestamp']}"
)
WAITING = 1 << 22  # rows that are gathered before those of users who were not drawn are thrown away
_MISSING, _UNFIT = -1, -2


class _Ids:
    """Ids as they are met → numbers. Each spelling is cleaned once."""

    def __init__(self, normalize: Callable[[str], str] | None = None) -> None:
        self.ids: list[str] = []
        self._number: dict[Any, int] = {}
        self._normalize = normalize
        self.cleaned = 0  # spellings from which invisible characters went

    def numbers(self, column: pa.Array) -> np.ndarray:
        """int32 [n]; _MISSING or _UNFIT where there is no id."""
        codes, values = cells.distinct(column)
        try:
            numbers = list(map(self._number.get, values))
        except TypeError:  # a list, or another value that is no key
            values = [value if isinstance(value, str) else "\x00" for value in values]
            numbers = list(map(self._number.get, values))
        for place, number in enumerate(numbers):
            if number is None:
                numbers[place] = self._new(values[place])
        return np.array([*numbers, _MISSING], np.int32)[codes]

    def _new(self, value: Any) -> int:
        clean = clean_id(value)
        if clean and type(value) is str and len(clean) < len(value.strip()):
            self.cleaned += 1
        if clean and self._normalize is not None:
            clean = self._normalize(clean)
        if not clean:
            number = _UNFIT if clean is None else _MISSING
        elif (number := self._number.get(clean, _UNFIT)) < 0:
            number = self._number[clean] = len(self.ids)
            self.ids.append(clean)
        self._number[value] = number
        return number


class Collector:
    """The interactions of one data set, from any number of files.

    ``sample_users``: keep the rows of so many users, drawn by ``seed``, and no others even in between.
    ``normalize``: makes spellings of ids alike.
    """

    def __init__(
        self,
        sample_users: int | None = None,
        seed: int = 0,
        normalize: Callable[[str], str] | None = None,
    ) -> None:
        self.problems = Problems()
        self.rows_read = 0
        self.users, self.items = _Ids(normalize), _Ids(normalize)
        self._units: dict[str, list[str]] = {}  # how times were read → in which files
        self._file_start = 0
        self._sample, self._seed = sample_users, seed
        self._kept: dict[str, list[Any]] = {}
        self._keys = np.zeros(0, np.uint64)
        self._seen = np.zeros(0, bool)
        self._waiting = 0

    def add(self, batch: Batch, path: Path, theirs: Mapping[str, str], style: FileStyle) -> None:
        """``theirs``: our column → the file's. Rows that cannot be used are counted by reason."""
        for row in batch.bad:
            where = f"{path.name}, line {row.line}: {row.text[:60]!r}"
            self.problems.add(row.reason, 1, where, REMEDIES[row.reason])
        self.rows_read += batch.rows + len(batch.bad)
        if not batch.rows:
            return
        keep = np.ones(batch.rows, bool)
        column = {ours: batch.columns[name] for ours, name in theirs.items()}

        def drop(which: np.ndarray, reason: str, ours: str, remedy: str) -> None:
            rows = np.flatnonzero(which & keep)
            if len(rows):
                cell = str(column[ours][int(rows[0])].as_py())[:60]
                where = f"{path.name}, {batch.place(int(rows[0]))}, column {theirs[ours]}: {cell!r}"
                self.problems.add(reason, len(rows), where, remedy)
                keep[rows] = False

        new: dict[str, Any] = {}
        for ours, ids in (("user_id", self.users), ("item_id", self.items)):
            new[ours] = ids.numbers(column[ours])
            drop(new[ours] == _UNFIT, UNFIT_ID, ours, "write the id as one line of plain characters")
            drop(new[ours] == _MISSING, MISSING_ID, ours, "fill it in; without it the row says nothing")
        if "rating" in column:
            new["rating"], bad = cells.ratings(column["rating"], style.rating.value, style.missing_rating)
            drop(bad, NO_RATING, "rating", _RATING_REMEDY)
            remedy = f"fill it in, or keep such rows and no ratings with {OPTIONS['rating']} none"
            drop(np.isnan(new["rating"]), "rating missing", "rating", remedy)
        if "timestamp" in column:
            new["timestamp"], new["is_date"], bad = read_times(column["timestamp"], style.order)
            drop(bad, NO_TIME, "timestamp", _TIME_REMEDY)
            if style.missing_time:
                missing = style.is_missing_time(column["timestamp"], new["timestamp"])
                new["timestamp"] = np.where(missing, np.nan, new["timestamp"])
            remedy = (
                f"fill it in, or keep such rows and the order of the file with {OPTIONS['timestamp']} none"
            )
            drop(np.isnan(new["timestamp"]), "timestamp missing", "timestamp", remedy)
        self._keep(new, column, keep)

    def _keep(self, new: dict[str, Any], column: Mapping[str, pa.Array], keep: np.ndarray) -> None:
        rows = None if keep.all() else np.flatnonzero(keep)
        for ours, values in new.items():
            if ours == "is_date" and not values.any():
                values = None  # known by the length of the others
            elif rows is not None:
                values = values[rows]
            self._kept.setdefault(ours, []).append(values)
        for ours in TEXT_COLUMNS:
            if ours in column:
                texts = column[ours] if rows is None else column[ours].take(pa.array(rows))
                self._kept.setdefault(ours, []).append(text_array(_plain_text(texts)))
        self._waiting += int(keep.sum())
        if self._sample is not None and self._waiting > WAITING:
            self._thin()

    def end_file(self, path: Path, column: str | None, style: FileStyle) -> None:
        """Turns the times of the file that ends here into seconds, in the unit that its numbers are in.

        ``column``: the file's name of the times, None where there are none.
        """
        start, self._file_start = self._file_start, len(self._kept.get("user_id", []))
        if column is None or "timestamp" not in self._kept:
            return
        parts, flags = self._kept["timestamp"], self._kept["is_date"]
        plain = [part if flag is None else part[~flag]
                 for part, flag in zip(parts[start:], flags[start:], strict=True)]  # fmt: skip
        unit = style.unit
        if sum(map(len, plain)):
            unit = unit or number_style(plain, column)
            self._units.setdefault(described(unit), []).append(path.name)
        if any(flag is not None and flag.any() for flag in flags[start:]):
            self._units.setdefault("dates", []).append(path.name)
        for place in range(start, len(parts)):
            part, flag = parts[place], flags[place]
            if flag is None and len(part):
                parts[place] = in_seconds(part, unit or "seconds")
            elif flag is not None and not flag.all():
                part[~flag] = in_seconds(part[~flag], unit or "seconds")
            if (bad := np.isnan(parts[place])).any():
                where = f"{path.name}, column {column}: a number that is no {described(unit or '')}"
                self.problems.add(NO_TIME, int(bad.sum()), where, _TIME_REMEDY)
                self._filter(place, ~bad)

    def _filter(self, place: int, mask: np.ndarray) -> None:
        """Leaves of one part the rows of ``mask`` (bool)."""
        for parts in self._kept.values():
            part = parts[place]
            if part is not None:
                parts[place] = part.filter(pa.array(mask)) if isinstance(part, pa.Array) else part[mask]

    def _thin(self) -> None:
        """Leaves the rows of the users drawn so far."""
        assert self._sample is not None
        new = self.users.ids[len(self._keys) :]
        self._keys = np.concatenate([self._keys, draw_keys(new, self._seed)])
        self._seen = np.concatenate([self._seen, np.zeros(len(new), bool)])
        present = np.unique(np.concatenate([np.unique(part) for part in self._kept["user_id"]])).astype(
            np.int64
        )
        self._seen[present] = True
        stays = np.zeros(len(self._keys), bool)
        stays[drawn(self._keys, present, self._sample)] = True
        for place, part in enumerate(self._kept["user_id"]):
            self._filter(place, stays[part])
        self._waiting = 0

    def steps(self) -> list[str]:
        """What was drawn, in words; [] where nothing was."""
        if self._sample is None or int(self._seen.sum()) <= self._sample:
            return []
        return [f"{self._sample} of {int(self._seen.sum())} users drawn with seed {self._seed}"]

    def finish(self, where: str, rating_step: float | None = None) -> tuple[pd.DataFrame, list[str]]:
        """The table, and notes on how its columns were read. The collector is empty afterwards.

        ``where``: the files' names, for the UserError where no row can be used, or ratings are too many.
        """
        if self._sample is not None and self._kept:
            self._thin()
        if not any(len(part) for part in self._kept.get("user_id", [])):
            first = next(iter(self.problems.found.values()), None)
            why = f" {first.first}: {first.reason}; {first.remedy}." if first else ""
            raise UserError(f"{where}: no row can be used ({self.rows_read:,} were read).{why}")
        notes: list[str] = []
        table: dict[str, Any] = {}
        in_time: np.ndarray | None = None  # the rows' order, where whole seconds do not tell it
        for ours, ids in (("user_id", self.users), ("item_id", self.items)):
            table[ours] = pd.Categorical.from_codes(self._whole(ours), pd.Index(ids.ids, dtype=object))
            if ids.cleaned:
                notes.append(f"{ours}: invisible characters went from {ids.cleaned:,} ids")
        if "rating" in self._kept:
            table["rating"], note = scaled(self._whole("rating"), rating_step, where)
            notes.append(f"ratings: {note}")
        if "timestamp" in self._kept:
            del self._kept["is_date"]
            numbers = self._whole("timestamp")
            table["timestamp"] = np.floor(numbers).astype(np.int64)
            if (table["timestamp"] != numbers).any():
                in_time = np.argsort(numbers, kind="stable")
            notes.append(f"times: {self._told_units()}")
        for ours in TEXT_COLUMNS:
            if ours in self._kept:
                table[ours] = arrow_column(pa.chunked_array(self._kept.pop(ours), pa.large_string()))
        frame = pd.DataFrame(table, copy=False)
        return frame if in_time is None else frame.iloc[in_time].reset_index(drop=True), notes

    def _told_units(self) -> str:
        """ "seconds", "dates and seconds"; with the files' names where they differ."""
        units = sorted(self._units, key=lambda unit: (unit != "dates", -len(self._units[unit])))
        if len({name for names in self._units.values() for name in names}) > 1 and len(units) > 1:
            return ", ".join(f"{unit} in {_first_of(self._units[unit])}" for unit in units)
        return " and ".join(units)

    def _whole(self, ours: str) -> np.ndarray:
        parts = self._kept.pop(ours)
        return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _first_of(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


def _plain_text(column: pa.Array) -> pa.Array:
    """Strings of whatever a text column holds."""
    if isinstance(column, pa.DictionaryArray):
        column = column.dictionary_decode()
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        return column
    values = [
        ", ".join(map(str, value)) if isinstance(value, list) else value for value in column.to_pylist()
    ]
    return pa.array([None if value is None else str(value) for value in values], pa.large_string())


def scaled(ratings: np.ndarray, step: float | None, where: str) -> tuple[np.ndarray, str]:
    """The ratings (rounded to multiples of ``step``) and their scale in words. UserError for too many values."""
    values = np.sort(pd.unique(ratings))
    if step is not None:
        rounded = np.round(np.round(ratings / step) * step, 10) + 0.0
        changed = float((rounded != ratings).mean())
        ratings, values = rounded, np.sort(pd.unique(rounded))
    if len(values) > MOST_RATING_VALUES:
        span = float(values[-1] - values[0])
        steps = sorted(10.0**power * part for power in range(-6, 7) for part in (1, 2, 5))
        fitting = next(size for size in steps if span / size <= 20)
        raise UserError(
            f"{where}, ratings: {len(values):,} different values from {values[0]:g} to {values[-1]:g}, at most "
            f"{MOST_RATING_VALUES} can be answers; round them with --rating_step {fitting:g}, "
            f"or leave them out with {OPTIONS['rating']} none."
        )
    told = f"{values[0]:g} to {values[-1]:g}, {len(values)} different values"
    return (
        ratings,
        told if step is None else f"{told}, {changed:.0%} of them rounded to multiples of {step:g}",
    )
