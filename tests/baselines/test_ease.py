"""EASE against its definition, by least squares, and its limits."""

from __future__ import annotations

import numpy as np
import pytest

from p5t5.baselines import ease
from p5t5.baselines.ease import EASE
from p5t5.core.errors import UserError
from p5t5.core.ragged import Ragged
from p5t5.data.sources.simulated import simulate
from p5t5.data.splits import leave_one_out


@pytest.fixture(scope="module")
def split():
    return leave_one_out(simulate(users=40, items=40, seed=3).data)


def test_each_column_is_a_ridge_regression_that_may_not_look_at_its_own_item(split):
    data, rows = split.data, split.rows("train")
    seen = np.zeros((data.number_of_users, data.number_of_items))
    seen[data.user[rows], data.item[rows]] = 1
    found = EASE(split, 7.0).weights
    for item in range(data.number_of_items):
        others = np.arange(data.number_of_items) != item
        x, y = seen[:, others], seen[:, item]
        slow = np.linalg.solve(x.T @ x + 7 * np.eye(others.sum()), x.T @ y)
        np.testing.assert_allclose(found[others, item], slow, atol=1e-5)
        assert found[item, item] == 0


def test_a_history_counts_each_item_once(split):
    scorer = EASE(split)
    one, twice, none = scorer.scores(Ragged.from_lists([[1, 2], [1, 2, 1], []]))
    assert np.array_equal(one, twice) and not none.any()
    np.testing.assert_allclose(one, scorer.weights[1] + scorer.weights[2], rtol=1e-6)
    assert one.dtype == np.float32
    again = EASE.restored(scorer.state())
    assert np.array_equal(again.scores(Ragged.from_lists([[1, 2]]))[0], one)


def test_too_large_a_catalogue_and_a_senseless_regularisation_are_refused(split, monkeypatch):
    with pytest.raises(UserError, match="must be above 0"):
        EASE(split, 0.0)
    monkeypatch.setattr(ease, "MAX_ITEMS", 39)
    with pytest.raises(UserError, match="40 items are too many"):
        EASE(split)
