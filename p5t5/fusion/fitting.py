"""Weights of a fusion, from validation rows alone: a softmax regression over highly ranked items."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize

from p5t5.baselines.base import Scorer
from p5t5.core.errors import UserError
from p5t5.core.ragged import Ragged
from p5t5.core.randomness import hashed
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

SHORTLIST = 50  # of each part: what competes with the true item
PENALTY = 1e-3  # on squared weights, in units of the mean loss of a row
FOLDS = 2
WHOLE = 2**31  # longer than any history
TASK = "sequential/next_item"

# (rows of interactions) → the model's log-probabilities float32 [rows, items]
ModelTable = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Shortlists:
    """What competes in each row: ``evidence`` float32 [candidates, parts], and per candidate ``length`` and
    ``popularity`` (what gates); ``offsets`` int64 [rows + 1]; ``truth``: the flat place of the true item,
    −1 where no part has it high; ``item``: int64 [candidates], ascending in a row."""

    evidence: np.ndarray
    length: np.ndarray
    popularity: np.ndarray
    item: np.ndarray
    offsets: np.ndarray
    truth: np.ndarray

    def features(self, kind: str) -> np.ndarray:
        """float32 [candidates, weights]: part by part, as `Fusion.weights` flattened."""
        gates = [np.ones_like(self.length)] + ([self.length, self.popularity] if kind == "gate" else [])
        product = self.evidence[:, :, None] * np.stack(gates, 1)[:, None, :]
        return product.reshape(len(product), -1)

    def ndcg(self, scores: np.ndarray) -> np.ndarray:
        """float64 [rows]: NDCG@10; equal scores go to the lower item number, as in every ranking here."""
        lengths = np.diff(self.offsets)
        row = np.repeat(np.arange(len(lengths)), lengths)
        own, its = scores[self.truth][row], self.item[self.truth][row]
        ahead = (scores > own) | ((scores == own) & (self.item < its))
        rank = np.bincount(row[ahead], minlength=len(lengths))
        return np.where((self.truth >= 0) & (rank < 10), 1 / np.log2(rank + 2), 0.0)

    def take(self, rows: np.ndarray) -> Shortlists:
        places = Ragged(np.arange(len(self.item)), self.offsets).take(rows)
        inside = self.truth[rows] - self.offsets[rows] + places.offsets[:-1]
        evidence, length, popularity, item = (
            values[places.values] for values in (self.evidence, self.length, self.popularity, self.item)
        )
        truth = np.where(self.truth[rows] >= 0, inside, -1)
        return Shortlists(evidence, length, popularity, item, places.offsets, truth)


def validation_rows(split: Split, limit: int | None, seed: int = 0) -> np.ndarray:
    """int [n]: what a fusion is fitted on, at most ``limit`` rows, drawn by the seed."""
    rows = TASKS[TASK].eligible(split, "validation")
    if limit is None or len(rows) <= limit:
        return rows
    return np.sort(rows[np.argsort(hashed(seed, rows), kind="stable")[:limit]])


def fit_fusion(
    parts: Sequence[Scorer],
    split: Split,
    model: ModelTable,
    *,
    rows: np.ndarray | None = None,
    kinds: Sequence[str] = KINDS,
) -> Fusion:
    """The kind and the weights with which validation rows are ranked best.

    ``rows``: of the validation part (default: all with a history). Weights maximise the likelihood of
    the true item against the 50 best of every part, nothing removed: whether people come back to items
    of their history is learned. The kind is chosen by NDCG@10 on validation users that its weights were
    not fitted on (two folds), where a single part competes too; then all rows fit it. UserError without
    validation rows.
    """
    if unknown := [kind for kind in kinds if kind not in KINDS]:
        raise UserError(f"fusion: there is no kind {unknown[0]!r}; choose among {', '.join(KINDS)}.")
    if rows is None:
        rows = split.rows("validation")
    rows = rows[split.history_lengths(rows) > 0]
    if not len(rows) or (split.part[rows] != 1).any():
        raise UserError("fusion: weights are learned on validation rows, and there are none.")
    lengths = np.log1p(split.history_lengths(rows))
    length = (float(lengths.mean()), max(float(lengths.std()), 1e-6))
    popularity = standardized_popularity(split)

    def empty(kind: str) -> Fusion:
        width = 3 if kind == "gate" else 1
        return Fusion(list(parts), kind, np.zeros((len(parts) + 2, width)), popularity, length)

    lists = shortlists(empty("sum"), split, rows, model)
    fold = (hashed(0, split.data.user[rows]) % np.uint64(FOLDS)).astype(np.int64)
    found: dict[str, float] = {}
    for kind in kinds:
        mine = lists["reciprocal_rank" if kind == "reciprocal_rank" else "sum"]
        values = np.empty(len(rows))
        for number in range(FOLDS):
            inside, outside = np.flatnonzero(fold == number), np.flatnonzero(fold != number)
            weights = likeliest_weights(mine.take(outside), kind)
            held = mine.take(inside)
            values[inside] = held.ndcg(held.features(kind) @ weights)
        found[kind] = float(values.mean())
    names = empty("sum").names
    alone = {
        name: float(lists["sum"].ndcg(lists["sum"].evidence[:, at]).mean())
        for at, name in enumerate(names)
        if name != HISTORY
    }
    best_part = max(alone, key=lambda name: alone[name])
    kind = max(found, key=lambda name: found[name], default="")
    if not kind or found[kind] <= alone[best_part]:
        fusion = empty("sum")
        fusion.weights[names.index(best_part)] = 1.0
        chosen = best_part
    else:
        fusion, chosen = empty(kind), kind
        mine = lists["reciprocal_rank" if kind == "reciprocal_rank" else "sum"]
        fusion.weights = likeliest_weights(mine, kind).reshape(fusion.weights.shape)
    fusion.about = {
        "data": {"name": split.data.name, "hash": split.data.hash},
        "rows": len(rows),
        "chosen": chosen,
        "validation": {
            "metric": "ndcg@10, unfiltered",
            "blends, two folds": {name: round(value, 6) for name, value in found.items()},
            "parts alone": {name: round(value, 6) for name, value in alone.items()},
        },
    }
    return fusion


def shortlists(fusion: Fusion, split: Split, rows: np.ndarray, model: ModelTable) -> dict[str, Shortlists]:
    """What competes in the rows: of the model and every part the best 50; by kind of evidence."""
    found: dict[str, list[list[np.ndarray]]] = {"sum": [], "reciprocal_rank": []}
    truths, sizes, done = [], [], 0
    step = rows_at_once(split.data.number_of_items)
    for start in range(0, len(rows), step):
        part = rows[start : start + step]
        histories, users = split.history_items(part, WHOLE), split.data.user[part]
        truth, own = split.data.item[part], model(part)
        past = in_history(histories, split.data.number_of_items)
        tables: dict[str, list[np.ndarray]] = {base: [] for base in found}
        keep = np.zeros(own.shape, bool)
        for at, (table, nonnegative) in enumerate(fusion.raw(own, histories, users)):
            tables["sum"].append(centred(table) if at == 0 else normalized(table, nonnegative))
            tables["reciprocal_rank"].append(reciprocal_ranks(table))
            keep |= tables["reciprocal_rank"][-1] >= np.float32(RANK_OFFSET / (RANK_OFFSET + SHORTLIST))
        keep &= np.isfinite(own)
        row, item = np.nonzero(keep)
        hit = np.flatnonzero(item == truth[row])
        place = np.full(len(part), -1, np.int64)
        place[row[hit]] = hit + done
        done += len(row)
        truths.append(place)
        sizes.append(keep.sum(1))
        mean, deviation = fusion.length
        length = ((np.log1p(histories.lengths) - mean) / deviation).astype(np.float32)
        for base, columns in tables.items():
            evidence = np.stack([values[row, item] for values in (*columns, past)], 1)
            found[base].append([evidence, length[row], fusion.popularity[item], item])
    offsets = np.concatenate([[0], np.cumsum(np.concatenate(sizes))])
    out = {}
    for base, chunks in found.items():
        evidence, length, popularity, item = (np.concatenate(column) for column in zip(*chunks, strict=True))
        out[base] = Shortlists(evidence, length, popularity, item, offsets, np.concatenate(truths))
    return out


def likeliest_weights(lists: Shortlists, kind: str) -> np.ndarray:
    """float64 [weights]: maximise the mean log-probability of the true items among their shortlists, rows
    without it left out; a little shrunk to 0. Convex, so where it starts does not matter. The plain
    weights of parts are kept from going below 0 (the history's is free).
    """
    known = lists.take(np.flatnonzero(lists.truth >= 0))
    features = known.features(kind).astype(np.float64)
    width = features.shape[1] // known.evidence.shape[1]
    bounds: list[tuple[float | None, float | None]] = [(None, None)] * features.shape[1]
    bounds[: len(bounds) - width : width] = [(0, None)] * (known.evidence.shape[1] - 1)
    if not len(known.truth):
        return np.zeros(features.shape[1])
    scale = np.maximum(features.std(0), 1e-6)
    features /= scale
    starts, lengths = known.offsets[:-1], np.diff(known.offsets)
    wanted = features[known.truth].mean(0)

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        scores = features @ weights
        scores -= np.repeat(np.maximum.reduceat(scores, starts), lengths)
        share = np.exp(scores)
        total = np.add.reduceat(share, starts)
        value = float((np.log(total) - scores[known.truth]).mean()) + PENALTY * float(weights @ weights)
        share /= np.repeat(total, lengths) * len(starts)
        return value, share @ features - wanted + 2 * PENALTY * weights

    found = minimize(
        loss,
        np.zeros(features.shape[1]),
        jac=True,
        method="L-BFGS-B",
        bounds=bounds,
        options={"maxiter": 200},
    )
    return found.x / scale
