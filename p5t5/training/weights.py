"""The weights, possibly sharded, and whole copies of them for validating, saving and returning."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType
from safetensors.torch import load_model
from torch import nn

from p5t5.core.errors import UserError
from p5t5.training.ema import WeightAverage, restore, snapshot
from p5t5.training.optimizer import make_optimizer
from p5t5.training.options import TrainOptions


class Weights:
    """A model under training, its optimizer, the running average of its weights, and the best so far.

    ``whole`` is the caller's model, ``model`` the one that a training step calls. They have the same weights,
    except under FSDP2: there a copy is trained in shards, and ``whole`` stays in main memory, complete on
    every process, and is filled for validation. All processes must call each method together.
    """

    def __init__(self, model: nn.Module, accelerator: Accelerator, options: TrainOptions):
        _check_launch(accelerator)
        self.device, self.whole = accelerator.device, model
        self.is_main = accelerator.is_main_process
        self.sharded = accelerator.distributed_type == DistributedType.FSDP
        trained = model
        if self.sharded:
            if not all(value.requires_grad for value in model.parameters()):
                raise UserError("frozen weights (--lora) cannot be trained in shards: use multi_gpu.yaml.")
            trained = _one_embedding(copy.deepcopy(model))
        trained.to(self.device)
        optimizer = make_optimizer(trained, options)
        self.model, prepared = accelerator.prepare(trained, optimizer)
        self.trained = trained
        self.prepared = prepared
        self.optimizer: torch.optim.Optimizer = prepared.optimizer
        self.average = WeightAverage(options.ema)
        self.best: dict[str, torch.Tensor] | None = None

    def shape(self) -> str:
        """A digest of the names, shapes and types of all weights."""
        lines = sorted(f"{name} {tuple(value.shape)} {value.dtype}" for name, value in self._named())
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]

    @contextmanager
    def evaluation_mode(self) -> Iterator[nn.Module]:
        """Inside: the whole model in evaluation mode, with the average of the weights if there is one."""
        self.whole.eval()
        if self.sharded:
            self._fill(self.average.values)
            self.whole.to(self.device)
            yield self.whole
            self.whole.to("cpu")
        else:
            with self.average.applied(self.whole):
                yield self.whole
            self.model.train()

    @torch.no_grad()
    def finish(self, accelerator: Accelerator, last: bool) -> None:
        """Leaves the best weights in the caller's model, or the last ones (their average)."""
        if self.best is not None and not last:
            restore(self.whole, self.best)
        elif self.sharded:
            self._fill(self.average.values)
        else:
            self.average.copy_to(self.whole)
        if not self.sharded:
            accelerator.unwrap_model(self.model, keep_fp32_wrapper=False)
        self.whole.eval()

    # The contents of a checkpoint. Files hold whole tensors, so a run may resume on more or fewer processes.

    def tensors(self) -> dict[str, torch.Tensor]:
        """The trained weights by name, tied ones once."""
        return {name: self._gathered(value) for name, value in self._named()}

    def averaged_tensors(self) -> dict[str, torch.Tensor] | None:
        """The averaged weights by name, if there are any."""
        if not self.average.values:
            return None
        names = [name for name, _ in self.trained.named_parameters()]
        averaged = dict(zip(names, self.average.values, strict=True))
        return {name: self._gathered(averaged.get(name, value)) for name, value in self._named()}

    def optimizer_state(self) -> dict[str, Any]:
        """The optimizer's state, with whole tensors."""
        state = self.optimizer.state_dict()
        whole = {
            index: {name: self._gathered(value) for name, value in values.items()}
            for index, values in state["state"].items()
        }
        return {**state, "state": whole}

    def load(self, weights: Path, optimizer: Path, averaged: Path | None, average: Any) -> None:
        """Restores what ``tensors``, ``optimizer_state`` and ``averaged_tensors`` returned."""
        if averaged is not None:
            self._read(averaged)
            self.average.load_state_dict(average, self.trained)
        self._read(weights)
        state = torch.load(optimizer, map_location="cpu", weights_only=True)
        if self.sharded:
            parameters = [value for group in self.optimizer.param_groups for value in group["params"]]
            for index, values in state["state"].items():
                for name, value in values.items():
                    values[name] = _sharded_like(parameters[index], value)
        self.optimizer.load_state_dict(state)

    def load_best(self, path: Path) -> None:
        """Reads the best weights so far; call ``load`` after it."""
        load_model(self.whole, str(path))
        self.best = snapshot(self.whole)

    def _gathered(self, value: Any) -> Any:
        """A tensor as it is saved; with shards, gathered in main memory on the process that writes, empty elsewhere."""
        if not isinstance(value, torch.Tensor):
            return value
        if not self.sharded:
            return value.contiguous()
        whole = full(value)
        return whole.to("cpu", copy=True).contiguous() if self.is_main else whole.new_empty(0)

    def _named(self) -> list[tuple[str, torch.Tensor]]:
        saved_names = self.trained.state_dict().keys()
        named = [*self.trained.named_parameters(), *self.trained.named_buffers()]
        return [(name, value.detach()) for name, value in named if name in saved_names]

    def _read(self, path: Path) -> None:
        load_model(self.whole, str(path))
        if self.sharded:
            with torch.no_grad():
                for (_, shard), whole in zip(self._named(), self._whole_tensors(), strict=True):
                    shard.copy_(_sharded_like(shard, whole.detach().to(self.device)))

    @torch.no_grad()
    def _fill(self, averages: Sequence[torch.Tensor]) -> None:
        """Gathers the shards (or their averages) into ``whole``, one tensor at a time."""
        shards = [value for _, value in self._named()]
        for index, target in enumerate(self._whole_tensors()):
            target.copy_(full(averages[index] if index < len(averages) else shards[index]))

    def _whole_tensors(self) -> list[torch.Tensor]:
        """The tensors of ``whole``, in the order of ``_named``."""
        named = dict([*self.whole.named_parameters(), *self.whole.named_buffers()])
        return [named[name] for name, _ in self._named()]


def full(value: Any) -> Any:
    """A tensor that is sharded over the processes, gathered; anything else unchanged."""
    return value.full_tensor() if hasattr(value, "full_tensor") else value


def _sharded_like(shard: Any, value: torch.Tensor) -> torch.Tensor:
    """``value``, the same on all processes, sharded like ``shard``; unchanged where that is not sharded."""
    if not hasattr(shard, "device_mesh") or value.shape != shard.shape:
        return value
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(value.to(shard.device), shard.device_mesh, shard.placements)


def _one_embedding(model: nn.Module) -> nn.Module:
    """Replaces modules that share a table by one module: FSDP2 wants tied weights in one group.

    T5 has its table in four modules; Accelerate puts the input embedding and the head in one group, and
    torch refuses the other two.
    """
    shared = getattr(model, "shared", None)
    for stack in (getattr(model, "encoder", None), getattr(model, "decoder", None)):
        if shared is not None and stack is not None and stack.embed_tokens.weight is shared.weight:
            stack.embed_tokens = shared
    return model


def _check_launch(accelerator: Accelerator) -> None:
    """Raises UserError for ways of distributing a model that are not supported."""
    kind = accelerator.distributed_type
    if kind == DistributedType.FSDP and not accelerator.is_fsdp2:
        raise UserError(
            "FSDP's first version is not supported: set fsdp_version: 2, as configs/accelerate/fsdp2.yaml."
        )
    if kind in (DistributedType.DEEPSPEED, DistributedType.MEGATRON_LM):
        raise UserError(
            f"{kind.value} steps the optimizer by itself, so neither the exact loss normalizer nor the stop before a NaN "
            "can be guaranteed: use configs/accelerate/fsdp2.yaml, which shards the same tensors."
        )
