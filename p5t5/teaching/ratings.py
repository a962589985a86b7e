"""Lessons about ratings: what a teacher that never saw a training row believes its rating to be.

A small T5 trained on the true ratings alone learns a few thousand of them by heart. Beside the label it can
be told a distribution over the scale (Hinton et al. 2015) by a teacher fitted on the *other* folds of the
training rows: biases or factors for `rating/score`, words and biases for `review/score`. Of these other folds
one chooses the teacher's settings and turns its numbers into shares. So nothing in a row's lesson depends on
the row's own rating, and no validation or test row is read.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence

import numpy as np
from scipy import sparse
from scipy.optimize import minimize
from scipy.sparse.linalg import LinearOperator, lsqr

from p5t5.baselines.rating import BiasOnly, MatrixFactorisation, Ratings
from p5t5.identifiers.texts import WORD, weighted
from p5t5.randomness import hashed
from p5t5.splits import Split
from p5t5.tasks import TASKS
from p5t5.tasks.columns import cut_at_sentences, rating_index, shorten

LEAST = 20  # rows of a fold, for settings and shares to be learnt from it
MOST_FACTORED = 2_000_000  # ratings beyond which factors would take many minutes, so that biases must do
MOST_TAUGHT = 2_000_000  # ratings; the others get no lesson: their table would fill the memory
MOST_READ = 200_000  # reviews that are read; the others get no lesson
MOST_CALIBRATED = 5_000_000  # shares that a calibration looks at
BIAS_PENALTIES = (2, 5, 10, 20)
RANK, FACTOR_PENALTIES = 8, (8, 12, 18)
RIDGE_PENALTIES = (0.5, 1, 2, 4, 8)
MOST_FEATURES = 50_000  # words and pairs of words, the commonest
NAMED = 0.35  # what user and item count beside a review's words, which together have norm 1

# (rows to fit on, rows to choose on, rows held out), as places among the taught rows → numbers for those to
# choose on, from a fit on the first alone, and for those held out, from a fit on the first two.
Teacher = Callable[[np.ndarray, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


def rating_lessons(
    split: Split, task: str, words: int = 80, seed: int = 0, folds: int = 5
) -> tuple[np.ndarray, np.ndarray]:
    """The training rows of a task on ratings that there is a lesson for, and what it says.

    → rows int64 [n], ascending; shares float32 [n, len(rating_values)], each row summing to 1. ``words``:
    the longest review that the task is given (BuildOptions.max_words). ``folds``: at least 3. Nothing is
    taught where a fold would have fewer than LEAST rows, or where the scale has a single value.
    """
    data, rows = split.data, TASKS[task].eligible(split, "train")
    reads = task.startswith("review/")
    most = MOST_READ if reads else MOST_TAUGHT
    if len(rows) > most:
        rows = np.sort(rows[np.argsort(hashed(seed, rows), kind="stable")[:most]])
    values = data.rating_values
    # By the pair: who rated an item twice must not be taught the one rating by the other.
    fold = (hashed(seed, data.user[rows], data.item[rows]) % np.uint64(folds)).astype(np.int64)
    if len(values) < 2 or np.bincount(fold, minlength=folds).min() < LEAST:
        return rows[:0], np.zeros((0, len(values)), np.float32)
    assert data.rating is not None
    truth = rating_index(data, data.rating[rows])
    columns = ("review", "summary") if task == "review/score_with_headline" else ("review",)
    teacher = _reader(split, rows, columns, words) if reads else _rememberer(split, rows, seed)
    shares = np.empty((len(rows), len(values)), np.float32)
    for number in range(folds):
        held, chosen_on = fold == number, fold == (number + 1) % folds
        fitted, judged, asked = map(np.flatnonzero, (~held & ~chosen_on, chosen_on, held))
        guess, answer = teacher(fitted, judged, asked)
        shares[asked] = calibrated(guess, truth[judged], answer, len(values))
    return rows, shares


def _rememberer(split: Split, rows: np.ndarray, seed: int) -> Teacher:
    """Mean, biases and, where they help, factors (`p5t5.baselines.rating`)."""

    def teach(fitted: np.ndarray, judged: np.ndarray, asked: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        parts = {"train": Ratings(split, rows[fitted]), "validation": Ratings(split, rows[judged])}
        bias = BiasOnly(split, BIAS_PENALTIES, sweeps=10, **parts)
        best: BiasOnly | MatrixFactorisation = bias
        if len(rows) <= MOST_FACTORED:
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
        tables.append(weighted(word_counts(texts), most=MOST_FEATURES))
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


def word_counts(texts: Sequence[str]) -> sparse.csr_array:
    """float64 [texts, words and pairs]: how often each word, and each pair of neighbours, stands in a text."""
    number: dict[str, int] = {}
    flat, ends = array("q"), [0]
    for text in texts:
        flat.extend(number.setdefault(word, len(number)) for word in WORD.findall(text.lower()))
        ends.append(len(flat))
    word = np.array(flat, np.int64)
    row = np.repeat(np.arange(len(texts)), np.diff(ends))
    paired = row[1:] == row[:-1]
    pairs, pair = np.unique((word[:-1] * len(number) + word[1:])[paired], return_inverse=True)
    place = (np.r_[row, row[1:][paired]], np.r_[word, len(number) + pair])
    shape = (len(texts), max(len(number) + len(pairs), 1))
    counts = sparse.csr_array(sparse.coo_array((np.ones(len(place[0])), place), shape=shape))
    counts.sum_duplicates()
    return counts


def ridge(table: sparse.csr_array, target: np.ndarray, penalty: float) -> tuple[np.ndarray, float]:
    """(weights [columns], constant) that minimise squared error + penalty · |weights|², to about three digits.

    LSQR (Paige & Saunders 1982) on centred columns, which are never made: the constant is not penalised.
    """
    mean, across, middle = np.asarray(table.mean(axis=0)).ravel(), table.T.tocsr(), float(target.mean())
    centred = LinearOperator(
        table.shape,
        matvec=lambda weights: table @ weights - mean @ weights,
        rmatvec=lambda left: across @ left - mean * left.sum(),
        dtype=np.float64,
    )
    weights = lsqr(centred, target - middle, damp=penalty**0.5, atol=1e-3, btol=1e-3, iter_lim=100)[0]
    return weights, middle - float(mean @ weights)


def calibrated(guess: np.ndarray, truth: np.ndarray, asked: np.ndarray, values: int) -> np.ndarray:
    """float64 [asked, values]: how often each value is the truth where a teacher gives such a number.

    Multinomial logistic regression on the number and its square, with a Gaussian prior of variance 1 about
    "the number says nothing"; ``guess`` float [n] and ``truth`` int [n] are what it is fitted on. (Measured
    out of fold: as good as histograms of bins in squared error, better in log-likelihood, and smooth.)
    """
    step = -(-len(guess) * values // MOST_CALIBRATED)
    guess, truth = guess[::step], truth[::step]
    mean, spread = guess.mean(), max(guess.std(), 1e-9)

    def features(numbers: np.ndarray) -> np.ndarray:
        scaled = (np.clip(numbers, guess.min(), guess.max()) - mean) / spread
        return np.stack([np.ones(len(scaled)), scaled, scaled**2], 1)

    def shares(known: np.ndarray, weights: np.ndarray) -> np.ndarray:
        power = known @ weights.reshape(3, values) + start
        power = np.exp(power - power.max(1, keepdims=True))
        return power / power.sum(1, keepdims=True)

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        found = shares(known, weights)
        right = found[at, truth]
        value = -np.log(np.maximum(right, 1e-300)).sum() + weights @ weights / 2
        found[at, truth] -= 1
        return value, (known.T @ found).ravel() + weights

    start = np.log(np.bincount(truth, minlength=values) + 1)
    known, at = features(guess), np.arange(len(guess))
    fitted = minimize(loss, np.zeros(3 * values), jac=True, method="L-BFGS-B", options={"maxiter": 100})
    return shares(features(asked), fitted.x)
