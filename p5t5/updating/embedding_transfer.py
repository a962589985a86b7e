"""Starting embeddings for new items and users, from sparse features shared with known ones.

An item is described by its words (`p5t5.data.text_features`), a user by the items of the history.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

NEAREST, POWER = 20, 4  # of the known things whose embeddings are averaged (docs/cold-start.md)
MAX_CELLS = 1 << 23  # similarities that are held at a time: 32 MB


def carried_over(known: sparse.csr_array, values: np.ndarray, new: sparse.csr_array) -> np.ndarray:
    """float32 [new, d]: values for the features ``new`` [m, f], from ``known`` [n, f] with the ``values`` [n, d].

    The mean of the values plus the deviations of the nearest, weighted by a power of their similarity (the cosine)
    and scaled to the known deviations' mean length: a mean of several is too short to compete with
    them. Where nothing known is similar, the mean.
    """
    mean = values.mean(0)
    deviations = np.asarray(values - mean, np.float32)
    mean_length = np.linalg.norm(deviations, axis=1).mean()
    transposed, neighbours = known.T.tocsr(), min(NEAREST, len(values))
    out = np.empty((new.shape[0], values.shape[1]), np.float32)
    step = max(MAX_CELLS // len(values), 1)
    for start in range(0, len(out), step):
        similarity = (new[start : start + step] @ transposed).toarray()
        nearest = np.argpartition(-similarity, neighbours - 1, axis=1)[:, :neighbours]
        weight = np.take_along_axis(similarity, nearest, 1) ** POWER
        deviation = np.einsum("mk,mkd->md", weight, deviations[nearest])
        length = np.linalg.norm(deviation, axis=1, keepdims=True)
        out[start : start + step] = mean + deviation * (mean_length / np.where(length > 0, length, 1))
    return out
