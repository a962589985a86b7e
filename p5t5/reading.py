"""What a review says of its rating by its words alone: ridge regression, kept as a table of words, and how
often each rating is given where it says such a number.

Fitted on training reviews as the task tells them (cut, with the headline where it is told), to be the prior
that a model's own reading is blended with (`p5t5.trust`). Lessons (`p5t5.teaching.ratings`) count, regress and
calibrate alike. Of the reviews only words and pairs of words are kept that at least two of them hold.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from io import BytesIO
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.optimize import minimize
from scipy.sparse.linalg import LinearOperator, lsqr

from p5t5.identifiers.texts import WORD, common_columns, weighed
from p5t5.prompts import Prompt
from p5t5.randomness import hashed
from p5t5.splits import Split
from p5t5.tasks import TASKS, BuildOptions, Examples
from p5t5.tasks.columns import rating_index

SLOTS = ("review", "headline")  # what is read, each with weights of its own
MOST_FEATURES = 50_000  # words and pairs of words of a slot, the commonest
MOST_READ = 200_000  # training reviews
MOST_CALIBRATED = 5_000_000  # shares that a calibration looks at
RIDGE_PENALTIES = (0.5, 1, 2, 4, 8)
LEAST = 100  # training reviews; of fewer nothing is learnt
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


class Reader:
    """constant + Σ weight · TF-IDF over the known words of what a prompt tells, as ``shares`` of the ratings.

    ``of_slot`` is asked for the weights when they are needed.
    """

    def __init__(self, constant: float, shares: Shares, of_slot: Callable[[], Mapping[str, Weights]]) -> None:
        self.constant, self.shares, self._of_slot = float(constant), shares, of_slot

    @cached_property
    def weights(self) -> Mapping[str, Weights]:
        """Slot → its words."""
        return self._of_slot()

    @staticmethod
    def fit(split: Split, task: str, options: BuildOptions, seed: int = 0) -> Reader | None:
        """From the task's training rows; penalty and shares are those of a fifth of them that the rest did not see.

        None where there are fewer than LEAST, no word is in two of them, or the scale has a single value. No other
        row is read.
        """
        data, rows = split.data, TASKS[task].eligible(split, "train")
        if len(rows) > MOST_READ:
            rows = np.sort(rows[np.argsort(hashed(seed, rows), kind="stable")[:MOST_READ]])
        held = hashed(seed + 1, data.user[rows], data.item[rows]) % np.uint64(5) == 0
        if len(data.rating_values) < 2 or len(rows) < LEAST or not held.any() or held.all():
            return None
        assert data.rating is not None
        rating, tables, found = data.rating[rows].astype(np.float64), [], {}
        for slot, texts in texts_of(TASKS[task].build(split, rows, options)).items():
            counts = WordCounts.of(texts)
            kept, rarity = common_columns(counts.table, most=MOST_FEATURES)
            tables.append(weighed(counts.table[:, kept].tocsr(), rarity))
            found[slot] = counts.names(kept), rarity
        table = sparse.csr_array(sparse.hstack(tables, "csr"))
        if not table.nnz:
            return None
        penalty, guess = _chosen(table, rating, held)
        shares = Shares.fit(guess, rating_index(data, rating[held]), len(data.rating_values))
        solved, constant = ridge(table, rating, penalty)
        parts = np.split(solved, np.cumsum([part.shape[1] for part in tables])[:-1])
        weights = {
            slot: Weights(words, rarity.astype(np.float32), part.astype(np.float32))
            for (slot, (words, rarity)), part in zip(found.items(), parts, strict=True)
        }
        return Reader(constant, shares, lambda: weights)

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
class Shares:
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
    def fit(guess: np.ndarray, truth: np.ndarray, values: int) -> Shares:
        """``guess`` float [n], ``truth`` int [n]: places among ``values`` values."""
        step = -(-len(guess) * values // MOST_CALIBRATED)
        guess, truth = guess[::step], truth[::step]
        scale = float(guess.min()), float(guess.max()), float(guess.mean()), max(float(guess.std()), 1e-9)
        start = np.log(np.bincount(truth, minlength=values) + 1)
        known, at = Shares(*scale, start, np.zeros((3, values)))._features(guess), np.arange(len(guess))

        def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
            found = _softmax(known @ weights.reshape(3, values) + start)
            right = found[at, truth]
            value = -np.log(np.maximum(right, 1e-300)).sum() + weights @ weights / 2
            found[at, truth] -= 1
            return value, (known.T @ found).ravel() + weights

        fitted = minimize(loss, np.zeros(3 * values), jac=True, method="L-BFGS-B", options={"maxiter": 100})
        return Shares(*scale, start, fitted.x.reshape(3, values))

    def __call__(self, numbers: np.ndarray) -> np.ndarray:
        """float64 [n, C], each row summing to 1; NaN for NaN."""
        return _softmax(self._features(numbers) @ self.weights + self.start)

    def _features(self, numbers: np.ndarray) -> np.ndarray:
        scaled = (np.clip(numbers, self.low, self.high) - self.mean) / self.spread
        return np.stack([np.ones(len(scaled)), scaled, scaled**2], 1)

    def plain(self) -> dict[str, Any]:
        """For JSON; `Shares.read` is its inverse."""
        return {**asdict(self), "start": self.start.tolist(), "weights": self.weights.tolist()}

    @staticmethod
    def read(plain: Mapping[str, Any]) -> Shares:
        return Shares(**{**plain, "start": np.array(plain["start"]), "weights": np.array(plain["weights"])})


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


class WordTable:
    """The words of several tasks as the bytes of a Parquet file: task, slot, word, rarity, weight. Read when asked."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    @staticmethod
    def of(readers: Mapping[str, Reader]) -> WordTable:
        """``readers``: by task."""
        parts = [
            pd.DataFrame(
                {"task": task, "slot": slot, "word": own.words, "rarity": own.rarity, "weight": own.weight}
            )
            for task, reader in readers.items()
            for slot, own in reader.weights.items()
        ]
        return WordTable(pd.concat(parts, ignore_index=True).to_parquet(None, index=False))

    def reader(self, task: str, constant: float, shares: Shares) -> Reader:
        """The task's reader, whose words are looked up when it is first asked."""
        return Reader(constant, shares, lambda: self._weights(task))

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


@dataclass(frozen=True)
class WordCounts:
    """float64 ``table`` [texts, words and pairs]; its columns are the ``words``, then the ``pairs`` of neighbours,
    int64, each first · len(words) + second.
    """

    table: sparse.csr_array
    words: Sequence[str]
    pairs: np.ndarray

    @staticmethod
    def of(texts: Sequence[str]) -> WordCounts:
        """How often each word, and each pair of neighbours, stands in each text."""
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
        return WordCounts(counts, list(number), pairs)

    def names(self, columns: np.ndarray | None = None) -> list[str]:
        """The words and pairs, a space between the two, of these columns, or of all."""
        words, count = self.words, len(self.words)
        columns = np.arange(count + len(self.pairs)) if columns is None else columns
        codes = np.r_[np.arange(count), self.pairs][columns].tolist()
        return [
            words[code] if column < count else f"{words[code // count]} {words[code % count]}"
            for column, code in zip(columns.tolist(), codes, strict=True)
        ]


def word_counts(texts: Sequence[str]) -> sparse.csr_array:
    """float64 [texts, words and pairs]: how often each word, and each pair of neighbours, stands in a text."""
    return WordCounts.of(texts).table


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
