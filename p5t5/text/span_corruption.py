"""T5's span corruption, over groups: whole identifiers are masked whole, other text token by token.

Raffel et al. 2020 (arXiv 1910.10683), section 3.1.4, as in ``t5.data.preprocessors.random_spans_noise_mask``:
a share ``density`` of a row is noise, in spans of ``mean_span`` on average; noise and kept parts are
each cut at random, dealt out in turn, and the whole is rotated by a random amount. Without the rotation
a row with one span always loses its tail.
"""

from __future__ import annotations

import numpy as np

from p5t5.core.encoded import Encoded
from p5t5.core.ragged import Ragged, positions
from p5t5.core.randomness import below, hashed, hashed_on

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
    # A row's number and a group's must fit beside a draw (_random_segments).
    block = max(min(BLOCK, 2 ** (32 - int(count.max(initial=1)).bit_length())), 1)
    parts = []
    for start in range(0, len(tokens), block):
        stop = min(start + block, len(tokens))
        rows = np.arange(start, stop)[count[start:stop] >= 2]
        if not len(rows):
            continue
        some = _span(tokens, start, stop), _span(groups, start, stop)
        if len(rows) < stop - start:
            some = tokens.take(rows), groups.take(rows)
        mask = span_mask(
            count[rows],
            keys[rows],
            seed,
            epoch,
            density=density,
            mean_span=mean_span,
            most_spans=len(sentinels),
        )
        parts.append(apply_mask(*some, mask, sentinels, eos))
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
    mask = Ragged.from_lengths(np.zeros(int(count.sum()), bool), count)
    # Kept, noise, kept, noise, … in each row, counted over all rows; then each row turned by its shift.
    starts = np.cumsum(kept_parts) + np.cumsum(noise_parts) - noise_parts
    first = mask.offsets[:-1]
    shift = first + below(count, seed, epoch, keys, _ROLL)
    place = positions(starts, noise_parts) - np.repeat(shift, noise)
    place += np.repeat(count, noise) * (place < 0)
    place += np.repeat(first, noise)
    mask.values[place] = True
    return mask


def apply_mask(tokens: Ragged, groups: Ragged, mask: Ragged, sentinels: np.ndarray, eos: int) -> Encoded:
    """The examples that a mask over groups (at least one a row set) makes of the rows.

    What is masked is few, so all but the inputs themselves is worked out for the masked tokens alone.
    """
    rows, lengths = len(tokens), tokens.lengths
    masked = mask.values
    unit: np.ndarray | None = None
    if len(masked) < len(tokens.values):  # else each token is a group
        group = groups.values + np.repeat(mask.offsets[:-1], lengths)
        masked = masked[group]
        unit = group[masked]
    before = np.empty_like(masked)
    before[1:] = masked[:-1]
    before[tokens.offsets[:-1]] = False
    starts_span = masked > before
    hidden = np.flatnonzero(masked)
    starts = np.flatnonzero(starts_span)
    hidden_ends, span_ends = np.searchsorted(hidden, tokens.offsets), np.searchsorted(starts, tokens.offsets)
    hidden_in, spans_in = np.diff(hidden_ends), np.diff(span_ends)
    number = np.arange(len(starts)) - np.repeat(span_ends[:-1], spans_in)
    sentinel = np.asarray(sentinels, np.int32)[number]

    marked = tokens.values.copy()
    marked[starts] = sentinel
    inputs = Ragged.from_lengths(
        np.full(len(marked) - len(hidden) + len(starts) + rows, eos, np.int32),
        lengths - hidden_in + spans_in + 1,
    )
    body = np.ones(len(inputs.values), bool)
    body[inputs.offsets[1:] - 1] = False
    inputs.values[body] = marked[starts_span >= masked]

    # Targets: a sentinel, its span, and so on; </s> ends the row.
    targets = Ragged.from_lengths(
        np.full(len(hidden) + len(starts) + rows, eos, np.int32), hidden_in + spans_in + 1
    )
    at_span = np.searchsorted(hidden, starts)  # the span's first among the masked tokens
    sentinel_at = at_span + np.arange(len(starts)) + np.repeat(np.arange(rows), spans_in)
    body = np.ones(len(targets.values), bool)
    body[sentinel_at] = False
    body[targets.offsets[1:] - 1] = False
    targets.values[sentinel_at] = sentinel
    targets.values[body] = tokens.values[hidden]

    # Answer units: the masked groups. The sentinel joins its span's first group, </s> the row's last.
    opens = body.copy()  # where a unit begins in the targets
    units = hidden_in
    if unit is not None:
        new = np.ones(len(unit), bool)
        new[1:] = unit[1:] != unit[:-1]
        opens[body] = new
        units = np.diff(np.searchsorted(np.flatnonzero(new), hidden_ends))
    opens[sentinel_at + 1] = False
    opens[sentinel_at] = True
    sizes = np.diff(np.flatnonzero(opens), append=len(opens))
    weights = np.repeat((1.0 / sizes).astype(np.float32), sizes)
    return Encoded(inputs, targets, weights, units.astype(np.int32))


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
    ends = np.repeat(np.cumsum(things), parts)
    several = np.flatnonzero(parts > 1)
    if len(several):
        gaps, cuts = things[several] - 1, parts[several] - 1
        states = np.repeat(hashed(seed, epoch, keys[several]), gaps)
        gap = positions(np.zeros(len(gaps), np.int64), gaps)
        # One number holds row, draw and gap, so that one sort ranks the gaps inside each row.
        bits = int(gaps.max()).bit_length()
        key = hashed_on(states, gap, purpose) >> np.uint64(32)
        key <<= np.uint64(bits)
        key |= gap.view(np.uint64)
        key |= np.repeat(np.arange(len(gaps), dtype=np.uint64) << np.uint64(32 + bits), gaps)
        key.sort()
        cut = (key[gap < np.repeat(cuts, gaps)] & np.uint64(2**bits - 1)).view(np.int64)
        # A cut behind gap g ends a part at thing g + 1; a row's last part ends at its last thing.
        cut += np.repeat(np.cumsum(things)[several] - gaps, cuts)
        cut.sort()
        inner = np.ones(len(ends), bool)
        inner[np.cumsum(parts) - 1] = False
        ends[inner] = cut
    return np.diff(ends, prepend=0)


def _span(rows: Ragged, start: int, stop: int) -> Ragged:
    """The rows start … stop−1, not copied."""
    first, last = rows.offsets[start], rows.offsets[stop]
    return Ragged(rows.values[first:last], rows.offsets[start : stop + 1] - first)
