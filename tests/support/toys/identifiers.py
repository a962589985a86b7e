"""A way to name items and users: their number, in octal."""

from __future__ import annotations

import numpy as np
import pandas as pd

from p5t5.core.errors import UserError
from p5t5.data.splits import Split
from p5t5.identifiers.base import Identifiers, count_of, digits, levels_for

BASE = 8


def fit(split: Split, of: str, seed: int = 0) -> Identifiers:
    """The number of each thing as octal digits, with room for as many again."""
    count = count_of(split.data, of)
    levels = levels_for(2 * count, BASE)
    return Identifiers("octal", of, digits(np.arange(count), BASE, levels), (BASE,) * levels)


def name_new(named: Identifiers, known: pd.DataFrame, new: pd.DataFrame, seed: int = 0) -> Identifiers:
    """The next numbers; UserError where the digits do not suffice."""
    if len(named) + len(new) > BASE**named.levels:
        raise UserError(f"octal identifiers: {named.levels} digits do not name {len(new)} more.")
    return named.extended(digits(len(named) + np.arange(len(new)), BASE, named.levels))
