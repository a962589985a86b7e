"""What must hold of the tables; each check raises UserError with the row and the column."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa

from p5t5.core.errors import UserError
from p5t5.data.records.cleaning import clean_text, is_id, not_odd

MOST_RATING_VALUES = 101


def check_ids(frame: pd.DataFrame, where: str, columns: tuple[str, ...], unique: bool) -> None:
    """Columns of non-empty printable strings. Of categories, each is looked at once."""
    for column in columns:
        if column not in frame:
            raise UserError(f"{where}: no column {column}; there are {', '.join(map(str, frame.columns))}.")
        values = frame[column]
        distinct = values.cat.categories if isinstance(values.dtype, pd.CategoricalDtype) else values
        for row, value in enumerate(distinct):
            if not isinstance(value, str) or not is_id(value):
                if distinct is not values:
                    row = int(np.flatnonzero(values == value)[0]) if (values == value).any() else row
                _no_id(where, row, column, value)
        if distinct is not values and (missing := np.flatnonzero(values.cat.codes.to_numpy() < 0)).size:
            _no_id(where, int(missing[0]), column, None)
        if unique and values.duplicated().any():
            twice = values[values.duplicated()].iloc[0]
            raise UserError(f"{where}, column {column}: {twice!r} is there twice; keep one row.")


def _no_id(where: str, row: int, column: str, value: object) -> None:
    if isinstance(value, str) and value:
        raise UserError(f"{where}, row {row}, column {column}: {value!r} holds control characters.")
    raise UserError(f"{where}, row {row}, column {column}: {value!r} is no id; ids are non-empty strings.")


def check_known(interactions: pd.DataFrame, items: pd.DataFrame) -> None:
    """Every item of the interactions is in the items table."""
    known = set(items["item_id"])
    unknown = set(interactions["item_id"].unique()) - known
    if unknown:
        rows = np.flatnonzero(interactions["item_id"].isin(unknown).to_numpy())
        item_id = interactions["item_id"].iloc[rows[0]]
        raise UserError(f"interactions, row {rows[0]}: item {item_id!r} is not in the items table; add it.")


def check_ratings(ratings: pd.Series) -> None:
    """Finite numbers, few different ones: each is an answer the model must spell."""
    if not pd.api.types.is_numeric_dtype(ratings):
        raise UserError("interactions, column rating: must be numbers.")
    bad = np.flatnonzero(~np.isfinite(ratings.to_numpy(np.float64)))
    if len(bad):
        value = ratings.iloc[bad[0]]
        raise UserError(
            f"interactions, row {bad[0]}, column rating: {value} is no rating; drop the row or fill it in."
        )
    if (different := ratings.nunique()) > MOST_RATING_VALUES:
        raise UserError(
            f"interactions, column rating: {different} different values, at most {MOST_RATING_VALUES} "
            "can be answers; round the ratings, to halves say (`prepare table`: --rating_step 0.5), "
            "or leave them out (--rating none)."
        )


def check_texts(frame: pd.DataFrame, where: str, skip: tuple[str, ...]) -> None:
    """All columns but ``skip`` hold text as ``clean_text`` leaves it, and so do their names."""
    for column in frame.columns:
        if column in skip:
            continue
        if not isinstance(column, str) or not column or clean_text(column) != column:
            raise UserError(f"{where}: the column name {column!r} is not clean text; rename it.")
        values = frame[column]
        rows: np.ndarray | range = range(len(values))
        if isinstance(values.dtype, pd.ArrowDtype):
            strings = pa.array(values)
            if isinstance(strings, pa.ChunkedArray):
                strings = strings.combine_chunks()
            rows = np.flatnonzero(~not_odd(strings))
            values = values.iloc[rows]
        for row, value in zip(rows, values, strict=True):
            if not isinstance(value, str) or clean_text(value) != value:
                raise UserError(
                    f"{where}, row {row}, column {column}: not clean text ({str(value)[:40]!r}); "
                    "make the table with `p5t5 prepare`, which cleans it."
                )
