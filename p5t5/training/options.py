"""The options of the training loop and its learning rate schedule."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from p5t5.core.errors import UserError
from p5t5.core.options import option

SCHEDULES = ("cosine", "linear", "constant")
PRECISIONS = ("auto", "no", "bf16")  # T5 overflows in fp16


@dataclass
class TrainOptions:
    """How the model is trained. Training ends at the first limit (epochs, steps, minutes) that is reached."""

    epochs: float = option(0.0, "passes over the data; 0: no such limit (10 if no limit is set at all)")
    max_steps: int | None = option(None, "optimizer steps")
    max_minutes: float | None = option(
        None,
        "minutes of training, validation included; the schedule then follows the clock. Preparing (data, vocabulary, starting "
        "vectors, soft targets) and saving come on top",
    )
    learning_rate: float = option(7e-4, "the peak learning rate")
    embedding_rate: float = option(1.0, "factor on the learning rate for token embeddings")
    schedule: str = option(
        "cosine", "how the learning rate decays to 0 after the warm-up: cosine, linear, constant (not at all)"
    )
    warmup: float = option(0.05, "share of the training in which the learning rate rises from 0")
    weight_decay: float = option(0.01, "AdamW's decay of matrices; embeddings and norms are never decayed")
    beta2: float = option(0.999, "AdamW's second beta")
    clip: float = option(1.0, "gradient norm above which gradients are scaled down; 0: never")
    ema: float = option(
        0.0,
        "half-life of an average of the weights, as a share of the training; what is "
        "validated and saved is then the average; 0: off",
    )
    token_budget: int = option(
        2048, "padded tokens, inputs and targets, of a global batch (over all processes)"
    )
    mixed_batches: bool = option(
        False,
        "short answers and long ones, and so all tasks, in each batch; otherwise answers of one length, with less "
        "padding, and what a task gets is its share of the tokens",
    )
    accumulation: int = option(
        1, "slices of each process's share of a batch, one after the other, to save memory"
    )
    precision: str = option("auto", "no or bf16 for the matrix products; auto: as accelerate is configured")
    seed: int = option(0, "seed of everything random")
    eval_every: int = option(0, "steps between validations; 0: after each epoch")
    evaluations: int = option(0, "this many validations, evenly over the training, instead of --eval_every")
    metric: str = option(
        "", "the validation metric that chooses the best weights; empty: the first one that is measured"
    )
    patience: int = option(0, "stop after this many validations without a better one; 0: never")
    log_every: int = option(20, "steps between the lines of metrics.jsonl")
    checkpoint_every: int = option(
        500, "steps between checkpoints to resume from, also at each best; 0: none"
    )
    keep: int = option(2, "checkpoints to keep, besides the best")
    resume: bool = option(False, "resume from the newest intact checkpoint in --out, if there is one")
    restart: bool = option(False, "delete the checkpoints of an unfinished run in --out and start again")
    overwrite: bool = option(False, "replace the finished model in --out, with its results and fusion")
    trackers: str = option("", "accelerate's trackers to log to as well, such as tensorboard,wandb")

    def plan_fields(self) -> dict[str, Any]:
        """The options that must not change between a run and its resume: they define batches, average and "best"."""
        return {
            name: getattr(self, name) for name in ("seed", "token_budget", "mixed_batches", "ema", "metric")
        }

    def check(self) -> None:
        """Raises UserError for an invalid value, named as on the command line."""
        values = asdict(self)
        for name in (
            "epochs",
            "weight_decay",
            "clip",
            "eval_every",
            "evaluations",
            "patience",
            "checkpoint_every",
        ):
            if values[name] < 0:
                raise UserError(f"--{name} {values[name]}: must not be negative.")
        for name in ("learning_rate", "embedding_rate", "token_budget", "accumulation", "log_every", "keep"):
            if not values[name] > 0:
                raise UserError(f"--{name} {values[name]}: must be above 0.")
        for name in ("max_steps", "max_minutes"):
            if values[name] is not None and not values[name] > 0:
                raise UserError(f"--{name} {values[name]}: must be above 0.")
        for name, allowed in (("schedule", SCHEDULES), ("precision", PRECISIONS)):
            if values[name] not in allowed:
                raise UserError(f"--{name} {values[name]}: choose one of {', '.join(allowed)}.")
        if not 0 <= self.warmup < 1:
            raise UserError(f"--warmup {self.warmup}: must be a share of the training, from 0 to below 1.")
        if not 0 <= self.ema < 1:
            raise UserError(f"--ema {self.ema}: must be a share of the training, from 0 (off) to below 1.")
        if self.resume and self.restart:
            raise UserError("--resume and --restart exclude each other.")


def progress_of(options: TrainOptions, step: int, epochs: float, elapsed: float) -> float:
    """0 at the start, 1 (or more) at the end: the most advanced of the limits that are set.

    ``elapsed``: in seconds. Without ``max_minutes`` this is a pure function of step and epochs.
    """
    limits = [0.0]
    if options.max_steps is not None:
        limits.append(step / options.max_steps)
    if options.max_minutes is not None:
        limits.append(elapsed / (60 * options.max_minutes))
    if options.epochs or len(limits) == 1:
        limits.append(epochs / (options.epochs or 10))
    return max(limits)


def learning_rate_factor(options: TrainOptions, progress: float) -> float:
    """The fraction of the peak learning rate at ``progress`` (0 to 1): linear warm-up, then decay."""
    if progress < options.warmup:
        return progress / options.warmup
    if options.schedule == "constant":
        return 1.0
    rest = min(max((1 - progress) / (1 - options.warmup), 0.0), 1.0)
    return rest if options.schedule == "linear" else 0.5 * (1 - math.cos(math.pi * rest))
