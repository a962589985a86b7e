"""Ways to name items and users, one file a method.

A method is a function ``fit(split, of, seed=0, **options) -> Identifiers`` with ``of`` "item" or
"user". It reads training rows (``split.rows("train")``) and the catalogue's own columns, nothing
else; it is a pure function of its arguments; it resolves its collisions. To add one, write the file
and put it into ``METHODS``: whatever clusters or quantises only has to end in codes [n, levels].
"""

from __future__ import annotations

from collections.abc import Callable

from p5t5.errors import UserError
from p5t5.identifiers import atomic, random, sequential
from p5t5.identifiers.base import Identifiers
from p5t5.splits import Split

__all__ = ["METHODS", "Identifiers", "fit_identifiers"]

METHODS: dict[str, Callable[..., Identifiers]] = {
    "atomic": atomic.fit,
    "random": random.fit,
    "sequential": sequential.fit,
}


def fit_identifiers(method: str, split: Split, of: str, seed: int = 0, **options) -> Identifiers:
    """Fit the named method on the split's training part; UserError for an unknown name."""
    if method not in METHODS:
        raise UserError(f"identifiers: there is no method {method!r}; choose one of {', '.join(METHODS)}.")
    return METHODS[method](split, of, seed, **options)
