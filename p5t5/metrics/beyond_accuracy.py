"""What a set of recommended lists is like, beside being right: coverage, concentration, novelty, diversity.

Lists are int [n, k] item numbers, best first, −1 behind shorter ones.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse


def coverage(items: np.ndarray, number_of_items: int) -> float:
    """The share of the catalogue that is in at least one list (Ge et al. 2010); NaN for an empty catalogue."""
    shown = np.unique(items[items >= 0])
    return len(shown) / number_of_items if number_of_items else float("nan")


def gini(items: np.ndarray, number_of_items: int) -> float:
    """How unequally the places of the lists are shared out over the catalogue.

    0: every item is shown as often; towards 1: one item fills all places (Gini coefficient of the counts, as in
    Adomavicius and Kwon 2012). NaN where nothing is shown.
    """
    counts = np.sort(np.bincount(items[items >= 0], minlength=number_of_items)).astype(np.float64)
    total = counts.sum()
    if not total:
        return float("nan")
    ranks = np.arange(1, len(counts) + 1)
    return float((2 * ranks - len(counts) - 1) @ counts / (len(counts) * total))


def novelty(items: np.ndarray, popularity: np.ndarray) -> np.ndarray:
    """float64 [n]: the mean self-information −log2 p(item) of each list, in bits (Zhou et al. 2010).

    ``popularity`` [items]: interactions of each item in training; one more is counted of each, so that an unseen item
    has a finite value. NaN for an empty list.
    """
    counts = np.asarray(popularity, np.float64) + 1
    bits = -np.log2(counts / counts.sum())
    present = items >= 0
    sums = np.where(present, bits[np.maximum(items, 0)], 0.0).sum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return sums / present.sum(1)


def intra_list_distance(items: np.ndarray, vectors: sparse.csr_array | np.ndarray) -> np.ndarray:
    """float64 [n]: the mean of 1 − cosine over the pairs of each list (Ziegler et al. 2005); NaN below two items.

    ``vectors`` [items, dimensions]: rows of length 1, or 0 for an item of which nothing is known (distance 1 to all).
    """
    out = np.full(len(items), np.nan)
    for row, listed in enumerate(items):
        listed = listed[listed >= 0]
        pairs = len(listed) * (len(listed) - 1)
        if pairs:
            own = vectors[listed]
            # All pairs at once: the squared length of the sum is the sum of all cosines.
            total = np.asarray(own.sum(0), np.float64).ravel()
            squares = own.multiply(own).sum() if sparse.issparse(own) else (own * own).sum()
            out[row] = 1 - (float(total @ total) - float(squares)) / pairs
    return out
