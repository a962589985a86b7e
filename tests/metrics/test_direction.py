"""Which way a metric is better, by its name."""

import pytest

from p5t5.metrics.direction import LOWER_IS_BETTER, lower_is_better
from p5t5.tasks.registry import TASKS


@pytest.mark.parametrize(
    ("metric", "lower"),
    [
        ("ndcg@10", False),
        ("accuracy", False),
        ("rouge1", False),
        ("coverage80", False),
        ("rmse", True),
        ("RMSE", True),
        ("rating/mae", True),
        ("review/score:rmse", True),
        ("explanation/explain:feature_overlap", True),
        ("ece@15", True),
        ("loss", True),
    ],
)
def test_which_way_is_better(metric, lower):
    assert lower_is_better(metric) is lower


def test_the_tasks_have_metrics_of_both_kinds():
    metrics = {metric for task in TASKS.values() for metric in task.metrics}
    assert {metric for metric in metrics if lower_is_better(metric)} == metrics & LOWER_IS_BETTER
    assert {"rmse", "mae", "ece", "width80", "feature_overlap"} == metrics & LOWER_IS_BETTER
