"""Collaborative identifiers: items that the same users visit share their leading tokens.

As in "How to Index Item IDs" (Hua et al., 2023), clusters of the co-occurrence graph within clusters; here a
balanced tree over its leading factors, so that no code is wasted and none is shared.
"""

from __future__ import annotations

from p5t5.data.cooccurrence import factors, user_factors
from p5t5.data.splits import Split
from p5t5.identifiers.base import Identifiers
from p5t5.identifiers.clustering import balanced_tree
from p5t5.identifiers.naming import name_like_nearest

DIMENSIONS = 64

name_new = name_like_nearest


def fit(split: Split, of: str, seed: int = 0) -> Identifiers:
    """A tree over the factors of training co-occurrence (a user's: the mean of the items').

    What no training row has is put at a random place of the tree.
    """
    vectors = factors(split, DIMENSIONS, seed)
    if of == "user":
        vectors = user_factors(split, vectors, seed)
    return Identifiers("collaborative", of, *balanced_tree(vectors, seed))
