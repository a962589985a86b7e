"""Batches: a plan of global batches for an epoch, its slices for ranks and accumulation, and tensors.

The plan is a pure function of (lengths, seed, epoch, token budget). World size and accumulation only
slice its batches, so every slicing trains the same model, and a resumed run sees the same batches.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch

from p5t5.core.encoded import Encoded
from p5t5.core.ragged import Ragged
from p5t5.core.randomness import generator

# A bucket's longest input is this much longer than its shortest. Narrow: less padding, but batches of
# ever the same rows together.
_INPUT_WIDTH = 1.03
# The same for targets: which is best depends on how many examples there are to fill the buckets with.
_TARGET_WIDTHS = (1.1, 1.26, 1.6, 2.5, 5.0, math.inf)
_PADDING_FOR_MIXING = 1.2  # mixed: at most this many times the batches of the width that makes the fewest
_SAMPLE = 200_000  # examples from which the width is chosen
_PASS = 192  # padded tokens that cost about as much as one more pass through a tiny model, on a CPU
WEIGHTS = {"label_weights", "soft_target_weights"}  # what a batch weighs: zeroed where a slice is empty
_PIECE = 1 << 20  # values that are hashed at a time


def plan(
    input_lengths: np.ndarray,
    target_lengths: np.ndarray,
    *,
    token_budget: int,
    seed: int,
    epoch: int,
    mixed: bool = False,
) -> list[np.ndarray]:
    """The epoch's global batches, in order: int64 arrays of example indexes; each example once.

    A batch of n examples costs n × (longest input + longest target) padded tokens, at most
    ``token_budget`` unless a single example costs more. Examples are sorted into buckets of similar
    target and input lengths, at random within a bucket, cut into batches, and the batches shuffled.
    Target buckets are as wide as makes the fewest batches; with ``mixed``, as wide as padding allows, so
    that a batch has short answers beside long ones, and all tasks. Within a batch the shorter targets come
    first: contiguous slices pad less, and so do ``blocks``.
    """
    inputs, targets = np.asarray(input_lengths, np.int64), np.asarray(target_lengths, np.int64)
    if len(inputs) == 0:
        return []
    rng = generator(seed, epoch)
    ties = rng.random(len(inputs))
    some = np.argsort(ties)[:_SAMPLE] if len(inputs) > _SAMPLE else np.arange(len(inputs))
    width = _target_width(inputs[some], targets[some], ties[some], token_budget, mixed)
    order = _bucket_order(inputs, targets, ties, width)
    bounds = _cut(inputs[order], targets[order], token_budget)
    batches = [order[start:stop] for start, stop in pairwise(bounds)]
    batches = [rows[np.argsort(targets[rows], kind="stable")] for rows in batches]
    return [batches[place] for place in rng.permutation(len(batches))]


def _target_width(
    inputs: np.ndarray, targets: np.ndarray, ties: np.ndarray, token_budget: int, mixed: bool
) -> float:
    """The target width that makes the fewest batches; if ``mixed``, the widest that makes not many more."""
    counts: dict[float, int] = {}
    for width in _TARGET_WIDTHS:
        order = _bucket_order(inputs, targets, ties, width)
        counts[width] = len(_cut(inputs[order], targets[order], token_budget))
    fewest = min(counts, key=lambda width: counts[width])
    if not mixed:
        return fewest
    return max(width for width in counts if counts[width] <= _PADDING_FOR_MIXING * counts[fewest])


def _bucket_order(
    inputs: np.ndarray, targets: np.ndarray, ties: np.ndarray, target_width: float
) -> np.ndarray:
    """Example indexes by target bucket, then input bucket (up and down in turns), then ``ties``.

    Up and down: where one target bucket ends and the next begins, the input lengths do not jump.
    """
    outer = (np.log(np.maximum(targets, 1)) / np.log(target_width)).astype(np.int64)
    inner = (np.log(np.maximum(inputs, 1)) / np.log(_INPUT_WIDTH)).astype(np.int64)
    turn = np.unique(outer, return_inverse=True)[1] % 2
    return np.lexsort((ties, np.where(turn == 1, -inner, inner), outer))


def _cut(inputs: np.ndarray, targets: np.ndarray, token_budget: int) -> list[int]:
    """Places [0, …, n] where the ordered examples are cut: greedily, each batch as long as it may be."""
    bounds = [0]
    total = len(inputs)
    window = 64
    while bounds[-1] < total:
        start = bounds[-1]
        while True:
            stop = min(start + window, total)
            width = np.maximum.accumulate(inputs[start:stop]) + np.maximum.accumulate(targets[start:stop])
            fits = int(np.searchsorted(np.arange(1, stop - start + 1) * width, token_budget, side="right"))
            if fits < stop - start or stop == total:
                break
            window *= 2
        bounds.append(start + max(fits, 1))
    # A last batch of a few examples would make a step like any other from a much noisier gradient.
    if len(bounds) > 2 and 2 * (bounds[-1] - bounds[-2]) < bounds[-2] - bounds[-3]:
        middle = (bounds[-3] + bounds[-1] + 1) // 2
        if (total - middle) * (inputs[middle:].max() + targets[middle:].max()) <= token_budget:
            bounds[-2] = middle
    return bounds


def blocks(
    rows: np.ndarray, input_lengths: np.ndarray, target_lengths: np.ndarray, parts: int = 1
) -> list[np.ndarray]:
    """A batch of the plan whole, or its short targets and its long ones apart where that is less work.

    Each block is then padded by itself, and is a pass of its own in each of ``parts`` slices (world times
    accumulation). The gradient is the same; all ranks find the same blocks.
    """
    if len(rows) < 2:
        return [rows]
    front = np.stack([input_lengths[rows], target_lengths[rows]])
    back = np.maximum.accumulate(front[:, ::-1], axis=1)[:, ::-1].sum(0)
    front = np.maximum.accumulate(front, axis=1).sum(0)
    count = np.arange(1, len(rows))
    apart = count * front[:-1] + count[::-1] * back[1:]
    cut = int(apart.argmin())
    if len(rows) * back[0] - apart[cut] <= _PASS * parts:
        return [rows]
    return [rows[: cut + 1], rows[cut + 1 :]]


def slices(batch: np.ndarray, world: int, rank: int, accumulation: int) -> list[np.ndarray]:
    """The rank's micro-batches of a global batch, ``accumulation`` of them.

    Some are empty where the batch has fewer examples than there are slices; the caller then runs any
    example at weight zero, so that all ranks make the same steps.
    """
    parts = np.array_split(batch, world * accumulation)
    return [parts[micro * world + rank] for micro in range(accumulation)]


def collate(encoded: Encoded, rows: np.ndarray, pad_id: int = 0) -> dict[str, torch.Tensor]:
    """The model's inputs for some examples, padded to the longest of them, not more.

    ``input_ids``, ``attention_mask`` int64 [B, S]; ``labels`` int64 [B, T], -100 where none;
    ``label_weights`` float32 [B, T], 0 where none. With soft targets, ``soft_target_ids`` int64 and
    ``soft_target_weights`` float32 [B, T, K]: the other answers, whose weight the label's is less by.
    """
    rows = np.asarray(rows, np.int64)
    ids, mask, _ = _table(encoded.inputs, rows, pad_id)
    labels, real, places = _table(encoded.targets, rows, -100)
    weights = np.where(real, encoded.weights.take(places, mode="clip"), np.float32(0))
    batch = {
        "input_ids": torch.from_numpy(ids),
        "attention_mask": torch.from_numpy(mask.astype(np.int64)),
        "labels": torch.from_numpy(labels),
    }
    soft_target_index = None
    if encoded.soft_targets is not None and encoded.soft_target_index is not None:
        soft_target_index = np.where(real, encoded.soft_target_index.take(places, mode="clip"), np.int32(-1))
    if (
        soft_target_index is not None and (soft_target_index >= 0).any()
    ):  # long texts would carry their zeros through the head
        assert encoded.soft_targets is not None
        tokens, shares = (
            encoded.soft_targets.tokens[soft_target_index],
            encoded.soft_targets.shares[soft_target_index],
        )
        shares = shares * np.where(soft_target_index >= 0, weights, np.float32(0))[:, :, None]
        weights = weights - shares.sum(-1)
        batch["soft_target_ids"] = torch.from_numpy(tokens.astype(np.int64))
        batch["soft_target_weights"] = torch.from_numpy(shares)
    batch["label_weights"] = torch.from_numpy(weights)
    return batch


def _table(part: Ragged, rows: np.ndarray, fill: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """int64 [rows, longest] with ``fill`` behind each row; bool where it is real; the places in the values."""
    starts = part.offsets[rows]
    columns = np.arange((part.offsets[rows + 1] - starts).max(initial=0))
    places = starts[:, None] + columns
    real = places < part.offsets[rows + 1][:, None]
    return np.where(real, part.values.take(places, mode="clip"), np.int64(fill)), real, places


def real_share(batches: Sequence[np.ndarray], input_lengths: np.ndarray, target_lengths: np.ndarray) -> float:
    """The share of real tokens among all tokens of the batches' padded blocks, inputs and targets."""
    inputs, targets = np.asarray(input_lengths, np.int64), np.asarray(target_lengths, np.int64)
    padded = sum(
        len(rows) * (inputs[rows].max() + targets[rows].max())
        for batch in batches
        for rows in blocks(batch, inputs, targets)
    )
    return float((inputs.sum() + targets.sum()) / padded) if padded else 1.0


def fingerprint(encoded: Encoded) -> str:
    """A hash of the examples, quick even for millions: their lengths, units, and tokens in order."""
    parts: tuple[np.ndarray, ...] = (
        encoded.inputs.offsets,
        encoded.targets.offsets,
        encoded.units,
        encoded.inputs.values,
        encoded.targets.values,
    )
    if encoded.soft_targets is not None:
        shares = encoded.soft_targets.shares.view(np.int32)
        parts += (
            encoded.soft_target_index_or_none(),
            encoded.soft_targets.tokens.reshape(-1),
            shares.reshape(-1),
        )
    return "-".join(f"{_hash(part):x}" for part in parts)


def _hash(part: np.ndarray) -> int:
    """The sum of the values, each times a number of its place, modulo 2**64; a piece at a time, to save memory."""
    total = 0
    for start in range(0, len(part), _PIECE):
        piece = part[start : start + _PIECE].astype(np.uint64)
        factor = np.arange(start, start + len(piece), dtype=np.uint64)
        factor *= np.uint64(2654435761)
        factor += np.uint64(1)
        piece *= factor
        total += int(piece.sum())
    return total % 2**64
