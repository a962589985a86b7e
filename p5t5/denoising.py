"""T5's span corruption, over groups: whole identifiers are masked whole, other text token by token.

Raffel et al. 2020 (arXiv 1910.10683), section 3.1.4, as in ``t5.data.preprocessors.random_spans_noise_mask``:
a share ``density`` of a row is noise, in spans of ``mean_span`` on average; noise and kept parts are
each cut at random, dealt out in turn, and the whole is rotated by a random amount. Without the rotation
a row with one span always loses its tail.
"""

from __future__ import annotations

import numpy as np

from p5t5.ragged import Encoded, Ragged, positions
from p5t5.randomness import below, hashed, hashed_on

_NOISE, _KEPT, _ROLL = range(3)  # what a draw is for
BLOCK = 4096  # rows at a time: what they need then stays in the processor's cache


def corrupt(
    tokens: Ragged,
    groups: Ragged,
    sentinels: np.ndarray,
    eos: int,
    *,
    seed: int,
    epoch: int,
    density: float = 0.15,
    mean_span: float = 3.0,
    keys: np.ndarray | None = None,
) -> Encoded:
    """Masked-span examples from rows of tokens (no ``</s>``) and their groups (``encode_elements``).

    Inputs keep the unmasked tokens, each span replaced by the next sentinel; targets hold each
    sentinel and its span; ``</s>`` ends both. A masked group is an answer unit: the sentinel joins its
    span's first group, ``</s>`` the last group of all. Rows of fewer than two groups are left out.
    Draws are keyed by (seed, epoch, key of the row); ``keys`` defaults to the row's place.
    """
    keys = np.arange(len(tokens)) if keys is None else np.asarray(keys, np.int64)
    count = _group_counts(groups)
    parts = []
    several = np.flatnonzero(count >= 2)
    for start in range(0, len(several), BLOCK):
        rows = several[start : start + BLOCK]
        mask = span_mask(
            count[rows],
            keys[rows],
            seed,
            epoch,
            density=density,
            mean_span=mean_span,
            most_spans=len(sentinels),
        )
        parts.append(apply_mask(tokens.take(rows), groups.take(rows), mask, sentinels, eos))
    return Encoded.concatenate(parts)


def span_mask(
    count: np.ndarray,
    keys: np.ndarray,
    seed: int,
    epoch: int,
    *,
    density: float = 0.15,
    mean_span: float = 3.0,
    most_spans: int = 100,
) -> Ragged:
    """Ragged bool: which of each row's ``count`` (≥ 2) groups are noise; at least one is, one is not."""
    noise = np.clip(np.round(count * density), 1, count - 1).astype(np.int64)
    kept = count - noise
    spans = np.clip(np.round(noise / mean_span), 1, np.minimum(noise, kept)).astype(np.int64)
    spans = np.minimum(spans, most_spans - 1)  # the rotation may cut one span in two
    noise_parts = _random_segments(noise, spans, keys, seed, epoch, _NOISE)
    kept_parts = _random_segments(kept, spans, keys, seed, epoch, _KEPT)
    runs = np.stack([kept_parts, noise_parts], 1).reshape(-1)  # kept, noise, kept, noise, … in each row
    flat = np.repeat(np.tile([False, True], len(noise_parts)), runs)
    unrolled = Ragged.from_lengths(flat, count)
    shift = np.repeat(below(count, seed, epoch, keys, _ROLL), count)
    start = np.repeat(unrolled.offsets[:-1], count)
    place = np.arange(len(flat)) - start
    return Ragged(flat[start + (place + shift) % np.repeat(count, count)], unrolled.offsets)


def apply_mask(tokens: Ragged, groups: Ragged, mask: Ragged, sentinels: np.ndarray, eos: int) -> Encoded:
    """The examples that a mask over groups (at least one a row set) makes of the rows."""
    row = tokens.row_of_value
    group = mask.offsets[row] + groups.values  # counted over all rows
    masked = mask.values[group]
    first_of_row = np.zeros(len(row) + 1, bool)
    first_of_row[tokens.offsets[:-1]] = True
    starts_span = masked & (first_of_row[:-1] | ~np.concatenate([[False], masked[:-1]]))
    spans_before = np.concatenate([[0], np.cumsum(starts_span)])
    number = spans_before[1:] - spans_before[tokens.offsets[row]] - 1  # of the span, in its row
    sentinel = np.asarray(sentinels, np.int32)[np.maximum(number, 0)]

    inputs = _with_end(
        np.where(masked, sentinel, tokens.values)[~masked | starts_span],
        np.bincount(row[~masked | starts_span], minlength=len(tokens)),
        eos,
    )
    # Targets: a masked token brings itself, and the first of a span a sentinel before it.
    brings = masked[masked].astype(np.int64) + starts_span[masked]
    body = np.repeat(tokens.values[masked], brings)
    body[(np.cumsum(brings) - brings)[starts_span[masked]]] = sentinel[starts_span]
    target_lengths = np.bincount(row[masked], weights=brings, minlength=len(tokens)).astype(np.int64)
    targets = _with_end(body, target_lengths, eos)

    units = np.bincount(mask.row_of_value[mask.values], minlength=len(mask))
    unit_of_group = np.cumsum(mask.values) - 1
    unit = _with_end(np.repeat(unit_of_group[group[masked]], brings), target_lengths, -1)
    unit.values[unit.offsets[1:] - 1] = np.cumsum(units) - 1  # </s> joins the row's last group
    weights = (1.0 / np.bincount(unit.values, minlength=int(units.sum())))[unit.values]
    return Encoded(inputs, targets, weights.astype(np.float32), units.astype(np.int32))


def _group_counts(groups: Ragged) -> np.ndarray:
    """int64 [rows]: groups count from 0 in each row, so the last token has the highest number."""
    if not len(groups.values):
        return np.zeros(len(groups), np.int64)
    last = groups.values[np.maximum(groups.offsets[1:] - 1, 0)].astype(np.int64)
    return np.where(groups.lengths > 0, last + 1, 0)


def _random_segments(
    things: np.ndarray, parts: np.ndarray, keys: np.ndarray, seed: int, epoch: int, purpose: int
) -> np.ndarray:
    """int64 [sum(parts)]: each row's ``things`` cut into ``parts`` non-empty parts, uniformly.

    Each row has things − 1 gaps; the parts − 1 with the smallest hashes become cuts.
    """
    gaps = things - 1
    total = int(gaps.sum())
    row = np.repeat(np.arange(len(things)), gaps)
    start = np.cumsum(gaps) - gaps
    gap = np.arange(total) - start[row]
    drawn = hashed_on(hashed(seed, epoch, keys)[row], gap, purpose) >> np.uint64(32)
    # Rows are in order already: one sort of (row, draw) ranks the gaps inside each row.
    order = np.argsort((row.astype(np.uint64) << np.uint64(32)) | drawn, kind="stable")
    is_cut = np.zeros(total, bool)
    is_cut[order[gap < (parts - 1)[row]]] = True
    # Ends of parts: a cut behind gap g ends a part at thing g + 1; every row's last part ends at its last thing.
    ends = np.zeros(int(things.sum()), bool)
    thing_start = np.cumsum(things) - things
    ends[(thing_start[row] + gap)[is_cut]] = True
    ends[thing_start + things - 1] = True
    return np.diff(np.concatenate([[-1], np.flatnonzero(ends)]))


def _with_end(values: np.ndarray, lengths: np.ndarray, end: int) -> Ragged:
    """Rows with one more value behind each."""
    out = Ragged.from_lengths(np.full(len(values) + len(lengths), end, values.dtype), lengths + 1)
    out.values[positions(out.offsets[:-1], lengths)] = values
    return out
