"""What the words of a review say about its rating: ridge regression, and a distribution over the scale.

Fitted on training reviews as the prompt shows them (cut, with the headline where it is given), to be the
prior that a model's own answer is blended with (`p5t5.inference.rating_calibration`). The teacher of
`p5t5.distillation.rating_teacher` counts, regresses and calibrates alike. Kept are words and pairs of words
that occur in at least two reviews.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from io import BytesIO
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.optimize import minimize

from p5t5.core.randomness import hashed
from p5t5.data.splits import Split
from p5t5.data.text_features import WordCounts, common_columns, ridge, weighed
from p5t5.tasks.base import BuildOptions, Examples
from p5t5.tasks.columns import rating_index
from p5t5.tasks.registry import TASKS
from p5t5.text.prompts import Prompt


def review_ridge(
    split: Split,
    rows: np.ndarray,
    columns: tuple[str, ...] = ("review",),
    features: int = 50_000,
    penalties: tuple[float, ...] = (0.25, 0.5, 1, 2, 4, 8),
) -> np.ndarray | None:
    """float64 [rows]: the rating of each row's review by ridge regression on the TF-IDF of its words and pairs
    of words, those of each text column apart; the penalty is chosen on validation RMSE.

    None where scikit-learn is not installed or no training review has a rating.
    """
    try:
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import Ridge
    except ImportError:
        return None
    data = split.data
    if data.rating is None or any(column not in data.texts for column in columns):
        return None
    reviews, rating = data.texts["review"], data.rating.astype(np.float64)

    def part(name: str) -> np.ndarray:
        found = split.rows(name)
        has = np.fromiter((bool(reviews[row]) for row in found.tolist()), bool, len(found))
        return found[has & np.isfinite(rating[found])]

    train, validation = part("train"), part("validation")
    if not len(train):
        return None
    vectors: dict[str, list[sparse.csr_matrix]] = {"train": [], "validation": [], "asked": []}
    for column in columns:
        texts = data.texts[column]
        words = TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2), max_features=features)
        try:
            vectors["train"].append(words.fit_transform([texts[row] for row in train.tolist()]))
        except ValueError:  # no text of it holds a word
            return None
        for name, asked in (("validation", validation), ("asked", rows)):
            strings = [texts[row] for row in asked.tolist()]
            vectors[name].append(words.transform(strings) if strings else vectors["train"][-1][:0])
    table = {name: sparse.hstack(parts, "csr") for name, parts in vectors.items()}
    low, high = rating[train].min(), rating[train].max()
    best, chosen = np.inf, None
    for penalty in penalties:
        fit = Ridge(alpha=penalty).fit(table["train"], rating[train])
        guess = np.clip(fit.predict(table["validation"]), low, high) if len(validation) else rating[:0]
        error = ((guess - rating[validation]) ** 2).mean() if len(validation) else np.inf
        if chosen is None or error < best:
            best, chosen = error, fit
    assert chosen is not None
    return np.clip(chosen.predict(table["asked"]), low, high) if len(rows) else np.zeros(0)


SLOTS = ("review", "headline")  # what is read, each with weights of its own

MAX_FEATURES = 50_000  # words and pairs of words of a slot, the commonest

MAX_REVIEWS = 200_000  # training reviews

MAX_CALIBRATION_REVIEWS = 5_000_000  # shares that a calibration looks at

RIDGE_PENALTIES = (0.5, 1, 2, 4, 8)

MIN_TRAINING_REVIEWS = 100  # training reviews; of fewer nothing is learnt

AT_ONCE = 10_000  # texts, when asked: the names of all their pairs are made


@dataclass(frozen=True)
class Weights:
    """One slot's ``words`` and pairs ("very good"), float32 [words] each: ``rarity`` (the idf) and ``weight``."""

    words: Sequence[str]
    rarity: np.ndarray
    weight: np.ndarray

    @cached_property
    def place(self) -> dict[str, int]:
        """Word or pair → its row."""
        return {word: row for row, word in enumerate(self.words)}


class ReviewRegressor:
    """constant + Σ weight · TF-IDF over the known words of what a prompt tells, as ``shares`` of the ratings.

    ``of_slot`` is asked for the weights when they are needed.
    """

    def __init__(
        self, constant: float, shares: RatingDistribution, of_slot: Callable[[], Mapping[str, Weights]]
    ) -> None:
        self.constant, self.shares, self._of_slot = float(constant), shares, of_slot

    @cached_property
    def weights(self) -> Mapping[str, Weights]:
        """Slot → its words."""
        return self._of_slot()

    @staticmethod
    def fit(split: Split, task: str, options: BuildOptions, seed: int = 0) -> ReviewRegressor | None:
        """From the task's training rows; penalty and shares are those of a fifth of them that the rest did not see.

        None where there are fewer than MIN_TRAINING_REVIEWS, no word is in two of them, or the scale has a single value. No other
        row is read.
        """
        data, rows = split.data, TASKS[task].eligible(split, "train")
        if len(rows) > MAX_REVIEWS:
            rows = np.sort(rows[np.argsort(hashed(seed, rows), kind="stable")[:MAX_REVIEWS]])
        held = hashed(seed + 1, data.user[rows], data.item[rows]) % np.uint64(5) == 0
        if len(data.rating_values) < 2 or len(rows) < MIN_TRAINING_REVIEWS or not held.any() or held.all():
            return None
        assert data.rating is not None
        rating, tables, found = data.rating[rows].astype(np.float64), [], {}
        for slot, texts in texts_of(TASKS[task].build(split, rows, options)).items():
            counts = WordCounts.of(texts)
            kept, rarity = common_columns(counts.table, most=MAX_FEATURES)
            tables.append(weighed(counts.table[:, kept].tocsr(), rarity))
            found[slot] = counts.names(kept), rarity
        table = sparse.csr_array(sparse.hstack(tables, "csr"))
        if not table.nnz:
            return None
        penalty, guess = _chosen(table, rating, held)
        shares = RatingDistribution.fit(guess, rating_index(data, rating[held]), len(data.rating_values))
        solved, constant = ridge(table, rating, penalty)
        parts = np.split(solved, np.cumsum([part.shape[1] for part in tables])[:-1])
        weights = {
            slot: Weights(words, rarity.astype(np.float32), part.astype(np.float32))
            for (slot, (words, rarity)), part in zip(found.items(), parts, strict=True)
        }
        return ReviewRegressor(constant, shares, lambda: weights)

    def log_shares(self, texts: Mapping[str, Sequence[str]]) -> np.ndarray:
        """float64 [n, C]: log-probabilities of the ratings of n texts a slot; NaN where no word is known."""
        return np.log(np.maximum(self.shares(self(texts)), 1e-300))

    def __call__(self, texts: Mapping[str, Sequence[str]]) -> np.ndarray:
        """float64 [n]: the rating, not clipped to the scale, of n texts a slot; NaN where no word is known."""
        count = max(map(len, texts.values()), default=0)
        guess, known = np.full(count, self.constant), np.zeros(count, bool)
        for slot in (name for name in self.weights if name in texts):
            for start in range(0, count, AT_ONCE):
                part = slice(start, start + AT_ONCE)
                table, weight = self._table(slot, texts[slot][part])
                guess[part] += table @ weight
                known[part] |= np.diff(table.indptr) > 0
        return np.where(known, guess, np.nan)

    def _table(self, slot: str, texts: Sequence[str]) -> tuple[sparse.csr_array, np.ndarray]:
        """TF-IDF [texts, those words of theirs that are known], and the weights of these words."""
        counts, own = WordCounts.of(texts), self.weights[slot]
        row = np.array([own.place.get(word, -1) for word in counts.names()], np.int64)
        columns = np.flatnonzero(row >= 0)
        row = row[columns]
        table = weighed(counts.table[:, columns].tocsr(), own.rarity[row].astype(np.float64))
        return table, own.weight[row].astype(np.float64)


def _chosen(table: sparse.csr_array, rating: np.ndarray, held: np.ndarray) -> tuple[float, np.ndarray]:
    """The penalty whose fit on the other rows says the ``held`` (bool) best, and what that fit says of them."""
    seen, asked, guesses = np.flatnonzero(~held), np.flatnonzero(held), []
    for penalty in RIDGE_PENALTIES:
        weights, constant = ridge(table[seen], rating[seen], penalty)
        guesses.append(table[asked] @ weights + constant)
    low, high = rating.min(), rating.max()
    best = int(np.argmin([((np.clip(guess, low, high) - rating[asked]) ** 2).mean() for guess in guesses]))
    return RIDGE_PENALTIES[best], guesses[best]


@dataclass(frozen=True)
class RatingDistribution:
    """How often each value of a scale is the truth where such a number is said.

    Multinomial logistic regression on the number and its square, with a Gaussian prior of variance 1 about
    "the number says nothing". (Measured out of fold: as good as histograms of bins in squared error, better in
    log-likelihood, and smooth.) ``start`` [C] and ``weights`` [3, C] of the number, kept from ``low`` to
    ``high`` and scaled by ``mean`` and ``spread``.
    """

    low: float
    high: float
    mean: float
    spread: float
    start: np.ndarray
    weights: np.ndarray

    @staticmethod
    def fit(guess: np.ndarray, truth: np.ndarray, values: int) -> RatingDistribution:
        """``guess`` float [n], ``truth`` int [n]: places among ``values`` values."""
        step = -(-len(guess) * values // MAX_CALIBRATION_REVIEWS)
        guess, truth = guess[::step], truth[::step]
        scale = float(guess.min()), float(guess.max()), float(guess.mean()), max(float(guess.std()), 1e-9)
        start = np.log(np.bincount(truth, minlength=values) + 1)
        known, at = (
            RatingDistribution(*scale, start, np.zeros((3, values)))._features(guess),
            np.arange(len(guess)),
        )

        def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
            found = _softmax(known @ weights.reshape(3, values) + start)
            right = found[at, truth]
            value = -np.log(np.maximum(right, 1e-300)).sum() + weights @ weights / 2
            found[at, truth] -= 1
            return value, (known.T @ found).ravel() + weights

        fitted = minimize(loss, np.zeros(3 * values), jac=True, method="L-BFGS-B", options={"maxiter": 100})
        return RatingDistribution(*scale, start, fitted.x.reshape(3, values))

    def __call__(self, numbers: np.ndarray) -> np.ndarray:
        """float64 [n, C], each row summing to 1; NaN for NaN."""
        return _softmax(self._features(numbers) @ self.weights + self.start)

    def _features(self, numbers: np.ndarray) -> np.ndarray:
        scaled = (np.clip(numbers, self.low, self.high) - self.mean) / self.spread
        return np.stack([np.ones(len(scaled)), scaled, scaled**2], 1)

    def plain(self) -> dict[str, Any]:
        """For JSON; `RatingDistribution.read` is its inverse."""
        return {**asdict(self), "start": self.start.tolist(), "weights": self.weights.tolist()}

    @staticmethod
    def read(plain: Mapping[str, Any]) -> RatingDistribution:
        return RatingDistribution(
            **{**plain, "start": np.array(plain["start"]), "weights": np.array(plain["weights"])}
        )


def _softmax(power: np.ndarray) -> np.ndarray:
    power = np.exp(power - power.max(1, keepdims=True))
    return power / power.sum(1, keepdims=True)


def texts_of(
    examples: Examples, prompts: Sequence[Prompt] = (), prompt_index: np.ndarray | None = None
) -> dict[str, list[str]]:
    """Slot of SLOTS → what the examples say there; "" where the wording, if given, does not tell it."""
    out = {}
    for slot in SLOTS:
        if slot not in examples.columns or slot not in TASKS[examples.task].slots:
            continue
        if TASKS[examples.task].slots[slot].target:
            continue
        texts = [examples.texts[place] for place in examples.columns[slot].elements.values.tolist()]
        if prompt_index is not None:
            tells = np.array([slot in prompt.slots for prompt in prompts])[prompt_index]
            texts = [text if told else "" for text, told in zip(texts, tells.tolist(), strict=True)]
        out[slot] = texts
    return out


class WordWeights:
    """The words of several tasks as the bytes of a Parquet file: task, slot, word, rarity, weight. Read when asked."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    @staticmethod
    def of(readers: Mapping[str, ReviewRegressor]) -> WordWeights:
        """``readers``: by task."""
        parts = [
            pd.DataFrame(
                {"task": task, "slot": slot, "word": own.words, "rarity": own.rarity, "weight": own.weight}
            )
            for task, reader in readers.items()
            for slot, own in reader.weights.items()
        ]
        return WordWeights(pd.concat(parts, ignore_index=True).to_parquet(None, index=False))

    def regressor(self, task: str, constant: float, shares: RatingDistribution) -> ReviewRegressor:
        """The task's reader, whose words are looked up when it is first asked."""
        return ReviewRegressor(constant, shares, lambda: self._weights(task))

    @cached_property
    def _frame(self) -> pd.DataFrame:
        return pd.read_parquet(BytesIO(self.data))

    def _weights(self, task: str) -> dict[str, Weights]:
        own = self._frame[self._frame["task"] == task]
        return {
            str(slot): Weights(
                part["word"].tolist(),
                part["rarity"].to_numpy(np.float32),
                part["weight"].to_numpy(np.float32),
            )
            for slot, part in own.groupby("slot", sort=False)
        }
