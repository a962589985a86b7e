"""Raw columns → Records: ids and texts cleaned, rows sorted, what is dropped counted by reason."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from p5t5.core.errors import UserError
from p5t5.data.records.cell_texts import cell_texts
from p5t5.data.records.cleaning import (
    clean_column,
    clean_id,
    clean_text,
    id_categories,
    text_array,
    without_unused,
)
from p5t5.data.records.parquet import arrow_column
from p5t5.data.records.tables import TEXT_COLUMNS, Records, user_time_order

MISSING_ID = "user or item missing"
UNFIT_ID = "user or item holds control characters"
_KNOWN = ("user_id", "item_id", "rating", "timestamp", *TEXT_COLUMNS)
REPEATED = "same user, item and time as an earlier row"


def make_records(
    name: str,
    interactions: pd.DataFrame,
    items: pd.DataFrame | None = None,
    users: pd.DataFrame | None = None,
    triples: pd.DataFrame | None = None,
    *,
    info: dict[str, Any] | None = None,
    all_items: bool = False,
) -> Records:
    """Raw columns (any dtypes, file order) → checked Records: cleaned, sorted, drops counted by reason.

    Rows without a user, item, rating or time (where the column is there) are dropped, and those that repeat
    the user, item and time of an earlier one (without times, a repeat is a second visit and stays);
    ``info["dropped"]`` says how many and why. The catalogue is the items with at least one interaction, or
    every listed item with ``all_items``; items that the items table lacks are added with their id alone.
    Text columns that are empty throughout are left out.
    """
    info = dict(info or {})
    dropped: dict[str, int] = dict(info.pop("dropped", {}))
    for column in ("user_id", "item_id"):
        if column not in interactions:
            raise UserError(
                f"interactions: no column {column}; there are {', '.join(map(str, interactions.columns))}."
            )
    # A large table's columns go as they are used up, where the caller has let go of it too.
    raw = {column: interactions[column] for column in _KNOWN if column in interactions}
    keep = np.ones(len(interactions), bool)
    del interactions
    ids = {}
    for column in ("user_id", "item_id"):
        ids[column], unfit = id_categories(raw.pop(column))
        _drop(keep, unfit, UNFIT_ID, dropped)
    _drop(keep, (ids["user_id"].codes < 0) | (ids["item_id"].codes < 0), MISSING_ID, dropped)
    numbers = {}
    for column, reason in (("rating", "rating missing"), ("timestamp", "timestamp missing")):
        if column in raw:
            numbers[column] = _numbers(raw.pop(column))
            _drop(keep, ~np.isfinite(numbers[column]), reason, dropped)
    rows: slice | np.ndarray = slice(None) if keep.all() else np.flatnonzero(keep)
    ids = {column: without_unused(column_ids[rows]) for column, column_ids in ids.items()}
    time = numbers.pop("timestamp")[rows].astype(np.int64, copy=False) if "timestamp" in numbers else None
    order = user_time_order(ids["user_id"].codes.astype(np.int32, copy=False), time)
    columns: dict[str, Any] = {}
    if time is not None:
        time = time[order]
        user, item = (ids[column].codes[order] for column in ("user_id", "item_id"))
        repeats = _repeats(user, item, time)
        del user, item
        if len(repeats):
            dropped[REPEATED] = dropped.get(REPEATED, 0) + len(repeats)
            order = np.delete(np.arange(len(time))[order], repeats)
            time = np.delete(time, repeats)
    for column in ("user_id", "item_id"):
        columns[column] = ids.pop(column)[order]
    if "rating" in numbers:
        columns["rating"] = numbers.pop("rating")[rows][order]
    if time is not None:
        columns["timestamp"] = time
    for column in TEXT_COLUMNS:
        if column in raw:
            texts = arrow_column(text_array(raw.pop(column)))
            texts = texts.iloc[rows].iloc[order].reset_index(drop=True)
            if (texts != "").any():
                columns[column] = texts
    table = pd.DataFrame(columns, copy=False)
    catalogue = _catalogue(items, columns["item_id"].categories, all_items)
    if users is not None:
        users = _cleaned(users, "user_id")
        users = users[users["user_id"].isin(columns["user_id"].categories)].reset_index(drop=True)
    if triples is not None:
        facts = _cleaned(triples, "head", unique=False)
        triples = facts[facts["head"].isin(set(catalogue["item_id"]))].reset_index(drop=True)
    info["dropped"] = dropped
    records = Records(name, table, catalogue, users, triples, info)
    records.check()
    return records


def _drop(keep: np.ndarray, which: np.ndarray, reason: str, dropped: dict[str, int]) -> None:
    """Takes rows out of ``keep`` (bool [n], in place) and counts those that were still there."""
    number = int((keep & which).sum())
    if number:
        dropped[reason] = dropped.get(reason, 0) + number
        keep &= ~which


def _numbers(column: pd.Series) -> np.ndarray:
    """float64 [n], NaN where a cell is no number; what are numbers stays as it is."""
    if isinstance(column.dtype, np.dtype) and column.dtype.kind in "if":
        return column.to_numpy()
    return pd.to_numeric(column, errors="coerce").to_numpy(np.float64, na_value=np.nan)


def _repeats(user: np.ndarray, item: np.ndarray, time: np.ndarray) -> np.ndarray:
    """int64: rows with the user, item and time of an earlier row, of rows sorted by user and time."""
    tied = (user[1:] == user[:-1]) & (time[1:] == time[:-1])
    in_tie = np.zeros(len(user), bool)
    in_tie[1:] |= tied
    in_tie[:-1] |= tied
    rows = np.flatnonzero(in_tie)
    if not len(rows):
        return rows
    run = np.cumsum(np.concatenate([[True], ~tied])[rows])
    order = np.lexsort((item[rows], run))
    rows, run = rows[order], run[order]
    again = (run[1:] == run[:-1]) & (item[rows[1:]] == item[rows[:-1]])
    return np.sort(rows[1:][again])


def _cleaned(frame: pd.DataFrame, key: str, unique: bool = True) -> pd.DataFrame:
    """A side table with ids in ``key`` and clean text elsewhere; the first row of an id counts."""
    if key not in frame:
        raise UserError(f"no column {key}; there are {', '.join(map(str, frame.columns))}.")
    out: dict[str, Any] = {key: [clean_id(value) or "" for value in frame[key]]}
    for column in frame.columns:
        if column != key:
            texts = cell_texts(frame[column], lists=column != "title")
            out[clean_text(str(column))] = pd.Series(clean_column(texts), index=frame.index, dtype=object)
    table = pd.DataFrame(out)
    table = table[table[key] != ""]
    if unique:
        table = table.drop_duplicates(key)
    return table.reset_index(drop=True)


def _catalogue(items: pd.DataFrame | None, present: pd.Index, all_items: bool) -> pd.DataFrame:
    listed = _cleaned(items if items is not None else pd.DataFrame({"item_id": []}), "item_id")
    if not all_items:
        listed = listed[listed["item_id"].isin(present)]
    missing = sorted(set(present) - set(listed["item_id"]))
    table = pd.concat([listed, pd.DataFrame({"item_id": pd.Series(missing, dtype=object)})])
    table = table.astype(object).where(table.notna(), "").sort_values("item_id", kind="stable")
    empty = [column for column in table if column != "item_id" and not (table[column] != "").any()]
    return table.drop(columns=empty).reset_index(drop=True)
