"""How far a model's ratings are to be trusted: one number a task, fitted on validation rows.

A small model trained for long is surer than it is right. Its probabilities p over the scale are blended
with how often each rating is given, prior: p^trust · prior^(1 − trust), normalised. 1 leaves the model as it
is, 0 knows nothing but the prior; with an even prior it is temperature scaling (Guo et al., 2017).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from p5t5.metrics.rating import choice_probabilities
from p5t5.mixture import validation_sample
from p5t5.splits import Split
from p5t5.tasks import TASKS, BuildOptions
from p5t5.tasks.columns import is_rated, rating_index

if TYPE_CHECKING:
    from p5t5.answering import Asker
    from p5t5.checkpoint import Checkpoint

KEY = "rating_trust"  # in p5t5.json
GRID = np.linspace(0.0, 1.2, 25)
ROWS = 2000  # validation rows a task, at most


class Trust:
    """What was fitted for one task: ``prior`` [C], the shares of the scale's ratings in training; ``trust``."""

    def __init__(self, trust: float, prior: Sequence[float] | np.ndarray) -> None:
        self.trust, self.prior = float(trust), np.asarray(prior, np.float64)

    def __call__(self, log_probabilities: np.ndarray) -> np.ndarray:
        """float64 [n, C]: the blended log-probabilities, not normalised; a row of −inf stays one."""
        scores = np.asarray(log_probabilities, np.float64)
        with np.errstate(invalid="ignore"):
            shares = choice_probabilities(scores)
        silent = np.isnan(shares).any(1)
        blended = self.trust * np.log(np.maximum(shares, 1e-300)) + (1 - self.trust) * np.log(self.prior)
        blended[silent] = -np.inf
        return blended


def fit_trust(asker: Asker, split: Split, tasks: Sequence[str], build: BuildOptions) -> dict[str, Trust]:
    """Task → the trust of GRID with the highest likelihood of the true ratings on validation rows, the
    nearer to 1 where it is the same. Tasks without a rating or without such rows are left out.
    """
    out = {}
    for task in tasks:
        sample = None
        if TASKS[task].decoding.startswith("rating"):
            sample = validation_sample(split, task, asker.prompts, build, ROWS)
        if sample is None:
            continue
        examples, index = sample
        rows = examples.rows
        scores = asker.rating_scores(examples, asker.renderer.encode_inputs(examples, index), index)
        assert split.data.rating is not None  # every eligible row has one
        truth = rating_index(split.data, split.data.rating[rows])
        prior = _prior(split)
        likelihood = []
        for trust in GRID:
            shares = choice_probabilities(Trust(trust, prior)(scores))
            likelihood.append(np.nansum(np.log(np.maximum(shares[np.arange(len(rows)), truth], 1e-12))))
        best = max(range(len(GRID)), key=lambda place: (round(likelihood[place], 6), -abs(GRID[place] - 1)))
        out[task] = Trust(GRID[best], prior)
    return out


def keep_trust(checkpoint: Checkpoint, found: Mapping[str, Trust]) -> None:
    """Puts it beside what the model says of itself; it holds until the model is trained further."""
    tasks = {task: {"trust": one.trust, "prior": one.prior.tolist()} for task, one in found.items()}
    checkpoint.info[KEY] = {"stages": len(checkpoint.info["stages"]), "tasks": tasks}


def saved_trust(checkpoint: Checkpoint) -> dict[str, Trust]:
    """Task → what was fitted for this model; empty where nothing was, or it has been trained since."""
    kept = checkpoint.info.get(KEY) or {}
    if kept.get("stages") != len(checkpoint.info["stages"]):
        return {}
    return {task: Trust(**one) for task, one in kept["tasks"].items()}


def _prior(split: Split) -> np.ndarray:
    """float64 [C]: how often each rating is given in training, one more counted of each."""
    rows = split.rows("train")
    assert split.data.rating is not None
    places = rating_index(split.data, split.data.rating[rows[is_rated(split.data, rows)]])
    counts = np.bincount(places, minlength=len(split.data.rating_values)) + 1.0
    return counts / counts.sum()
