"""Semantic identifiers: items with similar descriptions share their leading tokens.

Residual k-means over text vectors (the codes of TIGER, Rajput et al., 2023, without a neural quantizer); a
last level tells equal codes apart.
"""

from __future__ import annotations

from p5t5.data.cooccurrence import user_factors
from p5t5.data.splits import Split
from p5t5.data.text_features import text_vectors
from p5t5.identifiers.base import Identifiers, levels_for, told_apart
from p5t5.identifiers.clustering import residual_kmeans
from p5t5.identifiers.naming import name_like_nearest

BRANCHING = 64
ROOM = 16  # codes a thing: residuals use them unevenly

name_new = name_like_nearest


def fit(split: Split, of: str, seed: int = 0, encoder: str = "") -> Identifiers:
    """Codes of title and attributes (a user's: the mean over the training items); no interaction is needed.

    ``encoder``: a sentence-transformers model, instead of TF-IDF. UserError where items have no text.
    """
    vectors = text_vectors(split.data.items, seed, encoder)
    if of == "user":
        vectors = user_factors(split, vectors, seed)
    number = len(vectors)
    branching = min(BRANCHING, max(number, 2))
    levels = levels_for(ROOM * number, branching)
    codes, collisions = told_apart(residual_kmeans(vectors, branching, levels, seed))
    sizes = (branching,) * levels + ((int(codes[:, -1].max()) + 1,) if codes.shape[1] > levels else ())
    return Identifiers("semantic", of, codes, sizes, collisions=collisions)
