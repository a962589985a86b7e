"""Files of any kind that we read: CSV, TSV, JSON lines (gzipped or not) and Parquet. Text stays text."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from p5t5.core.errors import UserError
from p5t5.data.sources import csv_blocks
from p5t5.data.sources.batches import NOT_JSON, NOT_UTF8, BadRow, Batch
from p5t5.data.sources.csv_blocks import Layout, csv_batches, read_header
from p5t5.data.sources.json_lines import first_names, json_batches, json_rows

SUFFIXES = (".csv", ".tsv", ".parquet", ".json", ".jsonl", ".ndjson")
REMEDIES = {
    **csv_blocks.REMEDIES,
    NOT_JSON: "each line must be a JSON object",
    NOT_UTF8: "save the file as UTF-8 (iconv -f latin1 -t utf-8)",
}
SAMPLED = 1000  # rows that are looked at to tell what a column is


@dataclass(frozen=True)
class DataFile:
    """A file whose columns are known, and none of whose rows are in memory."""

    path: Path
    kind: str
    names: tuple[str, ...]
    separator: str = ""
    has_header: bool = True

    def batches(
        self, wanted: Sequence[str], one_line: Sequence[str] = (), encoded: Sequence[str] = ()
    ) -> Iterator[Batch]:
        """The wanted columns, some rows at a time. ``one_line``: columns whose cells are short (ids, numbers);
        ``encoded``: those in which values repeat. UserError where the file is damaged."""
        if self.kind == ".parquet":
            return _parquet_batches(self.path, wanted)
        if self.kind in (".csv", ".tsv"):
            layout = Layout(
                self.names, self.separator, tuple(wanted), tuple(one_line), tuple(encoded), self.has_header
            )
            return csv_batches(self.path, layout)
        return json_batches(self.path, wanted, one_line)

    def sample(self) -> dict[str, list[Any]]:
        """The first rows of every column."""
        first = self.batches(self.names)
        if self.kind in (".csv", ".tsv"):
            layout = Layout(self.names, self.separator, self.names, has_header=self.has_header)
            first = csv_batches(self.path, layout, 1 << 18)
        for batch in first:
            return {name: column.slice(0, SAMPLED).to_pylist() for name, column in batch.columns.items()}
        return {name: [] for name in self.names}


def find_files(patterns: Sequence[str | Path]) -> list[Path]:
    """The files that are named or that match a glob (in the order of their names). UserError where none does."""
    found: list[Path] = []
    for pattern in patterns:
        path = Path(pattern)
        if path.exists() or not glob.has_magic(str(pattern)):
            found.append(path)
            continue
        matches = sorted(Path(match) for match in glob.glob(str(pattern), recursive=True))
        if not matches:
            raise UserError(f"no file matches {pattern}.")
        found += matches
    for path in found:
        if found.count(path) > 1:
            raise UserError(f"{path} is named twice; its rows would count twice.")
    return found


def open_file(
    path: str | Path, separator: str | None = None, header: Sequence[str] | None = None
) -> DataFile:
    """What kind of file it is and which columns it has. ``header``: names for a CSV that has none."""
    path = Path(path)
    if path.is_dir():
        raise UserError(f"{path} is a folder; name the files in it, as in '{path}/*.csv'.")
    if not path.is_file():
        raise UserError(f"there is no file {path}.")
    kind = _kind(path)
    if kind == ".parquet":
        names = tuple(_parquet(path).schema_arrow.names)
    elif kind in (".csv", ".tsv"):
        found, separator = read_header(path, separator or ("\t" if kind == ".tsv" else None))
        if len(separator) != 1:
            raise UserError(
                f"--separator {separator!r}: must be one character; replace it in the file first."
            )
        if header is not None and len(header) != len(found):
            raise UserError(
                f"--header: {len(header)} names, but line 1 of {path} has {len(found)} fields "
                f"(separator {separator!r})."
            )
        names = tuple(found if header is None else header)
    else:
        names = tuple(first_names(path, SAMPLED))
        if not names:
            raise UserError(f"{path}: none of its first lines is a JSON object; write one object a line.")
    if len(set(names)) < len(names):
        raise UserError(f"{path}: two columns have the same name in {', '.join(names)}; rename one.")
    return DataFile(path, kind, names, separator or "", header is None)


def read_table(path: str | Path, separator: str | None = None) -> pd.DataFrame:
    """A small file as a data frame. CSV cells are strings, empty ones ""; JSON values stay what they are.

    Nothing is guessed from how a cell looks: ``007``, ``1e5`` and ``NA`` are ids like any other
    (traps.md 29). Raises UserError with the file and the line.
    """
    file = open_file(path, separator)
    if file.kind == ".parquet":
        tables = [pa.table(batch.columns) for batch in file.batches(file.names)]
        return pa.concat_tables(tables).to_pandas() if tables else pd.DataFrame(columns=list(file.names))
    if file.kind in (".csv", ".tsv"):
        cells: dict[str, list[str]] = {name: [] for name in file.names}
        for batch in file.batches(file.names):
            for row in batch.bad:
                raise _refused(file.path, row)
            for name, column in batch.columns.items():
                cells[name] += column.to_pylist()
        return pd.DataFrame(cells, dtype=object)
    rows = []
    for _, found in json_rows(file.path):
        if isinstance(found, BadRow):
            raise _refused(file.path, found)
        rows.append(found)
    names = list(dict.fromkeys(name for row in rows for name in row))
    return pd.DataFrame({name: pd.Series([row.get(name) for row in rows], dtype=object) for name in names})


def _refused(path: Path, row: BadRow) -> UserError:
    return UserError(f"{path}, line {row.line}: {row.reason}: {row.text[:60]!r}; {REMEDIES[row.reason]}.")


def _kind(path: Path) -> str:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    kind = suffixes[-2] if suffixes[-1:] == [".gz"] and len(suffixes) > 1 else (suffixes or [""])[-1]
    if kind not in SUFFIXES:
        raise UserError(
            f"{path}: unknown kind of file; it must end in {', '.join(SUFFIXES)} (or that and .gz)."
        )
    return kind


def _parquet(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except Exception as error:  # pyarrow has many kinds of errors for one thing: a damaged file
        raise UserError(f"{path} cannot be read as Parquet: {error}") from error


def _parquet_batches(path: Path, wanted: Sequence[str]) -> Iterator[Batch]:
    first = 1
    try:
        for batch in _parquet(path).iter_batches(1 << 17, columns=list(wanted)):
            columns = {name: batch.column(name) for name in wanted}
            yield Batch(columns, batch.num_rows, lambda row, first=first: f"row {first + row}")  # type: ignore[misc]
            first += batch.num_rows
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        raise UserError(f"{path}, after row {first - 1}, cannot be read as Parquet: {error}") from error
