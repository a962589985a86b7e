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

# The ratio of a bucket's longest to its shortest input. Narrow buckets have less padding, but their batches always
# hold the same rows together.
_INPUT_WIDTH = 1.03
# The same for targets: the best ratio depends on how many examples there are to fill the buckets.
_TARGET_WIDTHS = (1.1, 1.26, 1.6, 2.5, 5.0, math.inf)
_PADDING_FOR_MIXING = 1.2  # mixed: at most this many times the batches of the width that makes the fewest
_SAMPLE = 200_000  # examples from which the width is chosen
_PASS = 192  # padded tokens that cost about as much as another pass through a tiny model on a CPU
WEIGHTS = {"label_weights", "soft_target_weights"}  # the weights of a batch: zeroed where a slice is empty
_HASH_CHUNK = 1 << 20  # values hashed at a time


def plan(
    input_lengths: np.ndarray,
    target_lengths: np.ndarray,
    *,
    token_budget: int,
    seed: int,
    epoch: int,
    mixed: bool = False,
) -> list[np.ndarray]:
    """The epoch's global batches, in order: int64 arrays of example indexes; each example occurs once.

    A batch of n examples costs n × (longest input + longest target) padded tokens, at most
    ``token_budget`` unless a single example costs more. Examples are sorted into buckets of similar
    target and input lengths, in random order within a bucket, cut into batches, and the batches shuffled.
    Target buckets are as wide as makes the fewest batches; with ``mixed``, as wide as padding allows, so
    that a batch mixes short and long answers, and all tasks. Within a batch the shorter targets come
    first: contiguous slices need less padding, and so do ``blocks``.
    """
    inputs, targets = np.asarray(input_lengths, np.int64), np.asarray(target_lengths, np.int64)
    if len(inputs) == 0:
        return []
    rng = generator(seed, epoch)
    ties = rng.random(len(inputs))
    sampled = np.argsort(ties)[:_SAMPLE] if len(inputs) > _SAMPLE else np.arange(len(inputs))
    width = _target_width(inputs[sampled], targets[sampled], ties[sampled], token_budget, mixed)
    order = _bucket_order(inputs, targets, ties, width)
    bounds = _cut(inputs[order], targets[order], token_budget)
    batches = [order[start:stop] for start, stop in pairwise(bounds)]
    batches = [rows[np.argsort(targets[rows], kind="stable")] for rows in batches]
    return [batches[index] for index in rng.permutation(len(batches))]


def _target_width(
    inputs: np.ndarray, targets: np.ndarray, ties: np.ndarray, token_budget: int, mixed: bool
) -> float:
    """The target width that makes the fewest batches; if ``mixed``, the widest that does not make many more."""
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
    """int64 [n]: example indexes by target bucket, then input bucket (ascending and descending in turn), then ``ties``.

    In turn, so that input lengths do not jump where one target bucket ends and the next begins.
    """
    outer = (np.log(np.maximum(targets, 1)) / np.log(target_width)).astype(np.int64)
    inner = (np.log(np.maximum(inputs, 1)) / np.log(_INPUT_WIDTH)).astype(np.int64)
    turn = np.unique(outer, return_inverse=True)[1] % 2
    return np.lexsort((ties, np.where(turn == 1, -inner, inner), outer))


def _cut(inputs: np.ndarray, targets: np.ndarray, token_budget: int) -> list[int]:
    """Bounds [0, …, n] at which the ordered examples are cut: greedily, each batch as long as possible."""
    bounds = [0]
    total = len(inputs)
    lookahead = 64
    while bounds[-1] < total:
        start = bounds[-1]
        while True:
            stop = min(start + lookahead, total)
            width = np.maximum.accumulate(inputs[start:stop]) + np.maximum.accumulate(targets[start:stop])
            fitting = int(np.searchsorted(np.arange(1, stop - start + 1) * width, token_budget, side="right"))
            if fitting < stop - start or stop == total:
                break
            lookahead *= 2
        bounds.append(start + max(fitting, 1))
    # A last batch of a few examples would make a full step from a much noisier gradient.
    if len(bounds) > 2 and 2 * (bounds[-1] - bounds[-2]) < bounds[-2] - bounds[-3]:
        middle = (bounds[-3] + bounds[-1] + 1) // 2
        if (total - middle) * (inputs[middle:].max() + targets[middle:].max()) <= token_budget:
            bounds[-2] = middle
    return bounds


def blocks(
    rows: np.ndarray, input_lengths: np.ndarray, target_lengths: np.ndarray, parts: int = 1
) -> list[np.ndarray]:
    """A batch of the plan as one block, or its short and its long targets apart where that is less work.

    Each block is padded separately, and is a separate pass in each of ``parts`` slices (world times
    accumulation). The gradient is the same; all ranks compute the same blocks.
    """
    if len(rows) < 2:
        return [rows]
    front = np.stack([input_lengths[rows], target_lengths[rows]])
    back = np.maximum.accumulate(front[:, ::-1], axis=1)[:, ::-1].sum(0)
    front = np.maximum.accumulate(front, axis=1).sum(0)
    count = np.arange(1, len(rows))
    cost_apart = count * front[:-1] + count[::-1] * back[1:]
    cut = int(cost_apart.argmin())
    if len(rows) * back[0] - cost_apart[cut] <= _PASS * parts:
        return [rows]
    return [rows[: cut + 1], rows[cut + 1 :]]


def slices(batch: np.ndarray, world: int, rank: int, accumulation: int) -> list[np.ndarray]:
    """The rank's micro-batches of a global batch, ``accumulation`` of them: int64 arrays of example indexes.

    Some are empty where the batch has fewer examples than there are slices; the caller then runs any
    example with weight zero, so that all ranks make the same steps.
    """
    parts = np.array_split(batch, world * accumulation)
    return [parts[micro * world + rank] for micro in range(accumulation)]


def collate(encoded: Encoded, rows: np.ndarray, pad_id: int = 0) -> dict[str, torch.Tensor]:
    """The model's inputs for some examples, padded to the longest of them.

    ``input_ids``, ``attention_mask`` int64 [B, S]; ``labels`` int64 [B, T], -100 where padded;
    ``label_weights`` float32 [B, T], 0 where padded. With soft targets, ``soft_target_ids`` int64 and
    ``soft_target_weights`` float32 [B, T, K]: the other answers, whose weight is taken from the label's.
    """
    rows = np.asarray(rows, np.int64)
    ids, mask, _ = _table(encoded.inputs, rows, pad_id)
    labels, real, indices = _table(encoded.targets, rows, -100)
    weights = np.where(real, encoded.weights.take(indices, mode="clip"), np.float32(0))
    batch = {
        "input_ids": torch.from_numpy(ids),
        "attention_mask": torch.from_numpy(mask.astype(np.int64)),
        "labels": torch.from_numpy(labels),
    }
    soft_target_index = None
    if encoded.soft_targets is not None and encoded.soft_target_index is not None:
        soft_target_index = np.where(real, encoded.soft_target_index.take(indices, mode="clip"), np.int32(-1))
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
    """int64 [rows, longest], padded with ``fill``; bool, where it is real; and the indices into the values."""
    starts = part.offsets[rows]
    columns = np.arange((part.offsets[rows + 1] - starts).max(initial=0))
    indices = starts[:, None] + columns
    real = indices < part.offsets[rows + 1][:, None]
    return np.where(real, part.values.take(indices, mode="clip"), np.int64(fill)), real, indices


def real_share(batches: Sequence[np.ndarray], input_lengths: np.ndarray, target_lengths: np.ndarray) -> float:
    """The share of real tokens in all tokens of the batches' padded blocks, inputs and targets."""
    inputs, targets = np.asarray(input_lengths, np.int64), np.asarray(target_lengths, np.int64)
    padded = sum(
        len(rows) * (inputs[rows].max() + targets[rows].max())
        for batch in batches
        for rows in blocks(batch, inputs, targets)
    )
    return float((inputs.sum() + targets.sum()) / padded) if padded else 1.0


def fingerprint(encoded: Encoded) -> str:
    """A hash of the examples, fast even for millions: their lengths, units, and tokens in order."""
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


def _hash(values: np.ndarray) -> int:
    """The sum of the values, each times a factor of its index, modulo 2**64; in chunks, to save memory."""
    total = 0
    for start in range(0, len(values), _HASH_CHUNK):
        chunk = values[start : start + _HASH_CHUNK].astype(np.uint64)
        factor = np.arange(start, start + len(chunk), dtype=np.uint64)
        factor *= np.uint64(2654435761)
        factor += np.uint64(1)
        chunk *= factor
        total += int(chunk.sum())
    return total % 2**64
