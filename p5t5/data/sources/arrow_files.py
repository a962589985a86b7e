"""Parquet and Arrow files (Feather, what `datasets` caches): batches of their columns, structs flattened."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from p5t5.core.errors import UserError
from p5t5.data.sources.batches import Batch
from p5t5.data.sources.nested import Flattening, flattening, text_of

ROWS = 1 << 17  # of a batch
_KIND = {"parquet": "Parquet", "arrow": "Arrow"}


def open_arrow(path: Path, kind: str, sampled: int) -> tuple[tuple[str, ...], tuple[str, ...], Any]:
    """(names of the columns, notes, a function from wanted columns to batches). Raises UserError for a damaged file.

    Where there are structs or lists the rows go through Python, as those of JSON do.
    """
    schema = _schema(path, kind)
    if not any(pa.types.is_nested(column.type) for column in schema):

        def read(wanted: Sequence[str], one_line: Sequence[str], encoded: Sequence[str], size: int | None):
            return _flat_batches(path, kind, wanted)

        return tuple(schema.names), (), read
    first = next(_record_batches(path, kind, schema.names), None)
    sample = [] if first is None else first.slice(0, sampled).to_pylist()
    flat = flattening(sample) if sample else Flattening({name: (name,) for name in schema.names})

    def read_nested(wanted: Sequence[str], one_line: Sequence[str], encoded: Sequence[str], size: int | None):
        return _nested_batches(path, kind, schema, flat, wanted, set(one_line))

    return tuple(flat.paths), tuple(f"{path.name}: {note}" for note in flat.notes), read_nested


def _schema(path: Path, kind: str) -> pa.Schema:
    try:
        if kind == "parquet":
            return pq.ParquetFile(path).schema_arrow
        with pa.memory_map(str(path)) as file:
            return _reader(file).schema
    except Exception as error:  # pyarrow has many kinds of errors for one thing: a damaged file
        raise UserError(f"{path} cannot be read as {_KIND[kind]}: {error}") from error


def _reader(file: Any) -> Any:
    try:
        return pa.ipc.open_file(file)
    except pa.ArrowInvalid:
        file.seek(0)
        return pa.ipc.open_stream(file)


def _record_batches(path: Path, kind: str, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    if kind == "parquet":
        yield from pq.ParquetFile(path).iter_batches(ROWS, columns=list(dict.fromkeys(columns)))
        return
    with pa.memory_map(str(path)) as file:
        reader = _reader(file)
        parts = (
            (reader.get_batch(number) for number in range(reader.num_record_batches))
            if isinstance(reader, pa.RecordBatchFileReader)
            else reader
        )
        for part in parts:
            for start in range(0, max(part.num_rows, 1), ROWS):
                yield part.select(list(dict.fromkeys(columns))).slice(start, ROWS)


def _flat_batches(path: Path, kind: str, wanted: Sequence[str]) -> Iterator[Batch]:
    first = 1
    try:
        for batch in _record_batches(path, kind, wanted):
            columns = {name: batch.column(name) for name in wanted}
            yield Batch(columns, batch.num_rows, lambda row, first=first: f"row {first + row}")  # type: ignore[misc]
            first += batch.num_rows
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        raise UserError(f"{path}, after row {first - 1}, cannot be read as {_KIND[kind]}: {error}") from error


def _nested_batches(
    path: Path, kind: str, schema: pa.Schema, flat: Flattening, wanted: Sequence[str], single: set[str]
) -> Iterator[Batch]:
    """Flat columns stay as they are unless lists become rows; the others become strings."""
    first = 1
    plain = {
        name for name in wanted
        if not flat.exploded and len(flat.paths[name]) == 1 and not pa.types.is_nested(schema.field(flat.paths[name][0]).type)
    }  # fmt: skip
    try:
        for batch in _record_batches(
            path, kind, [flat.paths[name][0] for name in wanted] + ([flat.exploded] if flat.exploded else [])
        ):
            columns: dict[str, Any] = {name: batch.column(flat.paths[name][0]) for name in plain}
            nested = sorted(
                {flat.paths[name][0] for name in wanted if name not in plain} | ({flat.exploded} - {""})
            )
            rows = batch.select(nested).to_pylist() if nested else [{}] * batch.num_rows
            parts = [(place, part) for place, row in enumerate(rows) for part in flat.rows(row)]
            for name in wanted:
                if name not in plain:
                    values = [text_of(flat.value(row, name), name in single) for _, row in parts]
                    columns[name] = pa.array(values, pa.string())
            places = [first + place for place, _ in parts]
            yield Batch(columns, len(parts), lambda row, places=places: f"row {places[row]}")  # type: ignore[misc]
            first += batch.num_rows
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        raise UserError(f"{path}, after row {first - 1}, cannot be read as {_KIND[kind]}: {error}") from error
