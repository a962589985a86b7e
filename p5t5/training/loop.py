"""The training loop of pretraining and fine-tuning: exact on any number of processes, resumable.

It works on batches (``Encoded``) and a ``validate`` callable, without any notion of recommendation. Three rules keep it
exact: global batches are a pure function of seed and epoch and are only sliced by ranks and accumulation; the
loss of a global batch is divided by its number of answer units, which every rank computes locally;
and every micro-batch seeds torch's generator from (seed, step, rank), so a resumed run repeats itself to
the bit, dropout included.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import nn
from tqdm.auto import tqdm

from p5t5.core.encoded import Encoded
from p5t5.core.errors import UserError
from p5t5.core.randomness import hashed
from p5t5.training.batching import WEIGHTS, blocks, collate, fingerprint, plan, slices
from p5t5.training.best_weights import BestWeights
from p5t5.training.clock import RunClock
from p5t5.training.ema import snapshot
from p5t5.training.optimizer import make_accelerator
from p5t5.training.options import TrainOptions, learning_rate_factor, progress_of
from p5t5.training.run_folder import RunFolder, Window
from p5t5.training.weights import Weights, full

LOG_LINE_SECONDS = 60.0  # between progress lines where no bar is shown, as in a log file

__all__ = ["TrainOptions", "TrainResult", "TrainingError", "train"]


class TrainingError(UserError):
    """Training cannot continue: the fault is not the program's, and no weights were lost since the last checkpoint."""


@dataclass
class TrainResult:
    """The outcome of training. The model that was passed in holds the best weights (by ``metric``)."""

    steps: int
    best: dict[str, Any] | None  # {"step", "value", "metrics"} of the best validation
    history: list[dict[str, Any]] = field(repr=False, default_factory=list)  # the lines of metrics.jsonl
    stopped: str = "finished"  # or "early": no better for ``patience`` validations
    elapsed: float = 0.0  # seconds, over all resumes
    is_main: bool = True  # this process may write files

    def summary(self) -> dict[str, Any]:
        """The record of a training stage in a checkpoint's p5t5.json."""
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
    identity: Mapping[str, Any] | None = None,
) -> TrainResult:
    """Trains ``model`` in place on ``source(epoch)`` → examples, and leaves the best weights in it.

    ``validate(model)`` is called with the bare model in evaluation mode (see ``best_weights.BestWeights`` for how it
    is shared out). ``source`` must give every process the same examples. ``out`` gets ``metrics.jsonl``
    and ``checkpoints/``; ``notes`` are shown before the start. ``identity``: by name, what identifies this
    run (stage, data, tokenizer, …); a resume with another one is refused. On SIGTERM a checkpoint is
    written and SystemExit(143) raised.

    Raises TrainingError when the loss or a gradient is not finite, UserError for what the user can correct.
    """
    return _Training(model, source, options, Path(out), validate, accelerator, notes, identity).run()


class _Training:
    """A training run: its position in the data, and the steps of ``train``."""

    def __init__(self, model, source, options, out, validate, accelerator, notes, identity):
        options.check()
        self.source, self.options, self.notes = source, options, notes
        self.best_weights = BestWeights(validate, options)
        self.accelerator = accelerator or make_accelerator(options, out)
        self.accelerator.gradient_accumulation_steps = options.accumulation
        self.is_main = self.accelerator.is_main_process
        self.world, self.rank = self.accelerator.num_processes, self.accelerator.process_index
        self.folder = RunFolder(out, self.is_main, self.world)
        self.weights = Weights(model, self.accelerator, options)
        self.model, self.optimizer = self.weights.model, self.weights.prepared
        self.rates = [group["lr"] for group in self.optimizer.param_groups]
        plan_fields = {f"--{name}": value for name, value in options.plan_fields().items()}
        fields = {**plan_fields, **(identity or {}), "model shape": self.weights.shape()}
        self.identity: dict[str, Any] = json.loads(json.dumps(fields))
        self.clock = RunClock(self.accelerator)
        self.step = self.epoch = self.position = 0
        self.epochs = 0.0  # epochs done, with fractions
        self.examples: dict[str, Any] | None = None
        self.stopped = ""
        self.window = Window()
        self.last_line = time.monotonic()

    # The run

    def run(self) -> TrainResult:
        self._start()
        self.bar = tqdm(
            total=self.options.max_steps, initial=self.step, disable=None if self.is_main else True
        )
        for note in self.notes if self.is_main else ():
            tqdm.write(note, file=sys.stderr)
        self.model.train()
        with self.clock.listening(), self.bar:
            while not self.stopped:
                self._epoch()
            if self.best_weights.validate is not None and self.best_weights.step != self.step:
                self._finish_step(improved=self._validate())  # resumed at its end, not validated yet
        best = self.best_weights.best
        self.weights.finish(self.accelerator, last=best is None or best["step"] == self.step)
        if self.options.trackers:
            self.accelerator.end_training()
        return TrainResult(
            self.step, best, self.folder.history, self.stopped, self.clock.elapsed, self.is_main
        )

    def _epoch(self) -> None:
        """From the current position to the end of the epoch or of the training."""
        encoded = self.source(self.epoch)
        if len(encoded) == 0:
            raise UserError(f"there are no examples to train on in epoch {self.epoch}.")
        lengths = encoded.inputs.lengths, encoded.targets.lengths
        self._check_examples(encoded)
        batches = plan(
            *lengths,
            token_budget=self.options.token_budget,
            seed=self.options.seed,
            epoch=self.epoch,
            mixed=self.options.mixed_batches,
        )
        tokens = lengths[0] + lengths[1]
        before = self._progress(len(batches))
        while self.position < len(batches) and not self.stopped:
            rows = batches[self.position]
            parts = blocks(rows, *lengths, self.world * self.options.accumulation)
            self._step(encoded, parts, self._progress(len(batches), ahead=1))
            self.window.tokens += int(tokens[rows].sum())
            self.step, self.position = self.step + 1, self.position + 1
            if self.position == len(batches):
                self.epoch, self.position = self.epoch + 1, 0
            self.clock.sync()
            progress = self._progress(len(batches))
            self.weights.average.update(self.weights.trained, progress)
            if progress >= 1:
                self.stopped = "finished"
            if self.step % self.options.log_every == 0 or self.stopped:
                self._log()
            due = self.best_weights.is_due(self.step, self.position == 0, before, progress)
            self._finish_step(improved=due and self._validate())
            before = progress
            if self.position == 0:
                break

    def _finish_step(self, improved: bool) -> None:
        """Saves a checkpoint where one is due; exits if a process was asked to stop."""
        every = self.options.checkpoint_every
        if every and (improved or self.stopped or self.clock.stop_requested or self.step % every == 0):
            self._save()
        if self.clock.stop_requested:
            if self.is_main:
                saved = (
                    f" after saving a checkpoint at step {self.step}; continue with --resume" if every else ""
                )
                tqdm.write(f"training stopped by SIGTERM{saved}.", file=sys.stderr)
            raise SystemExit(143)

    def _validate(self) -> bool:
        """True if these weights are kept as the best. Sets ``stopped`` when patience is exhausted."""
        paused = time.monotonic()
        with self.weights.evaluation_mode() as model:
            metrics = self.best_weights.measure(model, self.accelerator)
            improved = self.best_weights.is_best(metrics, self.step)
            if improved:
                self.weights.best = snapshot(model)
        self.window.paused += time.monotonic() - paused
        self._record({"validation": metrics})
        if self.best_weights.is_out_of_patience and not self.stopped:
            self.stopped = "early"
        self.clock.sync()  # validation may take minutes
        return improved

    def _step(self, encoded: Encoded, parts: Sequence[np.ndarray], progress: float) -> None:
        """One optimizer step on a global batch, in blocks: the same whatever the number of processes and slices."""
        options, rows = self.options, np.concatenate(parts)
        units = float(encoded.units[rows].sum())
        factor = learning_rate_factor(options, progress)
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * factor
        # Accelerate divides by the accumulation and DDP averages over ranks; our loss is already a sum
        # over the whole global batch's share, so both are undone.
        passes = [
            own_rows
            for part in parts
            for own_rows in slices(part, self.world, self.rank, options.accumulation)
        ]
        self.accelerator.gradient_accumulation_steps, self.accelerator.step = len(passes), 0
        scale = self.world * len(passes)
        loss = torch.zeros((), device=self.accelerator.device)
        for micro, own_rows in enumerate(passes):
            batch = collate(encoded, own_rows if len(own_rows) else rows[:1])
            if not len(own_rows):  # all ranks must make the same calls
                for name in WEIGHTS & batch.keys():
                    batch[name].zero_()
            if self.accelerator.device.type != "cpu":
                batch = {name: value.to(self.accelerator.device) for name, value in batch.items()}
            torch.manual_seed(int(hashed(options.seed, self.step, self.rank, micro) >> np.uint64(1)))
            with self.accelerator.accumulate(self.model):
                slice_loss = self.model(**batch, num_items_in_batch=units).loss
                self.accelerator.backward(slice_loss * scale)
                loss += slice_loss.detach()
        self.accelerator.gradient_accumulation_steps = options.accumulation  # all Accelerators share it
        norm = full(self.accelerator.clip_grad_norm_(self.model.parameters(), options.clip or math.inf))
        self._check_finite(loss, norm, rows)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.window.add(loss, factor * options.learning_rate, norm)
        self.bar.update()

    def _check_finite(self, loss: torch.Tensor, norm: Any, rows: np.ndarray) -> None:
        """Raises TrainingError before the optimizer uses values that are not finite.

        The norm is that of the averaged gradient, the same on all ranks, so all stop together.
        """
        if math.isfinite(float(norm) + (float(loss) if self.world == 1 else 0.0)):
            return
        examples = ", ".join(map(str, np.sort(rows)[:20])) + (", …" if len(rows) > 20 else "")
        raise TrainingError(
            f"the loss or its gradient is not finite at step {self.step} (loss {float(loss):g}, gradient norm "
            f"{float(norm):g}), on the examples {examples} of epoch {self.epoch}. The weights are those of the step before. "
            "Try a lower --learning_rate, --precision no, or look at these examples."
        )

    def _progress(self, epoch_steps: int, ahead: int = 0) -> float:
        """0 at the start, 1 at the end: the most advanced of the limits that are set."""
        epochs = self.epoch + (self.position + ahead) / epoch_steps
        if not ahead:
            self.epochs = epochs
        return progress_of(self.options, self.step + ahead, epochs, self.clock.elapsed)

    # Checkpoints

    def _start(self) -> None:
        """Opens the folder, and continues from its newest intact checkpoint if that is requested."""
        checkpoint = self.folder.open(self.options)
        if checkpoint is not None:
            self._restore(checkpoint)
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
            "elapsed": paused - self.clock.began,
            "best": self.best_weights.best,
            "highest": self.best_weights.highest,
            "unimproved": self.best_weights.unimproved,
            "validated_at": self.best_weights.step,
            "stopped": self.stopped,
            "identity": self.identity,
            "examples": self.examples,
            "average": self.weights.average.state_dict(),
        }
        self.folder.save(self.weights, state, self.options.keep)
        self.window.paused += time.monotonic() - paused

    def _restore(self, checkpoint: Path) -> None:
        """Restores weights, optimizer and position. All processes read the same folder."""
        state, best = self.folder.read(checkpoint, self.identity)
        if best is not None:
            self.weights.load_best(best)
            self.best_weights.best = state["best"]
        self.folder.load(self.weights, checkpoint, state)
        self.step, self.epoch, self.position = state["step"], state["epoch"], state["position"]
        self.epochs, self.examples = state["epochs"], state["examples"]
        self.best_weights.highest = state["highest"]
        self.best_weights.unimproved, self.best_weights.step = state["unimproved"], state["validated_at"]
        self.clock.resume_from(state["elapsed"])
        self.stopped = state["stopped"]
        progress = progress_of(self.options, self.step, self.epochs, state["elapsed"])
        if self.stopped != "early":  # there may be more or fewer epochs, steps or minutes than before
            self.stopped = "finished" if progress >= 1 else ""

    def _check_examples(self, encoded: Encoded) -> None:
        """Checks that a resumed run sees the examples that the checkpoint was trained on."""
        examples = {"epoch": self.epoch, "hash": fingerprint(encoded)}
        if self.examples is not None and self.position and self.examples != examples:
            raise UserError(
                f"--resume: the examples of epoch {self.epoch} are not those that the checkpoint was trained on: "
                "the data, the prompts or the mixture changed. Restore them, or use --restart."
            )
        self.examples = examples

    # Records

    def _log(self) -> None:
        """Writes a line of metrics.jsonl and updates the progress bar: means since the last line."""
        if not self.window.steps:
            return
        loss = self.window.loss / self.window.steps
        if self.world > 1:
            loss = self.accelerator.reduce(loss, "sum")
        values = {"loss": float(loss), **self.window.summary()}
        self.window = Window()
        self._record(values)
        self.bar.set_postfix(loss=f"{values['loss']:.3f}", refresh=False)
        if self.is_main and self.bar.disable and time.monotonic() - self.last_line >= LOG_LINE_SECONDS:
            self.last_line = time.monotonic()
            progress = progress_of(self.options, self.step, self.epochs, self.clock.elapsed)
            tqdm.write(f"step {self.step}, {progress:.0%} done: loss {values['loss']:.3f}", file=sys.stderr)

    def _record(self, values: dict[str, Any]) -> None:
        record = {
            "step": self.step,
            "epoch": self.epoch,
            "elapsed": round(self.clock.elapsed, 3),
            **values,
        }
        self.folder.append(record)
        if self.options.trackers:
            self.accelerator.log(values.get("validation", values), step=self.step)
