"""Ratings from the words of a review: ridge regression, and a distribution over the scale.

Fitted on training reviews as the prompt shows them (cut, with the headline where it is given), as the
prior that a model's own answer is blended with (`p5t5.inference.rating_calibration`). The teacher of
`p5t5.distillation.rating_teacher` uses the same counts, regression and calibration. Only words and bigrams
that occur in at least two reviews are kept.
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

from p5t5.core.randomness import fold_of, sample
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
    """float64 [rows]: a rating for each row's review by ridge regression on the TF-IDF of words and bigrams, each text
    column with its own features; the penalty is chosen on validation RMSE.

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
        except ValueError:  # no text of the column holds a word
            return None
        for name, row_numbers in (("validation", validation), ("asked", rows)):
            strings = [texts[row] for row in row_numbers.tolist()]
            vectors[name].append(words.transform(strings) if strings else vectors["train"][-1][:0])
    table = {name: sparse.hstack(parts, "csr") for name, parts in vectors.items()}
    low, high = rating[train].min(), rating[train].max()
    best, chosen = np.inf, None
    for penalty in penalties:
        model = Ridge(alpha=penalty).fit(table["train"], rating[train])
        guess = np.clip(model.predict(table["validation"]), low, high) if len(validation) else rating[:0]
        error = ((guess - rating[validation]) ** 2).mean() if len(validation) else np.inf
        if chosen is None or error < best:
            best, chosen = error, model
    assert chosen is not None
    return np.clip(chosen.predict(table["asked"]), low, high) if len(rows) else np.zeros(0)


SLOTS = ("review", "headline")  # the slots that are read, each with its own weights

MAX_FEATURES = 50_000  # most frequent words and bigrams of a slot

MAX_REVIEWS = 200_000  # training reviews, drawn by a hash

MAX_CALIBRATION_REVIEWS = 5_000_000  # probabilities that fitting a distribution looks at

RIDGE_PENALTIES = (0.5, 1, 2, 4, 8)

MIN_TRAINING_REVIEWS = 100  # no regression is fitted on fewer

TEXTS_AT_ONCE = 10_000  # when predicting: the names of all their bigrams are held in memory


@dataclass(frozen=True)
class Weights:
    """One slot's ``words`` and bigrams ("very good"), float32 [words] each: ``rarity`` (the idf) and ``weight``."""

    words: Sequence[str]
    rarity: np.ndarray
    weight: np.ndarray

    @cached_property
    def place(self) -> dict[str, int]:
        """Word or bigram → its index."""
        return {word: row for row, word in enumerate(self.words)}


class ReviewRegressor:
    """constant + Σ weight · TF-IDF over the known words of a prompt's texts; ``shares`` turns it into a distribution.

    ``of_slot`` is called for the weights when they are first needed.
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
        """Fitted on the task's training rows; penalty and distribution are chosen on a held-out fifth of them.

        None where there are fewer than MIN_TRAINING_REVIEWS, no word is in two of them, or the scale has a single value.
        No other row is read.
        """
        data, rows = split.data, TASKS[task].eligible(split, "train")
        rows = sample(rows, MAX_REVIEWS, seed)
        is_held_out = fold_of(5, seed + 1, data.user[rows], data.item[rows]) == 0
        if (
            len(data.rating_values) < 2
            or len(rows) < MIN_TRAINING_REVIEWS
            or not is_held_out.any()
            or is_held_out.all()
        ):
            return None
        assert data.rating is not None
        rating, tables, words_of_slot = data.rating[rows].astype(np.float64), [], {}
        for slot, texts in texts_of(TASKS[task].build(split, rows, options)).items():
            counts = WordCounts.of(texts)
            columns, rarity = common_columns(counts.table, most=MAX_FEATURES)
            tables.append(weighed(counts.table[:, columns].tocsr(), rarity))
            words_of_slot[slot] = counts.names(columns), rarity
        table = sparse.csr_array(sparse.hstack(tables, "csr"))
        if not table.nnz:
            return None
        penalty, guess = _choose_penalty(table, rating, is_held_out)
        shares = RatingDistribution.fit(
            guess, rating_index(data, rating[is_held_out]), len(data.rating_values)
        )
        coefficients, constant = ridge(table, rating, penalty)
        parts = np.split(coefficients, np.cumsum([part.shape[1] for part in tables])[:-1])
        weights = {
            slot: Weights(words, rarity.astype(np.float32), part.astype(np.float32))
            for (slot, (words, rarity)), part in zip(words_of_slot.items(), parts, strict=True)
        }
        return ReviewRegressor(constant, shares, lambda: weights)

    def log_shares(self, texts: Mapping[str, Sequence[str]]) -> np.ndarray:
        """float64 [n, C]: log-probabilities of the ratings, for n texts per slot; NaN where no word is known."""
        return np.log(np.maximum(self.shares(self(texts)), 1e-300))

    def __call__(self, texts: Mapping[str, Sequence[str]]) -> np.ndarray:
        """float64 [n]: the rating, not clipped to the scale, for n texts per slot; NaN where no word is known."""
        count = max(map(len, texts.values()), default=0)
        guess, has_words = np.full(count, self.constant), np.zeros(count, bool)
        for slot in (name for name in self.weights if name in texts):
            for start in range(0, count, TEXTS_AT_ONCE):
                chunk = slice(start, start + TEXTS_AT_ONCE)
                table, weight = self._table(slot, texts[slot][chunk])
                guess[chunk] += table @ weight
                has_words[chunk] |= np.diff(table.indptr) > 0
        return np.where(has_words, guess, np.nan)

    def _table(self, slot: str, texts: Sequence[str]) -> tuple[sparse.csr_array, np.ndarray]:
        """TF-IDF float64 [texts, known words], and float64 [known words], their weights."""
        counts, slot_weights = WordCounts.of(texts), self.weights[slot]
        row = np.array([slot_weights.place.get(word, -1) for word in counts.names()], np.int64)
        columns = np.flatnonzero(row >= 0)
        row = row[columns]
        table = weighed(counts.table[:, columns].tocsr(), slot_weights.rarity[row].astype(np.float64))
        return table, slot_weights.weight[row].astype(np.float64)


def _choose_penalty(
    table: sparse.csr_array, rating: np.ndarray, is_held_out: np.ndarray
) -> tuple[float, np.ndarray]:
    """The penalty whose fit on the other rows predicts the ``held_out`` (bool) best, and its predictions for them."""
    fitting_rows, held_out_rows, guesses = np.flatnonzero(~is_held_out), np.flatnonzero(is_held_out), []
    for penalty in RIDGE_PENALTIES:
        weights, constant = ridge(table[fitting_rows], rating[fitting_rows], penalty)
        guesses.append(table[held_out_rows] @ weights + constant)
    low, high = rating.min(), rating.max()
    best = int(
        np.argmin([((np.clip(guess, low, high) - rating[held_out_rows]) ** 2).mean() for guess in guesses])
    )
    return RIDGE_PENALTIES[best], guesses[best]


@dataclass(frozen=True)
class RatingDistribution:
    """How often each value of a scale is the truth, given a predicted number.

    Multinomial logistic regression on the number and its square, with a Gaussian prior of variance 1 centred on
    "the number is uninformative". (Measured out of fold: as good as binned histograms in squared error, better in
    log-likelihood, and smooth.) ``start`` [C]: the intercepts; ``weights`` [3, C], for the number clipped to ``low`` …
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
        """``guess`` float [n]; ``truth`` int [n], indices into the scale of ``values`` values."""
        step = -(-len(guess) * values // MAX_CALIBRATION_REVIEWS)
        guess, truth = guess[::step], truth[::step]
        scale = float(guess.min()), float(guess.max()), float(guess.mean()), max(float(guess.std()), 1e-9)
        start = np.log(np.bincount(truth, minlength=values) + 1)
        features, rows = (
            RatingDistribution(*scale, start, np.zeros((3, values)))._features(guess),
            np.arange(len(guess)),
        )

        def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
            probabilities = _softmax(features @ weights.reshape(3, values) + start)
            true_probabilities = probabilities[rows, truth]
            value = -np.log(np.maximum(true_probabilities, 1e-300)).sum() + weights @ weights / 2
            probabilities[rows, truth] -= 1
            return value, (features.T @ probabilities).ravel() + weights

        solution = minimize(loss, np.zeros(3 * values), jac=True, method="L-BFGS-B", options={"maxiter": 100})
        return RatingDistribution(*scale, start, solution.x.reshape(3, values))

    def __call__(self, numbers: np.ndarray) -> np.ndarray:
        """float64 [n, C], rows sum to 1; NaN for NaN."""
        return _softmax(self._features(numbers) @ self.weights + self.start)

    def _features(self, numbers: np.ndarray) -> np.ndarray:
        scaled = (np.clip(numbers, self.low, self.high) - self.mean) / self.spread
        return np.stack([np.ones(len(scaled)), scaled, scaled**2], 1)

    def plain(self) -> dict[str, Any]:
        """Plain values for JSON; `RatingDistribution.read` is the inverse."""
        return {**asdict(self), "start": self.start.tolist(), "weights": self.weights.tolist()}

    @staticmethod
    def read(plain: Mapping[str, Any]) -> RatingDistribution:
        return RatingDistribution(
            **{**plain, "start": np.array(plain["start"]), "weights": np.array(plain["weights"])}
        )


def _softmax(logits: np.ndarray) -> np.ndarray:
    logits = np.exp(logits - logits.max(1, keepdims=True))
    return logits / logits.sum(1, keepdims=True)


def texts_of(
    examples: Examples, prompts: Sequence[Prompt] = (), prompt_index: np.ndarray | None = None
) -> dict[str, list[str]]:
    """Slot of SLOTS → one text per example; "" where the prompt, if given, does not show it."""
    out = {}
    for slot in SLOTS:
        if slot not in examples.columns or slot not in TASKS[examples.task].slots:
            continue
        if TASKS[examples.task].slots[slot].target:
            continue
        texts = [examples.texts[index] for index in examples.columns[slot].elements.values.tolist()]
        if prompt_index is not None:
            shows = np.array([slot in prompt.slots for prompt in prompts])[prompt_index]
            texts = [text if shown else "" for text, shown in zip(texts, shows.tolist(), strict=True)]
        out[slot] = texts
    return out


class WordWeights:
    """The word weights of several tasks as a Parquet file in memory: task, slot, word, rarity, weight."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    @staticmethod
    def of(regressors: Mapping[str, ReviewRegressor]) -> WordWeights:
        """``regressors``: by task."""
        parts = [
            pd.DataFrame(
                {
                    "task": task,
                    "slot": slot,
                    "word": slot_weights.words,
                    "rarity": slot_weights.rarity,
                    "weight": slot_weights.weight,
                }
            )
            for task, regressor in regressors.items()
            for slot, slot_weights in regressor.weights.items()
        ]
        return WordWeights(pd.concat(parts, ignore_index=True).to_parquet(None, index=False))

    def regressor(self, task: str, constant: float, shares: RatingDistribution) -> ReviewRegressor:
        """The task's regressor, whose word weights are read when they are first needed."""
        return ReviewRegressor(constant, shares, lambda: self._weights(task))

    @cached_property
    def _frame(self) -> pd.DataFrame:
        return pd.read_parquet(BytesIO(self.data))

    def _weights(self, task: str) -> dict[str, Weights]:
        task_rows = self._frame[self._frame["task"] == task]
        return {
            str(slot): Weights(
                part["word"].tolist(),
                part["rarity"].to_numpy(np.float32),
                part["weight"].to_numpy(np.float32),
            )
            for slot, part in task_rows.groupby("slot", sort=False)
        }
