"""A fusion is fitted on validation rows only: against planted weights, a slow twin, and its own parts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.fusion_cases import Table, small_shop, untrained, z

from p5t5.checkpoint.checkpoint import Checkpoint
from p5t5.core.errors import UserError
from p5t5.core.ragged import Ragged
from p5t5.data.sources.simulated import simulate
from p5t5.data.splits import Split, leave_one_out
from p5t5.fusion.blend import Fusion, default_parts, in_history
from p5t5.fusion.fitting import fit_fusion, likeliest_weights, shortlists, validation_rows
from p5t5.fusion.model_scores import fit_for
from p5t5.fusion.without_model import FusionWithoutModel
from p5t5.metrics.ranking import ndcg, table_ranks


@pytest.fixture(scope="module")
def split() -> Split:
    return small_shop()


@pytest.fixture(scope="module")
def checkpoint(split) -> Checkpoint:
    return untrained(split)


def planted(split: Split, weights: tuple[float, float, float], seed: int = 0):
    """Two parts and a model, at random; each validation item drawn from the softmax of their mixture."""
    draw = np.random.default_rng(seed)
    data = split.data
    shape = (data.number_of_users, data.number_of_items)
    model, good, noise = (draw.standard_normal(shape).astype(np.float32) for _ in range(3))
    rows = split.rows("validation")
    users = data.user[rows]
    past = in_history(split.history_items(rows, 9999), shape[1])
    logits = weights[0] * model[users] + weights[1] * z(good[users]) + weights[2] * past
    item = data.item.copy()
    item[rows] = (logits + draw.gumbel(size=logits.shape)).argmax(1)
    changed = Split(replace(data, item=item), split.scheme, split.part)
    return changed, [Table("good", good), Table("noise", noise)], lambda part: model[data.user[part]]


def test_planted_weights_are_recovered():
    big = leave_one_out(simulate(users=3000, items=60, seed=1, longest=12).data)
    changed, parts, model = planted(big, (1.5, 0.8, -2.0))
    fusion = fit_fusion(parts, changed, model, kinds=["sum"])
    found = dict(zip(fusion.names, fusion.weights[:, 0], strict=True))
    assert found == pytest.approx({"model": 1.5, "good": 0.8, "noise": 0.0, "history": -2.0}, abs=0.15)
    assert fusion.metadata["chosen"] == "sum" and fusion.metadata["rows"] == len(changed.rows("validation"))


def test_the_fast_fit_against_a_slow_twin(split):
    """The loss's gradient is 0 at the found weights, by a plain loop over rows; and NDCG likewise."""
    changed, parts, model = planted(split, (1.0, 1.0, 0.0))
    blank = Fusion(parts, "sum", np.zeros((4, 1)), np.zeros(60, np.float32), (2.0, 1.0))
    rows = changed.rows("validation")
    lists = shortlists(blank, changed, rows, model)["sum"]
    weights = likeliest_weights(lists, "sum")
    scores = lists.evidence @ weights
    gradient, known = np.zeros(4), 0
    for row in range(len(rows)):
        part = slice(lists.offsets[row], lists.offsets[row + 1])
        order = sorted(range(part.start, part.stop), key=lambda at: (-scores[at], lists.item[at]))
        if (truth := int(lists.truth[row])) < 0:
            assert changed.data.item[rows[row]] not in lists.item[part]
            continue
        assert lists.item[truth] == changed.data.item[rows[row]]
        slow = ndcg(np.array([order.index(truth)]), 10)[0]
        assert lists.ndcg(scores)[row] == pytest.approx(slow)
        share = np.exp(scores[part] - scores[part].max())
        gradient += share / share.sum() @ lists.evidence[part] - lists.evidence[truth]
        known += 1
    free = weights > 1e-9
    assert np.abs(gradient[free] / known).max() < 0.01  # but for the penalty


def test_the_blend_is_at_least_as_good_as_each_part(split):
    rows = split.rows("validation")
    parts = default_parts(split, with_implicit=False)
    draw = np.random.default_rng(1)
    noise = draw.standard_normal((split.data.number_of_users, split.data.number_of_items)).astype(np.float32)
    model = lambda part: noise[split.data.user[part]]  # noqa: E731
    fusion = fit_fusion(parts, split, model)
    history, truth, users = split.history_items(rows, 9999), split.data.item[rows], split.data.user[rows]
    tables = {part.name: part.scores(history, users) for part in parts} | {"model": model(rows)}
    values = {name: ndcg(table_ranks(t, truth), 10).mean() for name, t in tables.items()}
    blend = ndcg(table_ranks(fusion.scores(model(rows), history, users), truth), 10).mean()
    assert blend >= max(values.values()), (blend, values)
    assert fusion.metadata["validation"]["parts alone"] == pytest.approx(values, abs=1e-5)
    weight = dict(zip(fusion.names, np.abs(fusion.weights).max(1), strict=True))
    assert weight["count_floor"] > weight["model"]


def test_where_a_part_alone_is_best_it_stays_alone(split):
    data = split.data
    right = np.zeros((data.number_of_users, data.number_of_items), np.float32)
    rows = split.rows("validation")
    right[data.user[rows], data.item[rows]] = 1
    fusion = fit_fusion([Table("right", right)], split, lambda part: right[data.user[part]] * 0, kinds=[])
    assert fusion.metadata["chosen"] == "right" and fusion.weights[:, 0].tolist() == [0, 1, 0]


def test_fitting_reads_no_test_row(split, checkpoint):
    """Other test items: the same parts, the same weights."""
    item = split.data.item.copy()
    held = split.rows("test")
    item[held] = (item[held] + 7) % split.data.number_of_items
    other = Split(replace(split.data, item=item), split.scheme, split.part)
    for_both = [fit_for(checkpoint, s, default_parts(s), limit=100) for s in (split, other)]
    one, two = for_both
    assert np.array_equal(one.weights, two.weights) and one.kind == two.kind
    assert np.array_equal(one.popularity, two.popularity) and one.length == two.length
    with pytest.raises(UserError, match="validation rows"):
        fit_fusion([], split, lambda part: None, rows=split.rows("test"))
    with pytest.raises(UserError, match="unknown kind 'magic'"):
        fit_fusion([], split, lambda part: None, kinds=["magic"])


def test_without_a_model_the_parts_are_fitted_alone():
    big = leave_one_out(simulate(users=3000, items=60, seed=1, longest=12).data)
    changed, parts, _ = planted(big, (0.0, 0.8, -2.0))
    alone = FusionWithoutModel(changed, parts)
    weights = alone.settings()["weights"]
    assert list(weights) == ["good", "noise", "history"]
    assert weights["good"][0] > 0 and abs(weights["noise"][0]) < 0.1 * weights["good"][0]
    assert weights["history"][0] < -1
    histories = Ragged.from_lists([[1, 2], [3]])
    nothing = np.zeros((2, 60), np.float32)
    users = np.array([4, 5])
    np.testing.assert_array_equal(
        alone.scores(histories, users), alone.fusion.scores(nothing, histories, users)
    )
    shifted = alone.fusion.scores(nothing - 7, histories, users)  # whatever it says of all items alike
    np.testing.assert_allclose(shifted, alone.scores(histories, users), atol=1e-4)


def test_validation_rows_are_drawn_by_the_seed():
    split = leave_one_out(simulate(users=80, items=60, seed=1).data)
    rows = validation_rows(split, None)
    assert len(validation_rows(split, 9)) == 9 and set(validation_rows(split, 9)) <= set(rows)
    assert not np.array_equal(validation_rows(split, 9), validation_rows(split, 9, seed=1))
