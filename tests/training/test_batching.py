"""The plan: every example once, within the budget, little padding, a pure function; slices and tensors."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from p5t5.core.encoded import Encoded
from p5t5.core.ragged import Ragged
from p5t5.training import batching
from p5t5.training.batching import blocks, collate, fingerprint, plan, real_share, slices


def lengths(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Like a mixture's: inputs from 5 to 120, targets mostly 2, some up to 40."""
    rng = np.random.default_rng(seed)
    targets = np.where(rng.random(count) < 0.7, 2, rng.integers(3, 40, count))
    return rng.integers(5, 120, count), targets


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 90), st.integers(1, 30)), max_size=200),
    st.integers(1, 3000),
    st.integers(0, 5),
    st.booleans(),
)
def test_each_example_once_within_the_budget(pairs, budget, epoch, mixed):
    inputs, targets = (np.array([pair[side] for pair in pairs], np.int64) for side in (0, 1))
    batches = plan(inputs, targets, token_budget=budget, seed=1, epoch=epoch, mixed=mixed)
    assert sorted(np.concatenate(batches).tolist() if batches else []) == list(range(len(pairs)))
    for rows in batches:
        cost = len(rows) * (inputs[rows].max() + targets[rows].max())
        assert len(rows) == 1 or cost <= budget


def test_the_cut_is_greedy():
    """Plain-Python twin: with one bucket, batches fill up to the budget; the last two are evened out."""
    batches = plan(np.full(25, 8), np.full(25, 2), token_budget=60, seed=0, epoch=0)
    assert sorted(map(len, batches)) == [3, 4, 6, 6, 6]
    assert len(plan(np.full(5, 8), np.full(5, 2), token_budget=1, seed=0, epoch=0)) == 5
    assert plan(np.zeros(0), np.zeros(0), token_budget=10, seed=0, epoch=0) == []


def test_pure_and_shuffled():
    inputs, targets = lengths(3000)
    one, same = (plan(inputs, targets, token_budget=2048, seed=3, epoch=1) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(one, same, strict=True))
    for other in ({"seed": 3, "epoch": 2}, {"seed": 4, "epoch": 1}):
        different = plan(inputs, targets, token_budget=2048, **other)
        assert len(different) != len(one) or any(
            not np.array_equal(a, b) for a, b in zip(one, different, strict=True)
        )
    means = np.array([inputs[rows].mean() for rows in one])
    assert abs(np.corrcoef(means[:-1], means[1:])[0, 1]) < 0.3, "batches come in length order"


def test_mostly_real_tokens():
    inputs, targets = lengths(30_000)
    batches = plan(inputs, targets, token_budget=8192, seed=0, epoch=0)
    assert real_share(batches, inputs, targets) > 0.95
    mixed = plan(inputs, targets, token_budget=8192, seed=0, epoch=0, mixed=True)
    assert real_share(mixed, inputs, targets) > 0.93
    in_order = np.array_split(np.arange(30_000), len(batches))
    assert real_share(in_order, inputs, targets) < 0.65


def test_batches_mix_short_and_long_answers_where_padding_allows():
    """Ratings beside lists of items: each batch has both, about as many as there are; shorter targets first."""
    rng = np.random.default_rng(0)
    inputs, targets = rng.integers(10, 60, 20_000), np.where(rng.random(20_000) < 0.8, 2, 11)
    batches = plan(inputs, targets, token_budget=2048, seed=0, epoch=0, mixed=True)
    shares = np.array([(targets[rows] == 11).mean() for rows in batches])
    assert shares.min() > 0.02 and abs(shares.mean() - 0.2) < 0.02 and shares.std() < 0.1
    assert all(np.all(np.diff(targets[rows]) >= 0) for rows in batches)
    assert real_share(batches, inputs, targets) > 0.8


def test_long_texts_are_not_padded_onto_short_answers():
    rng = np.random.default_rng(0)
    inputs, targets = np.full(6000, 12), np.where(rng.random(6000) < 0.5, 2, 60)
    batches = plan(inputs, targets, token_budget=2048, seed=0, epoch=0, mixed=True)
    assert real_share(batches, inputs, targets) > 0.97
    assert sum(len(set(targets[rows])) > 1 for rows in batches) <= 1


@pytest.mark.parametrize("mixed", [False, True])
def test_the_width_is_chosen_on_a_sample_of_many_examples(monkeypatch, mixed):
    """A pure function still, and every example once."""
    inputs, targets = lengths(4000)
    monkeypatch.setattr(batching, "_SAMPLE", 500)
    one, same = (plan(inputs, targets, token_budget=2048, seed=3, epoch=1, mixed=mixed) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(one, same, strict=True))
    assert sorted(np.concatenate(one).tolist()) == list(range(4000))
    assert real_share(one, inputs, targets) > 0.8


def test_real_share_by_hand():
    assert real_share([np.array([0, 1])], np.array([4, 2]), np.array([1, 1])) == pytest.approx(8 / 10)


def test_blocks_by_hand(monkeypatch):
    """Four rows of (10, 2) and one of (12, 8): whole 5 x 20 = 100 padded tokens, apart 48 + 20 = 68."""
    rows, inputs, targets = np.arange(5), np.array([10, 10, 10, 10, 12]), np.array([2, 2, 2, 2, 8])
    monkeypatch.setattr(batching, "_PASS", 31)
    assert [part.tolist() for part in blocks(rows, inputs, targets)] == [[0, 1, 2, 3], [4]]
    assert real_share([rows], inputs, targets) == pytest.approx(68 / 68)
    assert [part.tolist() for part in blocks(rows, inputs, targets, parts=2)] == [[0, 1, 2, 3, 4]]
    monkeypatch.setattr(batching, "_PASS", 32)
    assert len(blocks(rows, inputs, targets)) == 1 and len(blocks(rows[:1], inputs, targets)) == 1
    assert real_share([rows], inputs, targets) == pytest.approx(68 / 100)


@given(st.integers(0, 30), st.integers(1, 4), st.integers(1, 4))
def test_slices_cover_the_batch(size, world, accumulation):
    batch = np.arange(size) * 3
    parts = [slices(batch, world, rank, accumulation) for rank in range(world)]
    assert {len(mine) for mine in parts} == {accumulation}
    flat = np.concatenate([rows for mine in parts for rows in mine])
    assert sorted(flat.tolist()) == batch.tolist()
    sizes = [len(rows) for mine in parts for rows in mine]
    assert max(sizes) - min(sizes) <= 1


def test_collate():
    encoded = Encoded(
        Ragged.from_lists([[5, 6, 1], [9, 9, 9, 9, 9, 1], [7, 1]]),
        Ragged.from_lists([[4, 1], [3, 3, 3, 1], [8, 8, 1]]),
        np.arange(9, dtype=np.float32) / 8,
        np.array([1, 1, 2], np.int32),
    )
    values = collate(encoded, np.array([2, 0]))
    assert values["input_ids"].tolist() == [[7, 1, 0], [5, 6, 1]]
    assert values["attention_mask"].tolist() == [[1, 1, 0], [1, 1, 1]]
    assert values["labels"].tolist() == [[8, 8, 1], [4, 1, -100]]
    assert values["label_weights"].tolist() == [[0.75, 0.875, 1.0], [0.0, 0.125, 0.0]]
    assert values["label_weights"].dtype == torch.float32
    assert {values[name].dtype for name in ("input_ids", "attention_mask", "labels")} == {torch.int64}


def test_a_fingerprint_is_the_same_in_pieces_and_knows_order(monkeypatch):
    encoded = Encoded(
        Ragged.from_lists([[5, 6, 1], [9, 9, 2**31 - 1]]),
        Ragged.from_lists([[4, 1], [3, 1]]),
        np.ones(4, np.float32),
        np.array([1, 1], np.int32),
    )
    whole = fingerprint(encoded)
    hand = sum(v * (p * 2654435761 + 1) for p, v in enumerate([5, 6, 1, 9, 9, 2**31 - 1])) % 2**64
    assert whole.split("-")[3] == f"{hand:x}"
    assert fingerprint(encoded.take(np.array([1, 0]))) != whole
    monkeypatch.setattr(batching, "_HASH_CHUNK", 4)
    assert fingerprint(encoded) == whole
