"""Fine-tuning: prompts → answers, several tasks at once."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from p5t5.core.errors import UserError
from p5t5.core.options import from_keywords, option, rates, with_default
from p5t5.tasks.registry import TASKS, distilled
from p5t5.training.options import TrainOptions
from p5t5.workflows.model_setup import (
    FEW_INTERACTIONS,
    LOG,
    Log,
    StartOptions,
    check_out,
    has_short_histories,
    identifier_tokens,
    identity,
    load_split,
    start,
)

if TYPE_CHECKING:
    from p5t5.checkpoint.checkpoint import Checkpoint
    from p5t5.data.splits import Split
    from p5t5.text.mixture import Mixture
    from p5t5.training.loop import TrainResult
    from p5t5.training.lora import Adapters


@dataclass
class FinetuneOptions:
    """Task mixture, loss weights and soft targets."""

    tasks: str = option(
        "", "rates of tasks or families, rating/score=1,sequential=2; empty: all that the data allows"
    )
    loss_weights: str = option(
        ",".join(
            f"{name}={task.default_loss_weight:g}"
            for name, task in TASKS.items()
            if task.default_loss_weight != 1
        ),
        "weights of tasks in the loss, rating/score=0.5; tasks that are not named: 1",
    )
    soft_targets: str = option(
        ",".join(f"{name}={TASKS[name].default_alpha:g}" for name in distilled()),
        "weight of soft targets per task, TASK=ALPHA,… (0: off; docs/training.md); for next items on by default only "
        f"below {FEW_INTERACTIONS} interactions per user; empty: none",
    )
    epoch_size: int = option(0, "examples per epoch; 0: the number of training interactions")
    lora: int = option(
        0,
        "rank of LoRA matrices to train instead of all weights (with the identifiers' tokens); 0: all weights",
    )
    validation_users: int = option(1000, "validation rows used during training, drawn by seed; 0: all")


@dataclass
class FinetuneTraining(TrainOptions):
    """Many small steps, averaged weights, faster embeddings: what the recipes found (dev/lab/README.md)."""

    embedding_rate: float = with_default(TrainOptions, "embedding_rate", 3.0)
    ema: float = with_default(TrainOptions, "ema", 0.05)
    token_budget: int = with_default(TrainOptions, "token_budget", 1024)


def finetune(
    data: str | Path, model: str | Path, out: str | Path, *, log: Log = LOG, **options: Any
) -> Checkpoint:
    """Fine-tunes ``model`` (a preset, a T5 checkpoint or a p5t5 model) on the ``data`` folder and saves it in ``out``.

    ``options``: those of ``p5t5 finetune`` (StartOptions, FinetuneOptions, FinetuneTraining), as in
    ``tasks={"rating/score": 1}, max_minutes=5``. ``log`` receives the lines that the command prints. Raises UserError
    for data, options or folders that cannot be used; under several processes all return the checkpoint, and the main
    one writes.
    """
    given = {"data": data, "model": model, "out": out, **options}
    return finetune_with(
        *from_keywords("finetune", (StartOptions, FinetuneOptions, FinetuneTraining), given), log=log
    )


def finetune_with(
    start_options: StartOptions, options: FinetuneOptions, training: FinetuneTraining, *, log: Log = LOG
) -> Checkpoint:
    """``finetune`` with instances of its option classes."""
    from p5t5.distillation.soft_targets import make_soft_targets
    from p5t5.evaluation.validation import validation_metric
    from p5t5.text.mixture import make_mixture
    from p5t5.text.rendering import render_mixture
    from p5t5.training.loop import train

    weights, alphas = _checked(options)
    check_out(start_options.out, training)
    began = time.monotonic()
    split = load_split(start_options)
    checkpoint = start(start_options, split, training.seed)
    adapters = _adapt(checkpoint, start_options, options, training)
    mixture, notes = make_mixture(
        split,
        checkpoint.prompts,
        rates(options.tasks, "--tasks"),
        checkpoint.build_options(),
        training.seed,
        options.epoch_size or None,
        weights,
    )
    asked = _asked(alphas, mixture, split, "soft_targets" in start_options.given)
    soft_targets, without = make_soft_targets(checkpoint, split, asked, training.seed, progress=True)
    renderer = checkpoint.renderer_for(split.data)
    prepared = time.monotonic() - began
    result = train(
        checkpoint.model,
        lambda epoch: render_mixture(renderer, mixture, epoch, soft_targets),
        training,
        Path(start_options.out),
        validation_metric(checkpoint, split, mixture.tasks, limit=options.validation_users or None),
        notes=notes + without,
        identity=identity(
            "finetune",
            checkpoint,
            tasks=dict(mixture.weights),
            loss_weights=dict(mixture.loss_weights),
            soft_targets=asked,
            epoch_size=mixture.size,
            lora=options.lora,
        ),
    )
    if adapters is not None:
        adapters.merge()
    _record(checkpoint, mixture, options, asked if soft_targets else {}, prepared, result)
    if result.is_main:
        _save(checkpoint, split, start_options.out, result, log)
    return checkpoint


def _checked(options: FinetuneOptions) -> tuple[dict[str, float], dict[str, float]]:
    """The loss weights and the alphas of soft targets by task. UserError for options that make no sense."""
    from p5t5.distillation.soft_targets import check_alphas

    if options.validation_users < 0 or options.epoch_size < 0:
        raise UserError("--validation_users and --epoch_size must not be negative.")
    weights = rates(options.loss_weights, "--loss_weights") or {}
    if bad := [name for name, weight in weights.items() if not 0 < weight < float("inf")]:
        raise UserError(f"--loss_weights: {bad[0]} has {weights[bad[0]]}; a weight must be above 0.")
    alphas = rates(options.soft_targets, "--soft_targets") or {}
    check_alphas(alphas)
    return weights, alphas


def _adapt(
    checkpoint: Checkpoint, start_options: StartOptions, options: FinetuneOptions, training: FinetuneTraining
) -> Adapters | None:
    """LoRA adapters where they are asked for; the rate of a T5 checkpoint's embeddings, which are trained already."""
    from p5t5.model.configuration import PRESETS
    from p5t5.training.lora import Adapters

    if "embedding_rate" not in start_options.given and checkpoint.info.model not in PRESETS:
        training.embedding_rate = 1.0
    if not options.lora:
        return None
    if start_options.model in PRESETS:
        raise UserError(f"--lora adapts a trained model, but --model {start_options.model} is a new one.")
    return Adapters(checkpoint.model, options.lora, identifier_tokens(checkpoint), training.seed)


def _asked(alphas: Mapping[str, float], mixture: Mixture, split: Split, explicit: bool) -> dict[str, float]:
    """The alphas of the tasks that are trained; of next items by default only where histories are short.

    From long histories a model learns as much without, and the fusion gains from it
    (dev/lab/ml-100k.md#soft-targets-on-long-histories).
    """
    from p5t5.tasks.base import Teacher

    off = None if explicit or has_short_histories(split) else Teacher.NEXT_ITEM
    return {
        task: alpha
        for task, alpha in alphas.items()
        if task in mixture.tasks and (off is None or TASKS[task].teacher is not off)
    }


def _record(
    checkpoint: Checkpoint,
    mixture: Mixture,
    options: FinetuneOptions,
    alphas: Mapping[str, float],
    prepared: float,
    result: TrainResult,
) -> None:
    """What p5t5.json says of the run. ``prepared``: seconds of reading, starting vectors and soft targets."""
    import torch

    checkpoint.info.tasks = list(mixture.tasks)
    checkpoint.add_stage(
        {
            "stage": "finetune",
            "rates": dict(mixture.weights),
            "loss_weights": dict(mixture.loss_weights),
            "soft_targets": dict(alphas),
            "lora": options.lora,
            "threads": torch.get_num_threads(),
            "validation_users": options.validation_users,
            "prepared_seconds": round(prepared, 1),
            **result.summary(),
        }
    )


def _save(checkpoint: Checkpoint, split: Split, out: str, result: TrainResult, log: Log) -> None:
    """Fits the rating calibration and writes the folder."""
    from p5t5.inference.predictor import Predictor
    from p5t5.inference.rating_calibration_fit import fit_rating_calibration, store_rating_calibration
    from p5t5.reporting.model_card import training_card

    tasks = checkpoint.info.tasks
    predictor = Predictor(checkpoint, split.data)
    calibration = fit_rating_calibration(predictor, split, tasks, checkpoint.build_options(-1))
    store_rating_calibration(checkpoint, calibration)
    checkpoint.save(out, training_card(checkpoint.info))
    log(f"fine-tuned {result.steps} steps on {', '.join(tasks)} → {out}")
    if result.best is not None:
        found = ", ".join(f"{name} {value:.4g}" for name, value in result.best["metrics"].items())
        log(f"validation at step {result.best['step']}: {found}")
