"""``p5t5 finetune``: prompts → answers, several tasks at once."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from p5t5.cli.main import run
from p5t5.cli.model_setup import (
    FEW,
    StartOptions,
    few_each,
    identifier_tokens,
    identity,
    load_split,
    quiet,
    rates,
    start,
)
from p5t5.cli.options import option, parse, with_default
from p5t5.core.errors import UserError
from p5t5.training.options import TrainOptions

EXAMPLE = """p5t5 finetune --data runs/ml-100k --model runs/pretrained --out runs/model --epochs 10
  accelerate launch scripts/finetune.py --data runs/ml-100k --model runs/pretrained --out runs/model"""


@dataclass
class FinetuneOptions:
    """What is asked how often."""

    tasks: str = option(
        "", "rates of tasks or families, rating/score=1,sequential=2; empty: all that the data allows"
    )
    loss_weights: str = option(
        "explanation/explain=0.5,explanation/explain_feature=0.5,review/headline=0.5",
        "weights of tasks in the loss, rating/score=0.5; tasks that are not named: 1",
    )
    lessons: str = option(
        "sequential/next_item=0.5,sequential/continue=0.5,rating/score=0.7,rating/like=0.7,review/score=0.7,"
        "review/score_with_headline=0.7",
        "shares of the answers' weight that simple models of the training rows get (soft targets; docs/training.md), "
        "for those of the tasks that are trained; on next items, unless you say so, only where there are fewer than "
        f"{FEW} interactions a user; empty: none",
    )
    epoch_size: int = option(0, "examples an epoch; 0: the number of training interactions")
    lora: int = option(
        0,
        "rank of LoRA matrices to train instead of all weights (with the identifiers' tokens); 0: all weights",
    )
    validation_users: int = option(1000, "validation rows looked at during training, drawn by seed; 0: all")


@dataclass
class FinetuneTraining(TrainOptions):
    """Small steps and many, averaged, and embeddings that learn faster: what the recipes found (dev/lab/README.md)."""

    embedding_rate: float = with_default(TrainOptions, "embedding_rate", 3.0)
    ema: float = with_default(TrainOptions, "ema", 0.05)
    token_budget: int = with_default(TrainOptions, "token_budget", 1024)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    return run("finetune", lambda: _main(argv))


def _main(argv: Sequence[str] | None) -> None:
    start_options, finetune, training = parse(
        (StartOptions, FinetuneOptions, FinetuneTraining),
        argv,
        name="finetune",
        about="Fine-tunes a T5 on several recommendation tasks at once, on any number of processes.",
        example=EXAMPLE,
    )
    import torch

    from p5t5.distillation.soft_targets import check_alphas, make_soft_targets
    from p5t5.evaluation.validation import validation_metric
    from p5t5.inference.predictor import Predictor
    from p5t5.inference.rating_calibration_fit import fit_rating_calibration, keep_rating_calibration
    from p5t5.model.configuration import PRESETS
    from p5t5.reporting.model_card import training_card
    from p5t5.tasks.base import Teacher
    from p5t5.tasks.registry import TASKS
    from p5t5.text.mixture import make_mixture
    from p5t5.text.rendering import render_mixture
    from p5t5.training.loop import train
    from p5t5.training.lora import Adapters

    if finetune.validation_users < 0 or finetune.epoch_size < 0:
        raise UserError("--validation_users and --epoch_size must not be negative.")
    weights = rates(finetune.loss_weights, "--loss_weights") or {}
    if bad := [name for name, weight in weights.items() if not 0 < weight < float("inf")]:
        raise UserError(f"--loss_weights: {bad[0]} has {weights[bad[0]]}; a weight must be above 0.")
    strengths = rates(finetune.lessons, "--lessons") or {}
    check_alphas(strengths)
    quiet()
    began = time.monotonic()
    split = load_split(start_options)
    if "lessons" not in start_options.given and not few_each(split):
        # From long histories a model learns as much without, and the fusion gains from it (dev/lab/ml-100k.md#soft-targets-on-long-histories).
        strengths = {
            task: share for task, share in strengths.items() if TASKS[task].teacher is not Teacher.NEXT_ITEM
        }
    checkpoint = start(start_options, split, training.seed)
    if "embedding_rate" not in start_options.given and checkpoint.info.model not in PRESETS:
        training.embedding_rate = 1.0  # a T5 checkpoint's embeddings are learnt already
    adapters = None
    if finetune.lora:
        if start_options.model in PRESETS:
            raise UserError(f"--lora adapts a trained model, and --model {start_options.model} is a new one.")
        adapters = Adapters(checkpoint.model, finetune.lora, identifier_tokens(checkpoint), training.seed)
    mixture, off = make_mixture(
        split,
        checkpoint.prompts,
        rates(finetune.tasks, "--tasks"),
        checkpoint.build_options(),
        training.seed,
        finetune.epoch_size or None,
        weights,
    )
    asked = {task: strength for task, strength in strengths.items() if task in mixture.tasks}
    taught, untaught = make_soft_targets(checkpoint, split, asked, training.seed, progress=True)
    renderer = checkpoint.renderer_for(split.data)
    prepared = time.monotonic() - began
    result = train(
        checkpoint.model,
        lambda epoch: render_mixture(renderer, mixture, epoch, taught),
        training,
        Path(start_options.out),
        validation_metric(checkpoint, split, mixture.tasks, limit=finetune.validation_users or None),
        notes=off + untaught,
        identity=identity(
            "finetune",
            checkpoint,
            tasks=dict(mixture.weights),
            loss_weights=dict(mixture.loss_weights),
            lessons=asked,
            epoch_size=mixture.size,
            lora=finetune.lora,
        ),
    )
    if adapters is not None:
        adapters.merge()
    checkpoint.info.tasks = list(mixture.tasks)
    checkpoint.add_stage(
        {
            "stage": "finetune",
            "rates": dict(mixture.weights),
            "loss_weights": dict(mixture.loss_weights),
            "lessons": asked if taught else {},
            "lora": finetune.lora,
            "threads": torch.get_num_threads(),
            "validation_users": finetune.validation_users,
            # Reading, starting vectors and lessons: before the training's clock.
            "prepared_seconds": round(prepared, 1),
            **result.summary(),
        }
    )
    if result.is_main:
        predictor = Predictor(checkpoint, split.data)
        keep_rating_calibration(
            checkpoint, fit_rating_calibration(predictor, split, mixture.tasks, checkpoint.build_options(-1))
        )
        checkpoint.save(start_options.out, training_card(checkpoint.info))
        print(f"fine-tuned {result.steps} steps on {', '.join(mixture.tasks)} → {start_options.out}")
        if result.best is not None:
            found = ", ".join(f"{name} {value:.4g}" for name, value in result.best["metrics"].items())
            print(f"validation at step {result.best['step']}: {found}")


if __name__ == "__main__":
    sys.exit(main())
