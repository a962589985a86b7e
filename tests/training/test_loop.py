"""The training loop on one process: it learns, validates, stops, keeps the best, and records all that."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from support.tiny_training import examples, options, run, tiny_model, vector

from p5t5.core.errors import UserError
from p5t5.training.batching import collate, plan
from p5t5.training.loop import TrainingError, train
from p5t5.training.options import TrainOptions, learning_rate_factor, progress_of


def test_it_learns(tmp_path):
    model, result = run(tmp_path, source=lambda epoch: examples(0), max_steps=150, log_every=10)
    losses = [line["loss"] for line in result.history]
    assert losses[-1] < 0.5 * losses[0]
    assert result.steps == 150 and result.stopped == "finished" and result.is_main
    assert not model.training


def test_first_step_by_hand(tmp_path):
    """One step equals AdamW on sum(weight * nll) / sum(units) over the plan's first batch."""
    model, result = run(tmp_path, max_steps=1, schedule="constant", warmup=0, clip=0, weight_decay=0)
    twin = tiny_model()
    encoded = examples(0)
    rows = plan(encoded.inputs.lengths, encoded.targets.lengths, token_budget=200, seed=0, epoch=0)[0]
    loss = twin(**collate(encoded, rows), num_items_in_batch=int(encoded.units[rows].sum())).loss
    loss.backward()
    torch.optim.AdamW(twin.parameters(), lr=1e-2, weight_decay=0).step()
    torch.testing.assert_close(vector(model), vector(twin))
    assert result.history[0]["loss"] == pytest.approx(loss.item(), rel=1e-6)


def test_same_seed_same_weights(tmp_path):
    one, same, other = (
        vector(run(tmp_path / str(place), tiny_model(0.3), seed=seed)[0])
        for place, seed in enumerate((5, 5, 6))
    )
    assert torch.equal(one, same) and not torch.equal(one, other)


def test_metrics_file(tmp_path):
    _, result = run(tmp_path, validate=lambda model: {"ndcg@10": 0.5}, max_steps=4, log_every=2, eval_every=4)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert lines == result.history
    assert [line["step"] for line in lines] == [2, 4, 4]
    assert {"loss", "learning_rate", "tokens_per_second", "gradient_norm", "elapsed", "epoch"} <= set(
        lines[0]
    )
    assert lines[-1]["validation"] == {"ndcg@10": 0.5}


def test_a_log_file_is_told_now_and_then(tmp_path, monkeypatch, capsys):
    """Where nobody watches a bar; a minute apart, so that a short run says nothing."""
    run(tmp_path / "quick", max_steps=4, log_every=2)
    assert "done: loss" not in capsys.readouterr().err
    monkeypatch.setattr("p5t5.training.loop.LOG_LINE_SECONDS", 0.0)
    run(tmp_path / "slow", max_steps=4, log_every=2)
    told = [line for line in capsys.readouterr().err.splitlines() if "done: loss" in line]
    assert [line.split(":")[0] for line in told] == ["step 2, 50% done", "step 4, 100% done"]


class Script:
    """A validation that says what it is told to, and keeps the weights that it saw."""

    def __init__(self, values, metric="ndcg@10"):
        self.values, self.metric, self.seen = list(values), metric, []

    def __call__(self, model):
        assert not model.training and not torch.is_grad_enabled()
        self.seen.append(vector(model).clone())
        return {self.metric: self.values[len(self.seen) - 1]}


@pytest.mark.parametrize(("metric", "values"), [("ndcg@10", [0.1, 0.3, 0.2]), ("rmse", [1.3, 1.1, 1.2])])
def test_best_weights_are_restored(tmp_path, metric, values):
    script = Script(values, metric)
    model, result = run(tmp_path, validate=script, eval_every=2, metric=metric)
    assert result.best == {"step": 4, "value": values[1], "metrics": {metric: values[1]}}
    assert torch.equal(vector(model), script.seen[1]) and not torch.equal(vector(model), script.seen[2])
    assert result.summary()["best"]["step"] == 4


@pytest.mark.parametrize(
    ("values", "kept"),
    [
        ([0.30, 0.29, 0.28], 2),  # the last within .01 of the best
        ([0.30, 0.28, 0.29], 3),
        ([0.30, 0.28, 0.27], 1),
        ([0.30, 0.295, 0.289], 2),  # of the best, not of the one kept since
        ([0.30, 0.305, 0.295], 3),
        ([0.30, 0.295, float("nan")], 2),
    ],
)
def test_what_counts_for_nothing_is_ignored(tmp_path, values, kept):
    """Also after a stop between any two validations; and patience counts from the best, not from the kept."""
    script = Script(values)
    script.tolerance = {"ndcg@10": 0.01}
    settings = {"eval_every": 2, "checkpoint_every": 2}
    model, result = run(tmp_path / "whole", validate=script, **settings)
    assert result.best["step"] == 2 * kept and result.best["value"] == values[kept - 1]
    assert torch.equal(vector(model), script.seen[kept - 1])
    for stop in (1, 2):
        out = tmp_path / f"stop {stop}"
        for steps, part, resume in ((2 * stop, values[:stop], False), (6, values[stop:], True)):
            again = Script(part)
            again.tolerance = script.tolerance
            _, result = run(out, validate=again, resume=resume, **{**settings, "max_steps": steps})
        assert result.best["step"] == 2 * kept
    patient = Script([0.30, 0.295, 0.295, 0.295])
    patient.tolerance = script.tolerance
    _, result = run(tmp_path / "patient", validate=patient, eval_every=1, patience=2)
    assert result.stopped == "early" and result.steps == 3 and result.best["step"] == 3


def test_early_stopping(tmp_path):
    script = Script([0.3, 0.2, 0.3, 0.9])
    _, result = run(tmp_path, validate=script, eval_every=1, patience=2)
    assert result.stopped == "early" and result.steps == 3 and result.best["step"] == 1


@pytest.mark.parametrize(
    ("changes", "steps"),
    [({"eval_every": 2}, [2, 4, 6]), ({"evaluations": 3}, [2, 4, 6]), ({"eval_every": 4}, [4, 6])],
)
def test_when_validation_is_due(tmp_path, changes, steps):
    """The last step is always validated."""
    _, result = run(tmp_path, validate=Script([0.1] * 9), **changes)
    assert [line["step"] for line in result.history if "validation" in line] == steps


def test_validation_after_each_epoch(tmp_path):
    _, result = run(tmp_path, validate=Script([0.1, 0.2]), max_steps=None, epochs=2)
    epochs = [line["epoch"] for line in result.history if "validation" in line]
    assert epochs == [1, 2]


def test_each_epoch_asks_for_its_examples(tmp_path):
    asked = []
    run(tmp_path, source=lambda epoch: asked.append(epoch) or examples(epoch), max_steps=None, epochs=3)
    assert asked == [0, 1, 2]


def test_the_clock_ends_training(tmp_path):
    _, result = run(tmp_path, max_steps=None, max_minutes=0.005)
    assert 0.3 <= result.elapsed < 5 and result.steps > 1


def test_unknown_metric_is_named(tmp_path):
    with pytest.raises(UserError, match=r"--metric hr@3: validation measures ndcg@10"):
        run(tmp_path, validate=Script([1]), metric="hr@3", eval_every=1)


def test_no_examples(tmp_path):
    with pytest.raises(UserError, match="no examples"):
        run(tmp_path, source=lambda epoch: examples(epoch, count=0))


def test_notes_are_shown(tmp_path, capsys):
    train(tiny_model(), examples, options(max_steps=1), tmp_path, notes=["review tasks are off."])
    assert "review tasks are off." in capsys.readouterr().err


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_non_finite_stops_within_one_step(tmp_path, value):
    """Step, examples and remedy are named, and the weights are those of the step before."""
    poisoned = examples(0)
    rows = plan(poisoned.inputs.lengths, poisoned.targets.lengths, token_budget=200, seed=0, epoch=0)[2]
    poisoned.weights[poisoned.targets.offsets[rows[0]]] = value
    model = tiny_model()
    with pytest.raises(TrainingError) as caught:
        run(tmp_path, model, source=lambda epoch: poisoned, schedule="constant", warmup=0)
    message = str(caught.value)
    assert "at step 2 " in message and f" {rows[0]}" in message and "epoch 0" in message
    before, _ = run(tmp_path / "before", max_steps=2, schedule="constant", warmup=0)
    assert torch.equal(vector(model), vector(before))


def test_bf16_runs_and_leaves_fp32_weights(tmp_path):
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=True)
    try:
        model, result = run(tmp_path, precision="bf16")
    finally:
        AcceleratorState._reset_state(reset_partial_state=True)
    assert result.steps == 6 and model.shared.weight.dtype == torch.float32
    assert model.forward.__func__ is type(model).forward, "accelerate's wrapper is still on the model"


# The schedule


def test_schedule_by_hand():
    linear = TrainOptions(schedule="linear", warmup=0.1)
    assert [learning_rate_factor(linear, at) for at in (0, 0.05, 0.1, 0.55, 1, 1.2)] == pytest.approx(
        [0, 0.5, 1, 0.5, 0, 0]
    )
    cosine = TrainOptions(schedule="cosine", warmup=0.2)
    assert [learning_rate_factor(cosine, at) for at in (0.1, 0.2, 0.6, 1)] == pytest.approx([0.5, 1, 0.5, 0])
    assert learning_rate_factor(TrainOptions(schedule="constant", warmup=0), 1) == 1


def test_progress_is_the_furthest_limit():
    everything = TrainOptions(epochs=4, max_steps=100, max_minutes=2)
    assert progress_of(everything, 10, 1.0, 6) == 0.25
    assert progress_of(everything, 60, 1.0, 6) == 0.6
    assert progress_of(everything, 60, 1.0, 90) == 0.75
    assert progress_of(TrainOptions(), 999, 5.0, 1e9) == 0.5, "ten epochs where nothing is said"
    assert progress_of(TrainOptions(max_steps=10), 5, 99.0, 0) == 0.5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"learning_rate": 0}, "--learning_rate"),
        ({"schedule": "steps"}, "cosine, linear, constant"),
        ({"precision": "fp8"}, "--precision fp8"),
        ({"warmup": 1.5}, "--warmup"),
        ({"max_steps": 0}, "--max_steps"),
        ({"patience": -1}, "--patience"),
        ({"resume": True, "restart": True}, "exclude"),
    ],
)
def test_senseless_options(changes, message):
    with pytest.raises(UserError, match=message):
        TrainOptions(**changes).check()


def test_rates_of_all_parameters(tmp_path):
    """Every weight moves: none is left out of the optimiser."""
    model = tiny_model(untied_head=True)
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    run(tmp_path, model)
    still = [name for name, value in model.named_parameters() if torch.equal(before[name], value)]
    assert still == []
    assert np.isfinite(vector(model).numpy()).all()


def test_embeddings_may_learn_faster(tmp_path):
    """Adam's first step moves every entry that has a gradient by the learning rate."""
    moved = {}
    for factor in (1.0, 4.0):
        model = tiny_model()
        before = model.shared.weight.detach().clone()
        dense = model.encoder.block[0].layer[0].SelfAttention.q.weight.detach().clone()
        changes = {"max_steps": 1, "warmup": 0.0, "schedule": "constant", "weight_decay": 0.0}
        run(tmp_path / str(factor), model, embedding_rate=factor, **changes)
        change = (model.shared.weight.detach() - before).abs().max()
        rest = (model.encoder.block[0].layer[0].SelfAttention.q.weight.detach() - dense).abs().max()
        moved[factor] = float(change), float(rest)
    assert moved[4.0][0] == pytest.approx(4 * moved[1.0][0], rel=1e-3)
    assert moved[4.0][1] == pytest.approx(moved[1.0][1], rel=1e-3)
