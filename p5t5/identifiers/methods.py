"""Ways to name items and users, one file a method.

A method is a module with two functions. ``fit(split, of, seed=0, **options) -> Identifiers``, with ``of``
"item" or "user", reads training rows (``split.rows("train")``) and the catalogue's own columns, nothing
else; it is a pure function of its arguments; it resolves its collisions.
``name_new(named, known, new, seed=0) -> Identifiers`` names items that arrive later. To add a method,
write the file and put it into ``METHODS``: whatever clusters or quantises only has to end in codes.
"""

from __future__ import annotations

from types import ModuleType

import pandas as pd

from p5t5.core.errors import UserError
from p5t5.data.splits import Split
from p5t5.identifiers import atomic, collaborative, hybrid, random, semantic, sequential, title
from p5t5.identifiers.base import Identifiers

METHODS: dict[str, ModuleType] = {
    "atomic": atomic,
    "random": random,
    "sequential": sequential,
    "collaborative": collaborative,
    "semantic": semantic,
    "hybrid": hybrid,
    "title": title,
}


def fit_identifiers(method: str, split: Split, of: str, seed: int = 0, **options) -> Identifiers:
    """Fit the named method on the split's training part; UserError for an unknown name."""
    if method not in METHODS:
        raise UserError(f"identifiers: there is no method {method!r}; choose one of {', '.join(METHODS)}.")
    return METHODS[method].fit(split, of, seed, **options)


def name_new(named: Identifiers, known: pd.DataFrame, new: pd.DataFrame, seed: int = 0) -> Identifiers:
    """The identifiers with ``new`` items behind the ``known`` ones, whose codes stay as they are.

    ``known`` and ``new`` are item tables (item_id, title, attributes); ``known`` row by row what ``named``
    names; ``seed`` as in the fit. Where room is short, level sizes grow: those tokens are new to the
    model, all others it knows. UserError for an id that is named already.
    """
    if len(known) != len(named):
        raise ValueError(f"{len(named)} identifiers, but {len(known)} known items")
    ids = [*known["item_id"].tolist(), *new["item_id"].tolist()]
    if len(set(ids)) < len(ids):
        twice = pd.Series(ids)[pd.Series(ids).duplicated()].iloc[0]
        raise UserError(f"new items: {twice!r} has a name already, or occurs twice; give each new id once.")
    return METHODS[named.method].name_new(named, known, new, seed)
