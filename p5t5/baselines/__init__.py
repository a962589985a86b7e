"""What a model has to beat at ranking: each baseline a Scorer, fitted on training rows only.

A number below the count floor is not a win, whatever else it beats.
"""

from __future__ import annotations

import importlib
import importlib.util
import warnings
from collections.abc import Iterator

import numpy as np
from scipy import sparse

from p5t5.cooccurrence import cooccurrence
from p5t5.errors import UserError
from p5t5.ragged import Ragged
from p5t5.splits import Split

CHUNK = 1024  # histories scored at once: 1024 × 12,000 items are 50 MB of float32


class Scorer:
    """Ranks the catalogue given a history. ``histories`` hold item numbers, oldest first."""

    name: str
    number_of_items: int

    def scores(self, histories: Ragged, users: np.ndarray | None = None) -> np.ndarray:
        """float32 [histories, items]: larger is better. ``users`` int [histories], where a scorer can use it."""
        raise NotImplementedError

    def chunks(
        self, histories: Ragged, users: np.ndarray | None = None
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """(row numbers, their scores) for CHUNK histories at a time."""
        for start in range(0, len(histories), CHUNK):
            rows = np.arange(start, min(start + CHUNK, len(histories)))
            yield rows, self.scores(histories.take(rows), None if users is None else users[rows])

    def top(
        self,
        histories: Ragged,
        k: int,
        exclude: Ragged | None = None,
        users: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """The best k items int64 [n, k] and their scores float32 [n, k]; −1 and −inf where fewer are left.

        ``exclude`` names items that must not be returned; equal scores go to the lower item number.
        """
        items = np.full((len(histories), k), -1, np.int64)
        best = np.full((len(histories), k), -np.inf, np.float32)
        for rows, table in self.chunks(histories, users):
            if exclude is not None:
                left_out = exclude.take(rows)
                table = table.copy()
                table[left_out.row_of_value, left_out.values] = -np.inf
            items[rows], best[rows] = top_of(table, k)
        return items, best

    def ranks(self, table: np.ndarray, truth: np.ndarray, exclude: Ragged | None = None) -> np.ndarray:
        """int64 [n]: the place of ``truth`` in what `top` would list from the scores ``table`` [n, items],
        without sorting; −1 where it is excluded or scored −inf or NaN."""
        table = np.where(np.isnan(table), -np.inf, table)
        if exclude is not None:
            table[exclude.row_of_value, exclude.values] = -np.inf
        own = table[np.arange(len(truth)), truth][:, None]
        ahead = (table > own).sum(1)
        ahead += ((table == own) & (np.arange(table.shape[1]) < truth[:, None])).sum(1)
        return np.where(own[:, 0] == -np.inf, -1, ahead)

    def candidate_scores(
        self, histories: Ragged, candidates: Ragged, users: np.ndarray | None = None
    ) -> Ragged:
        """Ragged float32, aligned with ``candidates`` (item numbers)."""
        out = np.empty(len(candidates.values), np.float32)
        for rows, table in self.chunks(histories, users):
            part = candidates.take(rows)
            out[candidates.offsets[rows[0]] : candidates.offsets[rows[-1] + 1]] = table[
                part.row_of_value, part.values
            ]
        return Ragged(out, candidates.offsets)


def top_of(table: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k largest of each row of float32 ``table`` [n, items], in falling order; −1 where only −inf is left.

    Equal scores go to the lower item number, at the border of the list too; NaN is never returned.
    """
    n, number_of_items = table.shape
    width = min(k, number_of_items)
    table = np.where(np.isnan(table), -np.inf, table)
    border = -np.partition(-table, width - 1, axis=1)[:, width - 1 : width]
    above, level = table > border, table == border
    room = width - above.sum(1, keepdims=True)
    taken = above | (level & (np.cumsum(level, 1, dtype=np.int32) <= room))
    chosen = np.nonzero(taken)[1].reshape(n, width)
    scores = np.take_along_axis(table, chosen, 1)
    order = np.argsort(-scores, axis=1, kind="stable")
    items = np.full((n, k), -1, np.int64)
    best = np.full((n, k), -np.inf, np.float32)
    best[:, :width] = np.take_along_axis(scores, order, 1)
    items[:, :width] = np.take_along_axis(chosen, order, 1)
    items[best == -np.inf] = -1
    return items, best


def history_matrix(histories: Ragged, items: int, decay: float = 1.0) -> sparse.csr_array:
    """float32 [histories, items]: decay ** age summed over the history; the newest item has age 0."""
    age = np.repeat(histories.offsets[1:], histories.lengths) - 1 - np.arange(len(histories.values))
    weights = (np.float32(decay) ** age).astype(np.float32)
    shape = (len(histories), items)
    matrix = sparse.csr_array((weights, histories.values, histories.offsets), shape=shape)
    matrix.sum_duplicates()
    return matrix


def item_counts(split: Split) -> np.ndarray:
    """float32 [items]: training interactions of each item."""
    rows = split.rows("train")
    return np.bincount(split.data.item[rows], minlength=split.data.number_of_items).astype(np.float32)


def training_matrix(split: Split) -> sparse.csr_array:
    """float32 [users, items]: training interaction counts."""
    data, rows = split.data, split.rows("train")
    shape = (data.number_of_users, data.number_of_items)
    matrix = sparse.coo_array((np.ones(len(rows), np.float32), (data.user[rows], data.item[rows])), shape)
    return sparse.csr_array(matrix)


class Popularity(Scorer):
    """The number of training interactions, the same for everybody."""

    name = "popularity"

    def __init__(self, split: Split):
        self.counts = item_counts(split)
        self.number_of_items = len(self.counts)

    def scores(self, histories: Ragged, users: np.ndarray | None = None) -> np.ndarray:
        return np.tile(self.counts, (len(histories), 1))


class CountFloor(Scorer):
    """Co-occurrence counts, untuned: the number that every trained model should beat.

    Counts within 10 steps of the same user's training sequence, weight 1/gap forward and 0.5/gap
    backward; the history's last 20 items vote with 0.8 decay; divided by the root of popularity.
    """

    name = "count_floor"

    def __init__(self, split: Split, longest: int = 20, decay: float = 0.8):
        self.counts = sparse.csr_array(cooccurrence(split)).astype(np.float32)
        self.scale = 1 / np.sqrt(np.maximum(item_counts(split), 1))
        self.number_of_items = split.data.number_of_items
        self.longest, self.decay = longest, decay

    def scores(self, histories: Ragged, users: np.ndarray | None = None) -> np.ndarray:
        votes = history_matrix(_last(histories, self.longest), self.number_of_items, self.decay)
        return (votes @ self.counts).toarray() * self.scale


class ItemKNN(Scorer):
    """implicit's cosine item-kNN: the history votes through each item's nearest neighbours."""

    name = "item_knn"

    def __init__(self, split: Split, neighbours: int = 100):
        model = _implicit("nearest_neighbours").CosineRecommender(K=neighbours, num_threads=1)
        with warnings.catch_warnings():  # it warns of a conversion that it makes itself
            warnings.simplefilter("ignore")
            model.fit(sparse.csr_matrix(training_matrix(split)), show_progress=False)
        self.similarity = sparse.csr_array(model.similarity).astype(np.float32)
        self.number_of_items = split.data.number_of_items

    def scores(self, histories: Ragged, users: np.ndarray | None = None) -> np.ndarray:
        return (history_matrix(histories, self.number_of_items) @ self.similarity.T).toarray()


class ALS(Scorer):
    """implicit's alternating least squares (Hu et al. 2008); the history is folded in."""

    name = "als"

    def __init__(self, split: Split, factors: int = 64, regularisation: float = 0.05, seed: int = 0):
        self.model = _implicit("als").AlternatingLeastSquares(
            factors=factors, regularization=regularisation, random_state=seed, num_threads=1
        )
        self.model.fit(sparse.csr_matrix(training_matrix(split)), show_progress=False)
        self.number_of_items = split.data.number_of_items

    def scores(self, histories: Ragged, users: np.ndarray | None = None) -> np.ndarray:
        seen = sparse.csr_matrix(history_matrix(histories, self.number_of_items))
        folded = self.model.recalculate_user(np.arange(len(histories)), seen)
        return (folded @ self.model.item_factors.T).astype(np.float32)


class BPR(Scorer):
    """implicit's Bayesian personalised ranking; needs ``users``, and knows training users only."""

    name = "bpr"

    def __init__(self, split: Split, factors: int = 63, seed: int = 0):
        model = _implicit("bpr").BayesianPersonalizedRanking(
            factors=factors, random_state=seed, num_threads=1
        )
        model.fit(sparse.csr_matrix(training_matrix(split)), show_progress=False)
        self.users, self.items = np.asarray(model.user_factors), np.asarray(model.item_factors)
        self.number_of_items = split.data.number_of_items

    def scores(self, histories: Ragged, users: np.ndarray | None = None) -> np.ndarray:
        if users is None:
            raise UserError("bpr scores known users, not histories alone: give the users' numbers")
        return (self.users[users] @ self.items.T).astype(np.float32)


def _last(histories: Ragged, longest: int) -> Ragged:
    lengths = np.minimum(histories.lengths, longest)
    from_end = np.repeat(histories.offsets[1:], histories.lengths) - np.arange(len(histories.values))
    return Ragged.from_lengths(histories.values[from_end <= longest], lengths)


def _implicit(module: str):
    try:
        return importlib.import_module(f"implicit.{module}")
    except ImportError as error:
        raise UserError('this baseline needs the package implicit: pip install "p5t5[baselines]"') from error


def default_scorers(split: Split, with_implicit: bool | None = None) -> list[Scorer]:
    """Popularity and the count floor; implicit's item-kNN and ALS too where it is installed."""
    scorers: list[Scorer] = [Popularity(split), CountFloor(split)]
    if with_implicit is None:
        with_implicit = importlib.util.find_spec("implicit") is not None
    if with_implicit:
        scorers += [ItemKNN(split), ALS(split)]
    return scorers
