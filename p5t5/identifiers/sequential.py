"""Sequential identifiers: numbers in the order of first appearance, so that neighbours share digits.

The numbering walks over *training rows only*. P5 walked over whole sequences, test item included,
and "the largest number in the history plus one" then found the test item (see the leak gates).
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from p5t5.core.randomness import generator
from p5t5.data.splits import Split
from p5t5.identifiers.base import Identifiers, count_of, digits, levels_for


def fit(split: Split, of: str, seed: int = 0, base: int = 100) -> Identifiers:
    """Number things by their first training row (users in user order, then time); write the digits.

    Things without a training row come last, shuffled by ``seed``: any fixed order of theirs might
    say something about the rows that are held back.
    """
    column = split.data.item if of == "item" else split.data.user
    trained = column[split.rows("train")]
    found, first = np.unique(trained, return_index=True)
    seen = found[np.argsort(first, kind="stable")]
    unseen = generator(seed, len(column)).permutation(np.setdiff1d(np.arange(count_of(split.data, of)), seen))
    order = np.concatenate([seen, unseen]).astype(np.int64)
    number = np.empty(len(order), np.int64)
    number[order] = np.arange(len(order))
    levels = levels_for(len(order), base)
    leading = max(-(-len(order) // base ** (levels - 1)), 1)  # first digits in use
    return Identifiers("sequential", of, digits(number, base, levels), (leading,) + (base,) * (levels - 1))


def name_new(named: Identifiers, known: pd.DataFrame, new: pd.DataFrame, seed: int = 0) -> Identifiers:
    """The next numbers; a new leading digit where the old ones are used up."""
    base = named.level_sizes[-1]
    numbers = len(named) + np.arange(len(new), dtype=np.int64)
    rest = digits(numbers, base, named.levels)
    rest[:, 0] = numbers // base ** (named.levels - 1)
    return named.extended(rest)
