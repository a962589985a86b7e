"""Re-ranking by hand: diversity, boosts, promotions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p5t5.core.errors import UserError
from p5t5.inference.reranking import BOOST, PROMOTION, Reranking, diversified, most_similar, rerank

# Items 0 and 1 are the same, 2 is at a right angle, 3 is opposite to 0.
VECTORS = np.array([[1, 0], [1, 0], [0, 1], [-1, 0]], np.float32)


def test_diversity_by_hand():
    scores = np.array([4.0, 3.0, 2.0, 1.0])  # relevance 1, 2/3, 1/3, 0
    assert diversified(scores, VECTORS, 4, 0.0) == [0, 1, 2, 3]
    # after item 0: 1 has ⅓ − ½, 2 has ⅙ − 0, 3 has 0 + ½
    assert diversified(scores, VECTORS, 3, 0.5) == [0, 3, 2]
    assert diversified(scores, VECTORS, 2, 1.0) == [0, 3]


def slow_diversified(scores, vectors, k, diversity):
    """By the formula, without a running maximum."""
    span = max(scores.max() - scores.min(), 1e-12)
    chosen: list[int] = []
    while len(chosen) < min(k, len(scores)):
        left = [place for place in range(len(scores)) if place not in chosen]
        values = []
        for place in left:
            likest = max((float(vectors[place] @ vectors[other]) for other in chosen), default=0.0)
            values.append((1 - diversity) * (scores[place] - scores.min()) / span - diversity * likest)
        chosen.append(left[int(np.argmax(np.round(values, 9)))])
    return chosen


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 8), st.sampled_from([0.0, 0.3, 0.7, 1.0]))
def test_diversity_agrees_with_the_formula(seed, k, diversity):
    random = np.random.default_rng(seed)
    vectors = random.normal(size=(8, 3))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    scores = -np.sort(-random.normal(size=8))
    assert diversified(scores, vectors, k, diversity) == slow_diversified(scores, vectors, k, diversity)


def test_boosts_and_promotions_say_so():
    items, scores = [0, 1, 2, 3], [4.0, 3.0, 2.0, 1.0]
    shown = rerank(items, scores, VECTORS, 2, Reranking(boosts={3: 10.0}))
    assert [(item, why) for item, _, why in shown] == [(3, BOOST), (0, "")]
    shown = rerank(items, scores, VECTORS, 4, Reranking(promotions=[3, 2], promoted_share=0.5))
    assert sorted(item for item, _, _ in shown) == [0, 1, 2, 3]
    assert {item for item, _, why in shown if why == PROMOTION} == {2, 3}
    shown = rerank(items, scores, VECTORS, 4, Reranking(promotions=[3, 2], promoted_share=0.25))
    assert [item for item, _, why in shown if why == PROMOTION] == [2]  # one place: the better of the two
    assert rerank(items, scores, VECTORS, 4, Reranking(promotions=[3], promoted_share=0.1))[0][0] == 0


def test_most_similar_leaves_the_item_out():
    items, cosines = most_similar(VECTORS, 0)
    assert items.tolist() == [1, 2, 3] and cosines.tolist() == [1, 0, -1]


@pytest.mark.parametrize(
    "wrong",
    [{"diversity": 1.5}, {"diversity": float("nan")}, {"promoted_share": -1}, {"boosts": {1: float("inf")}}],
)
def test_wrong_options_are_refused(wrong):
    with pytest.raises(UserError):
        Reranking(**wrong)
