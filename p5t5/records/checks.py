"""What must hold of the tables; each check raises UserError with the row and the column."""

from __future__ import annotations

import numpy as np
import pandas as pd

from p5t5.errors import UserError
from p5t5.records.cleaning import clean_text

MOST_RATING_VALUES = 101


def check_ids(frame: pd.DataFrame, where: str, columns: tuple[str, ...], unique: bool) -> None:
    """Columns of non-empty printable strings."""
    for column in columns:
        if column not in frame:
            raise UserError(f"{where}: no column {column}; there are {', '.join(map(str, frame.columns))}.")
        for row, value in enumerate(frame[column]):
            if not isinstance(value, str) or not value:
                raise UserError(
                    f"{where}, row {row}, column {column}: {value!r} is no id; ids are non-empty strings."
                )
            if not value.isprintable():
                raise UserError(f"{where}, row {row}, column {column}: {value!r} holds control characters.")
        if unique and frame[column].duplicated().any():
            twice = frame[column][frame[column].duplicated()].iloc[0]
            raise UserError(f"{where}, column {column}: {twice!r} is there twice; keep one row.")


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
    if ratings.nunique() > MOST_RATING_VALUES:
        raise UserError(
            f"interactions, column rating: {ratings.nunique()} different values, at most {MOST_RATING_VALUES} "
            "can be answers; round the ratings, to halves say."
        )


def check_texts(frame: pd.DataFrame, where: str, skip: tuple[str, ...]) -> None:
    """All columns but ``skip`` hold text as ``clean_text`` leaves it, and so do their names."""
    for column in frame.columns:
        if column in skip:
            continue
        if not isinstance(column, str) or not column or clean_text(column) != column:
            raise UserError(f"{where}: the column name {column!r} is not clean text; rename it.")
        for row, value in enumerate(frame[column]):
            if not isinstance(value, str) or clean_text(value) != value:
                raise UserError(
                    f"{where}, row {row}, column {column}: not clean text ({str(value)[:40]!r}); "
                    "make the table with `p5t5 prepare`, which cleans it."
                )
