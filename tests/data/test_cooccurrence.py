"""Co-occurrence counts and factors: by hand, against a slow twin, against dense SVD; training rows only."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from p5t5.data.cooccurrence import _filtered, cooccurrence, factors, user_factors
from p5t5.data.records.building import make_records
from p5t5.data.sources.simulated import simulate
from p5t5.data.splits import leave_one_out


def split_of(sequences):
    rows = [(f"u{user}", f"i{item:02d}") for user, items in enumerate(sequences) for item in items]
    return leave_one_out(make_records("t", pd.DataFrame(rows, columns=["user_id", "item_id"])).index())


@pytest.fixture(scope="module")
def split():
    return leave_one_out(simulate(users=200, items=96, seed=5, longest=16).data)


def slow_twin(split, window, forward, backward):
    data, counts = split.data, np.zeros((split.data.number_of_items,) * 2)
    for user in range(data.number_of_users):
        items = [data.item[row] for row in split.rows("train") if data.user[row] == user]
        for a in range(len(items)):
            for b in range(a + 1, min(a + window, len(items) - 1) + 1):
                counts[items[a], items[b]] += forward / (b - a)
                counts[items[b], items[a]] += backward / (b - a)
    return counts


def test_by_hand():
    split = split_of([[0, 1, 2, 3, 4]])  # 3 and 4 are held out
    number = np.argsort(split.data.item_ids)  # of i00, i01, …
    counts = cooccurrence(split).toarray()[np.ix_(number, number)]
    expected = np.zeros((5, 5))
    expected[0, 1] = expected[1, 2] = 1
    expected[0, 2] = 0.5
    expected[1, 0] = expected[2, 1] = 0.5
    expected[2, 0] = 0.25
    np.testing.assert_allclose(counts, expected)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 8), min_size=1, max_size=12), min_size=1, max_size=6),
    st.integers(1, 5),
    st.sampled_from([(1.0, 0.5), (1.0, 0.0), (2.0, 2.0)]),
)
def test_equals_its_slow_twin(sequences, window, weights):
    split = split_of(sequences)
    np.testing.assert_allclose(
        cooccurrence(split, window, *weights).toarray(), slow_twin(split, window, *weights)
    )


def test_held_out_rows_change_nothing(split):
    """Replace every validation and test item by another: neither counts nor factors move."""
    rng = np.random.default_rng(0)
    item = split.data.item.copy()
    held_out = split.part > 0
    item[held_out] = rng.integers(0, split.data.number_of_items, held_out.sum())
    other = replace(split, data=replace(split.data, item=item))
    assert (cooccurrence(split) != cooccurrence(other)).nnz == 0
    assert np.array_equal(factors(split, 8, 0), factors(other, 8, 0))


@pytest.mark.parametrize("items", [96, 240])  # 240: by filtered iteration, not densely
def test_factors_span_the_leading_singular_vectors(items):
    split = leave_one_out(simulate(users=200, items=items, seed=5, longest=16).data)
    counts = cooccurrence(split).toarray()
    matrix = np.log1p(counts + counts.T)
    scale = np.where(matrix.sum(1) > 0, matrix.sum(1), np.inf) ** -0.5
    left, values, _ = np.linalg.svd(matrix * scale[:, None] * scale)
    expected = left[:, :8] * np.sqrt(values[:8])
    table = factors(split, 8, seed=0)
    assert table.shape == (items, 8) and table.dtype == np.float32
    seen = scale > 0
    table, expected = table[seen], expected[seen] / np.linalg.norm(expected[seen], axis=1, keepdims=True)
    np.testing.assert_allclose(table @ table.T, expected @ expected.T, atol=2e-3)


def test_the_filtered_iteration_finds_eigenvalues_of_both_signs():
    """Against dense eigh, on a slowly falling spectrum; and a matrix of lower rank than the block."""
    random = np.random.default_rng(0)
    basis = np.linalg.qr(random.standard_normal((300, 300)))[0]
    spectrum = np.linspace(1, 0.2, 300) * np.where(np.arange(300) % 3, 1, -1)
    for values in (spectrum, np.where(np.arange(300) < 5, spectrum, 0)):
        matrix = sparse.csr_array(basis * values @ basis.T)
        found, vectors = _filtered(matrix.astype(np.float32), 12, seed=0)
        np.testing.assert_allclose(np.abs(found[:5]), np.abs(values[:5]), rtol=0.01)
        np.testing.assert_allclose(np.abs(found), np.abs(values[:12]), rtol=0.01, atol=1e-5)
        residual = matrix @ vectors - vectors * found
        assert np.abs(residual).max() < 0.02


def test_a_steeply_falling_spectrum_does_not_overflow():
    """The filter grows by (2 λ₁ / cut)⁸ a round, which float32 does not hold: the leading vectors were lost."""
    basis = np.linalg.qr(np.random.default_rng(1).standard_normal((400, 400)))[0]
    values = np.r_[np.geomspace(1, 1e-5, 60), np.full(340, 1e-7)]
    with np.errstate(all="raise", under="ignore"):
        found, vectors = _filtered(
            sparse.csr_array((basis * values) @ basis.T).astype(np.float32), 40, seed=0
        )
    np.testing.assert_allclose(found[:10], values[:10], rtol=0.01)
    assert (np.abs((vectors * basis[:, :40]).sum(0))[:10] > 0.999).all()


def test_factors_are_unit_rows_and_repeatable(split):
    first, again = factors(split, 16, seed=1), factors(split, 16, seed=1)
    assert np.array_equal(first, again)
    np.testing.assert_allclose(np.linalg.norm(first, axis=1), 1, rtol=1e-5)


def test_unseen_items_get_a_direction_by_seed():
    split = split_of([[0, 1, 2, 8, 9], [1, 0, 2, 9, 8]])  # 8 and 9 are held out only
    unseen = np.isin(split.data.item_ids, ["i08", "i09"])
    table, other = factors(split, 3, seed=0), factors(split, 3, seed=4)
    np.testing.assert_allclose(np.linalg.norm(table, axis=1), 1, rtol=1e-5)
    assert not np.allclose(table[unseen], other[unseen])


def test_more_dimensions_than_items_are_zeros():
    table = factors(split_of([[0, 1, 2, 3, 0, 1], [1, 0, 2, 3, 1, 0]]), 10, seed=0)
    assert table.shape == (4, 10) and not table[:, 4:].any()


def test_items_of_linked_genres_lie_closer(split):
    genre = split.data.items["genre"].to_numpy()
    close = (lambda table: table @ table.T)(factors(split, 8, seed=0))
    same = genre[:, None] == genre
    assert close[same].mean() > close[~same].mean() + 0.2


def test_user_factors_are_means_of_training_items(split):
    items = factors(split, 6, seed=0)
    users = user_factors(split, items)
    train = split.rows("train")
    for user in (0, 7):
        mean = items[split.data.item[train[split.data.user[train] == user]]].mean(0)
        np.testing.assert_allclose(users[user], mean / np.linalg.norm(mean), atol=1e-5)
