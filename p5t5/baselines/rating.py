"""Rating baselines, fitted on training rows only.

A model that does not beat biases alone has not won. Validation rows are used to choose penalties and the like, for
nothing else.
"""

from __future__ import annotations

import importlib.util
from itertools import product
from typing import Protocol

import numpy as np
from scipy import sparse

from p5t5.core.errors import UserError
from p5t5.data.splits import Split

MAX_SURPRISE_RATINGS = (
    5_000_000  # training ratings: Surprise holds them as Python tuples and refits for each setting
)

SOLVE_ROWS = 1 << 16  # factor rows solved at once: their normal equations take 650 bytes each


class RatingBaseline(Protocol):
    """Predicts ratings of (user, item) pairs, in the unit of the data."""

    name: str

    def predict(self, user: np.ndarray, item: np.ndarray) -> np.ndarray:
        """float64 [n]: for ``user`` and ``item`` int [n]."""
        ...


class Ratings:
    """The ratings of a part of a split, or of given rows: ``user``, ``item`` int [n], ``rating`` float64 [n].

    Raises UserError where the data has no ratings.
    """

    def __init__(self, split: Split, part: str | np.ndarray):
        data, rows = split.data, split.rows(part) if isinstance(part, str) else part
        if data.rating is None:
            raise UserError(f"the data set {data.name} has no rating column, so rating baselines are off")
        rows = rows[np.isfinite(data.rating[rows])]
        self.user, self.item = data.user[rows], data.item[rows]
        self.rating = data.rating[rows].astype(np.float64)

    def error(self, predictor: RatingBaseline) -> float:
        """Mean squared error; infinite for an empty part, so that the first choice wins."""
        if not len(self.rating):
            return np.inf
        return float(((predictor.predict(self.user, self.item) - self.rating) ** 2).mean())


class GlobalMean:
    """The mean training rating."""

    name = "global_mean"

    def __init__(self, split: Split):
        self.mean = float(Ratings(split, "train").rating.mean())

    def predict(self, user: np.ndarray, item: np.ndarray) -> np.ndarray:
        return np.full(len(user), self.mean)


class BiasOnly:
    """mean + user bias + item bias by alternating ridge regression (Koren et al. 2009).

    The two penalties are chosen on validation RMSE. Predictions are clipped to the rating scale.
    ``train`` and ``validation``: ratings to fit and to choose on instead of the split's own.
    """

    name = "bias"

    def __init__(
        self,
        split: Split,
        penalties: tuple[float, ...] = (1, 2, 5, 10, 20),
        sweeps: int = 20,
        train: Ratings | None = None,
        validation: Ratings | None = None,
    ):
        train, validation = train or Ratings(split, "train"), validation or Ratings(split, "validation")
        self.shape, self.sweeps = (split.data.number_of_users, split.data.number_of_items), sweeps
        self.low, self.high = float(train.rating.min()), float(train.rating.max())
        self.mean = float(train.rating.mean())
        self.user, self.item = np.zeros(self.shape[0]), np.zeros(self.shape[1])
        best, chosen = np.inf, None
        for user_penalty in penalties:
            for item_penalty in penalties:
                self._fit(train, user_penalty, item_penalty)
                error = validation.error(self)
                if chosen is None or error < best:
                    best, chosen = error, (self.user, self.item, user_penalty, item_penalty)
        assert chosen is not None
        self.user, self.item, self.user_penalty, self.item_penalty = chosen

    def refit(self, train: Ratings) -> None:
        """Fits again on other ratings, with the chosen penalties."""
        self.mean = float(train.rating.mean())
        self._fit(train, self.user_penalty, self.item_penalty)

    def _fit(self, train: Ratings, user_penalty: float, item_penalty: float) -> None:
        residual = train.rating - self.mean
        user_count = np.bincount(train.user, minlength=self.shape[0]) + user_penalty
        item_count = np.bincount(train.item, minlength=self.shape[1]) + item_penalty
        self.user, self.item = np.zeros(self.shape[0]), np.zeros(self.shape[1])
        for _ in range(self.sweeps):
            remainder = residual - self.user[train.user]
            self.item = np.bincount(train.item, remainder, self.shape[1]) / item_count
            remainder = residual - self.item[train.item]
            self.user = np.bincount(train.user, remainder, self.shape[0]) / user_count

    def predict(self, user: np.ndarray, item: np.ndarray) -> np.ndarray:
        return np.clip(self.mean + self.user[user] + self.item[item], self.low, self.high)


class MatrixFactorization:
    """mean + biases + user · item factors by alternating least squares (Koren et al. 2009).

    Rank and penalty are chosen on validation RMSE; biases are part of the vectors, with the
    penalties chosen by BiasOnly. Predictions are clipped to the rating scale. ``bias``: a BiasOnly fitted on
    the same ratings; ``train`` and ``validation``: as in BiasOnly.
    """

    name = "mf"

    def __init__(
        self,
        split: Split,
        ranks: tuple[int, ...] = (4, 8),
        penalties: tuple[float, ...] = (3, 6, 12, 25),
        sweeps: int = 12,
        seed: int = 0,
        bias: BiasOnly | None = None,
        train: Ratings | None = None,
        validation: Ratings | None = None,
    ):
        train, validation = train or Ratings(split, "train"), validation or Ratings(split, "validation")
        self.bias = bias or BiasOnly(split, train=train, validation=validation)
        self.sweeps, self.seed = sweeps, seed
        self._tabulate(train)
        self.user = self.item = np.zeros((0, 1))
        best, chosen = np.inf, None
        for rank in ranks:
            for penalty in penalties:
                self._fit(rank, penalty)
                error = validation.error(self)
                if chosen is None or error < best:
                    best, chosen = error, (self.user, self.item, rank, penalty)
        assert chosen is not None
        self.user, self.item, self.rank, self.penalty = chosen

    def refit(self, train: Ratings) -> None:
        """Fits again on other ratings, biases included, with the chosen rank and penalty."""
        self.bias.refit(train)
        self._tabulate(train)
        self._fit(self.rank, self.penalty)

    def _tabulate(self, train: Ratings) -> None:
        residual = train.rating - self.bias.mean
        self.by_user = _matrix(train.user, train.item, residual, self.bias.shape)
        self.by_item = _matrix(train.item, train.user, residual, self.bias.shape[::-1])

    def _fit(self, rank: int, penalty: float) -> None:
        """Vectors float64 [n, rank + 1]: the factors, and the bias in the last column."""
        rng = np.random.default_rng(self.seed)
        self.user = np.concatenate(
            [rng.normal(0, 0.1, (len(self.bias.user), rank)), self.bias.user[:, None]], 1
        )
        self.item = np.concatenate(
            [rng.normal(0, 0.1, (len(self.bias.item), rank)), self.bias.item[:, None]], 1
        )
        user_ridge = np.r_[np.full(rank, penalty), self.bias.user_penalty]
        item_ridge = np.r_[np.full(rank, penalty), self.bias.item_penalty]
        for _ in range(self.sweeps):
            self.user = _solve(self.by_user, self.item, user_ridge)
            self.item = _solve(self.by_item, self.user, item_ridge)

    def predict(self, user: np.ndarray, item: np.ndarray) -> np.ndarray:
        p, q = self.user[user], self.item[item]
        value = self.bias.mean + (p[:, :-1] * q[:, :-1]).sum(1) + p[:, -1] + q[:, -1]
        return np.clip(value, self.bias.low, self.bias.high)


def _matrix(row: np.ndarray, column: np.ndarray, value: np.ndarray, shape) -> sparse.csr_array:
    """A CSR matrix that keeps every rating, also where a pair occurs twice."""
    order = np.argsort(row, kind="stable")
    offsets = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=shape[0]))])
    return sparse.csr_array((value[order], column[order], offsets), shape=shape)


def _solve(targets: sparse.csr_array, other: np.ndarray, ridge: np.ndarray) -> np.ndarray:
    """float64 [rows, rank + 1]: ridge regression of each row of ``targets`` on the other side's vectors, with biases."""
    features = np.concatenate([other[:, :-1], np.ones((len(other), 1))], 1)
    width = features.shape[1]
    outer = (features[:, :, None] * features[:, None, :]).reshape(len(features), -1)
    solved = np.empty((targets.shape[0], width))
    for start in range(0, len(solved), SOLVE_ROWS):
        chunk = targets[start : start + SOLVE_ROWS]
        ones = sparse.csr_array((np.ones(chunk.nnz), chunk.indices, chunk.indptr), shape=chunk.shape)
        gram = (ones @ outer).reshape(-1, width, width) + np.diag(ridge)
        residuals = sparse.csr_array(
            (chunk.data - other[chunk.indices, -1], chunk.indices, chunk.indptr), shape=chunk.shape
        )
        solved[start : start + SOLVE_ROWS] = np.linalg.solve(gram, (residuals @ features)[:, :, None])[
            :, :, 0
        ]
    return solved


class SurpriseSVD:
    """mean + biases + user · item factors by stochastic gradient descent: Surprise's SVD (Hug 2020).

    Factors, epochs and penalty are chosen on validation RMSE. Predictions are clipped to the rating
    scale; for a user or an item without training ratings, bias and factors are 0.
    """

    name = "surprise_svd"

    def __init__(
        self,
        split: Split,
        factors: tuple[int, ...] = (16, 64),
        epochs: tuple[int, ...] = (20, 60),
        penalties: tuple[float, ...] = (0.05, 0.1, 0.2),
        seed: int = 0,
    ):
        try:
            from surprise import SVD, Trainset
        except ImportError as missing:
            raise UserError(
                'this baseline needs the package scikit-surprise: pip install "p5t5[baselines]"'
            ) from missing
        train, validation = Ratings(split, "train"), Ratings(split, "validation")
        self.low, self.high = float(train.rating.min()), float(train.rating.max())
        self.mean = float(train.rating.mean())
        users, user = np.unique(train.user, return_inverse=True)
        items, item = np.unique(train.item, return_inverse=True)
        trainset = Trainset(
            _lists(user, item, train.rating),
            _lists(item, user, train.rating),
            len(users),
            len(items),
            len(train.rating),
            (self.low, self.high),
            dict(enumerate(users.tolist())),
            dict(enumerate(items.tolist())),
        )
        best, chosen = np.inf, None
        for rank, sweeps, penalty in product(factors, epochs, penalties):
            model = SVD(n_factors=rank, n_epochs=sweeps, reg_all=penalty, random_state=seed)
            model.fit(trainset)
            self.user = _placed(users, np.c_[model.pu, model.bu], split.data.number_of_users)
            self.item = _placed(items, np.c_[model.qi, model.bi], split.data.number_of_items)
            error = validation.error(self)
            if chosen is None or error < best:
                best, chosen = error, (self.user, self.item, rank, sweeps, penalty)
        assert chosen is not None
        self.user, self.item, self.rank, self.epochs, self.penalty = chosen

    def predict(self, user: np.ndarray, item: np.ndarray) -> np.ndarray:
        p, q = self.user[user], self.item[item]
        value = self.mean + (p[:, :-1] * q[:, :-1]).sum(1) + p[:, -1] + q[:, -1]
        return np.clip(value, self.low, self.high)


def _lists(group: np.ndarray, other: np.ndarray, rating: np.ndarray) -> dict[int, list[tuple[int, float]]]:
    """group → [(other, rating), …], as Surprise holds its ratings."""
    ratings_of: dict[int, list[tuple[int, float]]] = {}
    for first, second, value in zip(group.tolist(), other.tolist(), rating.tolist(), strict=True):
        ratings_of.setdefault(first, []).append((second, value))
    return ratings_of


def _placed(rows: np.ndarray, vectors: np.ndarray, count: int) -> np.ndarray:
    """float64 [count, width]: the vectors at their rows, zeros elsewhere."""
    table = np.zeros((count, vectors.shape[1]))
    table[rows] = vectors
    return table


def rating_baselines(split: Split, with_surprise: bool | None = None) -> list[RatingBaseline]:
    """Global mean, bias-only, matrix factorization; none where the data has no ratings.

    ``with_surprise``: also Surprise's SVD; None includes it where it is installed and the data is not too large.
    """
    if not split.data.has("rating") or not len(split.rows("train")):
        return []
    baselines: list[RatingBaseline] = [GlobalMean(split), BiasOnly(split), MatrixFactorization(split)]
    if with_surprise is None:
        installed = importlib.util.find_spec("surprise") is not None
        with_surprise = installed and len(split.rows("train")) <= MAX_SURPRISE_RATINGS
    return [*baselines, SurpriseSVD(split)] if with_surprise else baselines
