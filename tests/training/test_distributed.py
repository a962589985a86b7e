"""Two processes: they stay in step through validation, early stopping and SIGTERM; one of them writes."""

from __future__ import annotations

import json
import os
import signal

import pytest
import torch
from support.tiny_training import examples, launch, options, rank, tiny_model, vector

from p5t5.core.errors import UserError
from p5t5.training.loop import train


def _train_and_report(folder, changes) -> None:
    """Each rank writes what it has at the end."""
    mine = rank()
    validated = []

    def validate(model):
        validated.append(1)
        return {"ndcg@10": [0.1, 0.5, 0.4, 0.3, 0.2][len(validated) - 1]}

    model = tiny_model()
    result = train(model, examples, options(**changes), folder / "run", validate)
    state = {
        "weights": vector(model),
        "validated": len(validated),
        "steps": result.steps,
        "stopped": result.stopped,
    }
    torch.save(
        {**state, "best": result.best, "main": result.is_main, "history": result.history},
        folder / f"{mine}.pt",
    )


def test_ranks_agree(tmp_path):
    launch(_train_and_report, tmp_path, {"eval_every": 1, "patience": 2, "checkpoint_every": 2})
    main, other = (torch.load(tmp_path / f"{place}.pt") for place in (0, 1))
    assert torch.equal(main["weights"], other["weights"])
    assert (main["validated"], other["validated"]) == (4, 0), "only the main process validates"
    for name in ("steps", "stopped", "best"):
        assert main[name] == other[name]
    assert main["steps"] == 4 and main["stopped"] == "early" and main["best"]["step"] == 2
    assert main["main"] and not other["main"]
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == main["history"], "each line once"


def _be_told_to_stop(folder) -> None:
    """One rank alone gets the signal; both must leave after the same step."""

    def source(epoch):
        if rank() == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return examples(epoch)

    with pytest.raises(SystemExit) as caught:
        train(tiny_model(), source, options(max_steps=50, checkpoint_every=20), folder / "run")
    assert caught.value.code == 143
    (folder / f"left-{rank()}").touch()


def test_sigterm_on_one_rank_stops_both(tmp_path):
    launch(_be_told_to_stop, tmp_path)
    assert (tmp_path / "left-0").exists() and (tmp_path / "left-1").exists()
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["step-00000001"]


def _meet_a_full_folder(folder) -> None:
    with pytest.raises(UserError, match="unfinished run"):
        train(tiny_model(), examples, options(checkpoint_every=2), folder / "run")
    (folder / f"refused-{rank()}").touch()


def test_both_ranks_raise_the_main_ones_error(tmp_path):
    (tmp_path / "run" / "checkpoints" / "step-00000004").mkdir(parents=True)
    launch(_meet_a_full_folder, tmp_path)
    assert (tmp_path / "refused-0").exists() and (tmp_path / "refused-1").exists()


def _resume_in_two(folder) -> None:
    changes = {"checkpoint_every": 3, "max_steps": 9}
    whole = tiny_model(0.2)
    train(whole, examples, options(**changes), folder / "whole")

    def stops(epoch):
        if epoch:
            raise KeyboardInterrupt
        return examples(epoch)

    with pytest.raises(KeyboardInterrupt):
        train(tiny_model(0.2), stops, options(**changes), folder / "halves")
    again = tiny_model(0.2)
    train(again, examples, options(**changes, resume=True), folder / "halves")
    assert torch.equal(vector(whole), vector(again))
    (folder / f"equal-{rank()}").touch()


def test_resume_on_two_processes_is_bit_exact(tmp_path):
    launch(_resume_in_two, tmp_path)
    assert (tmp_path / "equal-0").exists() and (tmp_path / "equal-1").exists()


class Rows:
    """A validation of seven rows that each process measures its share of."""

    def __init__(self, folder):
        self.folder = folder

    def part(self, model, rank, world):
        (self.folder / f"asked-{rank}-of-{world}").touch()
        return list(range(7))[rank::world]

    def combine(self, parts):
        return {"ndcg@10": float(sum(sum(part) for part in parts)) + len(parts) / 10}

    def __call__(self, model):
        raise AssertionError("on several processes the rows are shared out")


def _validate_in_parts(folder) -> None:
    result = train(tiny_model(), examples, options(), folder / "run", Rows(folder))
    assert result.best["metrics"] == {"ndcg@10": pytest.approx(21.2)}
    (folder / f"agreed-{rank()}").touch()


def test_validation_is_shared_out(tmp_path):
    launch(_validate_in_parts, tmp_path)
    for name in ("asked-0-of-2", "asked-1-of-2", "agreed-0", "agreed-1"):
        assert (tmp_path / name).exists(), name


def _be_told_while_validating(folder) -> None:
    """The signal reaches one rank, between two steps; the others learn of it before anything is saved."""

    def validate(model):
        os.kill(os.getpid(), signal.SIGTERM)
        return {"ndcg@10": 0.0}

    with pytest.raises(SystemExit):
        train(tiny_model(), examples, options(eval_every=2, checkpoint_every=5), folder / "run", validate)
    (folder / f"left-{rank()}").touch()


def test_sigterm_while_one_rank_validates_stops_both(tmp_path):
    launch(_be_told_while_validating, tmp_path)
    assert (tmp_path / "left-0").exists() and (tmp_path / "left-1").exists()
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["step-00000002"]
