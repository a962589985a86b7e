"""Copies of the weights and their exponential moving average along the training: steadier than the last ones.

The half-life is a share of the training, so it means the same for any number of steps (Polyak & Juditsky
1992; Karras et al. 2024, arXiv 2312.02696, use shares too). The weights in training do not change; what is
validated, kept as best and saved at the end is the average.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

UPDATES = 32  # updates within a half-life suffice; more would only cost passes over the weights


class WeightAverage:
    """``half_life``: in units of progress, which goes from 0 to 1; after it a weight counts half as much. With 0
    there is no average, and all methods do nothing.

    The average is not biased towards the start: the first update takes the weights as they are, and each later one
    corrects for the finite past, as Adam does for its moments.
    """

    def __init__(self, half_life: float):
        self.half_life = half_life
        self.total = 0.0  # the sum of the decayed update weights, 0 to 1
        self.progress = 0.0  # at the last update
        self.values: list[torch.Tensor] = []

    @torch.no_grad()
    def update(self, model: nn.Module, progress: float) -> None:
        """Adds the weights at ``progress``, unless less than 1/32 of a half-life has passed since the last update."""
        if not self.half_life:
            return
        self.progress = min(self.progress, progress)  # a resumed run may have been given more steps
        passed = (progress - self.progress) / self.half_life
        if self.values and passed * UPDATES < 1:
            return
        weight = 1 - 2.0**-passed if passed > 0 else 1.0
        self.progress = progress
        if not self.values:
            self.values, self.total = [value.detach().clone() for value in model.parameters()], weight
            return
        self.total += (1 - self.total) * weight
        # Matched by order: parameters() lists tied parameters once, in the order of the modules.
        torch._foreach_lerp_(
            self.values, [value.detach() for value in model.parameters()], weight / self.total
        )

    @contextmanager
    def applied(self, model: nn.Module) -> Iterator[None]:
        """Inside, the model has the averaged weights; afterwards the trained ones again. No effect before an update."""
        if not self.values:
            yield
            return
        trained = [value.detach().clone() for value in model.parameters()]
        self.copy_to(model)
        try:
            yield
        finally:
            _copy(trained, model)

    def copy_to(self, model: nn.Module) -> None:
        """Copies the averaged weights into the model, if there are any yet."""
        if self.values:
            _copy(self.values, model)

    def state_dict(self) -> dict[str, float]:
        """Everything but the values, which are saved as a model (``applied``)."""
        return {"total": self.total, "progress": self.progress}

    def load_state_dict(self, state: dict[str, float], model: nn.Module) -> None:
        """Continues from ``state``, with the values that ``model`` holds."""
        self.total, self.progress = state["total"], state["progress"]
        self.values = [value.detach().clone() for value in model.parameters()]


def snapshot(model: nn.Module) -> dict[str, torch.Tensor]:
    """A copy of the weights and buffers in main memory, by name; tied ones once."""
    return {name: value.detach().to("cpu", copy=True) for name, value in _named_tensors(model)}


@torch.no_grad()
def restore(model: nn.Module, weights: dict[str, torch.Tensor]) -> None:
    """Copies a ``snapshot`` back into the model."""
    for name, value in _named_tensors(model):
        value.copy_(weights[name])


def _named_tensors(model: nn.Module) -> list[tuple[str, torch.Tensor]]:
    return [*model.named_parameters(), *model.named_buffers()]


@torch.no_grad()
def _copy(values: list[torch.Tensor], model: nn.Module) -> None:
    for target, value in zip(model.parameters(), values, strict=True):
        target.copy_(value)
