"""Files of any kind that we read, recognized by content: text tables, JSON, Parquet, Arrow. Text stays text."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from p5t5.core.errors import UserError
from p5t5.data.records.cell_texts import text_of_value
from p5t5.data.sources import csv_blocks
from p5t5.data.sources.arrow_files import open_arrow
from p5t5.data.sources.batches import NOT_JSON, NOT_UTF8, BadRow, Batch
from p5t5.data.sources.csv_blocks import Layout, csv_batches
from p5t5.data.sources.dialects import DialectOptions, TextTable, look_at
from p5t5.data.sources.json_rows import JsonFile, first_rows, open_json
from p5t5.data.sources.kinds import kind_of
from p5t5.data.sources.nested import Flattening, flattening, text_of
from p5t5.data.sources.sections import unfolded
from p5t5.data.sources.staging import local_files
from p5t5.data.sources.wide import LEAST, wide

REMEDIES = {
    **csv_blocks.REMEDIES,
    NOT_JSON: "each line must be a JSON object",
    NOT_UTF8: "name the file's encoding (--encoding cp1252, say), or save it as UTF-8",
}
_NO_OBJECT = "{path}: none of its first lines is a JSON object; write one object a line."
SAMPLED = 1000  # rows that are looked at to tell what a column is
_CODES = re.compile(r"\[?['\"]?[A-Za-z]*\d+(?:-\d)?['\"]?(?:[ ,|;]+['\"]?[A-Za-z]*\d+(?:-\d)?['\"]?)+\]?")
ROWS = 1 << 16  # of a batch of JSON

# (wanted, one_line, encoded, bytes at a time) → batches
_Read = Callable[[Sequence[str], Sequence[str], Sequence[str], "int | None"], Iterator[Batch]]


@dataclass(frozen=True)
class DataFile:
    """A file whose columns are known, and none of whose rows are in memory. ``notes``: how it is read, in words."""

    path: Path
    kind: str
    names: tuple[str, ...]
    read: _Read
    has_header: bool = True
    notes: tuple[str, ...] = ()

    def batches(
        self, wanted: Sequence[str], one_line: Sequence[str] = (), encoded: Sequence[str] = ()
    ) -> Iterator[Batch]:
        """The wanted columns, some rows at a time. ``one_line``: columns whose cells are short (ids, numbers);
        ``encoded``: those in which values repeat. UserError where the file is damaged."""
        return self.read(wanted, one_line, encoded, None)

    def sample(self) -> dict[str, list[Any]]:
        """The first rows of every column."""
        for batch in self.read(self.names, (), (), 1 << 18):
            return {name: column.slice(0, SAMPLED).to_pylist() for name, column in batch.columns.items()}
        return {name: [] for name in self.names}

    def hint(self, sample: Mapping[str, Sequence[Any]]) -> str:
        """What may be wrong where users and items cannot be told, in a sentence; "" for nothing."""
        if not self.has_header:
            first = ", ".join(str(values[0]) for values in list(sample.values())[:4] if values)
            names = ",".join(("user", "item", "rating", "time", "other", "another")[: len(self.names)])
            several = lists_in(sample)
            apart = (
                f" ({several} of several items: an item a row is needed, take them apart first)"
                if several
                else ""
            )
            return f"It has no header: its first line is a row ({first[:80]}), not names: say --header {names} in the right order, or another --separator{apart}."
        if len(self.names) == 1 and self.kind == "text":
            return "Only one column was found: name the --separator."
        several = lists_in(sample)
        return (
            f"There are {several} of several items: an item a row is needed, take them apart first."
            if several
            else ""
        )


def lists_in(sample: Mapping[str, Sequence[Any]]) -> str:
    """Columns whose cells are lists of codes ("N6-1 N7-0"), in words; "" where there is none."""
    found = []
    for name, values in sample.items():
        filled = [str(value) for value in values if value not in (None, "")]
        lists = [value for value in filled if _CODES.fullmatch(value)]
        if len(lists) > 0.5 * len(filled) > 0:
            found.append(f"{name} ({lists[0][:30]!r})")
    return f"lists in {' and '.join(found)}" if found else ""


def find_files(patterns: Sequence[str | Path]) -> list[Path]:
    """The files that are named or that match a glob (in the order of their names), as local files: what lies elsewhere
    (hf://, s3://, https://, memory://) is fetched, what is in an archive unpacked. UserError where there is none."""
    found = [path for pattern in patterns for path in local_files(pattern)]
    for path in found:
        if found.count(path) > 1:
            raise UserError(f"{path} is named twice; its rows would count twice.")
    return found


def open_file(
    path: str | Path,
    separator: str | None = None,
    header: Sequence[str] | None = None,
    dialect: DialectOptions | None = None,
    melt: bool = True,
) -> DataFile:
    """What kind of file it is and which columns it has. ``header``: names for a CSV that has none. ``melt``: whether
    a matrix of users × items becomes interactions."""
    said = _with(dialect, separator, header)
    (path,) = local_files(path)
    kind = kind_of(path)
    if kind == "text" and (sections := unfolded(path)) is not None:
        path, names, note = sections
        file = _text_file(path, replace(said, header=",".join(names), separator=","))
        return replace(file, notes=(note,))
    if kind == "text":
        file = _text_file(path, said)
    elif kind == "json":
        file = _json_file(path, said.encoding)
    else:
        arrow_names, notes, read = open_arrow(path, kind, SAMPLED)
        file = DataFile(path, kind, arrow_names, read, notes=notes)
    if len(set(file.names)) < len(file.names):
        raise UserError(f"{path}: two columns have the same name in {', '.join(file.names)}; rename one.")
    return _melted(file) if melt else file


def _melted(file: DataFile) -> DataFile:
    """A matrix as interactions; any other file as it is."""
    matrix = wide(file.names, file.sample()) if len(file.names) > LEAST else None
    if matrix is None:
        return file

    def read(wanted, one_line, encoded, size):
        return matrix.melted(file.read(file.names, (), (), size), wanted)

    return replace(file, names=matrix.names, read=read, notes=(*file.notes, matrix.note(file.path.name)))


def _text_file(path: Path, said: DialectOptions) -> DataFile:
    table: TextTable = look_at(path, said)

    def read(wanted, one_line, encoded, size):
        layout = Layout(table.names, table.dialect, tuple(wanted), tuple(one_line), tuple(encoded))
        return csv_batches(path, layout, size)

    return DataFile(path, "text", table.names, read, table.dialect.has_header, table.notes)


def _json_file(path: Path, encoding: str | None) -> DataFile:
    json_file = open_json(path, encoding)
    sample = first_rows(json_file, SAMPLED)
    flat = flattening(sample)
    if not flat.paths:
        raise UserError(_NO_OBJECT.format(path=path))

    def read(wanted, one_line, encoded, size):
        return json_batches(json_file, flat, wanted, one_line)

    notes = tuple(f"{path.name}: {note}" for note in (*json_file.notes, *flat.notes))
    return DataFile(path, "json", tuple(flat.paths), read, notes=notes)


def json_batches(
    file: JsonFile, flat: Flattening, wanted: Sequence[str], one_line: Sequence[str]
) -> Iterator[Batch]:
    """The wanted values as strings; lists are joined by commas except in ``one_line`` columns (no id there)."""
    single = set(one_line)
    rows = file.rows()
    while piece := list(islice(rows, ROWS)):
        good = [(line, part) for line, row in piece if isinstance(row, dict) for part in flat.rows(row)]
        bad = [row for _, row in piece if isinstance(row, BadRow)]
        columns = {
            name: pa.array([text_of(flat.value(row, name), name in single) for _, row in good], pa.string())
            for name in wanted
        }
        lines = [line for line, _ in good]
        yield Batch(columns, len(good), lambda row, lines=lines: f"{file.place} {lines[row]}", bad)  # type: ignore[misc]


def read_table(
    path: str | Path, separator: str | None = None, dialect: DialectOptions | None = None
) -> pd.DataFrame:
    """A small file as a data frame. CSV cells are strings, empty ones ""; JSON values stay what they are, lists and
    objects become texts. How it was read is in ``frame.attrs["notes"]``.

    Nothing is guessed from how a cell looks: ``007``, ``1e5`` and ``NA`` are ids like any other
    (traps.md 29). Raises UserError with the file and the line.
    """
    (path,) = local_files(path)
    if kind_of(path) == "json":
        return _json_table(path, dialect.encoding if dialect else None)
    file = open_file(path, separator, dialect=dialect, melt=False)
    if file.kind != "text":
        tables = [pa.table(batch.columns) for batch in file.batches(file.names)]
        frame = pa.concat_tables(tables).to_pandas() if tables else pd.DataFrame(columns=list(file.names))
    else:
        cells: dict[str, list[str]] = {name: [] for name in file.names}
        for batch in file.batches(file.names):
            for row in batch.bad:
                raise _refused(file.path, row)
            for name, column in batch.columns.items():
                cells[name] += column.to_pylist()
        frame = pd.DataFrame(cells, dtype=object)
    frame.attrs["notes"] = list(file.notes)
    return frame


def side_reader(
    interactions: Sequence[Path],
    separator: str | None,
    header: Sequence[str] | None,
    dialect: DialectOptions | None,
) -> Callable[[str | Path], pd.DataFrame]:
    """A function that reads tables beside the interactions as was said of those, but for what counts lines and columns
    unless it is one of their files."""
    said = _with(dialect, separator, header)

    def read(path: str | Path) -> pd.DataFrame:
        (path,) = local_files(path)
        same = any(path.samefile(file) for file in interactions) if path.is_file() else False
        return read_table(path, dialect=said if same else replace(said, header=None, skip_lines=None))

    return read


def _with(
    dialect: DialectOptions | None, separator: str | None, header: Sequence[str] | None
) -> DialectOptions:
    said = dialect or DialectOptions()
    if separator is not None:
        said = replace(said, separator=separator)
    return said if header is None else replace(said, header=",".join(header))


def _json_table(path: Path, encoding: str | None) -> pd.DataFrame:
    file = open_json(path, encoding)
    if not first_rows(file, SAMPLED):
        raise UserError(_NO_OBJECT.format(path=path))
    rows = []
    for _, found in file.rows():
        if isinstance(found, BadRow):
            raise _refused(path, found)
        rows.append(found)
    flat = flattening(rows, explode=False)
    columns = {}
    for name in flat.paths:
        values = [flat.value(row, name) for row in rows]
        values = [text_of_value(value) if isinstance(value, (list, dict)) else value for value in values]
        columns[name] = pd.Series(values, dtype=object)
    frame = pd.DataFrame(columns)
    frame.attrs["notes"] = [f"{path.name}: {note}" for note in (*file.notes, *flat.notes)]
    return frame


def _refused(path: Path, row: BadRow) -> UserError:
    return UserError(f"{path}, line {row.line}: {row.reason}: {row.text[:60]!r}; {REMEDIES[row.reason]}.")
