"""Your own tables: CSV, TSV, Parquet or JSON lines, with a mapping of column names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from p5t5.errors import UserError
from p5t5.records import TEXT_COLUMNS, Records, make_records
from p5t5.sources.amazon import seconds
from p5t5.sources.files import read_table

INTERACTION_COLUMNS = ("user_id", "item_id", "rating", "timestamp", *TEXT_COLUMNS)


def read(
    interactions: str | Path,
    items: str | Path | None = None,
    users: str | Path | None = None,
    columns: Mapping[str, str] | None = None,
    name: str | None = None,
    separator: str | None = None,
    all_items: bool = False,
) -> Records:
    """``columns``: our name → the file's, where they differ: ``{"user_id": "member", "rating": "stars"}``.

    It holds for all files; ``title`` too. Other columns of the item and user tables are attributes;
    other columns of the interactions are not read. Times are seconds, milliseconds or dates.
    """
    columns = dict(columns or {})
    known = (*INTERACTION_COLUMNS, "title")
    for ours in columns:
        if ours not in known:
            raise UserError(f"--columns: there is no column {ours!r} here; there are {', '.join(known)}.")
    path = Path(interactions)
    table = _renamed(read_table(path, separator), columns, path, INTERACTION_COLUMNS, ("user_id", "item_id"))
    table = table[[column for column in INTERACTION_COLUMNS if column in table]].copy()
    for column in ("rating", "timestamp"):
        if column in table:
            table[column] = _numbers(table[column], column, path)
    item_table = None
    if items is not None:
        item_table = _renamed(
            read_table(items, separator), columns, Path(items), ("item_id", "title"), ("item_id",)
        )
    user_table = None
    if users is not None:
        user_table = _renamed(read_table(users, separator), columns, Path(users), ("user_id",), ("user_id",))
    files = [path.name, *(Path(file).name for file in (items, users) if file is not None)]
    info = {"source": f"tables {', '.join(files)}"}
    return make_records(
        name or path.name.split(".")[0], table, item_table, user_table, info=info, all_items=all_items
    )


def _renamed(
    table: pd.DataFrame,
    columns: Mapping[str, str],
    path: Path,
    wanted: tuple[str, ...],
    needed: tuple[str, ...],
) -> pd.DataFrame:
    for ours in wanted:
        theirs = columns.get(ours, ours)
        if theirs not in table and (
            ours in needed or (ours in columns and ours not in ("user_id", "item_id", "title"))
        ):
            raise UserError(
                f"{path.name}: no column {theirs}; there are {', '.join(map(str, table.columns))}. "
                f"Say which one it is with --columns {ours}=NAME."
            )
    mapping = {columns[ours]: ours for ours in wanted if columns.get(ours) in table}
    # A column of ours that another one replaces would otherwise be there twice.
    return table.drop(columns=[o for t, o in mapping.items() if o in table and o != t]).rename(
        columns=mapping
    )


def _numbers(values: pd.Series, column: str, path: Path) -> np.ndarray:
    """float64, NaN where a cell is empty. Raises UserError for a cell that is neither number nor date."""
    blank = np.array([value is None or value != value or str(value).strip() == "" for value in values])
    if column == "timestamp" and (dates := _dates(values, blank)) is not None:
        return dates
    numbers = pd.to_numeric(values.where(~blank), errors="coerce").to_numpy(np.float64)
    bad = np.flatnonzero(~np.isfinite(numbers) & ~blank)
    if len(bad):
        wanted = "a number" if column == "rating" else "a time (seconds, milliseconds or a date)"
        raise UserError(
            f"{path.name}, row {bad[0] + 1}, column {column}: {values.iloc[bad[0]]!r} is not {wanted}."
        )
    return seconds(pd.Series(numbers)) if column == "timestamp" else numbers


def _dates(values: pd.Series, blank: np.ndarray) -> np.ndarray | None:
    """Seconds since 1970 of dates (UTC where no zone is given), or None where the values are no dates."""
    if (~blank).any() and not pd.api.types.is_datetime64_any_dtype(values):
        first = values[~blank].iloc[0]
        if not isinstance(first, str) or first.strip().lstrip("-").replace(".", "", 1).isdigit():
            return None
    try:
        moments = pd.to_datetime(
            values.where(~blank), utc=True, format=None if _is_time(values) else "ISO8601"
        )
    except (ValueError, TypeError):
        return None
    since = (moments - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(seconds=1)
    return np.floor(since.to_numpy(np.float64))


def _is_time(values: pd.Series) -> bool:
    return pd.api.types.is_datetime64_any_dtype(values)
