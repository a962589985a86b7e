"""Validation during training: when it is due, and which weights were best so far, alike on all processes."""

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
    """Asks ``validate`` and remembers whose weights to keep: ``best`` is {"step", "value", "metrics"} or None.

    ``validate(model)`` → {metric: value} is asked on the main process while the others wait. If it has
    the methods ``part(model, rank, world)`` → anything that pickles, and ``combine(parts)`` → {metric:
    value}, each process measures its part of the rows instead.

    Kept are the weights with the best metric so far; or, where ``validate.tolerance`` (→ {metric: float} of its last
    answer, the same on all processes) says how little of it counts for nothing, the last ones within that
    of the best: what else was learnt meanwhile, and is not measured, is not thrown away.
    """

    def __init__(self, validate: Callable[[Any], dict[str, float]] | None, options: TrainOptions):
        self.validate, self.options = validate, options
        self.best: dict[str, Any] | None = None  # of the weights that are kept
        self.highest: float | None = None  # the best value so far, perhaps of a step before
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
            found = self.validate.combine(parts)  # type: ignore[attr-defined]
        else:
            answer = [self.validate(model) if accelerator.is_main_process else None]
            found = (broadcast_object_list(answer) if world > 1 else answer)[0] or {}
        return {name: float(value) for name, value in found.items()}

    def is_best(self, found: dict[str, float], step: int) -> bool:
        """Takes in what was measured after ``step``; True if these weights are to be kept."""
        self.check(list(found))
        self.step = step
        metric = self.options.metric or next(iter(found))
        sign = -1 if lower_is_better(metric) else 1
        value = found[metric]
        if self.highest is None or sign * value > sign * self.highest:
            self.highest, self.unimproved = value, 0
        else:
            self.unimproved += 1
            tolerance = getattr(self.validate, "tolerance", {}).get(metric, 0.0)
            if not (tolerance and sign * value >= sign * self.highest - tolerance):  # nor of NaN
                return False
        self.best = {"step": step, "value": value, "metrics": found}
        return True

    @property
    def is_out_of_patience(self) -> bool:
        return 0 < self.options.patience <= self.unimproved

    def check(self, names: Sequence[str]) -> None:
        """UserError if validation, where it says beforehand what it measures, does not measure --metric."""
        if self.options.metric and names and self.options.metric not in names:
            raise UserError(f"--metric {self.options.metric}: validation measures {', '.join(names)}.")
