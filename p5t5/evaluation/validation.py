"""A quick validation while a model trains, with the rows shared out over the processes."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from p5t5.core.errors import UserError
from p5t5.data.splits import Split
from p5t5.evaluation.judging import Judge
from p5t5.evaluation.results import STATISTICS
from p5t5.evaluation.rows import rows_of
from p5t5.inference.predictor import InferenceOptions, Predictor
from p5t5.metrics.intervals import first_mean
from p5t5.tasks.registry import TASKS
from p5t5.text.mixture import single, usable_prompts

if TYPE_CHECKING:
    from p5t5.checkpoint.checkpoint import Checkpoint

# The measurements of one process: task → (the rows it asked about, the value of each).
Part = dict[str, tuple[np.ndarray, np.ndarray]]


class Validation:
    """``validate(model)`` → {metric: value} for training: filtered, seen prompts; see `validation_metric`.

    ``names``: the metrics, known beforehand. ``others``: whether tasks are trained that are not validated; then
    ``tolerance`` holds one standard error of each metric that is a mean over rows (the one-standard-error rule of
    Breiman et al. 1984). ``part`` and ``combine`` share the rows out over processes: every row is asked
    once, with the same prompt and candidates as on a single process.
    """

    def __init__(
        self,
        predictor: Predictor,
        split: Split,
        options: Any,
        rows: Mapping[str, np.ndarray],
        others: bool = False,
    ):
        self.predictor, self.split, self.options, self.rows = predictor, split, options, rows
        self.names = [TASKS[task].metric_name for task in rows]
        self.others, self.tolerance = others, dict[str, float]()
        self._prepared: dict[tuple[int, int], list[tuple]] = {}

    def __call__(self, model: Any) -> dict[str, float]:
        return self.combine([self.part(model, 0, 1)])

    def measure(self, checkpoint: Checkpoint) -> dict[str, float]:
        """The metrics of a checkpoint as it would be saved: ratings with its fitted calibration, text decoded greedily."""
        inference = replace(self.predictor.options, calibrated=True)
        other = copy.copy(self)
        other.predictor = Predictor(checkpoint, self.split.data, inference)
        return other(checkpoint.model)

    def part(self, model: Any, rank: int, world: int) -> Part:
        """The measurements of process ``rank`` of ``world``."""
        predictor = self.predictor.with_model(getattr(model, "module", model))  # DDP is for gradients
        judge = Judge(predictor, self.split, self.options)
        measured: Part = {}
        for task, examples, index, inputs in self._prepare(rank, world):
            metric = TASKS[task].primary_metric
            for judged in judge.judge(examples, index, ("filtered",), inputs):
                if metric in judged.values and judged.subset is None and task not in measured:
                    values = np.asarray(judged.values[metric], np.float64).reshape(len(examples), -1)
                    measured[task] = (examples.rows, values)
        return measured

    def combine(self, parts: Sequence[Part]) -> dict[str, float]:
        """The metrics over all rows, summed in the same order whatever the number of processes."""
        out = {}
        for task in self.rows:
            parts_of_task = [part[task] for part in parts if task in part]
            rows, values = (np.concatenate(column) for column in zip(*parts_of_task, strict=True))
            metric = TASKS[task].primary_metric
            statistic = STATISTICS.get(metric, first_mean)
            out[TASKS[task].metric_name] = float(statistic(values[np.argsort(rows, kind="stable")].mean(0)))
            if self.others and statistic is first_mean:
                self.tolerance[TASKS[task].metric_name] = float(values[:, 0].std() / len(values) ** 0.5)
        return out

    def _prepare(self, rank: int, world: int) -> list[tuple]:
        """Task, examples, prompt indices and rendered prompts of one process's rows; made once."""
        if (rank, world) not in self._prepared:
            prepared = []
            for task, rows in self.rows.items():
                own_rows = rows[rank::world]
                if len(own_rows):
                    prompts = self.predictor.prompts
                    examples, index = single(
                        self.split, task, prompts, "validation", self.options, "seen", own_rows
                    )
                    inputs = self.predictor.encode(examples, index)
                    prepared.append((task, examples, index, inputs))
            self._prepared = {(rank, world): prepared}
        return self._prepared[rank, world]


def validation_metric(
    checkpoint: Checkpoint,
    split: Split,
    tasks: Sequence[str] | None = None,
    limit: int | None = 500,
    seed: int = 0,
    token_budget: int = 8192,
) -> Validation:
    """A quick ``validate(model)`` for training: filtered, seen prompts, at most ``limit`` users by the seed.

    ``tasks``: those that are trained (None: the checkpoint's). Of these only the ones with a
    ``validation_place`` are measured (sequential/next_item by "ndcg@10", rating/score by "rmse"), because
    validation takes time from training; where none of them is trained, all others are, each by its primary
    metric ("review/score:rmse"). The prompts are rendered once. Raises UserError when nothing is left to look at.
    """
    data = split.data
    checkpoint.check(data)
    trained = list(tasks or checkpoint.info.tasks or TASKS)
    watched = [task for task in trained if TASKS[task].validation_place]
    watched.sort(key=lambda task: TASKS[task].validation_place)
    rows_of_task = {}
    for task in watched or trained:
        rows, reason = rows_of(split, task, "validation", limit, seed)
        if not reason and len(usable_prompts(checkpoint.prompts, task, data, held_out=False)):
            rows_of_task[task] = rows
    if not rows_of_task:
        raise UserError(f"{data.name} has no validation rows of the tasks to validate on; choose other tasks")
    options = replace(checkpoint.build_options(-1), seed=seed)
    others = any(task not in rows_of_task and not TASKS[task].repeats for task in trained)
    # Artefacts fitted for an earlier stage do not apply to these weights; and greedy decoding is fast.
    inference = InferenceOptions(token_budget, calibrated=False, fitted_decoding=False)
    return Validation(Predictor(checkpoint, data, inference), split, options, rows_of_task, others)
