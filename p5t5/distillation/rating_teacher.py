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

from p5t5.baselines.rating import BiasOnly, MatrixFactorization, Ratings
from p5t5.baselines.review_regression import MAX_FEATURES, MAX_REVIEWS, RIDGE_PENALTIES, RatingDistribution
from p5t5.core.randomness import fold_of, sample
from p5t5.data.splits import Split
from p5t5.data.text_features import ridge, weighted, word_counts
from p5t5.tasks.columns import cut_at_sentences, rating_index, shorten
from p5t5.tasks.registry import TASKS

MIN_TRAINING_REVIEWS = 20  # minimum rows of a fold, for settings and probabilities to be fitted on it
MAX_FACTORED_RATINGS = (
    2_000_000  # beyond this, factors would take many minutes, and the teacher has biases only
)
MAX_DISTILLED_ROWS = 2_000_000  # further ratings get no soft targets: their table would fill the memory
BIAS_PENALTIES = (2, 5, 10, 20)
RANK, FACTOR_PENALTIES = 8, (8, 12, 18)
NAMED = (
    0.35  # weight of the user's and the item's indicator beside a review's words, which have norm 1 together
)

# (rows to fit on, rows to choose on, held-out rows), as positions among the distilled rows → predictions for the rows
# to choose on, from a fit on the first alone, and for the held-out rows, from a fit on the first two.
Teacher = Callable[[np.ndarray, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


def rating_soft_targets(
    split: Split, task: str, words: int = 80, seed: int = 0, folds: int = 5, progress: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """The soft targets of a task's training rows on ratings.

    → rows int64 [n], ascending; shares float32 [n, len(rating_values)], probabilities that sum to 1 in each row.
    ``words``: the longest review that the task shows (BuildOptions.max_words). ``folds``: at least 3. There are no soft
    targets where a fold would have fewer than MIN_TRAINING_REVIEWS rows, or where the scale has a single value.
    """
    data, rows = split.data, TASKS[task].eligible(split, "train")
    factored = len(rows) <= MAX_FACTORED_RATINGS
    reads = TASKS[task].reads_review
    most = MAX_REVIEWS if reads else MAX_DISTILLED_ROWS
    rows = sample(rows, most, seed)
    values = data.rating_values
    # By the pair: where somebody rated an item twice, neither rating may reveal the other.
    fold = fold_of(folds, seed, data.user[rows], data.item[rows])
    if len(values) < 2 or np.bincount(fold, minlength=folds).min() < MIN_TRAINING_REVIEWS:
        return rows[:0], np.zeros((0, len(values)), np.float32)
    assert data.rating is not None
    truth = rating_index(data, data.rating[rows])
    teacher = (
        _review_teacher(split, rows, TASKS[task].review_columns, words)
        if reads
        else _factor_teacher(split, rows, seed, factored)
    )
    shares = np.empty((len(rows), len(values)), np.float32)
    for held_out_fold in tqdm(
        range(folds), desc=f"soft targets on {task}", disable=None if progress else True
    ):
        is_held_out, chosen_on = fold == held_out_fold, fold == (held_out_fold + 1) % folds
        fitting, choosing, held_out = map(np.flatnonzero, (~is_held_out & ~chosen_on, chosen_on, is_held_out))
        guess, prediction = teacher(fitting, choosing, held_out)
        shares[held_out] = calibrated(guess, truth[choosing], prediction, len(values))
    return rows, shares


def _factor_teacher(split: Split, rows: np.ndarray, seed: int, factored: bool) -> Teacher:
    """Mean, biases and, if ``factored`` and where they reduce the error, factors (`p5t5.baselines.rating`)."""

    def teach(
        fitting: np.ndarray, choosing: np.ndarray, held_out: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        parts = {"train": Ratings(split, rows[fitting]), "validation": Ratings(split, rows[choosing])}
        bias = BiasOnly(split, BIAS_PENALTIES, sweeps=10, **parts)
        best: BiasOnly | MatrixFactorization = bias
        if factored:
            factors = MatrixFactorization(
                split, (RANK,), FACTOR_PENALTIES, sweeps=10, seed=seed, bias=bias, **parts
            )
            if parts["validation"].error(factors) < parts["validation"].error(bias):
                best = factors
        data = split.data
        guess = best.predict(data.user[rows[choosing]], data.item[rows[choosing]])
        best.refit(Ratings(split, rows[np.union1d(fitting, choosing)]))
        return guess, best.predict(data.user[rows[held_out]], data.item[rows[held_out]])

    return teach


def _review_teacher(split: Split, rows: np.ndarray, columns: Sequence[str], words: int) -> Teacher:
    """Ridge regression on the words of the text columns, cut as the task shows them, and on user and item."""
    data = split.data
    assert data.rating is not None
    rating, n = data.rating[rows].astype(np.float64), len(rows)
    tables = []
    for column in columns:
        cut = cut_at_sentences if column == "review" else shorten
        texts = [cut(data.texts[column][row], words) for row in rows.tolist()]
        tables.append(weighted(word_counts(texts), most=MAX_FEATURES))
    for names in (data.user, data.item):
        distinct, index = np.unique(names[rows], return_inverse=True)
        entries = (np.full(n, NAMED), (np.arange(n), index))
        tables.append(sparse.csr_array(entries, shape=(n, len(distinct))))
    table = sparse.csr_array(sparse.hstack(tables, "csr"))
    low, high = float(data.rating_values.min()), float(data.rating_values.max())

    def fit(fitting_rows: np.ndarray, penalty: float, rows_asked: np.ndarray) -> np.ndarray:
        weights, constant = ridge(table[fitting_rows], rating[fitting_rows], penalty)
        return np.clip(table[rows_asked] @ weights + constant, low, high)

    def teach(
        fitting: np.ndarray, choosing: np.ndarray, rows_asked: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        guesses = [fit(fitting, penalty, choosing) for penalty in RIDGE_PENALTIES]
        best = int(np.argmin([((guess - rating[choosing]) ** 2).mean() for guess in guesses]))
        return guesses[best], fit(np.union1d(fitting, choosing), RIDGE_PENALTIES[best], rows_asked)

    return teach


def calibrated(guess: np.ndarray, truth: np.ndarray, asked: np.ndarray, values: int) -> np.ndarray:
    """float64 [asked, values]: how often each value is the truth where a teacher predicts such a number."""
    return RatingDistribution.fit(guess, truth, values)(asked)
