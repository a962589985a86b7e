"""What a model has to beat at ratings and texts, fitted on training rows only.

A number below bias-only is not a win. Validation rows choose a regulariser, and nothing else.
"""

from __future__ import annotations

from collections import Counter
from typing import Protocol

import numpy as np
from scipy import sparse

from p5t5.errors import UserError
from p5t5.splits import Split


class RatingBaseline(Protocol):
    """Predicts ratings of (user, item) pairs, in the unit of the data."""

    name: str

    def predict(self, user: np.ndarray, item: np.ndarray) -> np.ndarray:
        """float64 [n]."""
        ...


class Ratings:
    """The ratings of one part of a split: ``user``, ``item`` int [n], ``rating`` float64 [n]."""

    def __init__(self, split: Split, part: str):
        data, rows = split.data, split.rows(part)
        if data.rating is None:
            raise UserError(f"the data set {data.name} has no rating column, so rating baselines are off")
        rows = rows[np.isfinite(data.rating[rows])]
        self.user, self.item = data.user[rows], data.item[rows]
        self.rating = data.rating[rows].astype(np.float64)

    def error(self, predictor: RatingBaseline) -> float:
        """Mean squared error; infinite where the part is empty, so that ties go to the first choice."""
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
    """

    name = "bias"

    def __init__(self, split: Split, penalties: tuple[float, ...] = (1, 2, 5, 10, 20), sweeps: int = 20):
        train, validation = Ratings(split, "train"), Ratings(split, "validation")
        self.shape = (split.data.number_of_users, split.data.number_of_items)
        self.low, self.high = float(train.rating.min()), float(train.rating.max())
        self.mean = float(train.rating.mean())
        self.user, self.item = np.zeros(self.shape[0]), np.zeros(self.shape[1])
        best, chosen = np.inf, None
        for user_penalty in penalties:
            for item_penalty in penalties:
                self._fit(train, user_penalty, item_penalty, sweeps)
                error = validation.error(self)
                if chosen is None or error < best:
                    best, chosen = error, (self.user, self.item, user_penalty, item_penalty)
        assert chosen is not None
        self.user, self.item, self.user_penalty, self.item_penalty = chosen

    def _fit(self, train: Ratings, user_penalty: float, item_penalty: float, sweeps: int) -> None:
        residual = train.rating - self.mean
        user_count = np.bincount(train.user, minlength=self.shape[0]) + user_penalty
        item_count = np.bincount(train.item, minlength=self.shape[1]) + item_penalty
        self.user, self.item = np.zeros(self.shape[0]), np.zeros(self.shape[1])
        for _ in range(sweeps):
            left = residual - self.user[train.user]
            self.item = np.bincount(train.item, left, self.shape[1]) / item_count
            left = residual - self.item[train.item]
            self.user = np.bincount(train.user, left, self.shape[0]) / user_count

    def predict(self, user: np.ndarray, item: np.ndarray) -> np.ndarray:
        return np.clip(self.mean + self.user[user] + self.item[item], self.low, self.high)


class MatrixFactorisation:
    """mean + biases + user · item factors by alternating least squares (Koren et al. 2009).

    Rank and penalty are chosen on validation RMSE; biases are part of the vectors, with the
    penalties that BiasOnly chose. Predictions are clipped to the rating scale.
    """

    name = "mf"

    def __init__(
        self,
        split: Split,
        ranks: tuple[int, ...] = (4, 8),
        penalties: tuple[float, ...] = (3, 6, 12, 25),
        sweeps: int = 12,
        seed: int = 0,
    ):
        self.bias = BiasOnly(split)
        train, validation = Ratings(split, "train"), Ratings(split, "validation")
        self.by_user = _matrix(train.user, train.item, train.rating - self.bias.mean, self.bias.shape)
        self.by_item = _matrix(train.item, train.user, train.rating - self.bias.mean, self.bias.shape[::-1])
        self.user = self.item = np.zeros((0, 1))
        best, chosen = np.inf, None
        for rank in ranks:
            for penalty in penalties:
                self._fit(rank, penalty, sweeps, seed)
                error = validation.error(self)
                if chosen is None or error < best:
                    best, chosen = error, (self.user, self.item, rank, penalty)
        assert chosen is not None
        self.user, self.item, self.rank, self.penalty = chosen

    def _fit(self, rank: int, penalty: float, sweeps: int, seed: int) -> None:
        """Vectors [n, rank + 1]: the factors, and the bias in the last place."""
        draw = np.random.default_rng(seed)
        self.user = np.concatenate(
            [draw.normal(0, 0.1, (len(self.bias.user), rank)), self.bias.user[:, None]], 1
        )
        self.item = np.concatenate(
            [draw.normal(0, 0.1, (len(self.bias.item), rank)), self.bias.item[:, None]], 1
        )
        user_ridge = np.r_[np.full(rank, penalty), self.bias.user_penalty]
        item_ridge = np.r_[np.full(rank, penalty), self.bias.item_penalty]
        for _ in range(sweeps):
            self.user = _solve(self.by_user, self.item, user_ridge)
            self.item = _solve(self.by_item, self.user, item_ridge)

    def predict(self, user: np.ndarray, item: np.ndarray) -> np.ndarray:
        p, q = self.user[user], self.item[item]
        value = self.bias.mean + (p[:, :-1] * q[:, :-1]).sum(1) + p[:, -1] + q[:, -1]
        return np.clip(value, self.bias.low, self.bias.high)


def _matrix(row: np.ndarray, column: np.ndarray, value: np.ndarray, shape) -> sparse.csr_array:
    """CSR with every rating kept, also where a pair occurs twice."""
    order = np.argsort(row, kind="stable")
    offsets = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=shape[0]))])
    return sparse.csr_array((value[order], column[order], offsets), shape=shape)


def _solve(targets: sparse.csr_array, other: np.ndarray, ridge: np.ndarray) -> np.ndarray:
    """The ridge regression of each row of ``targets`` on the vectors of the other side, biases included."""
    features = np.concatenate([other[:, :-1], np.ones((len(other), 1))], 1)
    width = features.shape[1]
    outer = (features[:, :, None] * features[:, None, :]).reshape(len(features), -1)
    ones = sparse.csr_array((np.ones(targets.nnz), targets.indices, targets.indptr), shape=targets.shape)
    gram = (ones @ outer).reshape(-1, width, width) + np.diag(ridge)
    left = sparse.csr_array(
        (targets.data - other[targets.indices, -1], targets.indices, targets.indptr), shape=targets.shape
    )
    return np.linalg.solve(gram, (left @ features)[:, :, None])[:, :, 0]


def rating_baselines(split: Split) -> list[RatingBaseline]:
    """Global mean, bias-only, matrix factorisation; none where the data has no ratings."""
    if not split.data.has("rating") or not len(split.rows("train")):
        return []
    return [GlobalMean(split), BiasOnly(split), MatrixFactorisation(split)]


def review_ridge(split: Split, rows: np.ndarray, features: int = 50_000) -> np.ndarray | None:
    """float64 [rows]: the rating of each row's review, by TF-IDF and ridge regression; the penalty is chosen on
    validation. None where scikit-learn is not installed or there is no training review with a rating.
    """
    try:
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import Ridge
    except ImportError:
        return None
    data = split.data
    if data.rating is None or "review" not in data.texts:
        return None
    reviews, rating = data.texts["review"], data.rating

    def part(name: str) -> np.ndarray:
        return np.array(
            [row for row in split.rows(name) if reviews[row] and np.isfinite(rating[row])], np.int64
        )

    train, validation = part("train"), part("validation")
    if not len(train):
        return None
    words = TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2), max_features=features)
    known = words.fit_transform([reviews[row] for row in train])
    held = words.transform([reviews[row] for row in validation]) if len(validation) else known[:0]
    fits = [Ridge(alpha=penalty).fit(known, rating[train]) for penalty in (0.5, 1.0, 2.0, 4.0, 8.0)]
    errors = [
        ((fit.predict(held) - rating[validation]) ** 2).mean() if len(validation) else 0 for fit in fits
    ]
    prediction = fits[int(np.argmin(errors))].predict(words.transform([reviews[row] for row in rows]))
    return np.clip(prediction, rating[train].min(), rating[train].max()).astype(np.float64)


def most_common_text(split: Split, column: str) -> str:
    """The text that training rows say most often (the first such): the best constant sentence, or nearly."""
    texts = split.data.texts[column]
    counts = Counter(texts[row] for row in split.rows("train").tolist() if texts[row])
    return counts.most_common(1)[0][0] if counts else ""
