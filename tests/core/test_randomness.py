"""Draws by key: samples and folds against their slow twins."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from p5t5.core.randomness import fold_of, hashed, sample

ROWS = st.lists(st.integers(0, 10_000), unique=True, max_size=40)


@given(ROWS, st.integers(0, 50), st.integers(0, 2**32))
def test_a_sample_is_the_lowest_hashes_in_the_order_given(rows, most, seed):
    rows = np.array(rows, np.int64)
    lowest = sorted(rows.tolist(), key=lambda row: int(hashed(seed, row)))[:most]
    assert sample(rows, most, seed).tolist() == [row for row in rows.tolist() if row in lowest]


@given(ROWS, st.integers(0, 50), st.integers(0, 2**32))
def test_a_smaller_sample_lies_in_the_larger_one(rows, most, seed):
    rows = np.array(rows, np.int64)
    assert set(sample(rows, most // 2, seed)) <= set(sample(rows, most, seed))


def test_folds_are_even_and_shared_by_equal_keys():
    users, items = np.arange(4000) // 4, np.arange(4000) % 7
    fold = fold_of(5, 3, users, items)
    assert fold.dtype == np.int64 and set(fold.tolist()) == set(range(5))
    assert np.abs(np.bincount(fold) - 800).max() < 120
    assert (fold_of(5, 3, users, items)[::-1] == fold_of(5, 3, users[::-1], items[::-1])).all()
    assert fold[17] == int(hashed(3, 4, 3)) % 5
    assert (fold != fold_of(5, 4, users, items)).any()


def test_known_draws():
    """Written down once: trained models depend on them."""
    assert sample(np.arange(10), 3, 0).tolist() == [4, 5, 9]
    assert fold_of(6, 0, np.arange(8)).tolist() == [3, 4, 2, 2, 1, 3, 0, 1]
