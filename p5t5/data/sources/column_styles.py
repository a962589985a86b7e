"""How a file writes its times and ratings: decided over whole columns before the rows are read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from p5t5.core.errors import UserError
from p5t5.data.sources.cells import distinct, number
from p5t5.data.sources.column_inference import may_be_time, unreadable_rating, unreadable_time
from p5t5.data.sources.files import DataFile
from p5t5.data.sources.rating_scales import PLAIN, RatingScale, find_scale, named_levels
from p5t5.data.sources.time_units import FORMATS, UNITS
from p5t5.data.sources.times import ORDERS, DigitDates, dates

_MOST_CELLS = 100_000  # different cells beyond which a column holds no levels


@dataclass(frozen=True)
class ValueOptions:
    """What the user said about values: a format of the times, levels of the ratings, cells that stand for "none"."""

    time_format: str | None = None
    rating_levels: str | None = None
    missing_rating: Collection[float] = ()
    missing_time: Collection[str] = ()

    def check(self) -> None:
        """Raises UserError where an option is not understood."""
        if self.time_format is not None and self.time_format not in FORMATS:
            raise UserError(
                f"--time_format: there is no {self.time_format!r}; choose among {', '.join(FORMATS)}."
            )
        if self.rating_levels is not None:
            named_levels(self.rating_levels)


def parsed_values(
    time_format: str | None, rating_levels: str | None, missing_rating: str | None, missing_time: str | None
) -> ValueOptions:
    """ValueOptions from what was typed: ``missing_rating`` "-1,0", ``missing_time`` "0,1970-01-01"."""
    ratings = []
    for text in (missing_rating or "").split(","):
        if text.strip():
            value = number(text)
            if value is None or value != value:
                raise UserError(f"--missing_rating: {text!r} is not a number; write them as in -1,0.")
            ratings.append(value)
    times = [text.strip() for text in (missing_time or "").split(",") if text.strip()]
    options = ValueOptions(time_format, rating_levels, tuple(ratings), tuple(times))
    options.check()
    return options


@dataclass(frozen=True)
class FileStyle:
    """How one file's cells are read. ``order``: of day and month; ``unit``: of numbers that are times, None where
    their size is to tell."""

    rating: RatingScale = PLAIN
    order: str | None = None
    unit: str | None = None
    missing_rating: Collection[float] = ()
    missing_time: Collection[str] = ()
    notes: tuple[str, ...] = field(default=())

    def is_missing_time(self, column: pa.Array, seconds: np.ndarray) -> np.ndarray:
        """bool [n]: cells that --missing_time names, as they are written or as the same number or date."""
        codes, values = distinct(column)
        named = {text: float(dates(pa.array([text]), self.order)[0]) for text in self.missing_time}
        numbers = {number(text) for text in self.missing_time} - {None}
        as_written = [str(value).strip() in named or number(value) in numbers for value in values]
        return np.array([*as_written, False])[codes] | np.isin(seconds, [v for v in named.values() if v == v])


def rating_scale(files: Sequence[DataFile], column: str, options: ValueOptions) -> RatingScale:
    """The scale of a column over all files. Raises UserError where it is called so and cannot be read."""
    if options.rating_levels is not None:
        return named_levels(options.rating_levels)
    sample = files[0].sample()[column]
    first = find_scale(Counter(_hashable(cell) for cell in sample))
    if first is not None and not first.levels:  # numbers
        return first
    counts: Counter[Any] = Counter()
    for file in files:
        for batch in file.batches([column], [column], [column]):
            codes, values = distinct(batch.columns[column])
            numbers = np.bincount(codes[codes >= 0], minlength=len(values))
            counts.update({_hashable(value): int(n) for value, n in zip(values, numbers, strict=True)})
        if len(counts) > _MOST_CELLS:
            break
    scale = find_scale(counts) if len(counts) <= _MOST_CELLS else None
    if scale is None:
        raise unreadable_rating(files[0].path.name, column, [cell for cell, _ in counts.most_common(10)])
    return scale


def file_style(
    file: DataFile, theirs: Mapping[str, str], scale: RatingScale, options: ValueOptions
) -> FileStyle:
    """The style of one file. Raises UserError where times cannot be read, or day and month cannot be told apart."""
    order: str | None = None
    unit: str | None = None
    notes: tuple[str, ...] = ()
    if (column := theirs.get("timestamp")) is not None:
        order, notes = _time_order(file, column, options.time_format)
        unit = options.time_format if options.time_format in (*UNITS, "excel", "digits") else None
    return FileStyle(scale, order, unit, options.missing_rating, options.missing_time, notes)


def _time_order(file: DataFile, column: str, named: str | None) -> tuple[str | None, tuple[str, ...]]:
    sample = file.sample()[column]
    texts = pa.array([cell for cell in sample if isinstance(cell, str)], pa.string())
    if named in ORDERS:
        return named, ()
    in_digits = DigitDates()
    in_digits.add(texts)
    if not in_digits.rows:
        if sample and not may_be_time(sample):
            raise unreadable_time(file.path.name, column, sample)
        # Slips further down the file are bad rows unless a style was found here.
        return None, ()
    found = DigitDates()
    for batch in file.batches([column], [column], [column]):
        cells = batch.columns[column]
        if isinstance(cells, pa.DictionaryArray) or pa.types.is_string(cells.type):
            found.add(cells)
        else:
            found.add(pa.array([str(cell) for cell in cells.to_pylist() if cell is not None], pa.string()))
    order, why = found.order()
    if order is not None:
        return order, (f"dates in {column}: {why}",)
    if found.are_stray:
        return None, ()
    raise UserError(
        f"{file.path.name}: column {column}: {why}; say it with --time_format dmy (day first) or --time_format mdy "
        "(month first), or leave the column out with --time none."
    )


def _hashable(cell: Any) -> Any:
    return str(cell) if isinstance(cell, (list, dict)) else cell
