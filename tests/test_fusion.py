"""Fusion: by hand, against planted weights, on simulated data; validation rows only; saved and asked."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from safetensors.numpy import load_file

from p5t5.baselines import CountFloor, Popularity, Scorer, top_of
from p5t5.baselines.likeness import TextLikeness
from p5t5.checkpoint import Checkpoint
from p5t5.commands import evaluate as evaluate_command
from p5t5.commands import recommend as recommend_command
from p5t5.errors import UserError
from p5t5.fusion import FILE, STATE, Fusion, default_parts, in_history, normalised, reciprocal_ranks
from p5t5.fusion.alone import FusionWithoutModel
from p5t5.fusion.fitting import fit_fusion, likeliest_weights, shortlists, validation_rows
from p5t5.fusion.model import fit_for, model_table, rank
from p5t5.metrics import ndcg
from p5t5.prompts import load_prompts
from p5t5.ragged import Ragged
from p5t5.recommender import Recommender
from p5t5.sources.simulated import simulate
from p5t5.splits import Split, leave_one_out


@pytest.fixture(scope="module")
def split() -> Split:
    return leave_one_out(simulate(users=150, items=60, seed=3).data)


@pytest.fixture(scope="module")
def checkpoint(split) -> Checkpoint:
    prompts = [prompt for prompt in load_prompts() if prompt.task == "sequential/next_item"]
    made = Checkpoint.create(split, prompts, model="tiny", vocabulary_size=600)
    made.info["tasks"] = ["sequential/next_item"]
    made.model.eval()
    return made


class Table(Scorer):
    """Scores by user, whatever the history."""

    nonnegative = False

    def __init__(self, name: str, table: np.ndarray):
        self.name, self.table, self.number_of_items = name, table, table.shape[1]

    def scores(self, histories, users=None):
        return self.table[users]


def z(table: np.ndarray) -> np.ndarray:
    return (table - table.mean(1, keepdims=True)) / table.std(1, keepdims=True)


def fusion_of(weights, kind="sum", items=3) -> Fusion:
    part = Table("knn", np.array([[3.0, 1.0, 2.0][:items]]))
    return Fusion([part], kind, np.array(weights, float), np.array([1.0, 0.0, -1.0], np.float32), (1.0, 0.5))


def test_a_sum_by_hand():
    model = np.log(np.array([[0.2, 0.5, 0.3]], np.float32))
    fusion = fusion_of([[2.0], [1.0], [-3.0]])
    found = fusion.scores(model, Ragged.from_lists([[1]]), np.array([0]))
    expected = 2 * (model - model.mean()) + z(np.array([[3.0, 1.0, 2.0]])) + [[0, -3, 0]]
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert found.dtype == np.float32
    (why,) = fusion.shares(model, Ragged.from_lists([[1]]), np.array([0]), np.array([[0, 2, -1]]))
    assert list(why[0]) == ["knn", "history"] and why[2] == {}  # the model speaks against item 0
    assert sum(why[0].values()) == pytest.approx(1, abs=1e-3)
    lift = {"knn": 3**0.5 / 2**0.5, "history": 1.0}  # over the average item: 1.2247 − 0, 0 − (−1)
    assert why[0]["knn"] == pytest.approx(lift["knn"] / sum(lift.values()), abs=1e-3)


def test_a_gate_by_hand():
    model, histories = np.zeros((1, 3), np.float32), Ragged.from_lists([[1, 1]])
    fusion = fusion_of([[0, 0, 0], [1, 0.5, 0.25], [0, 0, 0]], "gate")
    length = (np.log(3) - 1) / 0.5
    weight = 1 + 0.5 * length + 0.25 * np.array([[1, 0, -1]])
    expected = weight * z(np.array([[3.0, 1.0, 2.0]]))
    np.testing.assert_allclose(fusion.scores(model, histories, np.array([0])), expected, rtol=1e-5)


def test_reciprocal_ranks_by_hand_and_impossible_items():
    table = np.array([[1.0, 3.0, 2.0]], np.float32)
    np.testing.assert_allclose(reciprocal_ranks(table), [[60 / 63, 60 / 61, 60 / 62]], rtol=1e-6)
    assert not reciprocal_ranks(np.full((2, 3), 0.5, np.float32)).any()  # who knows nothing ranks nothing
    model = np.array([[0.0, -np.inf, -1.0]], np.float32)
    for kind in ("sum", "reciprocal_rank"):
        found = fusion_of([[1], [1], [0]], kind).scores(model, Ragged.from_lists([[]]), np.array([0]))
        assert np.isneginf(found[0, 1]) and np.isfinite(found[0, [0, 2]]).all()


@settings(max_examples=50, deadline=None)
@given(arrays(np.float32, (3, 7), elements=st.integers(0, 50).map(float)), st.booleans())
def test_normalising_keeps_the_order_and_is_blind_to_scale(table, nonnegative):
    found = normalised(table, nonnegative)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(normalised(table * 8, nonnegative), found, atol=1e-4)
    for scores, evidence in zip(table, found, strict=True):
        assert (np.diff(evidence[np.argsort(scores, kind="stable")]) >= 0).all()
    empty = table.sum(1) == 0
    assert not found[empty].any()


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
    assert fusion.about["chosen"] == "sum" and fusion.about["rows"] == len(changed.rows("validation"))


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
    values = {name: ndcg(Scorer().ranks(t, truth), 10).mean() for name, t in tables.items()}
    blend = ndcg(Scorer().ranks(fusion.scores(model(rows), history, users), truth), 10).mean()
    assert blend >= max(values.values()), (blend, values)
    assert fusion.about["validation"]["parts alone"] == pytest.approx(values, abs=1e-5)
    weight = dict(zip(fusion.names, np.abs(fusion.weights).max(1), strict=True))
    assert weight["count_floor"] > weight["model"]


def test_where_a_part_alone_is_best_it_stays_alone(split):
    data = split.data
    right = np.zeros((data.number_of_users, data.number_of_items), np.float32)
    rows = split.rows("validation")
    right[data.user[rows], data.item[rows]] = 1
    fusion = fit_fusion([Table("right", right)], split, lambda part: right[data.user[part]] * 0, kinds=[])
    assert fusion.about["chosen"] == "right" and fusion.weights[:, 0].tolist() == [0, 1, 0]


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
    with pytest.raises(UserError, match="no kind 'magic'"):
        fit_fusion([], split, lambda part: None, kinds=["magic"])


@pytest.fixture(scope="module")
def fused(split, checkpoint):
    return fit_for(checkpoint, split)


def test_it_belongs_to_the_data_of_the_model_beside_it(split, fused):
    fused.check(split.data.hash)
    with pytest.raises(UserError, match="fitted on other data"):
        fused.check("another hash")


def test_no_part_keeps_anything_of_a_single_user(split, fused):
    """What a checkpoint folder gets: items by items, items by factors, items; never users by anything."""
    for part in fused.parts:
        for name, value in part.state().items():
            assert split.data.number_of_users not in np.shape(value), (part.name, name)


def test_saved_and_loaded_it_is_the_same(split, fused, tmp_path):
    fused.save(tmp_path)
    again = Fusion.load(tmp_path)
    rows = split.rows("test")[:20]
    history, users = split.history_items(rows, 9999), split.data.user[rows]
    model = np.random.default_rng(0).standard_normal((20, 60)).astype(np.float32)
    assert np.array_equal(again.scores(model, history, users), fused.scores(model, history, users))
    assert again.kind == fused.kind and again.about == fused.about
    state = load_file(tmp_path / "fusion.safetensors")
    assert not [name for name in state if "history" in name or "interaction" in name]
    (tmp_path / "fusion.safetensors").write_bytes(b"0")
    with pytest.raises(UserError, match="damaged"):
        Fusion.load(tmp_path)
    with pytest.raises(UserError, match="holds no fusion"):
        Fusion.load(tmp_path / "nowhere")


def test_ranking_obeys_exclude_and_allow(split, checkpoint, fused):
    rows = split.rows("test")[:3]
    history, users = split.history_items(rows, 9999), split.data.user[rows]
    renderer = checkpoint.renderer_for(split.data)
    ids = renderer.encode_text("what next ?")
    inputs, trie = Ragged.from_lists([ids] * 3), checkpoint.catalogue.trie
    table = fused.scores(model_table(checkpoint.model, inputs, trie, 60), history, users)
    gone = Ragged.from_lists(table[:, :30].argmax(1)[:, None])  # the best: the history is down there anyway
    items, scores, why = rank(
        fused, checkpoint.model, inputs, trie, history, users, 5, exclude=gone, allow=np.arange(30)
    )
    for row in range(3):
        allowed = [item for item in range(30) if item not in gone[row]]
        best = sorted(allowed, key=lambda item: -table[row, item])[:5]
        assert items[row].tolist() == best + [-1] * (5 - len(best))
        assert all(sum(parts.values()) == pytest.approx(1, abs=1e-3) for parts in why[row][: len(best)])
    assert np.array_equal(items, top_of(np.where(np.isin(table, scores), table, -np.inf), 5)[0])


def test_evaluate_recommend_and_recommender(checkpoint, tmp_path):
    data = simulate(users=150, items=60, seed=3).records.write(tmp_path / "data")
    folder = tmp_path / "model"
    made = Checkpoint.create(leave_one_out(data), checkpoint.prompts, model="tiny", vocabulary_size=600)
    made.info["tasks"] = ["sequential/next_item"]
    made.save(folder)
    out = tmp_path / "results.json"
    words = ["--data", str(tmp_path / "data"), "--model", str(folder)]
    assert evaluate_command.main([*words, "--out", str(out), "--fusion", "true", "--prompts", "seen"]) == 0
    rows = [row for row in json.loads(out.read_text()) if row["metric"] == "ndcg@10"]
    value = {(row["model"], row["protocol"]): row["value"] for row in rows}
    assert value["p5t5+fusion", "filtered"] > value["p5t5", "filtered"]  # the model has learnt nothing
    against = json.loads((tmp_path / "results.comparisons.json").read_text())
    assert {"p5t5", "p5t5+fusion"} == {row["model"] for row in against}
    recommender = Recommender.from_pretrained(folder, fusion=True)
    user = str(data.user_ids[4])
    found = recommender.recommend(user=user, data=data, k=3)
    assert all(item.why and sum(item.why.values()) == pytest.approx(1, abs=1e-3) for item in found)
    assert recommender.recommend(history=[item.item_id for item in found], k=3)  # a stranger
    three = [item.item_id for item in found]
    assert [item.item_id for item in recommender.rank(None, three[::-1], user=user, data=data)] == three
    plain = Recommender.from_pretrained(folder)
    assert plain.recommend(user=user, data=data, k=3)[0].why == {}
    table = tmp_path / "found.jsonl"
    assert (
        recommend_command.main([*words, "--out", str(table), "--users", user, "--k", "3", "--fusion", "true"])
        == 0
    )
    assert [json.loads(line)["item_id"] for line in table.read_text().splitlines()] == [
        i.item_id for i in found
    ]
    recommender.save_pretrained(tmp_path / "copy")
    again = Recommender.from_pretrained(tmp_path / "copy", fusion=True)
    assert again.recommend(user=user, data=data, k=3) == found
    made.save(folder)  # another model in the folder: its fusion is gone
    with pytest.raises(UserError, match="holds no fusion"):
        Recommender.from_pretrained(folder, fusion=True)


def test_fusion_needs_a_model(tmp_path, capsys):
    code = evaluate_command.main(
        ["--data", str(tmp_path), "--out", str(tmp_path / "x.json"), "--fusion", "true"]
    )
    assert code != 0


def test_it_does_not_matter_how_many_rows_are_scored_at_once(split, checkpoint, fused, monkeypatch):
    monkeypatch.setattr("p5t5.fusion.model.rows_at_once", lambda items: 7)
    monkeypatch.setattr("p5t5.fusion.fitting.rows_at_once", lambda items: 7)
    again = fit_for(checkpoint, split, fused.parts)
    np.testing.assert_allclose(again.weights, fused.weights, rtol=1e-3, atol=1e-3)
    rows = split.rows("validation")[:20]
    history, users = split.history_items(rows, 9999), split.data.user[rows]
    inputs = Ragged.from_lists([checkpoint.renderer_for(split.data).encode_text("what next ?")] * 20)
    asked = (fused, checkpoint.model, inputs, checkpoint.catalogue.trie, history, users, 5)
    items, scores, why = rank(*asked)
    monkeypatch.undo()
    np.testing.assert_allclose(rank(*asked)[1], scores, atol=1e-4)
    assert len(why) == len(items) == 20


def test_parts_without_implicit_and_without_texts(split):
    parts = [type(part) for part in default_parts(split, with_implicit=False)]
    assert parts == [Popularity, CountFloor, TextLikeness]
    assert [type(part) for part in default_parts(bare(split), with_implicit=False)] == parts[:2]


def bare(split: Split) -> Split:
    """The split, of whose items nothing but their ids is known."""
    items = split.data.items[["item_id"]]
    return Split(replace(split.data, items=items), split.scheme, split.part)


@pytest.mark.parametrize("described", [True, False])
def test_a_round_trip_with_texts_and_without(split, tmp_path, described):
    """Data without texts gives what a p5t5 without that part wrote: it loads, and scores as before."""
    mine = split if described else bare(split)
    parts = default_parts(mine, with_implicit=False)
    data = mine.data
    noise = np.random.default_rng(2).standard_normal((data.number_of_users, 60)).astype(np.float32)
    fusion = fit_fusion(parts, mine, lambda part: noise[data.user[part]])
    fusion.save(tmp_path)
    assert ("text_likeness" in fusion.names) == described
    assert any(name.startswith("text_likeness/") for name in load_file(tmp_path / STATE)) == described
    again = Fusion.load(tmp_path)
    rows = mine.rows("test")
    asked = noise[data.user[rows]], mine.history_items(rows, 9999), data.user[rows]
    assert again.names == fusion.names
    assert np.array_equal(again.scores(*asked), fusion.scores(*asked))


def test_what_is_described_alike_is_told_why(split):
    """The model and the weights are 0 but for the likeness of text: it is the whole reason."""
    texts = TextLikeness(split)
    fusion = Fusion([texts], "sum", np.array([[0.0], [1.0], [0.0]]), np.zeros(60, np.float32), (1.0, 0.5))
    histories, model = Ragged.from_lists([[4]]), np.zeros((1, 60), np.float32)
    scores = fusion.scores(model, histories)
    np.testing.assert_allclose(scores, normalised(texts.scores(histories), True))
    best = scores.argmax(1)[:, None]
    assert best.tolist() == [[4]] and fusion.shares(model, histories, None, best) == [
        [{"text_likeness": 1.0}]
    ]


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"parts": ["popularity", "bpr"]}, "a part 'bpr' that this p5t5 does not know"),
        ({"format": 99}, "has format 99"),
    ],
)
def test_what_another_p5t5_wrote_is_refused_in_one_line(fused, tmp_path, other, said):
    fused.save(tmp_path)
    words = json.loads((tmp_path / FILE).read_text())
    (tmp_path / FILE).write_text(json.dumps(words | other))
    with pytest.raises(UserError, match=said) as refused:
        Fusion.load(tmp_path)
    assert "damaged" not in str(refused.value)


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
