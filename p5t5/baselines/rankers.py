"""Ranking baselines, each a Scorer fitted on training rows only.

A model that does not beat co-occurrence has not won, whatever else it beats.
"""

from __future__ import annotations

import importlib
import importlib.util
import warnings
from collections.abc import Mapping

import numpy as np
from scipy import sparse

from p5t5.baselines.base import Scorer, history_matrix, item_counts, training_matrix
from p5t5.core.errors import UserError
from p5t5.core.ragged import Ragged
from p5t5.data.cooccurrence import cooccurrence
from p5t5.data.splits import Split


class Popularity(Scorer):
    """The number of training interactions, the same for every history."""

    name = "popularity"

    def __init__(self, split: Split):
        self._restore({"counts": item_counts(split)})

    def state(self) -> dict[str, np.ndarray]:
        return {"counts": self.counts}

    def _restore(self, state: Mapping[str, np.ndarray]) -> None:
        self.counts = np.asarray(state["counts"], np.float32)
        self.number_of_items = len(self.counts)

    def scores(self, histories: Ragged, users: np.ndarray | None = None) -> np.ndarray:
        return np.tile(self.counts, (len(histories), 1))


class CooccurrenceRanker(Scorer):
    """Co-occurrence counts, untuned: the baseline that every trained model should beat.

    Counts within 10 steps of the same user's training sequence, with weight 1/gap forward and 0.5/gap
    backward; the history's last 20 items vote with decay 0.8; divided by √(training interactions + 1).
    """

    name = "count_floor"

    def __init__(self, split: Split, longest: int = 20, decay: float = 0.8):
        self._restore(
            {
                **_packed(sparse.csr_array(cooccurrence(split)).astype(np.float32)),
                "scale": 1 / np.sqrt(item_counts(split) + 1),
                "longest": np.array(longest),
                "decay": np.array(decay),
            }
        )

    def state(self) -> dict[str, np.ndarray]:
        fixed = {"scale": self.scale, "longest": np.array(self.longest), "decay": np.array(self.decay)}
        return {**_packed(self.counts), **fixed}

    def _restore(self, state: Mapping[str, np.ndarray]) -> None:
        self.counts, self.scale = _unpacked(state), state["scale"]
        self.number_of_items = len(self.scale)
        self.longest, self.decay = int(state["longest"]), float(state["decay"])

    def scores(self, histories: Ragged, users: np.ndarray | None = None) -> np.ndarray:
        votes = history_matrix(_last(histories, self.longest), self.number_of_items, self.decay)
        return (votes @ self.counts).toarray() * self.scale


class ItemKNN(Scorer):
    """implicit's cosine item-kNN: the items of the history vote for their nearest neighbours."""

    name = "item_knn"
    needs_implicit = True

    def __init__(self, split: Split, neighbours: int = 100):
        model = _implicit("nearest_neighbours").CosineRecommender(K=neighbours, num_threads=1)
        with warnings.catch_warnings():  # implicit warns of a conversion that it makes itself
            warnings.simplefilter("ignore")
            model.fit(sparse.csr_matrix(training_matrix(split)), show_progress=False)
        self._restore(_packed(sparse.csr_array(model.similarity).astype(np.float32)))

    def state(self) -> dict[str, np.ndarray]:
        return _packed(self.similarity)

    def _restore(self, state: Mapping[str, np.ndarray]) -> None:
        self.similarity = _unpacked(state)
        self.number_of_items = self.similarity.shape[0]

    def scores(self, histories: Ragged, users: np.ndarray | None = None) -> np.ndarray:
        return (history_matrix(histories, self.number_of_items) @ self.similarity.T).toarray()


class ALS(Scorer):
    """implicit's alternating least squares (Hu et al. 2008); the history is folded in."""

    name = "als"
    needs_implicit = True
    nonnegative = False

    def __init__(self, split: Split, factors: int = 64, regularisation: float = 0.05, seed: int = 0):
        model = _implicit("als").AlternatingLeastSquares(
            factors=factors, regularization=regularisation, random_state=seed, num_threads=1
        )
        model.fit(sparse.csr_matrix(training_matrix(split)), show_progress=False)
        self._restore({"items": model.item_factors, "regularisation": np.array(regularisation)})

    def state(self) -> dict[str, np.ndarray]:
        return {"items": self.items, "regularisation": np.array(self.regularisation)}

    def _restore(self, state: Mapping[str, np.ndarray]) -> None:
        self.items = np.asarray(state["items"], np.float32)
        self.regularisation = float(state["regularisation"])
        self.number_of_items = len(self.items)
        gram = self.items.T.astype(np.float64) @ self.items
        self.gram = gram + self.regularisation * np.eye(len(gram))

    def scores(self, histories: Ragged, users: np.ndarray | None = None) -> np.ndarray:
        """float32 [histories, items], with implicit's confidence of 1 per visit: only repeated visits change the matrix of a history."""
        visits = history_matrix(histories, self.number_of_items)
        targets = visits.astype(np.float64) @ self.items
        folded = np.linalg.solve(self.gram, targets.T).T
        for row in np.unique(np.repeat(np.arange(len(histories)), np.diff(visits.indptr))[visits.data > 1]):
            part = slice(visits.indptr[row], visits.indptr[row + 1])
            vectors = self.items[visits.indices[part]].astype(np.float64)
            folded[row] = np.linalg.solve(
                self.gram + (vectors.T * (visits.data[part] - 1)) @ vectors, targets[row]
            )
        return folded.astype(np.float32) @ self.items.T


class BPR(Scorer):
    """implicit's Bayesian personalized ranking; needs ``users``: training users, or −1 for their mean.

    One iteration of implicit draws as many pairs as there are interactions. Its default of 100 iterations at a learning
    rate of .01 leaves small data half trained, below popularity; here each item is drawn about DRAWS_PER_ITEM times. The
    learning rate and the regularisation were chosen on validation rows of three data sets (dev/lab/baselines.md#bpr).
    """

    name = "bpr"
    needs_implicit = True
    in_fusion = False  # a vector per user
    nonnegative = False
    DRAWS_PER_ITEM, MAX_DRAWS = 4000, 200_000_000  # an hour or so on a large catalogue

    def __init__(
        self,
        split: Split,
        factors: int = 63,
        seed: int = 0,
        learning_rate: float = 0.03,
        regularisation: float = 0.05,
    ):
        matrix = sparse.csr_matrix(training_matrix(split))
        model = _implicit("bpr").BayesianPersonalizedRanking(
            factors=factors,
            learning_rate=learning_rate,
            regularization=regularisation,
            iterations=-(
                -min(self.DRAWS_PER_ITEM * split.data.number_of_items, self.MAX_DRAWS) // max(matrix.nnz, 1)
            ),
            random_state=seed,
            num_threads=1,
        )
        model.fit(matrix, show_progress=False)
        self._restore({"users": np.asarray(model.user_factors), "items": np.asarray(model.item_factors)})

    def state(self) -> dict[str, np.ndarray]:
        return {"users": self.users, "items": self.items}

    def _restore(self, state: Mapping[str, np.ndarray]) -> None:
        self.users, self.items = state["users"], state["items"]
        self.number_of_items = len(self.items)

    def scores(self, histories: Ragged, users: np.ndarray | None = None) -> np.ndarray:
        if users is None:
            raise UserError("bpr scores known users, not histories: pass their numbers as users")
        user_vectors = np.where((users >= 0)[:, None], self.users[users], self.users.mean(0))
        return (user_vectors @ self.items.T).astype(np.float32)


def _packed(matrix: sparse.csr_array) -> dict[str, np.ndarray]:
    return {"data": matrix.data, "indices": matrix.indices, "indptr": matrix.indptr}


def _unpacked(state: Mapping[str, np.ndarray]) -> sparse.csr_array:
    size = len(state["indptr"]) - 1
    return sparse.csr_array((state["data"], state["indices"], state["indptr"]), (size, size))


def _last(histories: Ragged, longest: int) -> Ragged:
    lengths = np.minimum(histories.lengths, longest)
    from_end = np.repeat(histories.offsets[1:], histories.lengths) - np.arange(len(histories.values))
    return Ragged.from_lengths(histories.values[from_end <= longest], lengths)


def _implicit(module: str):
    try:
        return importlib.import_module(f"implicit.{module}")
    except ImportError as error:
        raise UserError('this baseline needs the package implicit: pip install "p5t5[baselines]"') from error
