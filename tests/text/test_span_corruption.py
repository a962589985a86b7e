from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p5t5.core.ragged import Ragged
from p5t5.text import span_corruption as denoising
from p5t5.text.span_corruption import apply_mask, corrupt, span_mask

EOS = 1
SENTINELS = np.arange(999, 899, -1, dtype=np.int32)


def rows_of(group_sizes):
    """Tokens 1000, 1001, … in rows of groups of the given sizes."""
    token, tokens, groups = 1000, [], []
    for sizes in group_sizes:
        count = sum(sizes)
        tokens.append(list(range(token, token + count)))
        groups.append([number for number, size in enumerate(sizes) for _ in range(size)])
        token += count
    return Ragged.from_lists(tokens), Ragged.from_lists(groups)


def twin(tokens, groups, mask):
    """One row in plain Python: T5's corruption as the paper's figure shows it."""
    inputs, targets, units, span = [], [], [], -1
    for place, (token, group) in enumerate(zip(tokens, groups, strict=True)):
        if not mask[group]:
            inputs.append(token)
            continue
        new_group = place == 0 or groups[place - 1] != group
        if place == 0 or not mask[groups[place - 1]]:
            span += 1
            inputs.append(int(SENTINELS[span]))
            targets.append(int(SENTINELS[span]))
            units.append(1)
            new_group = False
            targets.append(token)
            units[-1] += 1
            continue
        targets.append(token)
        if new_group:
            units.append(1)
        else:
            units[-1] += 1
    units[-1] += 1
    weights = [1 / size for size in units for _ in range(size)]
    return [*inputs, EOS], [*targets, EOS], weights, len(units)


def assert_like_twin(tokens, groups, mask, encoded):
    for row in range(len(tokens)):
        inputs, targets, weights, units = twin(tokens[row].tolist(), groups[row].tolist(), mask[row].tolist())
        assert encoded.inputs[row].tolist() == inputs
        assert encoded.targets[row].tolist() == targets
        start, end = encoded.targets.offsets[row : row + 2]
        assert encoded.weights[start:end] == pytest.approx(weights)
        assert encoded.units[row] == units


group_rows = st.lists(st.lists(st.integers(1, 3), min_size=2, max_size=30), min_size=1, max_size=6)


@settings(max_examples=100, deadline=None)
@given(group_rows, st.integers(0, 5), st.integers(0, 5))
def test_corruption_equals_the_plain_twin_given_the_same_mask(group_sizes, seed, epoch):
    tokens, groups = rows_of(group_sizes)
    count = np.array([len(sizes) for sizes in group_sizes])
    mask = span_mask(count, np.arange(len(count)), seed, epoch)
    assert_like_twin(tokens, groups, mask, corrupt(tokens, groups, SENTINELS, EOS, seed=seed, epoch=epoch))


@settings(max_examples=100, deadline=None)
@given(group_rows, st.data())
def test_any_mask_at_all(group_sizes, data):
    tokens, groups = rows_of(group_sizes)
    masks = []
    for sizes in group_sizes:
        mask = data.draw(st.lists(st.booleans(), min_size=len(sizes), max_size=len(sizes)).filter(any))
        masks.append(mask)
    mask = Ragged.from_lists(masks, bool)
    assert_like_twin(tokens, groups, mask, apply_mask(tokens, groups, mask, SENTINELS, EOS))


def test_a_hand_made_row():
    tokens, groups = rows_of([[1, 2, 1, 1, 3]])
    mask = Ragged.from_lists([[True, False, False, True, True]], bool)
    out = apply_mask(tokens, groups, mask, SENTINELS, EOS)
    assert out.inputs[0].tolist() == [999, 1001, 1002, 1003, 998, EOS]
    assert out.targets[0].tolist() == [999, 1000, 998, 1004, 1005, 1006, 1007, EOS]
    assert out.weights.tolist() == pytest.approx([0.5] * 4 + [0.25] * 4)
    assert out.units.tolist() == [3]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(2, 400), min_size=1, max_size=20), st.integers(0, 9), st.floats(0.01, 0.9))
def test_masks_hold_the_promised_numbers(counts, seed, density):
    count = np.array(counts)
    mask = span_mask(count, np.arange(len(count)), seed, 0, density=density, most_spans=8)
    for row, groups in enumerate(counts):
        noise = mask[row]
        assert len(noise) == groups
        assert noise.sum() == np.clip(round(groups * density), 1, groups - 1)
        starts = noise & ~np.concatenate([[False], noise[:-1]])
        assert 1 <= starts.sum() <= 8  # the rotation's extra span included: there are sentinels enough


def test_statistics_are_those_of_t5():
    """Density 15 %, spans of 3 on average, every place masked equally often, the start and the end too."""
    count = np.full(4000, 40)
    mask = np.stack([span_mask(count, np.arange(4000), 0, epoch).padded(False) for epoch in (0, 1)])
    assert mask.mean() == pytest.approx(0.15)
    starts = mask & ~np.roll(mask, 1, axis=-1)  # spans on the ring, as they were before the rotation
    assert mask.sum() / starts.sum() == pytest.approx(3.0)
    by_place = mask.mean((0, 1))
    assert np.abs(by_place - 0.15).max() < 0.02
    lengths = np.diff(np.flatnonzero(np.diff(mask[0].reshape(-1).astype(int))))[::2]
    assert {1, 2, 3, 4, 5} <= set(lengths.tolist())  # a random segmentation, not all threes


def test_short_rows_do_not_always_lose_their_tail():
    mask = span_mask(np.full(600, 4), np.arange(600), 0, 0).padded(False)
    assert (mask.sum(1) == 1).all()
    assert (np.abs(mask.mean(0) - 0.25) < 0.07).all()


def test_segmentations_are_uniform():
    """5 noise groups in 2 spans: the 4 ways to cut occur equally often."""
    counts = 31
    mask = span_mask(np.full(8000, counts), np.arange(8000), 1, 0).padded(False)
    assert (mask.sum(1) == 5).all()
    starts = mask & ~np.roll(mask, 1, axis=1)
    assert (starts.sum(1) == 2).all()
    ends = mask & ~np.roll(mask, -1, axis=1)
    lengths = []
    for row_starts, row_ends in zip(starts, ends, strict=True):  # on the ring, where no span is cut
        first = np.flatnonzero(row_starts)[0]
        length = min((end - first) % counts for end in np.flatnonzero(row_ends)) + 1
        lengths += [length, 5 - length]
    assert (np.abs(np.bincount(lengths)[1:] / len(lengths) - 0.25) < 0.02).all()


def test_cuts_and_rotation_both_depend_on_seed_epoch_and_key():
    """The lengths of the runs, read around the ring, do not notice the rotation."""

    def runs(seed, epoch, key):
        noise = span_mask(np.array([300]), np.array([key]), seed, epoch)[0]
        edges = np.flatnonzero(noise != np.roll(noise, 1))
        return sorted(np.diff(np.append(edges, edges[0] + 300)).tolist())

    assert len({str(runs(*draw)) for draw in [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)]}) == 4


def test_draws_depend_on_seed_epoch_and_key_only():
    tokens, groups = rows_of([[1] * 30] * 20)
    whole = corrupt(tokens, groups, SENTINELS, EOS, seed=1, epoch=2)
    part = np.array([7, 3, 19])
    some = corrupt(tokens.take(part), groups.take(part), SENTINELS, EOS, seed=1, epoch=2, keys=part)
    assert some.inputs.to_lists() == whole.take(part).inputs.to_lists()
    assert some.targets.to_lists() == whole.take(part).targets.to_lists()
    for other in ({"seed": 2, "epoch": 2}, {"seed": 1, "epoch": 3}):
        assert corrupt(tokens, groups, SENTINELS, EOS, **other).inputs.to_lists() != whole.inputs.to_lists()


def test_rows_of_one_group_or_none_are_left_out():
    tokens, groups = rows_of([[3], [1, 1], [], [2, 2, 2]])
    out = corrupt(tokens, groups, SENTINELS, EOS, seed=0, epoch=0)
    assert len(out) == 2 and len(out.targets) == 2
    nothing = corrupt(tokens.take(np.array([0])), groups.take(np.array([0])), SENTINELS, EOS, seed=0, epoch=0)
    assert len(nothing) == 0 and len(nothing.weights) == 0


@pytest.mark.parametrize("block", [1, 3])
def test_blocks_do_not_show(monkeypatch, block):
    """Rows of one token an element and of several, short ones between them."""
    sizes = [[1] * 40, [3], [2, 1, 3] * 9, [1, 1], [], [1] * 70, [1], [2] * 12]
    tokens, groups = rows_of(sizes)
    whole = corrupt(tokens, groups, SENTINELS, EOS, seed=4, epoch=1)
    monkeypatch.setattr(denoising, "BLOCK", block)
    parts = corrupt(tokens, groups, SENTINELS, EOS, seed=4, epoch=1)
    assert len(whole) == 5 and parts.inputs.to_lists() == whole.inputs.to_lists()
    assert parts.targets.to_lists() == whole.targets.to_lists()
    assert np.array_equal(parts.weights, whole.weights) and np.array_equal(parts.units, whole.units)
    assert whole.weights.dtype == np.float32 and whole.units.dtype == np.int32


def test_what_is_masked_does_not_change_with_the_version():
    """Checkpoints of unfinished runs count on it."""
    tokens, groups = rows_of([[1] * 40, [2, 1] * 10])
    out = corrupt(tokens, groups, SENTINELS, EOS, seed=7, epoch=3)
    assert [len(row) for row in out.inputs.to_lists()] == [37, 27]
    assert [sum(row) for row in out.targets.to_lists()] == [8169, 6225]
