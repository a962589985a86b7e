import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from p5t5.metrics import absolute_error, accuracy, auc, mae, rmse, squared_error
from p5t5.metrics.intervals import resampling_counts
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


def test_as_evaluate_metric():
    metric = RatingMetric(keep_in_memory=True)
    metric.add_batch(predictions=[3.0, 5.0], references=[4.0, 5.0])
    metric.add_batch(predictions=[1.0], references=[3.0])
    assert metric.compute() == pytest.approx({"rmse": 1.2909944, "mae": 1.0})
