"""Soft targets for next items: a softmax over neighbours by co-occurrence and by text, per training row.

The teacher is a fusion as in `p5t5.fusion.blend` without a model: co-occurrence, text similarity, popularity
and whether the item is in the history, gated by the length of the history and the popularity of the item. Its
counts never include the user it teaches about: users are dealt into FOLDS, and the counts for one fold come
from the training rows of the others. The few weights, shared by all folds, maximize the likelihood of a
sample of training rows. Validation and test rows are never read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from tqdm.auto import tqdm

from p5t5.baselines.base import Scorer
from p5t5.baselines.rankers import CooccurrenceRanker, Popularity
from p5t5.baselines.text_similarity import content_rankers
from p5t5.core.ragged import Ragged
from p5t5.core.randomness import fold_of, hashed, sample
from p5t5.data.splits import Split
from p5t5.fusion.blend import SMOOTHING, Fusion, standardized_popularity
from p5t5.fusion.fitting import Shortlists, likeliest_weights

FOLDS = 6
SHORTLIST = 50  # of each part
ALTERNATIVES = 24  # items with a probability per row
FIT_ROWS = 4000  # training rows that the weights are fitted on
MAX_CELLS = 3e9  # rows times items to score: beyond this, only a sample of the rows gets soft targets
MAX_DISTILLED_ROWS = 2_000_000  # the soft targets of a row take 200 bytes
MAX_COUNTED_ROWS = (
    3_000_000  # training rows that co-occurrence is counted on: beyond this, those of a sample of the users
)


def next_item_soft_targets(
    split: Split, seed: int = 0, progress: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(rows int64 [n]: training rows with a history, items int32 [n, K], shares float32 [n, K]).

    ``shares``: the teacher's probabilities of its ALTERNATIVES best items; rows sum to 1.
    """
    rows = split.rows("train")
    rows = rows[split.history_lengths(rows) > 0]
    most = max(int(MAX_CELLS / split.data.number_of_items), FIT_ROWS)
    rows = sample(rows, min(most, MAX_DISTILLED_ROWS), seed)
    if not len(rows):
        empty = np.zeros((0, ALTERNATIVES))
        return rows, empty.astype(np.int32), empty.astype(np.float32)
    if len(np.unique(split.data.user[rows])) < FOLDS:
        return rows[:0], np.zeros((0, ALTERNATIVES), np.int32), np.zeros((0, ALTERNATIVES), np.float32)
    users = np.arange(split.data.number_of_users)
    fold = fold_of(FOLDS, seed, users).astype(np.int8)[split.data.user]
    uncounted, described, disable_bar = (
        _uncounted(split, seed),
        content_rankers(split),
        None if progress else True,
    )
    teachers = [
        _blend(_without(split, uncounted | (fold == number)), described)
        for number in tqdm(range(FOLDS), desc="teachers", disable=disable_bar)
    ]
    fitting_rows = sample(rows, FIT_ROWS, seed + 1)
    lists = [
        part
        for number, teacher in enumerate(teachers)
        for _, part in _shortlists(teacher, split, fitting_rows[fold[fitting_rows] == number])
    ]
    weights = likeliest_weights(_joined(lists), "gate")
    items = np.zeros((len(rows), ALTERNATIVES), np.int32)
    shares = np.zeros((len(rows), ALTERNATIVES), np.float32)
    with tqdm(total=len(rows), desc="soft targets", disable=disable_bar) as bar:
        for number, teacher in enumerate(teachers):
            of_fold = np.flatnonzero(fold[rows] == number)
            for positions, part in _shortlists(teacher, split, rows[of_fold]):
                items[of_fold[positions]], shares[of_fold[positions]] = _likeliest(
                    part, part.features("gate") @ weights
                )
                bar.update(len(positions))
    return rows, items, shares


def _uncounted(split: Split, seed: int) -> np.ndarray:
    """bool [n]: the interactions of users who are not drawn, so that at most MAX_COUNTED_ROWS training rows are left."""
    data = split.data
    trained = np.bincount(data.user[split.rows("train")], minlength=data.number_of_users)
    order = np.argsort(hashed(seed + 2, np.arange(data.number_of_users)), kind="stable")
    left_out = np.empty(data.number_of_users, bool)
    left_out[order] = np.cumsum(trained[order]) > MAX_COUNTED_ROWS
    return left_out[data.user]


def _without(split: Split, left_out: np.ndarray) -> Split:
    """The split, as if the interactions ``left_out`` bool [n] belonged to no part."""
    return Split(split.data, split.scheme, np.where(left_out, np.int8(-1), split.part))


def _blend(split: Split, described: Sequence[Scorer]) -> Fusion:
    """The teacher's parts, ``described`` (which counts nothing) among them, its weights still 0."""
    rows = split.rows("train")
    lengths = np.log1p(split.history_lengths(rows)) if len(rows) else np.zeros(1)
    parts: list[Scorer] = [Popularity(split), CooccurrenceRanker(split), *described]
    return Fusion(
        parts,
        "gate",
        np.zeros((len(parts) + 2, 3)),
        standardized_popularity(split),
        (float(lengths.mean()), max(float(lengths.std()), 1e-6)),
    )


def _shortlists(teacher: Fusion, split: Split, rows: np.ndarray) -> Iterator[tuple[np.ndarray, Shortlists]]:
    """(positions in ``rows``, the shortlists) per chunk: the best of each part but popularity compete."""
    data = split.data
    step = max((1 << 23) // data.number_of_items, 1)
    for start in range(0, len(rows), step):
        chunk = rows[start : start + step]
        histories = split.history_items(chunk)
        past = np.zeros((len(chunk), data.number_of_items), bool)
        past[histories.row_of_value, histories.values] = True
        tables = [scorer.scores(histories, np.full(len(chunk), -1)) for scorer in teacher.parts]
        keep = past.copy()
        for scorer, table in zip(teacher.parts, tables, strict=True):
            if scorer.name != Popularity.name:
                width = min(SHORTLIST, data.number_of_items)
                best = torch.topk(torch.from_numpy(table), width, sorted=False).indices
                np.put_along_axis(keep, best.numpy(), True, axis=1)
        row, item = np.nonzero(keep)
        evidence = np.empty((len(row), len(tables) + 2), np.float32)
        evidence[:, 0], evidence[:, -1] = 0, past[row, item]
        for column, (scorer, table) in enumerate(zip(teacher.parts, tables, strict=True), 1):
            evidence[:, column] = _evidence(table, row, item, scorer.nonnegative)
        mean, deviation = teacher.length
        length = ((np.log1p(histories.lengths) - mean) / deviation).astype(np.float32)
        offsets = np.concatenate([[0], np.cumsum(keep.sum(1))])
        truth = np.full(len(chunk), -1, np.int64)
        hit = np.flatnonzero(item == data.item[chunk][row])
        truth[row[hit]] = hit
        lists = Shortlists(evidence, length[row], teacher.popularity[item], item, offsets, truth)
        yield np.arange(start, start + len(chunk)), lists


def _evidence(table: np.ndarray, row: np.ndarray, item: np.ndarray, nonnegative: bool) -> np.ndarray:
    """`fusion.normalized` at the given cells only."""
    mean = table.mean(1)
    if not nonnegative:
        return ((table[row, item] - mean[row]) / np.maximum(table.std(1), 1e-6)[row]).astype(np.float32)
    has_evidence = mean > 0
    level = np.where(has_evidence, mean, 1)
    relative = np.where(has_evidence[row], table[row, item], 1) / level[row]
    return np.log((relative + SMOOTHING) / (1 + SMOOTHING)).astype(np.float32)


def _joined(lists: list[Shortlists]) -> Shortlists:
    sizes = np.concatenate([np.diff(part.offsets) for part in lists])
    starts = np.cumsum([0, *(part.offsets[-1] for part in lists)])
    truth = [
        np.where(part.truth >= 0, part.truth + start, -1) for part, start in zip(lists, starts, strict=False)
    ]
    evidence, length, popularity, item = (
        np.concatenate([getattr(part, name) for part in lists])
        for name in ("evidence", "length", "popularity", "item")
    )
    return Shortlists(
        evidence, length, popularity, item, np.concatenate([[0], np.cumsum(sizes)]), np.concatenate(truth)
    )


def _likeliest(lists: Shortlists, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(items int32 [n, K], probabilities float32 [n, K]): a softmax over the best of each row, best first."""
    table = Ragged(scores.astype(np.float32), lists.offsets).padded(-np.inf)
    items = Ragged(lists.item.astype(np.int32), lists.offsets).padded(0)
    if table.shape[1] < ALTERNATIVES:
        padding = ((0, 0), (0, ALTERNATIVES - table.shape[1]))
        table, items = np.pad(table, padding, constant_values=-np.inf), np.pad(items, padding)
    best = np.argsort(-table, axis=1, kind="stable")[:, :ALTERNATIVES]
    table, items = np.take_along_axis(table, best, 1), np.take_along_axis(items, best, 1)
    probabilities = np.exp(table - table[:, :1])
    return items, probabilities / probabilities.sum(1, keepdims=True)
