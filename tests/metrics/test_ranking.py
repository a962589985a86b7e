import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from p5t5.core.ragged import Ragged
from p5t5.metrics.intervals import bootstrap_interval, paired_bootstrap, root_mean
from p5t5.metrics.ranking import candidate_ranks, hit, list_ranks, ndcg
from p5t5.metrics.wrappers import RankingMetric


def test_hand_computed():
    ranks = np.array([0, 1, 2, 9, 10, -1])
    assert hit(ranks, 1).tolist() == [1, 0, 0, 0, 0, 0]
    assert hit(ranks, 10).tolist() == [1, 1, 1, 1, 0, 0]
    # positions 1, 2, 3, 10: 1/log2(2), 1/log2(3), 1/log2(4), 1/log2(11)
    assert ndcg(ranks, 10) == pytest.approx([1, 0.6309297, 0.5, 0.2890648, 0, 0], abs=1e-6)
    assert ndcg(ranks, 1).tolist() == hit(ranks, 1).tolist()  # at 1 the two are the same number


def test_list_ranks_counts_the_fill_as_no_item():
    items = np.array([[4, 2, 7], [4, -1, -1], [5, 6, 8]])
    assert list_ranks(items, np.array([2, 9, 5])).tolist() == [1, -1, 0]
    assert list_ranks(np.array([[-1, -1]]), np.array([-1])).tolist() == [-1]


def test_candidate_ranks_by_hand():
    scores = Ragged.from_lists([[0.1, 0.9, 0.5], [3.0, 1.0], [1.0], []], np.float32)
    assert candidate_ranks(scores, np.array([2, 0, -1, 0])).tolist() == [1, 0, -1, -1]
    broken = Ragged.from_lists([[np.nan, 0.5], [np.nan, 0.5]], np.float32)
    assert candidate_ranks(broken, np.array([0, 1])).tolist() == [-1, 0]


@given(
    st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=8, unique=True), min_size=1, max_size=20),
    st.data(),
)
def test_candidate_ranks_against_a_slow_twin(lists, data):
    answer = [data.draw(st.integers(0, len(row) - 1)) for row in lists]
    slow = [sorted(row, reverse=True).index(row[place]) for row, place in zip(lists, answer, strict=True)]
    assert candidate_ranks(Ragged.from_lists(lists, np.float32), np.array(answer)).tolist() == slow


@given(st.lists(st.lists(st.integers(0, 30), min_size=0, max_size=12, unique=True), min_size=1, max_size=20))
def test_list_metrics_against_a_slow_twin(lists):
    truth = 7
    items = Ragged.from_lists(lists, np.int64).padded(-1, 12)
    ranks = list_ranks(items, np.full(len(lists), truth))
    for k in (1, 5, 10):
        slow = [
            sum(1 / math.log2(at + 2) for at, item in enumerate(row[:k]) if item == truth) for row in lists
        ]
        assert ndcg(ranks, k) == pytest.approx(slow)
        assert hit(ranks, k).tolist() == [float(truth in row[:k]) for row in lists]


def test_equal_scores_get_chance():
    rows, width = 4000, 100
    scores = Ragged.from_lengths(np.zeros(rows * width, np.float32), np.full(rows, width))
    ranks = candidate_ranks(scores, np.zeros(rows, np.int64), seed=3)
    assert hit(ranks, 10).mean() == pytest.approx(0.10, abs=0.015)
    assert ranks.mean() == pytest.approx(49.5, abs=1.5)


def test_the_interval_covers_a_known_mean():
    draws = np.random.default_rng(0)
    covered = 0
    for seed in range(200):
        interval = bootstrap_interval(draws.normal(2.0, 1.0, 60), seed, resamples=300)
        covered += interval.low <= 2.0 <= interval.high
    assert 0.88 <= covered / 200 <= 0.99


def test_the_interval_is_over_users_and_by_seed():
    values = np.repeat(np.random.default_rng(1).normal(size=30), 10)  # ten equal examples a user
    users = np.repeat(np.arange(30), 10)
    over_users = bootstrap_interval(values, 5, users=users)
    over_rows = bootstrap_interval(values, 5)
    assert over_users.value == pytest.approx(over_rows.value)
    width = (over_users.high - over_users.low) / (over_rows.high - over_rows.low)
    assert width == pytest.approx(math.sqrt(10), rel=0.2)
    assert over_users == bootstrap_interval(values, 5, users=users)
    assert over_users != bootstrap_interval(values, 6, users=users)


def test_users_with_many_examples_weigh_what_they_hold():
    users = np.repeat([0, 1, 2], [1, 2, 30])
    interval = bootstrap_interval(np.full(33, 0.25), users=users)
    assert interval.low == interval.high == pytest.approx(0.25)  # a mean of equal values, whoever is drawn
    assert bootstrap_interval(np.repeat([0.0, 1.0], [3, 30]), users=users).value == pytest.approx(30 / 33)


def test_the_statistic_is_taken_of_the_mean():
    interval = bootstrap_interval(np.array([1.0, 4.0, 1.0, 10.0]), statistic=root_mean)
    assert interval.value == pytest.approx(2.0)
    assert interval.low <= 2.0 <= interval.high
    assert np.isnan(bootstrap_interval(np.zeros(0)).value)


def test_paired_is_narrower_than_unpaired():
    base = np.random.default_rng(2).normal(size=200)
    better = base + 0.1 + np.random.default_rng(3).normal(size=200) * 0.05
    paired = paired_bootstrap(better, base, 0)
    assert paired.value == pytest.approx(better.mean() - base.mean())
    assert 0.08 < paired.low < paired.high < 0.12
    with pytest.raises(ValueError, match="same examples"):
        paired_bootstrap(better, base[:10])


def test_as_evaluate_metric():
    metric = RankingMetric(keep_in_memory=True)
    metric.add_batch(predictions=[["a", "b", "c"], ["c", "b", "a"]], references=["b", "x"])
    result = metric.compute(ks=(1, 5))
    assert result["hr@1"] == 0 and result["hr@5"] == 0.5
    assert result["ndcg@5"] == pytest.approx(0.6309297 / 2)
