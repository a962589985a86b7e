"""A resumed run ends with the weights of one that was never stopped, to the bit, dropout on."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from support.paths import ROOT
from support.tiny_training import examples, options, run, tiny_model, vector

from p5t5.core.errors import UserError
from p5t5.training.batching import plan
from p5t5.training.checkpointing import find_checkpoints, read_state
from p5t5.training.loop import train


class Stop(Exception):
    """Stands for a kill between two steps."""


def validate(model) -> dict[str, float]:
    """A value that depends on the weights and moves up and down."""
    return {"ndcg@10": float(vector(model).sum().sin())}


def stopping_at(step: int):
    """A validation that stops the run at its ``step``-th call (with eval_every=1: after that step)."""
    calls = []

    def stop(model):
        calls.append(1)
        if len(calls) == step:
            raise Stop
        return validate(model)

    return stop


SETTINGS = {"max_steps": 12, "checkpoint_every": 3, "eval_every": 1, "keep": 2, "accumulation": 2}


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    return run(tmp_path_factory.mktemp("unbroken"), tiny_model(0.2), validate=validate, **SETTINGS)


@pytest.mark.parametrize("step", [1, 2, 4, 7, 9, 12])
def test_bit_exact_from_any_step(tmp_path, unbroken, step):
    """Mid-epoch and at its end; with no checkpoint yet it starts over."""
    whole, expected = unbroken
    with pytest.raises(Stop):
        run(tmp_path, tiny_model(0.2), validate=stopping_at(step), **SETTINGS)
    resumed, result = run(tmp_path, tiny_model(0.2), validate=validate, resume=True, **SETTINGS)
    assert torch.equal(vector(resumed), vector(whole))
    assert result.best == expected.best and result.steps == 12
    strip = [
        {k: v for k, v in line.items() if k not in ("elapsed", "tokens_per_second")}
        for line in result.history
    ]
    wanted = [
        {k: v for k, v in line.items() if k not in ("elapsed", "tokens_per_second")}
        for line in expected.history
    ]
    assert strip == wanted, "no line of metrics.jsonl twice or lost"
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == len(wanted)


def test_keep_and_best(tmp_path):
    """The newest two, and the best."""
    values = iter([0.9] + [0.1] * 20)
    run(tmp_path, validate=lambda model: {"ndcg@10": next(values)}, **{**SETTINGS, "eval_every": 2})
    steps = [step for step, _ in find_checkpoints(tmp_path / "checkpoints")]
    assert steps == [2, 9, 12]


def test_a_finished_run_is_not_trained_again(tmp_path):
    first, _ = run(tmp_path, checkpoint_every=3)
    asked = []
    again, result = run(tmp_path, source=asked.append, checkpoint_every=3, resume=True)
    assert torch.equal(vector(first), vector(again)) and not asked and result.steps == 6


def test_a_finished_run_can_be_made_longer(tmp_path):
    run(tmp_path, checkpoint_every=3, schedule="constant")
    longer, result = run(tmp_path, checkpoint_every=3, schedule="constant", resume=True, max_steps=9)
    assert result.steps == 9
    at_once, _ = run(tmp_path / "once", schedule="constant", max_steps=9, warmup=0)
    assert vector(longer).shape == vector(at_once).shape


def test_a_new_run_after_a_finished_one_starts_clean(tmp_path):
    run(tmp_path, checkpoint_every=3, max_steps=9)
    _, result = run(tmp_path, checkpoint_every=3, max_steps=3)
    assert [step for step, _ in find_checkpoints(tmp_path / "checkpoints")] == [3] and result.steps == 3


def test_an_unfinished_run_is_not_overwritten_silently(tmp_path):
    with pytest.raises(Stop):
        run(tmp_path, validate=stopping_at(5), **SETTINGS)
    with pytest.raises(UserError, match=r"unfinished run, up to step \d: continue it with --resume"):
        run(tmp_path, **SETTINGS)
    _, result = run(tmp_path, restart=True, **SETTINGS)
    assert result.history[0]["step"] == 1


@pytest.mark.parametrize("change", [{"seed": 3}, {"token_budget": 300}, {"ema": 0.3}, {"metric": "rmse"}])
def test_another_plan_is_refused(tmp_path, change):
    run(tmp_path, **SETTINGS)
    name, _ = next(iter(change.items()))
    with pytest.raises(UserError, match=f"--resume: .* was trained with --{name}"):
        run(tmp_path, resume=True, **{**SETTINGS, **change})


def test_other_examples_are_refused(tmp_path):
    with pytest.raises(Stop):
        run(tmp_path, validate=stopping_at(2), **SETTINGS, source=examples)
    with pytest.raises(UserError, match="not those that the checkpoint was trained on"):
        run(tmp_path, source=lambda epoch: examples(epoch, seed=9), resume=True, **SETTINGS)


ME = {"stage": "finetune", "data": "1f" * 8, "--max_history": 20, "--tasks": {"rating/score": 1.0}}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"stage": "pretrain"}, "the stage finetune, not pretrain"),
        ({"data": "2e" * 8}, "another data"),
        ({"--max_history": 10}, "--max_history 20"),
        ({"--tasks": {"rating/score": 2.0}}, "--tasks {'rating/score': 1.0}"),
        ({"tokenizer": "33"}, "another tokenizer"),
    ],
)
@pytest.mark.parametrize("steps", [2, 3], ids=["in an epoch", "at its end"])
def test_another_run_is_refused_wherever_it_stopped(tmp_path, change, says, steps):
    """At the end of an epoch too, where there are no examples to compare."""
    first = examples(0)
    batches = len(plan(first.inputs.lengths, first.targets.lengths, token_budget=200, seed=0, epoch=0))
    assert batches == 3, "the middle case is the end of an epoch"

    def one_more(epoch):
        raise AssertionError("it must be refused before any example is made")

    train(tiny_model(), examples, options(max_steps=steps, checkpoint_every=1), tmp_path, identity=ME)
    with pytest.raises(UserError, match=re.escape(f"was trained with {says}; use the same")):
        again = options(max_steps=9, checkpoint_every=1, resume=True)
        train(tiny_model(), one_more, again, tmp_path, identity={**ME, **change})


def test_another_model_is_refused(tmp_path):
    run(tmp_path, **SETTINGS)
    with pytest.raises(UserError, match="was trained with another model shape; use the same"):
        run(tmp_path, tiny_model(untied_head=True), resume=True, **SETTINGS)


@pytest.mark.parametrize("best", [1, 2])
def test_the_last_validation_is_in_the_last_checkpoint(tmp_path, best):
    """Also where a checkpoint was due at the last step anyway: a resume must know the best weights."""
    values = iter([float(best == 1), 0.5])
    changes = {"max_steps": 6, "checkpoint_every": 3, "eval_every": 3}
    first, result = run(tmp_path, validate=lambda model: {"ndcg@10": next(values)}, **changes)
    assert result.best["step"] == 3 * best
    state = read_state(tmp_path / "checkpoints" / "step-00000006")
    assert state["best"] == result.best and state["validated_at"] == 6 and state["stopped"] == "finished"
    again, same = run(tmp_path, validate=validate, resume=True, **changes)
    assert torch.equal(vector(again), vector(first)) and same.best == result.best


@pytest.mark.parametrize("at", [1, 2], ids=["amid", "last"])
def test_sigterm_while_validating(tmp_path, at):
    """The run ends in order after the validation, the last one too, and a resume has it."""
    calls = []

    def told(model):
        calls.append(1)
        if len(calls) == at:
            os.kill(os.getpid(), signal.SIGTERM)
        return {"ndcg@10": len(calls)}

    changes = {"max_steps": 4, "checkpoint_every": 100, "eval_every": 2}
    with pytest.raises(SystemExit) as caught:
        run(tmp_path, validate=told, **changes)
    assert caught.value.code == 143
    assert read_state(tmp_path / "checkpoints" / f"step-{2 * at:08d}")["best"]["step"] == 2 * at
    _, result = run(tmp_path, validate=told, resume=True, **changes)
    assert result.best == {"step": 4, "value": 2.0, "metrics": {"ndcg@10": 2.0}} and len(calls) == 2


_SCRIPT = """
import sys; sys.path.insert(0, "tests")
from support.tiny_training import run, tiny_model
run(sys.argv[1], tiny_model(0.2), max_steps=int(sys.argv[2]), checkpoint_every=5, resume=True, schedule="constant", warmup=0)
"""


def _start(out: Path, steps: int) -> subprocess.Popen:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", _SCRIPT, str(out), str(steps)]
    return subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)


def _wait_for_step(out: Path, process: subprocess.Popen, step: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        lines = (out / "metrics.jsonl").read_text().count("\n") if (out / "metrics.jsonl").exists() else 0
        if lines >= step:
            return
        time.sleep(0.01)
    raise AssertionError(f"step {step} was not reached: {process.communicate()[1]}")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_killed_and_resumed(tmp_path, number):
    """A real process, killed in its work; SIGTERM leaves a checkpoint of the very step."""
    process = _start(tmp_path, 3000)
    _wait_for_step(tmp_path, process, 12)
    process.send_signal(number)
    stderr = process.communicate()[1]
    if number == signal.SIGTERM:
        assert process.returncode == 143 and "continue with --resume" in stderr
    step, newest = find_checkpoints(tmp_path / "checkpoints")[-1]
    assert read_state(newest)["step"] == step >= 10
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as the process had: sums of other parts are rounded otherwise
    try:
        settings = {"max_steps": step + 7, "schedule": "constant"}
        resumed, result = run(tmp_path, tiny_model(0.2), resume=True, warmup=0, **settings)
        whole, _ = run(tmp_path / "whole", tiny_model(0.2), warmup=0, **settings)
    finally:
        torch.set_num_threads(threads)
    assert result.steps == step + 7
    assert torch.equal(vector(resumed), vector(whole))
    assert not list((tmp_path / "checkpoints").glob(".*"))
