"""Tables from files: CSV, TSV, JSON lines (gzipped or not) and Parquet. Text stays text."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path

import pandas as pd

from p5t5.errors import UserError

SUFFIXES = (".csv", ".tsv", ".parquet", ".json", ".jsonl", ".ndjson")


def read_table(path: str | Path, separator: str | None = None) -> pd.DataFrame:
    """A file as a data frame. CSV cells are strings, empty ones ""; JSON values stay what they are.

    Nothing is guessed from how a cell looks: ``007``, ``1e5`` and ``NA`` are ids like any other
    (traps.md 29). Raises UserError with the file and the line.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"there is no file {path}.")
    kind = _kind(path)
    if kind == ".parquet":
        try:
            return pd.read_parquet(path)
        except Exception as error:  # pyarrow has many kinds of errors for one thing: a damaged file
            raise UserError(f"{path} cannot be read as Parquet: {error}") from error
    try:
        if kind in (".csv", ".tsv"):
            return _read_csv(path, separator or (_separator(path) if kind == ".csv" else "\t"))
        return _read_json_lines(path)
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text: {error}; convert it first.") from error
    except (OSError, EOFError) as error:
        raise UserError(f"{path} cannot be read: {error}") from error


def _kind(path: Path) -> str:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    kind = suffixes[-2] if suffixes[-1:] == [".gz"] and len(suffixes) > 1 else (suffixes or [""])[-1]
    if kind not in SUFFIXES:
        raise UserError(
            f"{path}: unknown kind of file; it must end in {', '.join(SUFFIXES)} (or that and .gz)."
        )
    return kind


def open_text(path: Path):
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    return open(path, encoding="utf-8-sig", newline="")


def _separator(path: Path) -> str:
    """The commonest of comma, semicolon, tab and bar in the header."""
    with open_text(path) as file:
        header = file.readline()
    return max(",;\t|", key=header.count)


def _read_csv(path: Path, separator: str) -> pd.DataFrame:
    limit = csv.field_size_limit(2**27)
    try:
        with open_text(path) as file:
            reader = csv.reader(file, delimiter=separator)
            header = next(reader, None)
            if not header:
                raise UserError(f"{path} is empty: the first line must name the columns.")
            if len(set(header)) < len(header):
                raise UserError(f"{path}: two columns have the same name in {', '.join(header)}.")
            rows = []
            for row in reader:
                if not row:
                    continue
                if len(row) != len(header):
                    raise UserError(
                        f"{path}, line {reader.line_num}: {len(row)} fields, but the header has {len(header)}; "
                        f"the separator taken is {separator!r}."
                    )
                rows.append(row)
    except csv.Error as error:
        raise UserError(f"{path} is not valid CSV: {error}") from error
    finally:
        csv.field_size_limit(limit)
    return pd.DataFrame(rows, columns=header, dtype=object)


def _read_json_lines(path: Path) -> pd.DataFrame:
    rows = []
    with open_text(path) as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise UserError(
                    f"{path}, line {number}: not valid JSON ({error}); each line must be an object."
                ) from error
            if not isinstance(row, dict):
                raise UserError(f"{path}, line {number}: each line must be a JSON object.")
            rows.append(row)
    names = list(dict.fromkeys(name for row in rows for name in row))
    return pd.DataFrame({name: pd.Series([row.get(name) for row in rows], dtype=object) for name in names})
