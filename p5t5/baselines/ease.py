"""EASE: a linear item-to-item model with a closed form (Steck, "Embarrassingly Shallow Autoencoders", WWW 2019).

Its matrix is dense and inverting it takes time cubic in the catalogue, so it is not a default baseline:
``benchmarks/quality.py`` runs it where it fits.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy import linalg, sparse

from p5t5.baselines.base import Scorer, history_matrix, training_matrix
from p5t5.core.errors import UserError
from p5t5.core.ragged import Ragged
from p5t5.data.splits import Split

MAX_ITEMS = 20_000  # 1.6 GB of float32, and about as long to invert as a small model trains


class EASE(Scorer):
    """score = x · B with B = I − P · diag(1 / diag P) and P = (XᵀX + λI)⁻¹, for the 0/1 training matrix X.

    ``regularisation``: λ; larger where the data is dense. Raises UserError for a catalogue of more than
    MAX_ITEMS items, and where the matrix cannot be inverted.
    """

    name = "ease"
    nonnegative = False

    def __init__(self, split: Split, regularisation: float = 200.0):
        items = split.data.number_of_items
        if items > MAX_ITEMS:
            raise UserError(
                f"ease inverts a matrix of items × items: {items} items are too many (at most {MAX_ITEMS}); leave it out"
            )
        if not regularisation > 0:
            raise UserError(f"ease: the regularisation must be above 0, not {regularisation}")
        seen = training_matrix(split)
        seen.data[:] = 1
        gram = (seen.T @ seen).toarray().astype(np.float32, copy=False)
        gram[np.diag_indices(items)] += np.float32(regularisation)
        # In place throughout: at 12,000 items each copy is half a gigabyte.
        upper, failed = linalg.lapack.spotrf(gram.T, lower=0, overwrite_a=1)
        if failed:
            raise UserError(
                f"ease: the matrix cannot be inverted; the regularisation {regularisation} is too small"
            )
        inverse, _ = linalg.lapack.spotri(upper, lower=0, overwrite_c=1)
        inverse = np.triu(inverse)
        inverse += np.triu(inverse, 1).T
        weights = inverse / -np.diag(inverse)
        weights[np.diag_indices(items)] = 0
        self._restore({"weights": np.ascontiguousarray(weights)})

    def state(self) -> dict[str, np.ndarray]:
        return {"weights": self.weights}

    def _restore(self, state: Mapping[str, np.ndarray]) -> None:
        self.weights = np.asarray(state["weights"], np.float32)
        self.number_of_items = len(self.weights)

    def scores(self, histories: Ragged, users: np.ndarray | None = None) -> np.ndarray:
        seen = sparse.csr_array(history_matrix(histories, self.number_of_items))
        seen.data[:] = 1
        return seen @ self.weights
