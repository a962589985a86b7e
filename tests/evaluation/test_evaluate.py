import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from p5t5.baselines.rankers import CooccurrenceRanker
from p5t5.checkpoint.checkpoint import Checkpoint
from p5t5.checkpoint.creation import create_checkpoint
from p5t5.core.errors import UserError
from p5t5.core.ragged import Ragged
from p5t5.data.sources.simulated import simulate
from p5t5.data.splits import Split, leave_one_out
from p5t5.decoding.batches import padded_batches
from p5t5.decoding.ranking import all_item_scores, score_choices
from p5t5.evaluation import results
from p5t5.evaluation.baselines import evaluate_baselines
from p5t5.evaluation.evaluate import evaluate_checkpoint
from p5t5.evaluation.list_quality import LIST_METRICS
from p5t5.evaluation.results import (
    FIELDS,
    SEEN_PROMPTS,
    Measured,
    compare,
    compare_prompts,
    find,
    read_rows,
    result_rows,
    write_rows,
)
from p5t5.evaluation.validation import validation_metric
from p5t5.inference.predictor import Predictor, _after_number, score_beginnings
from p5t5.inference.rating_calibration import RatingCalibrator
from p5t5.inference.rating_calibration_fit import store_rating_calibration
from p5t5.reporting.results_text import verdicts
from p5t5.tasks.base import Decoding
from p5t5.tasks.registry import TASKS
from p5t5.text.mixture import single
from p5t5.text.prompts import load_prompts

CHEAP = ("rating/score", "rating/like", "sequential/next_item", "direct/choose")


@pytest.fixture(scope="module")
def split() -> Split:
    return leave_one_out(simulate(users=40, items=120, seed=1).data)


@pytest.fixture(scope="module")
def checkpoint(split) -> Checkpoint:
    return create_checkpoint(
        split, load_prompts(), model="tiny", vocabulary_size=500, start_from_factors=False
    )


@pytest.fixture(scope="module")
def evaluation(checkpoint, split):
    return evaluate_checkpoint(checkpoint, split, CHEAP, progress=False, checkpoint_name="here")


@pytest.fixture(scope="module")
def baselines(checkpoint, split):
    return evaluate_baselines(split, options=checkpoint.build_options(), with_implicit=False)


def asked(checkpoint, split, task, prompt="seen"):
    """Examples, prompt indexes and every item's score, the slow way: one prompt at a time."""
    options = checkpoint.build_options()
    examples, index = single(split, task, checkpoint.prompts, "test", options, prompt)
    inputs = Predictor(checkpoint, split.data).encode(examples, index)
    return examples, inputs, options


def test_rankings_against_a_slow_twin(checkpoint, split, evaluation):
    examples, inputs, _ = asked(checkpoint, split, "sequential/next_item")
    found = {"filtered": [], "unfiltered": []}
    for row in range(len(inputs)):
        ids = torch.tensor(inputs[row][None].astype(np.int64))
        scores = all_item_scores(checkpoint.model, ids, torch.ones_like(ids), checkpoint.catalogue.trie)[0]
        truth = split.data.item[examples.rows[row]]
        user_rows = np.flatnonzero(split.data.user == split.data.user[examples.rows[row]])
        seen = set(split.data.item[user_rows[user_rows < examples.rows[row]]].tolist())
        for protocol in found:
            order = [i for i in np.argsort(-scores).tolist() if protocol == "unfiltered" or i not in seen]
            place = order.index(truth)
            found[protocol].append(1 / math.log2(place + 2) if place < 10 else 0.0)
    for protocol, values in found.items():
        row = find(
            evaluation.rows, task="sequential/next_item", prompt="seen", protocol=protocol, metric="ndcg@10"
        )
        assert row["value"] == pytest.approx(np.mean(values), abs=1e-6)
        assert row["n"] == len(split.rows("test"))


def test_candidates_against_a_slow_twin(checkpoint, split, evaluation):
    examples, inputs, _ = asked(checkpoint, split, "direct/choose")
    hits = []
    for row in range(len(inputs)):
        ids = torch.tensor(inputs[row][None].astype(np.int64))
        scores = all_item_scores(checkpoint.model, ids, torch.ones_like(ids), checkpoint.catalogue.trie)[0]
        assert len(set(examples.candidates[row].tolist())) == 100
        mine = scores[examples.candidates[row]]
        hits.append((mine > mine[examples.answer[row]]).sum() < 10)
    row = find(evaluation.rows, task="direct/choose", prompt="seen", protocol="1+99", metric="hr@10")
    assert row["value"] == pytest.approx(np.mean(hits), abs=1e-6)


def test_expected_ratings_against_a_slow_twin(checkpoint, split, evaluation):
    """Plain forward passes over "1</s>" … "5</s>", probabilities made to sum to one."""
    examples, inputs, _ = asked(checkpoint, split, "rating/score")
    model = checkpoint.model.eval()
    errors = []
    for row in range(len(inputs)):
        ids = torch.tensor(inputs[row][None].astype(np.int64))
        chances = []
        for value in checkpoint.rating_values:
            labels = torch.tensor([checkpoint.renderer.encode_text(f"{value:g}")])
            start = torch.cat([torch.zeros(1, 1, dtype=torch.long), labels[:, :-1]], 1)
            with torch.no_grad():
                logits = model(input_ids=ids, decoder_input_ids=start).logits.log_softmax(-1)
            chances.append(logits.gather(-1, labels[..., None]).sum().exp().item())
        guess = np.dot(chances, checkpoint.rating_values) / np.sum(chances)
        errors.append((guess - split.data.rating[examples.rows[row]]) ** 2)
    table = next(t for t in evaluation.calibration if (t["task"], t["prompt"]) == ("rating/score", "seen"))
    assert [row["group"] for row in table["values"]] == checkpoint.rating_values.tolist()
    assert sum(row["predicted"] for row in table["values"]) == pytest.approx(1, abs=1e-5)
    assert {row["n"] for row in table["values"]} == {len(examples)}
    for metric in ("ece", "coverage80"):
        row = find(evaluation.rows, task="rating/score", prompt="seen", metric=metric)
        assert 0 <= row["ci95"][0] <= row["ci95"][1] <= 1
    row = find(evaluation.rows, task="rating/score", prompt="seen", metric="rmse")
    assert row["value"] == pytest.approx(math.sqrt(np.mean(errors)), abs=1e-4)


def test_rows_have_exactly_the_fields_and_survive_json(evaluation, baselines, tmp_path):
    rows = evaluation.rows + baselines.rows
    assert all(tuple(row) == FIELDS for row in rows)
    assert {row["prompt"] for row in evaluation.rows} == {"seen", "held_out"}
    assert all(row["checkpoint"] == "here" and row["split"] == "test" for row in evaluation.rows)
    assert all(row["ci95"][0] <= row["value"] <= row["ci95"][1] for row in rows if row["ci95"])
    write_rows(tmp_path / "deep" / "results.json", rows)
    assert read_rows(tmp_path / "deep" / "results.json") == json.loads(json.dumps(rows))
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["results.json"]


def test_results_that_are_none(tmp_path):
    with pytest.raises(UserError, match="p5t5 evaluate"):
        read_rows(tmp_path / "absent.json")
    (tmp_path / "other.json").write_text('{"a": 1}')
    with pytest.raises(UserError, match="list of rows"):
        read_rows(tmp_path / "other.json")
    write_rows(tmp_path / "none.json", [])
    assert read_rows(tmp_path / "none.json") == []


def test_wordings_are_kept_apart(checkpoint, split, evaluation):
    held = {prompt.id for prompt in checkpoint.prompts if prompt.held_out}
    kinds = {sample["kind"]: set() for sample in evaluation.samples}
    for sample in evaluation.samples:
        kinds[sample["kind"]].add(sample["prompt"])
    assert kinds["seen"] and not kinds["seen"] & held
    assert kinds["held_out"] and kinds["held_out"] <= held


def test_histories_in_the_wording_are_told_apart(evaluation):
    seen = [m for m in evaluation.measured if m.task == "direct/choose" and m.prompt == "seen"]
    sizes = {m.protocol: len(m.rows) for m in seen}
    assert sizes["1+99 history"] + sizes["1+99 no history"] == sizes["1+99"]


def test_baselines_stand_on_the_same_rows(evaluation, baselines, split):
    assert {m.model for m in baselines.measured} >= {"popularity", "count_floor", "global_mean", "bias", "mf"}
    mine = next(m for m in evaluation.measured if m.task == "sequential/next_item")
    for other in baselines.measured:
        if other.task == mine.task:
            assert np.array_equal(other.rows, mine.rows) and np.array_equal(other.users, mine.users)
    floor = next(
        m
        for m in baselines.measured
        if (m.model, m.task, m.protocol) == ("count_floor", mine.task, "filtered")
    )
    history = split.history_items(mine.rows, 999)
    items, _ = CooccurrenceRanker(split).top(history, 10, exclude=history)
    found = (items == split.data.item[mine.rows][:, None]).any(1)
    assert np.array_equal(floor.values["hr@10"], found)


def test_rating_baselines_say_who_likes_what(baselines, split):
    mean, bias = (
        next(m for m in baselines.measured if (m.model, m.task) == (name, "rating/like"))
        for name in ("global_mean", "bias")
    )
    assert bias.values["auc"][:, 1].tolist() == (split.data.rating[bias.rows] > 3).tolist()
    assert find(baselines.rows, model="global_mean", task="rating/like", metric="auc")["value"] == 0.5
    row = find(baselines.rows, model="bias", task="rating/like", metric="auc")
    assert row["ci95"][0] < row["value"] < row["ci95"][1]
    common = find(baselines.rows, model="majority", task="rating/like", metric="accuracy")
    assert mean.values["accuracy"].mean() == pytest.approx(common["value"]), "always the same answer"


def test_comparisons_are_paired(evaluation, baselines):
    pairs = compare(evaluation, baselines)
    against = find(
        pairs,
        task="sequential/next_item",
        protocol="filtered",
        prompt="seen",
        against="count_floor",
        metric="ndcg@10",
    )
    ours = find(
        evaluation.rows, task="sequential/next_item", protocol="filtered", prompt="seen", metric="ndcg@10"
    )
    theirs = find(
        baselines.rows, model="count_floor", task=ours["task"], protocol="filtered", metric="ndcg@10"
    )
    assert against["difference"] == pytest.approx(ours["value"] - theirs["value"], abs=2e-6)
    assert against["better"] is False and against["ci95"][1] < 0
    rating = find(pairs, task="rating/score", prompt="seen", against="bias", metric="rmse")
    assert rating["difference"] > 0 and rating["better"] is False  # a larger error is worse
    assert find(pairs, protocol="1+99 history", against="count_floor")["n"] < 40


def test_wordings_are_compared_on_the_same_rows(evaluation):
    pairs = compare_prompts(evaluation)
    assert {row["prompt"] for row in pairs} == {"held_out"} and {row["against"] for row in pairs} == {
        SEEN_PROMPTS
    }
    for task, protocol, metric in (
        ("sequential/next_item", "filtered", "ndcg@10"),
        ("rating/score", "expected", "rmse"),
    ):
        keys = {"task": task, "protocol": protocol, "metric": metric}
        held, seen = (find(evaluation.rows, prompt=kind, **keys)["value"] for kind in ("held_out", "seen"))
        row = find(pairs, **keys)
        assert row["difference"] == pytest.approx(held - seen, abs=2e-6)
        assert row["relative"] == pytest.approx(held / seen - 1, abs=1e-4)
        low, high = row["relative_ci95"]
        assert low <= row["relative"] <= high and row["ci95"] == pytest.approx(
            [low * seen, high * seen], abs=1e-4
        )


def test_what_is_said_of_the_comparisons(evaluation, baselines):
    pairs = compare(evaluation, baselines) + compare_prompts(evaluation)
    said = verdicts(evaluation.rows + baselines.rows, pairs)
    floor = find(pairs, protocol="filtered", prompt="seen", against="count_floor", metric="ndcg@10")
    start = "sequential/next_item, filtered: p5t5 is worse than count_floor"
    assert [line for line in said if line.startswith(f"{start} (ndcg@10 {floor['difference']:+.4f}, 95 %")]
    worded = [line for line in said if "held-out prompts against seen ones" in line]
    rating = find(pairs, task="rating/score", protocol="expected", against=SEEN_PROMPTS, metric="rmse")
    assert any(
        line.startswith("rating/score") and f"rmse {rating['relative']:+.1%}" in line for line in worded
    )
    assert said[-len(worded) :] == worded and len(said) > len(worded) > 2
    assert not any("history" in line or "model alone" in line for line in worded)
    assert not any(SEEN_PROMPTS in line for line in said)


def test_limit_takes_the_same_users_everywhere(checkpoint, split):
    few = evaluate_checkpoint(
        checkpoint, split, ("rating/score",), limit=7, prompts=("seen",), progress=False
    )
    same = evaluate_baselines(split, tasks=("rating/score",), limit=7, with_implicit=False)
    users = {frozenset(m.users.tolist()) for m in few.measured + same.measured}
    assert len(users) == 1 and len(next(iter(users))) == 7
    other = evaluate_baselines(split, tasks=("rating/score",), limit=7, seed=1, with_implicit=False)
    assert frozenset(other.measured[0].users.tolist()) not in users


def test_every_task_and_single_prompts(checkpoint, split):
    out = evaluate_checkpoint(checkpoint, split, limit=3, prompts=("seen", "review-1"), progress=False)
    assert {m.task for m in out.measured} == set(TASKS) and not out.skipped
    assert {m.task for m in out.measured if m.prompt == "review-1"} == {"review/headline"}
    explained = [m for m in out.measured if m.task == "explanation/rate_and_explain"]
    assert [m.protocol for m in explained] == ["expected", "text"]
    assert {"bleu1", "bleu4", "rougeL", "length", "feature_match"} <= set(explained[1].values)
    assert {"unique_sentences", "feature_coverage", "feature_overlap"} <= set(explained[1].totals)
    for task, own in TASKS.items():
        measured = {metric for m in out.measured if m.task == task for metric in [*m.values, *m.totals]}
        assert measured - set(LIST_METRICS) == set(own.metrics)
        assert (measured & set(LIST_METRICS) == set(LIST_METRICS)) == (own.decoding is Decoding.ITEMS)
    identifiers = ("<item_", "<user_", "<extra_id_")
    written = [s["answer"] for s in out.samples if s["protocol"] == "text"]
    assert written and not any(mark in answer for answer in written for mark in identifiers)


def test_what_is_missing_is_said(checkpoint, split):
    data = replace(split.data, rating=None, texts={})
    bare = Split(data, split.scheme, split.part)
    out = evaluate_checkpoint(checkpoint, bare, ("rating/score", "review/headline"), progress=False)
    assert not out.rows
    assert any("rating/score is off" in text and "no rating" in text for text in out.skipped)
    assert evaluate_baselines(bare, tasks=("review/headline",)).skipped == [
        text for text in out.skipped if "review" in text
    ]
    with pytest.raises(UserError, match="unknown task 'rating/stars'"):
        evaluate_checkpoint(checkpoint, split, ("rating/stars",), progress=False)
    with pytest.raises(UserError, match="no prompt 'nothing-1'"):
        evaluate_checkpoint(checkpoint, split, ("rating/score",), prompts=("nothing-1",), progress=False)
    for evaluate in (
        lambda **more: evaluate_checkpoint(checkpoint, split, **more),
        lambda **more: evaluate_baselines(split, **more),
    ):
        with pytest.raises(UserError, match="unknown protocol 'fltered'"):
            evaluate(protocols=("fltered",))
    halves = replace(split.data, rating_values=np.array([0.5, 1, 2, 3, 4, 5], np.float32))
    out = evaluate_checkpoint(
        checkpoint, Split(halves, split.scheme, split.part), ("rating/score",), progress=False
    )
    assert "the model was trained on" in out.skipped[0]


def test_no_answer_is_the_worst_answer(checkpoint, split, monkeypatch):
    monkeypatch.setattr(
        Predictor, "answer_scores", lambda self, examples, inputs, index: np.full((len(inputs), 5), np.nan)
    )
    out = evaluate_checkpoint(checkpoint, split, ("rating/score",), prompts=("seen",), progress=False)
    truth = split.data.rating[out.measured[0].rows]
    farthest = np.maximum(truth - 1, 5 - truth)
    assert find(out.rows, metric="mae")["value"] == pytest.approx(farthest.mean(), abs=1e-6)
    assert find(out.rows, metric="mae")["n"] == len(split.rows("test"))


def test_validation_is_the_evaluation_of_the_validation_part(checkpoint, split):
    validate = validation_metric(checkpoint, split, limit=None)
    found = validate(checkpoint.model)
    whole = evaluate_checkpoint(
        checkpoint, split, CHEAP, part="validation", prompts=("seen",), progress=False
    )
    for name, task in (("ndcg@10", "sequential/next_item"), ("rmse", "rating/score")):
        row = find(whole.rows, task=task, metric=name)
        assert found[name] == pytest.approx(row["value"], abs=1e-6) and row["split"] == "validation"
    ranked = (one for one in whole.measured if one.task == "sequential/next_item")
    ndcg = next(one.values["ndcg@10"] for one in ranked if one.protocol == "filtered")
    assert validate.tolerance == {"ndcg@10": pytest.approx(ndcg.std() / len(ndcg) ** 0.5)}, "a standard error"
    alone = validation_metric(checkpoint, split, ("sequential/next_item", "sequential/continue"), limit=5)
    assert set(alone(checkpoint.model)) == {"ndcg@10"} and not alone.tolerance, "nothing else is trained"
    other = validation_metric(checkpoint, split, ("review/score", "direct/choose"), limit=5)(checkpoint.model)
    assert set(other) == {"review/score:rmse", "direct/choose:ndcg@10"}


@pytest.mark.parametrize("tasks", [None, ("explanation/explain", "direct/choose", "rating/like")])
def test_validation_in_parts_is_the_validation_of_the_whole(checkpoint, split, tasks):
    """Every row once, whatever the number of processes, more than there are rows included."""
    validate = validation_metric(checkpoint, split, tasks, limit=7)
    assert set(validate.names) == set(whole := validate(checkpoint.model))
    for world in (2, 3, 11):
        parts = [validate.part(checkpoint.model, rank, world) for rank in range(world)]
        assert validate.combine(parts) == pytest.approx(whole, abs=1e-6)
        for task, rows in validate.rows.items():
            asked = np.concatenate([part[task][0] for part in parts if task in part])
            assert sorted(asked) == sorted(rows)


def test_validation_sees_the_model_it_is_given_and_leaves_it_training(checkpoint, split):
    validate = validation_metric(checkpoint, split, ("rating/score",), limit=5)
    before = validate(checkpoint.model)
    other = create_checkpoint(split, checkpoint.prompts, model="tiny", vocabulary_size=500, seed=9).model
    other.train()
    assert validate(other) != before and other.training
    assert validate(checkpoint.model) == before


def test_ratings_are_blended_in_evaluation_but_not_while_training_goes_on(checkpoint, split):
    """What was fitted for the model as it is says nothing of the weights that training is looking for."""
    validate = validation_metric(checkpoint, split, ("rating/score",), limit=None)
    before = validate(checkpoint.model)
    scale = len(split.data.rating_values)
    believed = replace(checkpoint, fitted={})
    store_rating_calibration(believed, {"rating/score": RatingCalibrator(0.0, np.full(scale, 1 / scale))})
    assert validation_metric(believed, split, ("rating/score",), limit=None)(believed.model) == before
    out = evaluate_checkpoint(
        believed, split, ("rating/score",), part="validation", prompts=("seen",), progress=False
    )
    truth = split.data.rating[out.measured[0].rows]
    middle = split.data.rating_values.mean()
    assert find(out.rows, metric="mae")["value"] == pytest.approx(np.abs(truth - middle).mean(), abs=1e-5)


def test_validation_without_rows(checkpoint, split):
    train_only = Split(split.data, split.scheme, np.zeros_like(split.part))
    with pytest.raises(UserError, match="no validation rows"):
        validation_metric(checkpoint, train_only)


def test_undefined_metrics_are_null_not_nan():
    values = {"auc": np.array([[0.3, 1.0], [0.2, 1.0]])}
    about = {"dataset": "d", "split": "test", "scheme": "loo", "seed": 0}
    (row,) = result_rows(
        Measured("m", "rating/like", "", "choice", np.arange(2), np.arange(2), values), about
    )
    assert row["value"] is None and row["ci95"] is None
    (row,) = result_rows(
        Measured(
            "m",
            "rating/like",
            "",
            "choice",
            np.arange(4),
            np.arange(4),
            {"auc": np.array([[0.9, 1], [0.8, 1], [0.1, 0], [0.2, 0]])},
        ),
        about,
    )
    assert row["value"] == 1.0


def test_feature_match_is_over_those_that_have_a_feature():
    match = np.array([[1, 1], [0, 1], [0, 0], [0, 0]], float)
    assert results.STATISTICS["feature_match"](match.mean(0)) == 0.5


def test_beginnings_of_answers(checkpoint):
    inputs = Ragged.from_lists([checkpoint.renderer.encode_text("rate this")])
    _, ids, mask = next(padded_batches(inputs, 100))
    eos = checkpoint.tokenizer.eos_token_id
    begun = score_beginnings(checkpoint.model, ids, mask, [[7, eos], [8, 9, eos]])
    whole = score_choices(checkpoint.model, ids, mask, [[7, eos], [8, 9, eos]])
    assert (begun > whole).all()
    ambiguous = [[7, eos], [7, 9, eos]]
    assert np.array_equal(
        score_beginnings(checkpoint.model, ids, mask, ambiguous),
        score_choices(checkpoint.model, ids, mask, ambiguous),
    )
    assert _after_number("4 it sounds good", {"4"}) == "it sounds good"
    assert _after_number("it sounds good", {"4"}) == "it sounds good"


def test_lists_are_described_beside_their_accuracy(checkpoint, split):
    """Coverage, Gini and novelty of the filtered lists, for the model and for baselines on the same rows."""
    task = "sequential/next_item"
    ours = evaluate_checkpoint(checkpoint, split, (task,), prompts=("seen",), progress=False)
    theirs = evaluate_baselines(split, tasks=(task,), with_implicit=False)
    popular = find(theirs.rows, model="popularity", protocol="filtered", metric="coverage@10")
    assert popular["ci95"] is None and 0 < popular["value"] < 1
    own = find(ours.rows, protocol="filtered", metric="coverage@10")["value"]
    items = split.data.number_of_items
    assert own == pytest.approx(round(own * items) / items, abs=1e-6)
    novelty = {row["model"]: row["value"] for row in theirs.rows if row["metric"] == "novelty@10"}
    assert novelty["popularity"] == min(novelty.values()), "nothing is less of a surprise"
    assert not [row for row in ours.rows if row["metric"] == "gini@10" and row["protocol"] == "unfiltered"]
