"""A data folder on disk: Parquet a piece at a time, whole files or none."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from p5t5.core.errors import UserError

TABLES = ("interactions", "items", "users", "triples")
ROW_GROUP = 1 << 18  # rows that are decoded to strings at a time


@contextmanager
def data_folder(folder: Path, tables: Mapping[str, pd.DataFrame]) -> Iterator[Path]:
    """Yields a temporary folder with the tables; what it holds at the end moves into ``folder``.

    Optional tables of an older data folder that are no longer there go away. Raises UserError where
    ``folder`` is a file, or holds other people's files.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file; name a folder for the data.")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / "interactions.parquet").is_file():
        raise UserError(f"{folder} holds other files and no data; name a new or an empty folder.")
    folder.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=folder))
    try:
        for name, frame in tables.items():
            write_parquet(frame, partial / f"{name}.parquet")
        yield partial
        for path in sorted(partial.iterdir()):
            os.replace(path, folder / path.name)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    for name in set(TABLES) - set(tables):
        (folder / f"{name}.parquet").unlink(missing_ok=True)


def write_parquet(frame: pd.DataFrame, path: Path) -> None:
    """Numbers as they are, everything else as strings; row groups of ROW_GROUP rows."""
    schema = pa.schema(
        [(name, pa.from_numpy_dtype(column.dtype) if _is_number(column) else pa.string())
         for name, column in frame.items()]
    )  # fmt: skip
    ids = {name: pa.array(column.cat.categories, pa.string())
           for name, column in frame.items() if isinstance(column.dtype, pd.CategoricalDtype)}  # fmt: skip
    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, max(len(frame), 1), ROW_GROUP):
            columns = []
            for name, column in frame.items():
                piece = column.iloc[start : start + ROW_GROUP]
                if name in ids:
                    columns.append(ids[name].take(pa.array(piece.cat.codes.to_numpy())))
                else:
                    columns.append(_whole(pa.array(piece)).cast(schema.field(name).type))
            writer.write_table(pa.Table.from_arrays(columns, schema=schema))


def read_parquet(path: Path) -> pd.DataFrame | None:
    """The table as it was written, or None where there is no file.

    Of the interactions, ids come as categories and texts as Arrow strings; side tables hold objects.
    """
    if not path.is_file():
        return None
    large = path.stem == "interactions"
    try:
        table = pq.read_table(path, read_dictionary=["user_id", "item_id"] if large else None)
        frame = table.to_pandas()
        for name in frame.columns:
            if _is_number(frame[name]) or isinstance(frame[name].dtype, pd.CategoricalDtype):
                continue
            if large and pa.types.is_string(table[name].type):
                frame[name] = arrow_column(table[name])
            else:
                frame[name] = frame[name].astype(object)
    except Exception as error:  # pyarrow has many kinds of errors for one thing: a damaged file
        raise UserError(f"{path} cannot be read as Parquet: {error}") from error
    return frame


def arrow_column(strings: pa.Array | pa.ChunkedArray) -> pd.Series:
    """Arrow strings as a pandas column that keeps them in Arrow (large: above 2 GB too)."""
    return pd.Series(pd.arrays.ArrowExtensionArray(_whole(strings).cast(pa.large_string())))


def _whole(array: pa.Array | pa.ChunkedArray) -> pa.Array:
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array


def _is_number(column: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(column)
