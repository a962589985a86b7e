"""Hybrid identifiers: co-occurrence and text in one tree."""

from __future__ import annotations

import numpy as np

from p5t5.data.cooccurrence import factors, unit_rows, user_factors
from p5t5.data.splits import Split
from p5t5.data.text_features import text_vectors
from p5t5.identifiers.base import Identifiers
from p5t5.identifiers.clustering import balanced_tree
from p5t5.identifiers.naming import name_like_nearest

DIMENSIONS = 64
NEIGHBOURS = 10  # items described alike that stand in for an item that nobody has visited yet

name_new = name_like_nearest


def fit(split: Split, of: str, seed: int = 0, encoder: str = "") -> Identifiers:
    """A balanced tree over the co-occurrence factors and the text vectors side by side, at equal weight.

    An item without a training row has the mean factors of the 10 that are described most like it.
    UserError where items have no text.
    """
    texts = text_vectors(split.data.items, seed, encoder)
    behaviour = factors(split, DIMENSIONS, seed)
    seen = np.bincount(split.data.item[split.rows("train")], minlength=len(texts)) > 0
    if seen.any() and not seen.all():
        behaviour[~seen] = _from_neighbours(texts, behaviour, seen, seed)
    vectors = np.concatenate([behaviour, texts], 1)
    if of == "user":
        vectors = user_factors(split, vectors, seed)
    return Identifiers("hybrid", of, *balanced_tree(vectors, seed))


def _from_neighbours(texts: np.ndarray, behaviour: np.ndarray, seen: np.ndarray, seed: int) -> np.ndarray:
    """float32 [unseen items, dimensions], rows of norm 1."""
    others = np.flatnonzero(seen)
    nearness = texts[~seen] @ texts[others].T
    near = np.argsort(-nearness, axis=1, kind="stable")[:, :NEIGHBOURS]
    return unit_rows(behaviour[others[near]].mean(1), seed)
