"""The training loop, for pretraining and fine-tuning alike: exact on any number of processes, restartable.

It knows batches (``Encoded``) and a ``validate`` callable, not recommendation. Three rules keep it exact:
global batches are a pure function of seed and epoch and are only sliced by ranks and accumulation; the
loss of a global batch is divided by its number of answer units, which every rank knows without asking;
and every micro-batch seeds torch's generator from (seed, step, rank), so a resumed run repeats itself to
the bit, dropout included.
"""

from __future__ import annotations

import contextlib
import math
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType, broadcast_object_list
from safetensors.torch import load_model
from torch import nn
from tqdm.auto import tqdm

from p5t5.batching import collate, fingerprint, plan, slices
from p5t5.errors import UserError
from p5t5.ragged import Encoded
from p5t5.randomness import hashed
from p5t5.training.optimiser import make_accelerator, make_optimizer
from p5t5.training.runfolder import OPTIMIZER, WEIGHTS, RunFolder, Window
from p5t5.training.schedule import TrainOptions, learning_rate_factor, progress_of

__all__ = ["TrainOptions", "TrainResult", "TrainingError", "train"]

_SHARDED = (DistributedType.FSDP, DistributedType.DEEPSPEED)


class TrainingError(UserError):
    """Training can't go on: not the program's fault, and no weights were harmed since the last checkpoint."""


@dataclass
class TrainResult:
    """What training did. The model that was passed in holds the best weights (by ``metric``)."""

    steps: int
    best: dict[str, Any] | None  # {"step", "value", "metrics"} of the best validation
    history: list[dict[str, Any]] = field(repr=False, default_factory=list)  # the lines of metrics.jsonl
    stopped: str = "finished"  # or "early": no better for ``patience`` validations
    elapsed: float = 0.0  # seconds, over all resumes
    is_main: bool = True  # this process may write files

    def summary(self) -> dict[str, Any]:
        """What a checkpoint's p5t5.json keeps of a stage."""
        return {
            "steps": self.steps,
            "seconds": round(self.elapsed, 1),
            "stopped": self.stopped,
            "best": self.best,
        }


def train(
    model: nn.Module,
    source: Callable[[int], Encoded],
    options: TrainOptions,
    out: str | Path,
    validate: Callable[[Any], dict[str, float]] | None = None,
    accelerator: Accelerator | None = None,
    notes: Sequence[str] = (),
) -> TrainResult:
    """Trains ``model`` in place on ``source(epoch)`` → examples, and leaves the best weights in it.

    ``validate(model)`` is called with the bare model in evaluation mode, on the main process alone (the
    others wait). ``source`` must give
    every process the same examples. ``out`` gets ``metrics.jsonl`` and ``checkpoints/``; ``notes`` are
    shown before the start. On SIGTERM a checkpoint is written and SystemExit(143) raised.

    Raises TrainingError when the loss or a gradient is not finite, UserError for what the user can mend.
    """
    return _Training(model, source, options, Path(out), validate, accelerator, notes).run()


class _Training:
    """One run: its position, its clock, and the steps of ``train``."""

    def __init__(self, model, source, options, out, validate, accelerator, notes):
        options.check()
        self.source, self.options, self.validate = source, options, validate
        self.accelerator = accelerator or make_accelerator(options, out)
        self.accelerator.gradient_accumulation_steps = options.accumulation
        self.accelerator.step = 0
        self.is_main = self.accelerator.is_main_process
        self.world, self.rank = self.accelerator.num_processes, self.accelerator.process_index
        if self.accelerator.distributed_type in _SHARDED:
            raise UserError(
                "FSDP and DeepSpeed hold the weights in parts, which are not gathered on saving yet: launch with "
                "configs/accelerate/multi_gpu.yaml."
            )
        self.folder = RunFolder(out, self.is_main, self.world)
        self.bare = model
        self._check_metric(getattr(validate, "names", ()))
        model.to(self.accelerator.device)
        optimizer = make_optimizer(model, options)
        self.model, self.optimizer = self.accelerator.prepare(model, optimizer)
        self.rates = [group["lr"] for group in self.optimizer.param_groups]
        self.notes = notes
        self.step = self.epoch = self.position = self.unimproved = 0
        self.epochs = 0.0  # epochs done, with fractions
        self.best: dict[str, Any] | None = None
        self.best_weights: dict[str, torch.Tensor] | None = None
        self.examples: dict[str, Any] | None = None
        self.began = time.monotonic()
        self.elapsed = 0.0  # agreed by all processes
        self.terminated = False
        self.stopped = ""
        self.window = Window()

    # The run

    def run(self) -> TrainResult:
        self._start()
        self.bar = tqdm(
            total=self.options.max_steps, initial=self.step, disable=None if self.is_main else True
        )
        for note in self.notes if self.is_main else ():
            tqdm.write(note, file=sys.stderr)
        self.model.train()
        with self._on_sigterm(), self.bar:
            while not self.stopped:
                self._epoch()
            if self.validate is not None and self.validated_at != self.step:
                self._validate()
        if self.options.checkpoint_every and self.saved_at != self.step:
            self._save()
        self._restore_best()
        self.accelerator.unwrap_model(self.model, keep_fp32_wrapper=False)
        self.bare.eval()
        if self.options.trackers:
            self.accelerator.end_training()
        return TrainResult(
            self.step, self.best, self.folder.history, self.stopped, self.elapsed, self.is_main
        )

    def _epoch(self) -> None:
        """From the current position to the end of the epoch, or of the training."""
        encoded = self.source(self.epoch)
        if len(encoded) == 0:
            raise UserError(f"there are no examples to train on in epoch {self.epoch}.")
        lengths = encoded.inputs.lengths, encoded.targets.lengths
        self._check_examples(encoded)
        batches = plan(
            *lengths, token_budget=self.options.token_budget, seed=self.options.seed, epoch=self.epoch
        )
        tokens = lengths[0] + lengths[1]
        before = self._progress(len(batches))
        while self.position < len(batches) and not self.stopped:
            rows = batches[self.position]
            self._step(encoded, rows, self._progress(len(batches), ahead=1))
            self.window.tokens += int(tokens[rows].sum())
            self.step, self.position = self.step + 1, self.position + 1
            if self.position == len(batches):
                self.epoch, self.position = self.epoch + 1, 0
            self._agree()
            progress = self._progress(len(batches))
            if progress >= 1:
                self.stopped = "finished"
            if self.step % self.options.log_every == 0 or self.stopped:
                self._log()
            self._after_step(before, progress)
            before = progress
            if self.position == 0:
                break

    def _after_step(self, before: float, progress: float) -> None:
        """Validates and saves where that is due; leaves on SIGTERM."""
        improved = (
            self.validate is not None and self._validation_is_due(before, progress) and self._validate()
        )
        every = self.options.checkpoint_every
        if every and (improved or self.step % every == 0 or self.terminated):
            self._save()
        if self.terminated:
            if self.is_main:
                saved = f" after a checkpoint at step {self.step}; go on with --resume" if every else ""
                tqdm.write(f"training was told to stop, and did{saved}.", file=sys.stderr)
            raise SystemExit(143)

    def _step(self, encoded: Encoded, rows: np.ndarray, progress: float) -> None:
        """One optimiser step on a global batch: the same whatever the number of processes and slices."""
        options = self.options
        units = float(encoded.units[rows].sum())
        factor = learning_rate_factor(options, progress)
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * factor
        # Accelerate divides by the accumulation and DDP averages over ranks; our loss is already a sum
        # over the whole global batch's share, so both are undone.
        scale = self.world * options.accumulation
        loss = torch.zeros((), device=self.accelerator.device)
        for micro, mine in enumerate(slices(rows, self.world, self.rank, options.accumulation)):
            batch = collate(encoded, mine if len(mine) else rows[:1])
            if not len(mine):  # all ranks must make the same calls
                batch["label_weights"].zero_()
            if self.accelerator.device.type != "cpu":
                batch = {name: value.to(self.accelerator.device) for name, value in batch.items()}
            torch.manual_seed(int(hashed(options.seed, self.step, self.rank, micro) >> np.uint64(1)))
            with self.accelerator.accumulate(self.model):
                share = self.model(**batch, num_items_in_batch=units).loss
                self.accelerator.backward(share * scale)
                loss += share.detach()
        norm = self.accelerator.clip_grad_norm_(self.model.parameters(), options.clip or math.inf)
        self._check_finite(loss, norm, rows)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.window.add(loss, factor * options.learning_rate, norm)
        self.bar.update()

    def _check_finite(self, loss: torch.Tensor, norm: Any, rows: np.ndarray) -> None:
        """Stops before the optimiser takes over what is not finite.

        The norm is of the averaged gradient, the same on all ranks, so all stop together.
        """
        value = float(loss) if norm is None else float(norm) + (float(loss) if self.world == 1 else 0.0)
        if math.isfinite(value):
            return
        some = ", ".join(map(str, np.sort(rows)[:20])) + (", …" if len(rows) > 20 else "")
        raise TrainingError(
            f"the loss or its gradient is not finite at step {self.step} (loss {float(loss):g}, gradient norm "
            f"{float('nan') if norm is None else float(norm):g}), on the examples {some} of epoch {self.epoch}. The weights are "
            "those of the step before. Try a lower --learning_rate, --precision no, or look at these examples."
        )

    # Time

    def _progress(self, epoch_steps: int, ahead: int = 0) -> float:
        """0 at the start, 1 at the end: the furthest of the limits that are set."""
        epochs = self.epoch + (self.position + ahead) / epoch_steps
        if not ahead:
            self.epochs = epochs
        return progress_of(self.options, self.step + ahead, epochs, self.elapsed)

    def _agree(self) -> None:
        """All processes take the main one's clock, and stop if any was told to."""
        now = time.monotonic() - self.began
        if self.world == 1:
            self.elapsed = now
            return
        clock = now if self.is_main else 0.0
        both = torch.tensor(
            [clock, float(self.terminated)], dtype=torch.float32, device=self.accelerator.device
        )
        elapsed, told = self.accelerator.reduce(both, "sum").tolist()
        self.elapsed, self.terminated = elapsed, told > 0

    @contextlib.contextmanager
    def _on_sigterm(self):
        """While training, SIGTERM asks for a checkpoint and an orderly end."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def remember(signum, frame):
            self.terminated = True

        previous = signal.signal(signal.SIGTERM, remember)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, previous)

    # Validation

    validated_at = -1

    def _validation_is_due(self, before: float, progress: float) -> bool:
        if self.options.evaluations:
            return int(before * self.options.evaluations) < int(progress * self.options.evaluations)
        if self.options.eval_every:
            return self.step % self.options.eval_every == 0
        return self.position == 0

    @torch.no_grad()
    def _validate(self) -> bool:
        """Validates; True if this is the best so far. Sets ``stopped`` when patience is over."""
        paused = time.monotonic()
        self.bare.eval()
        metrics = [self.validate(self.bare) if self.is_main else None]
        self.model.train()
        if self.world > 1:
            broadcast_object_list(metrics)
        self.window.paused += time.monotonic() - paused
        self.validated_at = self.step
        found = {name: float(value) for name, value in (metrics[0] or {}).items()}
        self._record({"validation": found})
        self._check_metric(list(found))
        metric = self.options.metric or next(iter(found))
        value = found[metric]
        sign = -1 if self.options.is_error(metric) else 1
        if self.best is None or sign * value > sign * self.best["value"]:
            self.best = {"step": self.step, "value": value, "metrics": found}
            self.best_weights = _weights(self.bare)
            self.unimproved = 0
            return True
        self.unimproved += 1
        if self.options.patience and self.unimproved >= self.options.patience and not self.stopped:
            self.stopped = "early"
        return False

    def _check_metric(self, names: Sequence[str]) -> None:
        """UserError if validation, where it says beforehand what it measures, does not measure --metric."""
        if self.options.metric and names and self.options.metric not in names:
            raise UserError(f"--metric {self.options.metric}: validation measures {', '.join(names)}.")

    def _restore_best(self) -> None:
        if self.best_weights is None or self.best is None or self.best["step"] == self.step:
            return
        with torch.no_grad():
            for name, value in _named_tensors(self.bare):
                value.copy_(self.best_weights[name])

    # Checkpoints

    saved_at = -1

    def _start(self) -> None:
        """Opens the folder, and goes on from its newest whole checkpoint if that is asked for."""
        checkpoint = self.folder.open(self.options)
        if checkpoint is not None:
            self._adopt(checkpoint)
        if self.options.trackers:
            self.accelerator.init_trackers("p5t5", config=asdict(self.options))

    def _save(self) -> None:
        """Writes a checkpoint; the time it takes does not count as training speed."""
        paused = time.monotonic()
        state = {
            "step": self.step,
            "epoch": self.epoch,
            "position": self.position,
            "epochs": self.epochs,
            "elapsed": paused - self.began,
            "best": self.best,
            "unimproved": self.unimproved,
            "validated_at": self.validated_at,
            "stopped": self.stopped,
            "plan": self.options.plan_fields(),
            "examples": self.examples,
        }
        self.folder.save(self.bare, self.optimizer.optimizer, state, self.options.keep)
        self.saved_at = self.step
        self.window.paused += time.monotonic() - paused

    def _adopt(self, checkpoint: Path) -> None:
        """Puts weights, optimiser and position back. All processes read the same folder."""
        state, best = self.folder.read(checkpoint, self.options)
        if best is not None:
            load_model(self.bare, str(best))
            self.best, self.best_weights = state["best"], _weights(self.bare)
        load_model(self.bare, str(checkpoint / WEIGHTS))
        optimizer = torch.load(checkpoint / OPTIMIZER, map_location="cpu", weights_only=True)
        self.optimizer.optimizer.load_state_dict(optimizer)
        self.step, self.epoch, self.position = state["step"], state["epoch"], state["position"]
        self.epochs, self.elapsed, self.examples = state["epochs"], state["elapsed"], state["examples"]
        self.unimproved, self.validated_at = state["unimproved"], state["validated_at"]
        self.stopped, self.saved_at = state["stopped"], state["step"]
        if self.stopped == "finished" and progress_of(self.options, self.step, self.epochs, self.elapsed) < 1:
            self.stopped = ""  # more epochs, steps or minutes than before
        self.began = time.monotonic() - self.elapsed

    def _check_examples(self, encoded: Encoded) -> None:
        """A resumed run must see the examples that the checkpoint was in the middle of."""
        found = {"epoch": self.epoch, "hash": fingerprint(encoded)}
        if self.examples is not None and self.position and self.examples != found:
            raise UserError(
                f"--resume: the examples of epoch {self.epoch} are not those that the checkpoint was trained on: "
                "the data, the prompts or the mixture changed. Put them back, or use --restart."
            )
        self.examples = found

    # Records

    def _log(self) -> None:
        """A line of metrics.jsonl and of the progress bar: means since the last one."""
        if not self.window.steps:
            return
        loss = self.window.loss / self.window.steps
        if self.world > 1:
            loss = self.accelerator.reduce(loss, "sum")
        values = {"loss": float(loss), **self.window.summary()}
        self.window = Window()
        self._record(values)
        self.bar.set_postfix(loss=f"{values['loss']:.3f}", refresh=False)

    def _record(self, values: dict[str, Any]) -> None:
        record = {"step": self.step, "epoch": self.epoch, "elapsed": round(self.elapsed, 3), **values}
        self.folder.append(record)
        if self.options.trackers:
            self.accelerator.log(values.get("validation", values), step=self.step)


def _named_tensors(model: nn.Module) -> list[tuple[str, torch.Tensor]]:
    return [*model.named_parameters(), *model.named_buffers()]


def _weights(model: nn.Module) -> dict[str, torch.Tensor]:
    """A copy of the weights in main memory; tied ones once."""
    return {name: value.detach().to("cpu", copy=True) for name, value in _named_tensors(model)}
