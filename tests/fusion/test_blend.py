"""Fusion: by hand, on simulated data, saved and asked; how it is fitted: tests/fusion/test_fitting.py."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from safetensors.numpy import load_file
from support.fusion_cases import Table, small_shop, untrained, z

from p5t5.baselines.base import top_of
from p5t5.baselines.rankers import CooccurrenceRanker, Popularity
from p5t5.baselines.text_similarity import ContentSimilarity
from p5t5.checkpoint.checkpoint import Checkpoint
from p5t5.checkpoint.creation import create_checkpoint
from p5t5.cli import evaluate as evaluate_command
from p5t5.cli import recommend as recommend_command
from p5t5.core.errors import UserError
from p5t5.core.ragged import Ragged
from p5t5.data.sources.simulated import simulate
from p5t5.data.splits import Split, leave_one_out
from p5t5.fusion.blend import FUSION_FILE, STATE_FILE, Fusion, default_parts, normalized, reciprocal_ranks
from p5t5.fusion.fitting import fit_fusion
from p5t5.fusion.model_scores import fit_for, model_table, rank
from p5t5.recommender import Recommender


@pytest.fixture(scope="module")
def split() -> Split:
    return small_shop()


@pytest.fixture(scope="module")
def checkpoint(split) -> Checkpoint:
    return untrained(split)


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
    found = normalized(table, nonnegative)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(normalized(table * 8, nonnegative), found, atol=1e-4)
    for scores, evidence in zip(table, found, strict=True):
        assert (np.diff(evidence[np.argsort(scores, kind="stable")]) >= 0).all()
    empty = table.sum(1) == 0
    assert not found[empty].any()


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
    assert again.kind == fused.kind and again.metadata == fused.metadata
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
    made = create_checkpoint(leave_one_out(data), checkpoint.prompts, model="tiny", vocabulary_size=600)
    made.info.tasks = ["sequential/next_item"]
    made.save(folder)
    out = tmp_path / "results.json"
    words = ["--data", str(tmp_path / "data"), "--model", str(folder)]
    assert evaluate_command.main([*words, "--out", str(out), "--prompts", "seen"]) == 0
    rows = [row for row in json.loads(out.read_text()) if row["metric"] == "ndcg@10"]
    value = {(row["model"], row["protocol"]): row["value"] for row in rows}
    assert value["p5t5+fusion", "filtered"] > value["p5t5", "filtered"]  # the model has learnt nothing
    against = json.loads((tmp_path / "results.comparisons.json").read_text())
    assert {"p5t5", "p5t5+fusion"} == {row["model"] for row in against}
    recommender = Recommender.from_pretrained(folder)  # what is fitted is used
    assert recommender.fusion is not None
    user = str(data.user_ids[4])
    found = recommender.recommend(user=user, data=data, k=3)
    assert all(item.why and sum(item.why.values()) == pytest.approx(1, abs=1e-3) for item in found)
    assert recommender.recommend(history=[item.item_id for item in found], k=3)  # a stranger
    three = [item.item_id for item in found]
    assert [item.item_id for item in recommender.rank(None, three[::-1], user=user, data=data)] == three
    plain = Recommender.from_pretrained(folder, fusion=False)
    assert plain.recommend(user=user, data=data, k=3)[0].why == {"model": 1.0}
    table = tmp_path / "found.jsonl"
    assert recommend_command.main([*words, "--out", str(table), "--users", user, "--k", "3"]) == 0
    assert [json.loads(line)["item_id"] for line in table.read_text().splitlines()] == [
        i.item_id for i in found
    ]
    recommender.save_pretrained(tmp_path / "copy")
    again = Recommender.from_pretrained(tmp_path / "copy")
    assert again.recommend(user=user, data=data, k=3) == found
    made.save(folder)  # another model in the folder: its fusion is gone
    with pytest.raises(UserError, match="holds no fusion"):
        Recommender.from_pretrained(folder, fusion=True)
    assert Recommender.from_pretrained(folder).fusion is None
    assert evaluate_command.main([*words, "--out", str(out), "--fusion", "false", "--prompts", "seen"]) == 0
    assert {row["model"] for row in json.loads(out.read_text()) if row["task"]} & {"p5t5", "p5t5+fusion"} == {
        "p5t5"
    }


def test_fusion_needs_a_model(tmp_path, capsys):
    code = evaluate_command.main(
        ["--data", str(tmp_path), "--out", str(tmp_path / "x.json"), "--fusion", "true"]
    )
    assert code != 0


def test_it_does_not_matter_how_many_rows_are_scored_at_once(split, checkpoint, fused, monkeypatch):
    monkeypatch.setattr("p5t5.fusion.blend.rows_at_once", lambda items: 7)
    monkeypatch.setattr("p5t5.fusion.blend.rows_at_once", lambda items: 7)
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
    assert parts == [Popularity, CooccurrenceRanker, ContentSimilarity]
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
    assert any(name.startswith("text_likeness/") for name in load_file(tmp_path / STATE_FILE)) == described
    again = Fusion.load(tmp_path)
    rows = mine.rows("test")
    asked = noise[data.user[rows]], mine.history_items(rows, 9999), data.user[rows]
    assert again.names == fusion.names
    assert np.array_equal(again.scores(*asked), fusion.scores(*asked))


def test_what_is_described_alike_is_told_why(split):
    """The model and the weights are 0 but for the likeness of text: it is the whole reason."""
    texts = ContentSimilarity(split)
    fusion = Fusion([texts], "sum", np.array([[0.0], [1.0], [0.0]]), np.zeros(60, np.float32), (1.0, 0.5))
    histories, model = Ragged.from_lists([[4]]), np.zeros((1, 60), np.float32)
    scores = fusion.scores(model, histories)
    np.testing.assert_allclose(scores, normalized(texts.scores(histories), True))
    best = scores.argmax(1)[:, None]
    assert best.tolist() == [[4]] and fusion.shares(model, histories, None, best) == [
        [{"text_likeness": 1.0}]
    ]


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"parts": ["popularity", "bpr"]}, "an unknown part 'bpr'"),
        ({"format": 99}, "has format 99"),
    ],
)
def test_what_another_p5t5_wrote_is_refused_in_one_line(fused, tmp_path, other, said):
    fused.save(tmp_path)
    words = json.loads((tmp_path / FUSION_FILE).read_text())
    (tmp_path / FUSION_FILE).write_text(json.dumps(words | other))
    with pytest.raises(UserError, match=said) as refused:
        Fusion.load(tmp_path)
    assert "damaged" not in str(refused.value)
