"""The average of the weights: by hand, in the loop, and over a resume."""

from __future__ import annotations

import pytest
import torch
from support.tiny_training import run, tiny_model, vector
from system.test_resume import SETTINGS, Stop, stopping_at, validate
from torch import nn

from p5t5.core.errors import UserError
from p5t5.training.ema import UPDATES, WeightAverage
from p5t5.training.options import TrainOptions


def set_to(model: nn.Linear, value: float) -> nn.Linear:
    nn.init.constant_(model.weight, value)
    return model


def test_weights_by_hand():
    """A half-life apart: 1, then (1/2 · 1 + 2) / (3/2), then (1/4 · 1 + 1/2 · 2 + 4) / (7/4)."""
    model, average = nn.Linear(1, 1, bias=False), WeightAverage(0.25)
    for progress, value, expected in ((0.25, 1, 1), (0.5, 2, 5 / 3), (0.75, 4, 3)):
        average.update(set_to(model, value), progress)
        with average.applied(model):
            assert model.weight.item() == pytest.approx(expected)
        assert model.weight.item() == value


def test_what_is_old_fades_and_small_steps_are_skipped():
    model, average = nn.Linear(1, 1, bias=False), WeightAverage(0.1)
    average.update(set_to(model, 1000), 0.1 / UPDATES)
    average.update(set_to(model, -1), 0.1 / UPDATES * 1.5)
    average.copy_to(model)
    assert model.weight.item() == 1000
    for step in range(2000):
        average.update(set_to(model, 1), 0.2 + 0.8 * step / 2000)
    average.copy_to(model)
    assert model.weight.item() == pytest.approx(1 + 999 * (1 - 2 ** (-1 / UPDATES)) * 2**-10, rel=0.01)


def test_off_changes_nothing():
    model, average = set_to(nn.Linear(1, 1, bias=False), 3), WeightAverage(0.0)
    average.update(model, 0.5)
    with average.applied(set_to(model, 4)):
        assert model.weight.item() == 4


def test_the_loop_validates_and_leaves_the_average(tmp_path):
    """With a half-life far beyond the training the average is the plain mean of the weights of all steps."""
    after = [vector(run(tmp_path / str(s), max_steps=s, **CONSTANT)[0]) for s in range(1, 5)]
    seen = []

    def remember(model):
        seen.append(vector(model))
        return {"ndcg@10": 0.0}

    # Updates come at least 1/32 of a half-life apart: one each step, at most 1/8 of a half-life.
    model, _ = run(tmp_path / "ema", validate=remember, max_steps=4, eval_every=2, ema=0.999, **CONSTANT)
    weights = torch.tensor([2 ** -((4 - s) / 4 / 0.999) for s in range(1, 5)])
    expected = (torch.stack(after) * weights[:, None]).sum(0) / weights.sum()
    torch.testing.assert_close(seen[1], expected, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(vector(model), seen[0])  # the first of equals is the best


CONSTANT = {"schedule": "constant", "warmup": 0.0}


@pytest.mark.parametrize("step", [1, 4, 7, 12])
def test_bit_exact_resume(tmp_path, step):
    whole, expected = run(tmp_path / "whole", tiny_model(0.2), validate=validate, ema=0.2, **SETTINGS)
    with pytest.raises(Stop):
        run(tmp_path / "cut", tiny_model(0.2), validate=stopping_at(step), ema=0.2, **SETTINGS)
    resumed, result = run(
        tmp_path / "cut", tiny_model(0.2), validate=validate, ema=0.2, resume=True, **SETTINGS
    )
    assert torch.equal(vector(resumed), vector(whole)) and result.best == expected.best


def test_a_senseless_share_is_refused():
    with pytest.raises(UserError, match="must be a share"):
        TrainOptions(ema=1.5).check()
