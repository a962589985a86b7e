"""A resumed run ends with the weights of one that was never stopped, to the bit, dropout on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from tiny_training import examples, run, tiny_model, vector

from p5t5.errors import UserError
from p5t5.training.checkpointing import find_checkpoints, read_state

ROOT = Path(__file__).resolve().parent.parent


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
    with pytest.raises(UserError, match=r"unfinished run, up to step \d: go on with --resume"):
        run(tmp_path, **SETTINGS)
    _, result = run(tmp_path, restart=True, **SETTINGS)
    assert result.history[0]["step"] == 1


@pytest.mark.parametrize("change", [{"seed": 3}, {"token_budget": 300}])
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


_SCRIPT = """
import sys; sys.path.insert(0, "tests")
from tiny_training import run, tiny_model
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
        assert process.returncode == 143 and "go on with --resume" in stderr
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
