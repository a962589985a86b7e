"""Coverage, Gini, novelty and intra-list distance: by hand, against a slow twin, and at their ends."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from p5t5.metrics.beyond_accuracy import coverage, gini, intra_list_distance, novelty

LISTS = np.array([[0, 1], [0, 2], [0, -1]])


def test_by_hand():
    assert coverage(LISTS, 6) == 0.5
    # Counts 3, 1, 1, 0: sorted 0 1 1 3, weights -3 -1 1 3 → (−1 + 1 + 9) / (4 · 5).
    assert gini(LISTS, 4) == pytest.approx(9 / 20)
    # One more is counted of each: p = 4/8, 2/8, 1/8, 1/8.
    found = novelty(LISTS, np.array([3, 1, 0, 0]))
    assert found.tolist() == pytest.approx([(1 + 2) / 2, (1 + 3) / 2, 1])
    vectors = np.array([[1.0, 0], [0, 1], [0.6, 0.8]])
    assert intra_list_distance(LISTS, vectors)[:2].tolist() == pytest.approx([1, 0.4])
    assert np.isnan(intra_list_distance(LISTS, vectors)[2]), "one item has no pair"


def test_ends():
    assert gini(np.array([[0, 1, 2, 3]]), 4) == 0
    assert gini(np.zeros((5, 1), int), 1000) == pytest.approx(0.999)
    empty = np.full((2, 3), -1)
    assert coverage(empty, 5) == 0 and np.isnan(gini(empty, 5)) and np.isnan(novelty(empty, np.ones(5))).all()
    unknown = np.zeros((3, 2))
    assert intra_list_distance(np.array([[0, 1, 2]]), unknown).tolist() == [1]


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 6), st.integers(1, 5))
def test_distance_is_the_mean_over_all_pairs(seed, k, dimensions):
    random = np.random.default_rng(seed)
    vectors = random.normal(size=(9, dimensions))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    listed = random.permutation(9)[:k]
    pairs = [1 - float(vectors[a] @ vectors[b]) for a in listed for b in listed if a != b]
    for form in (vectors, sparse.csr_array(vectors)):
        assert intra_list_distance(listed[None], form)[0] == pytest.approx(np.mean(pairs))
