"""Starting embeddings for new items and users, from sparse features shared with known ones.

An item is described by its words (`p5t5.data.text_features`), a user by the items of the history.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

NEAREST, POWER = 20, 4  # of the known things that speak for a new one (docs/cold-start.md)
TABLE = 1 << 23  # likenesses that are held at a time: 32 MB


def carried_over(known: sparse.csr_array, values: np.ndarray, new: sparse.csr_array) -> np.ndarray:
    """float32 [new, d]: what the features ``new`` [m, f] say, when ``known`` [n, f] stand for ``values`` [n, d].

    The mean of the values plus the deviations of the most alike, weighted by a power of their likeness
    (the cosine) and brought to the known deviations' mean length: a mean of several is too short to compete
    with them. What is like nothing known gets the mean.
    """
    mean = values.mean(0)
    rest = np.asarray(values - mean, np.float32)
    usual = np.linalg.norm(rest, axis=1).mean()
    turned, number = known.T.tocsr(), min(NEAREST, len(values))
    out = np.empty((new.shape[0], values.shape[1]), np.float32)
    step = max(TABLE // len(values), 1)
    for start in range(0, len(out), step):
        like = (new[start : start + step] @ turned).toarray()
        near = np.argpartition(-like, number - 1, axis=1)[:, :number]
        weight = np.take_along_axis(like, near, 1) ** POWER
        deviation = np.einsum("mk,mkd->md", weight, rest[near])
        length = np.linalg.norm(deviation, axis=1, keepdims=True)
        out[start : start + step] = mean + deviation * (usual / np.where(length > 0, length, 1))
    return out
