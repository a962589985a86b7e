"""Weights of a fusion, from validation rows alone: a softmax regression over highly ranked items."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize

from p5t5.baselines.base import Scorer
from p5t5.core.errors import UserError
from p5t5.core.ragged import Ragged
from p5t5.core.randomness import fold_of, sample
from p5t5.data.splits import Split
from p5t5.fusion.blend import (
    HISTORY,
    KINDS,
    RANK_OFFSET,
    Fusion,
    centred,
    in_history,
    normalized,
    reciprocal_ranks,
    rows_at_once,
    standardized_popularity,
)
from p5t5.tasks.registry import TASKS
from p5t5.tasks.sequential import NextItem

SHORTLIST = 50  # items per part that compete with the true item
PENALTY = 1e-3  # on squared weights, in units of the mean loss of a row
FOLDS = 2
FUSED_TASK = NextItem.name

# (rows of interactions) → the model's log-probabilities float32 [rows, items]
ModelTable = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Shortlists:
    """The competing items of each row: ``evidence`` float32 [candidates, parts]; per candidate ``length`` and
    ``popularity`` (the gates) and ``item`` int64, ascending in a row; ``offsets`` int64 [rows + 1]; ``truth`` int64
    [rows]: the flat index of the true item, −1 where no part ranks it high."""

    evidence: np.ndarray
    length: np.ndarray
    popularity: np.ndarray
    item: np.ndarray
    offsets: np.ndarray
    truth: np.ndarray

    def features(self, kind: str) -> np.ndarray:
        """float32 [candidates, weights]: part by part, in the order of the flattened `Fusion.weights`."""
        gates = [np.ones_like(self.length)] + ([self.length, self.popularity] if kind == "gate" else [])
        product = self.evidence[:, :, None] * np.stack(gates, 1)[:, None, :]
        return product.reshape(len(product), -1)

    def ndcg(self, scores: np.ndarray) -> np.ndarray:
        """float64 [rows]: NDCG@10; of equal scores the lower item number ranks first, as everywhere here."""
        lengths = np.diff(self.offsets)
        row = np.repeat(np.arange(len(lengths)), lengths)
        true_score, true_item = scores[self.truth][row], self.item[self.truth][row]
        ahead = (scores > true_score) | ((scores == true_score) & (self.item < true_item))
        rank = np.bincount(row[ahead], minlength=len(lengths))
        return np.where((self.truth >= 0) & (rank < 10), 1 / np.log2(rank + 2), 0.0)

    def take(self, rows: np.ndarray) -> Shortlists:
        positions = Ragged(np.arange(len(self.item)), self.offsets).take(rows)
        true_index = self.truth[rows] - self.offsets[rows] + positions.offsets[:-1]
        evidence, length, popularity, item = (
            values[positions.values] for values in (self.evidence, self.length, self.popularity, self.item)
        )
        truth = np.where(self.truth[rows] >= 0, true_index, -1)
        return Shortlists(evidence, length, popularity, item, positions.offsets, truth)


def validation_rows(split: Split, limit: int | None, seed: int = 0) -> np.ndarray:
    """int [n]: the rows to fit a fusion on, at most ``limit``, drawn by the seed."""
    rows = TASKS[FUSED_TASK].eligible(split, "validation")
    return rows if limit is None else sample(rows, limit, seed)


def fit_fusion(
    parts: Sequence[Scorer],
    split: Split,
    model: ModelTable,
    *,
    rows: np.ndarray | None = None,
    kinds: Sequence[str] = KINDS,
) -> Fusion:
    """The fusion whose kind and weights rank the validation rows best.

    ``rows``: of the validation part (default: all with a history). Weights maximize the likelihood of
    the true item against the 50 best of every part, nothing removed: whether people repeat items
    of their history is learned. The kind is chosen by NDCG@10 on validation users that its weights were
    not fitted on (two folds), with every single part as an alternative; then it is fitted on all rows. Raises UserError
    for an unknown kind, and without validation rows.
    """
    if unknown := [kind for kind in kinds if kind not in KINDS]:
        raise UserError(f"fusion: unknown kind {unknown[0]!r}; choose among {', '.join(KINDS)}.")
    if rows is None:
        rows = split.rows("validation")
    rows = rows[split.history_lengths(rows) > 0]
    if not len(rows) or (split.part[rows] != 1).any():
        raise UserError("fusion: weights are fitted on validation rows, and there are none.")
    lengths = np.log1p(split.history_lengths(rows))
    length = (float(lengths.mean()), max(float(lengths.std()), 1e-6))
    popularity = standardized_popularity(split)

    def zero_weights(kind: str) -> Fusion:
        width = 3 if kind == "gate" else 1
        return Fusion(list(parts), kind, np.zeros((len(parts) + 2, width)), popularity, length)

    lists = shortlists(zero_weights("sum"), split, rows, model)
    fold = fold_of(FOLDS, 0, split.data.user[rows])
    ndcg_of_kind: dict[str, float] = {}
    for kind in kinds:
        kind_lists = lists["reciprocal_rank" if kind == "reciprocal_rank" else "sum"]
        values = np.empty(len(rows))
        for fold_number in range(FOLDS):
            in_fold, out_of_fold = np.flatnonzero(fold == fold_number), np.flatnonzero(fold != fold_number)
            weights = likeliest_weights(kind_lists.take(out_of_fold), kind)
            held_out = kind_lists.take(in_fold)
            values[in_fold] = held_out.ndcg(held_out.features(kind) @ weights)
        ndcg_of_kind[kind] = float(values.mean())
    names = zero_weights("sum").names
    ndcg_of_part = {
        name: float(lists["sum"].ndcg(lists["sum"].evidence[:, column]).mean())
        for column, name in enumerate(names)
        if name != HISTORY
    }
    best_part = max(ndcg_of_part, key=lambda name: ndcg_of_part[name])
    kind = max(ndcg_of_kind, key=lambda name: ndcg_of_kind[name], default="")
    if not kind or ndcg_of_kind[kind] <= ndcg_of_part[best_part]:
        fusion = zero_weights("sum")
        fusion.weights[names.index(best_part)] = 1.0
        chosen = best_part
    else:
        fusion, chosen = zero_weights(kind), kind
        kind_lists = lists["reciprocal_rank" if kind == "reciprocal_rank" else "sum"]
        fusion.weights = likeliest_weights(kind_lists, kind).reshape(fusion.weights.shape)
    fusion.metadata = {
        "data": {"name": split.data.name, "hash": split.data.hash},
        "rows": len(rows),
        "chosen": chosen,
        "validation": {
            "metric": "ndcg@10, unfiltered",
            "blends, two folds": {name: round(value, 6) for name, value in ndcg_of_kind.items()},
            "parts alone": {name: round(value, 6) for name, value in ndcg_of_part.items()},
        },
    }
    return fusion


def shortlists(fusion: Fusion, split: Split, rows: np.ndarray, model: ModelTable) -> dict[str, Shortlists]:
    """The competing items of the rows, by kind of evidence: the best 50 of the model and of every part."""
    chunks_of: dict[str, list[list[np.ndarray]]] = {"sum": [], "reciprocal_rank": []}
    truths, sizes, done = [], [], 0
    step = rows_at_once(split.data.number_of_items)
    for start in range(0, len(rows), step):
        chunk = rows[start : start + step]
        histories, users = split.history_items(chunk), split.data.user[chunk]
        truth, model_scores = split.data.item[chunk], model(chunk)
        past = in_history(histories, split.data.number_of_items)
        tables: dict[str, list[np.ndarray]] = {kind: [] for kind in chunks_of}
        keep = np.zeros(model_scores.shape, bool)
        for index, (table, nonnegative) in enumerate(fusion.raw(model_scores, histories, users)):
            tables["sum"].append(centred(table) if index == 0 else normalized(table, nonnegative))
            tables["reciprocal_rank"].append(reciprocal_ranks(table))
            keep |= tables["reciprocal_rank"][-1] >= np.float32(RANK_OFFSET / (RANK_OFFSET + SHORTLIST))
        keep &= np.isfinite(model_scores)
        row, item = np.nonzero(keep)
        hit = np.flatnonzero(item == truth[row])
        true_index = np.full(len(chunk), -1, np.int64)
        true_index[row[hit]] = hit + done
        done += len(row)
        truths.append(true_index)
        sizes.append(keep.sum(1))
        mean, deviation = fusion.length
        length = ((np.log1p(histories.lengths) - mean) / deviation).astype(np.float32)
        for kind, columns in tables.items():
            evidence = np.stack([values[row, item] for values in (*columns, past)], 1)
            chunks_of[kind].append([evidence, length[row], fusion.popularity[item], item])
    offsets = np.concatenate([[0], np.cumsum(np.concatenate(sizes))])
    lists = {}
    for kind, chunks in chunks_of.items():
        evidence, length, popularity, item = (np.concatenate(column) for column in zip(*chunks, strict=True))
        lists[kind] = Shortlists(evidence, length, popularity, item, offsets, np.concatenate(truths))
    return lists


def likeliest_weights(lists: Shortlists, kind: str) -> np.ndarray:
    """float64 [weights]: maximizes the mean log-probability of the true items among their shortlists (rows
    without it are left out), with a small ridge penalty. Convex, so the starting point does not matter. The plain
    weights of parts are constrained to be nonnegative (that of the history is free).
    """
    found_rows = lists.take(np.flatnonzero(lists.truth >= 0))
    features = found_rows.features(kind).astype(np.float64)
    width = features.shape[1] // found_rows.evidence.shape[1]
    bounds: list[tuple[float | None, float | None]] = [(None, None)] * features.shape[1]
    bounds[: len(bounds) - width : width] = [(0, None)] * (found_rows.evidence.shape[1] - 1)
    if not len(found_rows.truth):
        return np.zeros(features.shape[1])
    scale = np.maximum(features.std(0), 1e-6)
    features /= scale
    starts, lengths = found_rows.offsets[:-1], np.diff(found_rows.offsets)
    true_features = features[found_rows.truth].mean(0)

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        scores = features @ weights
        scores -= np.repeat(np.maximum.reduceat(scores, starts), lengths)
        probabilities = np.exp(scores)
        total = np.add.reduceat(probabilities, starts)
        value = float((np.log(total) - scores[found_rows.truth]).mean()) + PENALTY * float(weights @ weights)
        probabilities /= np.repeat(total, lengths) * len(starts)
        return value, probabilities @ features - true_features + 2 * PENALTY * weights

    solution = minimize(
        loss,
        np.zeros(features.shape[1]),
        jac=True,
        method="L-BFGS-B",
        bounds=bounds,
        options={"maxiter": 200},
    )
    return solution.x / scale
