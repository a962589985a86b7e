"""Atomic identifiers: one token of its own for each item or user."""

from __future__ import annotations

import numpy as np
import pandas as pd

from p5t5.data.splits import Split
from p5t5.identifiers.base import Identifiers, count_of


def fit(split: Split, of: str, seed: int = 0) -> Identifiers:
    """``<item_17>`` is item number 17. Nothing is fitted, so nothing can leak; ``seed`` is not used."""
    count = count_of(split.data, of)
    return Identifiers("atomic", of, np.arange(count, dtype=np.int32)[:, None], (count,))


def name_new(named: Identifiers, known: pd.DataFrame, new: pd.DataFrame, seed: int = 0) -> Identifiers:
    """The next numbers: tokens that the model has yet to get."""
    return named.extended(len(named) + np.arange(len(new), dtype=np.int32)[:, None])
