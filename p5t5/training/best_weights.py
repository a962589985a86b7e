"""Validation during training: when it is due, and which weights are the best so far, the same on all processes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, gather_object

from p5t5.core.errors import UserError
from p5t5.metrics.direction import lower_is_better
from p5t5.training.options import TrainOptions


class BestWeights:
    """Calls ``validate`` and decides which weights to keep: ``best`` is {"step", "value", "metrics"} or None.

    ``validate(model)`` → {metric: value} is called on the main process while the others wait. If it has
    the methods ``part(model, rank, world)`` → anything that pickles, and ``combine(parts)`` → {metric:
    value}, each process measures its part of the rows instead.

    The weights with the best metric so far are kept; or, where ``validate.tolerance`` (→ {metric: float} for its last
    values, the same on all processes) gives an insignificant difference, the last weights within it
    of the best: what was learnt meanwhile, and is not measured, is then not discarded.
    """

    def __init__(self, validate: Callable[[Any], dict[str, float]] | None, options: TrainOptions):
        self.validate, self.options = validate, options
        self.best: dict[str, Any] | None = None  # of the weights that are kept
        self.highest: float | None = None  # the best value so far, perhaps of an earlier step
        self.unimproved = 0  # validations since the best one
        self.step = -1  # of the last validation
        self.check(getattr(validate, "names", ()))

    def is_due(self, step: int, epoch_ended: bool, before: float, progress: float) -> bool:
        """Whether to validate after this step; always after the last one."""
        if self.validate is None:
            return False
        if progress >= 1:
            return True
        if self.options.evaluations:
            return int(before * self.options.evaluations) < int(progress * self.options.evaluations)
        if self.options.eval_every:
            return step % self.options.eval_every == 0
        return epoch_ended

    @torch.no_grad()
    def measure(self, model: Any, accelerator: Accelerator) -> dict[str, float]:
        """The metrics of ``model``, the same on all processes."""
        assert self.validate is not None
        world = accelerator.num_processes
        if world > 1 and hasattr(self.validate, "part"):
            parts = gather_object([self.validate.part(model, accelerator.process_index, world)])
            metrics = self.validate.combine(parts)  # type: ignore[attr-defined]
        else:
            answer = [self.validate(model) if accelerator.is_main_process else None]
            metrics = (broadcast_object_list(answer) if world > 1 else answer)[0] or {}
        return {name: float(value) for name, value in metrics.items()}

    def is_best(self, metrics: dict[str, float], step: int) -> bool:
        """Records the metrics measured after ``step``; True if these weights are to be kept."""
        self.check(list(metrics))
        self.step = step
        metric = self.options.metric or next(iter(metrics))
        sign = -1 if lower_is_better(metric) else 1
        value = metrics[metric]
        if self.highest is None or sign * value > sign * self.highest:
            self.highest, self.unimproved = value, 0
        else:
            self.unimproved += 1
            tolerance = getattr(self.validate, "tolerance", {}).get(metric, 0.0)
            if not (tolerance and sign * value >= sign * self.highest - tolerance):  # False for NaN too
                return False
        self.best = {"step": step, "value": value, "metrics": metrics}
        return True

    @property
    def is_out_of_patience(self) -> bool:
        return 0 < self.options.patience <= self.unimproved

    def check(self, names: Sequence[str]) -> None:
        """Raises UserError if --metric is not among the metrics that validation announces beforehand."""
        if self.options.metric and names and self.options.metric not in names:
            raise UserError(f"--metric {self.options.metric}: validation measures {', '.join(names)}.")
