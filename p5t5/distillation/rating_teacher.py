"""Soft targets for ratings: a distribution over the scale from a teacher that never saw the row.

A small T5 trained on the true ratings alone memorizes a few thousand of them. Besides the label it can be
given a distribution over the scale (Hinton et al. 2015) by a teacher fitted on the *other* folds of the
training rows: biases or factors for `rating/score`, words and biases for `review/score`. One of these other
folds chooses the teacher's settings and turns its numbers into probabilities. So nothing in a row's soft
target depends on the row's own rating, and no validation or test row is read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy import sparse
from tqdm.auto import tqdm

from p5t5.baselines.rating import BiasOnly, MatrixFactorisation, Ratings
from p5t5.baselines.review_regression import MAX_FEATURES, MAX_REVIEWS, RIDGE_PENALTIES, RatingDistribution
from p5t5.core.randomness import hashed
from p5t5.data.splits import Split
from p5t5.data.text_features import ridge, weighted, word_counts
from p5t5.tasks.columns import cut_at_sentences, rating_index, shorten
from p5t5.tasks.registry import TASKS

MIN_TRAINING_REVIEWS = 20  # rows of a fold, for settings and shares to be learnt from it
MAX_FACTORED_RATINGS = (
    2_000_000  # ratings beyond which factors would take many minutes, so that biases must do
)
MAX_DISTILLED_ROWS = 2_000_000  # ratings; the others get no soft target: their table would fill the memory
BIAS_PENALTIES = (2, 5, 10, 20)
RANK, FACTOR_PENALTIES = 8, (8, 12, 18)
NAMED = 0.35  # what user and item count beside a review's words, which together have norm 1

# (rows to fit on, rows to choose on, rows held out), as places among the taught rows → numbers for those to
# choose on, from a fit on the first alone, and for those held out, from a fit on the first two.
Teacher = Callable[[np.ndarray, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


def rating_soft_targets(
    split: Split, task: str, words: int = 80, seed: int = 0, folds: int = 5, progress: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """The training rows of a task on ratings that there is a soft target for, and what it says.

    → rows int64 [n], ascending; shares float32 [n, len(rating_values)], each row summing to 1. ``words``:
    the longest review that the task is given (BuildOptions.max_words). ``folds``: at least 3. Nothing is
    taught where a fold would have fewer than LEAST rows, or where the scale has a single value.
    """
    data, rows = split.data, TASKS[task].eligible(split, "train")
    factored = len(rows) <= MAX_FACTORED_RATINGS
    reads = TASKS[task].reads_review
    most = MAX_REVIEWS if reads else MAX_DISTILLED_ROWS
    if len(rows) > most:
        rows = np.sort(rows[np.argsort(hashed(seed, rows), kind="stable")[:most]])
    values = data.rating_values
    # By the pair: who rated an item twice must not be taught the one rating by the other.
    fold = (hashed(seed, data.user[rows], data.item[rows]) % np.uint64(folds)).astype(np.int64)
    if len(values) < 2 or np.bincount(fold, minlength=folds).min() < MIN_TRAINING_REVIEWS:
        return rows[:0], np.zeros((0, len(values)), np.float32)
    assert data.rating is not None
    truth = rating_index(data, data.rating[rows])
    teacher = (
        _reader(split, rows, TASKS[task].review_columns, words)
        if reads
        else _rememberer(split, rows, seed, factored)
    )
    shares = np.empty((len(rows), len(values)), np.float32)
    for number in tqdm(range(folds), desc=f"soft targets on {task}", disable=None if progress else True):
        held, chosen_on = fold == number, fold == (number + 1) % folds
        fitted, judged, asked = map(np.flatnonzero, (~held & ~chosen_on, chosen_on, held))
        guess, answer = teacher(fitted, judged, asked)
        shares[asked] = calibrated(guess, truth[judged], answer, len(values))
    return rows, shares


def _rememberer(split: Split, rows: np.ndarray, seed: int, factored: bool) -> Teacher:
    """Mean, biases and, if ``factored`` and where they help, factors (`p5t5.baselines.rating`)."""

    def teach(fitted: np.ndarray, judged: np.ndarray, asked: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        parts = {"train": Ratings(split, rows[fitted]), "validation": Ratings(split, rows[judged])}
        bias = BiasOnly(split, BIAS_PENALTIES, sweeps=10, **parts)
        best: BiasOnly | MatrixFactorisation = bias
        if factored:
            factors = MatrixFactorisation(
                split, (RANK,), FACTOR_PENALTIES, sweeps=10, seed=seed, bias=bias, **parts
            )
            if parts["validation"].error(factors) < parts["validation"].error(bias):
                best = factors
        data = split.data
        guess = best.predict(data.user[rows[judged]], data.item[rows[judged]])
        best.refit(Ratings(split, rows[np.union1d(fitted, judged)]))
        return guess, best.predict(data.user[rows[asked]], data.item[rows[asked]])

    return teach


def _reader(split: Split, rows: np.ndarray, columns: Sequence[str], words: int) -> Teacher:
    """Ridge regression on the words of the text columns, as the task is told them, and on user and item."""
    data = split.data
    assert data.rating is not None
    rating, n = data.rating[rows].astype(np.float64), len(rows)
    tables = []
    for column in columns:
        cut = cut_at_sentences if column == "review" else shorten
        texts = [cut(data.texts[column][row], words) for row in rows.tolist()]
        tables.append(weighted(word_counts(texts), most=MAX_FEATURES))
    for names in (data.user, data.item):
        known, place = np.unique(names[rows], return_inverse=True)
        entries = (np.full(n, NAMED), (np.arange(n), place))
        tables.append(sparse.csr_array(entries, shape=(n, len(known))))
    table = sparse.csr_array(sparse.hstack(tables, "csr"))
    low, high = float(data.rating_values.min()), float(data.rating_values.max())

    def fit(places: np.ndarray, penalty: float, asked: np.ndarray) -> np.ndarray:
        weights, constant = ridge(table[places], rating[places], penalty)
        return np.clip(table[asked] @ weights + constant, low, high)

    def teach(fitted: np.ndarray, judged: np.ndarray, asked: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        guesses = [fit(fitted, penalty, judged) for penalty in RIDGE_PENALTIES]
        best = int(np.argmin([((guess - rating[judged]) ** 2).mean() for guess in guesses]))
        return guesses[best], fit(np.union1d(fitted, judged), RIDGE_PENALTIES[best], asked)

    return teach


def calibrated(guess: np.ndarray, truth: np.ndarray, asked: np.ndarray, values: int) -> np.ndarray:
    """float64 [asked, values]: how often each value is the truth where a teacher gives such a number."""
    return RatingDistribution.fit(guess, truth, values)(asked)
