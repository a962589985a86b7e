import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from p5t5.metrics.intervals import resampling_counts
from p5t5.metrics.rating import (
    absolute_error,
    accuracy,
    auc,
    calibration_error,
    calibration_gaps,
    central_interval,
    choice_probabilities,
    mae,
    reliability,
    rmse,
    squared_error,
)
from p5t5.metrics.wrappers import RatingMetric


def test_hand_computed():
    prediction, truth = np.array([3.0, 5.0, 1.0]), np.array([4.0, 5.0, 3.0])
    assert squared_error(prediction, truth).tolist() == [1, 0, 4]
    assert absolute_error(prediction, truth).tolist() == [1, 0, 2]
    assert rmse(prediction, truth) == pytest.approx(1.2909944)
    assert mae(prediction, truth) == pytest.approx(1.0)
    assert accuracy([0, 1, 1], [0, 0, 1]).tolist() == [1, 0, 1]


def test_a_missing_prediction_is_not_dropped():
    assert np.isnan(rmse([np.nan, 3.0], [3.0, 3.0]))


def test_auc_by_hand():
    # positives .8 and .4, negatives .5 and .4: pairs won 1, 1, 0, tie 1/2
    assert auc([0.8, 0.4, 0.5, 0.4], [True, True, False, False]) == pytest.approx(2.5 / 4)
    assert auc([2.0, 2.0], [True, False]) == pytest.approx(0.5)
    assert np.isnan(auc([1.0, 2.0], [True, True]))
    assert np.isnan(auc([], []))


@given(st.lists(st.tuples(st.integers(0, 4), st.booleans(), st.integers(0, 3)), min_size=1, max_size=25))
def test_auc_against_a_slow_twin(rows):
    scores, positive, weights = (np.array(column) for column in zip(*rows, strict=True))
    won = total = 0.0
    for score, is_positive, weight in rows:
        for other, other_positive, other_weight in rows:
            if is_positive and not other_positive:
                total += weight * other_weight
                won += weight * other_weight * ((score > other) + 0.5 * (score == other))
    fast = auc(scores, positive.astype(bool), weights)
    assert fast == pytest.approx(won / total) if total else np.isnan(fast)


def test_auc_of_many_resamples_at_once():
    draw = np.random.default_rng(0)
    scores, positive = draw.normal(size=40), draw.random(40) < 0.5
    weights = resampling_counts(40, 1, 5)
    assert auc(scores, positive, weights) == pytest.approx(
        [float(auc(scores, positive, row)) for row in weights]
    )


def test_probabilities_are_normalised_among_the_choices():
    scores = np.log([[0.1, 0.3], [0.02, 0.02]])
    assert choice_probabilities(scores) == pytest.approx(np.array([[0.25, 0.75], [0.5, 0.5]]))
    assert np.isnan(choice_probabilities(np.full((1, 2), -np.inf))).all()


def test_central_interval_by_hand():
    values = np.array([1.0, 2, 3, 4, 5])
    shares = np.array([[0.1, 0, 0.8, 0, 0.1], [0.05, 0.04, 0.01, 0, 0.9], [0.05, 0.04, 0.02, 0, 0.89]])
    # 0.1 is reached at 1 and 0.9 at 3; at 3 and at 5; at 3 and at 5
    assert central_interval(shares, values).tolist() == [[1, 3], [3, 5], [3, 5]]
    assert central_interval(shares[:1], values, 0.5).tolist() == [[3, 3]]
    assert central_interval(np.array([[1.0]]), np.array([7.0])).tolist() == [[7, 7]]


@given(st.lists(st.lists(st.integers(0, 20), min_size=4, max_size=4).filter(any), min_size=1, max_size=9))
def test_central_interval_holds_its_mass_and_no_value_too_many(rows):
    shares = np.array(rows, np.float64)
    shares /= shares.sum(1, keepdims=True)
    for share, (low, high) in zip(shares, central_interval(shares, np.arange(4)).astype(int), strict=True):
        assert share[low : high + 1].sum() > 0.8 - 1e-6
        assert share[:low].sum() < 0.1 and share[high + 1 :].sum() < 0.1 + 1e-6


def test_calibration_error_by_hand():
    # Of two answers sure of the first choice at .95, one was right; one at .55 / .45 was right.
    shares, truth = np.array([[0.95, 0.05], [0.95, 0.05], [0.55, 0.45]]), np.array([0, 1, 0])
    gaps = calibration_gaps(shares, truth)
    assert gaps.shape == (3, 20)
    # first choice: bin 9 has |1.9 − 1| / 3, bin 5 |.55 − 1| / 3; the second has the same; halved and added
    assert calibration_error(gaps.mean(0)) == pytest.approx((0.9 + 0.45) / 3)


@given(st.integers(0, 10**6))
def test_calibration_error_against_a_slow_twin(seed):
    draw = np.random.default_rng(seed)
    shares, truth = draw.dirichlet(np.full(3, 0.5), 12), draw.integers(0, 3, 12)
    error = 0.0
    for choice in range(3):
        for number in range(10):
            inside = [row for row in range(12) if min(int(shares[row, choice] * 10), 9) == number]
            if inside:
                sure = np.mean([shares[row, choice] for row in inside])
                right = np.mean([truth[row] == choice for row in inside])
                error += len(inside) / 12 * abs(sure - right) / 3
    assert calibration_error(calibration_gaps(shares, truth).mean(0)) == pytest.approx(error, abs=1e-6)


def test_true_probabilities_are_calibrated_and_overconfident_ones_are_not():
    draw = np.random.default_rng(0)
    shares = draw.dirichlet(np.ones(5), 20_000)
    truth = (draw.random((20_000, 1)) > shares.cumsum(1)).sum(1)
    sharp = shares**3 / (shares**3).sum(1, keepdims=True)
    error = [float(calibration_error(calibration_gaps(p, truth).mean(0))) for p in (shares, sharp)]
    assert error[0] < 0.01 < 0.1 < error[1]
    low, high = central_interval(shares, np.arange(5)).T
    assert 0.8 < ((low <= truth) & (truth <= high)).mean() < 0.97


def test_reliability_by_hand():
    shares, truth = np.array([[0.95, 0.05], [0.95, 0.05], [0.55, 0.45]]), np.array([0, 1, 0])
    found = reliability(shares, np.array([1.0, 5.0]), truth)
    assert [row["group"] for row in found["values"]] == [1, 5]
    assert found["values"][0] == {
        "group": 1.0,
        "n": 3,
        "predicted": pytest.approx(2.45 / 3, abs=1e-6),
        "observed": pytest.approx(2 / 3, abs=1e-6),
    }
    assert [(row["group"], row["n"], row["observed"]) for row in found["probabilities"]] == [
        (0, 2, 0.5),
        (4, 1, 0.0),
        (5, 1, 1.0),
        (9, 2, 0.5),
    ]
    means = [(row["predicted"], row["observed"]) for row in found["expectations"]]
    assert means == [(1.2, 1.0), (1.2, 5.0), (2.8, 1.0)]


def test_as_evaluate_metric():
    metric = RatingMetric(keep_in_memory=True)
    metric.add_batch(predictions=[3.0, 5.0], references=[4.0, 5.0])
    metric.add_batch(predictions=[1.0], references=[3.0])
    assert metric.compute() == pytest.approx({"rmse": 1.2909944, "mae": 1.0})
