"""``p5t5 update``: a model meets a newer data folder: new items and users, new interactions."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from p5t5.cli.main import run
from p5t5.cli.options import option, parse, required, with_default
from p5t5.core.errors import UserError
from p5t5.training.options import TrainOptions

if TYPE_CHECKING:
    from p5t5.checkpoint.checkpoint import Checkpoint
    from p5t5.data.splits import Split
    from p5t5.evaluation.validation import Validation

EXAMPLE = """p5t5 update --model runs/model --data runs/shop-june --out runs/model-june
  p5t5 update --model runs/model --old runs/shop --data runs/shop-june --out runs/model-june --replay 0.7"""
REPORT = "update.json"
KEPT = "kept"
Table = dict[str, dict[str, Any]]


@dataclass
class UpdateOptions:
    """The model, and the newer data."""

    model: str = required("a fine-tuned model's folder or Hub id")
    data: str = required("the newer data folder: all old interactions, new ones, and all items")
    out: str = required("folder for the updated model")
    old: str = option(
        "", "the data folder that the model was trained on; empty: what comes after its last time is new"
    )
    replay: float = option(0.5, "share of the training examples that are old interactions")
    lessons: str = option(
        KEPT,
        "soft targets, from simple models of old and new training rows, as in `p5t5 finetune --lessons`; "
        f"{KEPT}: those that the model was last trained with; empty: none",
    )
    training: bool = option(True, "go on training; false: new items and users are only named and placed")
    validation_users: int = option(
        1000, "validation rows of each kind (old, new, …) that are looked at; 0: all"
    )


@dataclass
class UpdateTraining(TrainOptions):
    """Few steps at a low rate, and embeddings at the same rate as the rest."""

    epochs: float = option(3.0, "passes over the new interactions; 0: no such limit")
    learning_rate: float = with_default(TrainOptions, "learning_rate", 2e-4)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    return run("update", lambda: _main(argv))


def _main(argv: Sequence[str] | None) -> None:
    options, training = parse(
        (UpdateOptions, UpdateTraining),
        argv,
        name="update",
        about="Adds the new items and users of a newer data folder to a model and trains it on the new interactions, "
        "with old ones among them; shows what it knew before and after.",
        example=EXAMPLE,
    )
    if not 0 <= options.replay < 1:
        raise UserError(f"--replay {options.replay}: must be a share from 0 to below 1.")
    if options.validation_users < 0:
        raise UserError("--validation_users must not be negative.")
    from p5t5.checkpoint.checkpoint import Checkpoint, user_key
    from p5t5.cli.model_setup import quiet, rates
    from p5t5.data.records.loading import load
    from p5t5.distillation.soft_targets import check_alphas
    from p5t5.updating.new_interactions import split_newer_data, update_groups

    lessons = None if options.lessons == KEPT else rates(options.lessons, "--lessons") or {}
    check_alphas(lessons or {})

    quiet()
    checkpoint = Checkpoint.load(options.model)
    _check_trained(checkpoint, options.model)
    data = load(options.data)
    _check_tables(checkpoint, data)
    split, is_new, trained = split_newer_data(
        checkpoint.info, data, load(options.old) if options.old else None
    )
    kinds = update_groups(
        split,
        is_new,
        checkpoint.catalogue.numbers(data.item_ids.tolist()) >= 0,
        np.array([user_key(user) in checkpoint.users for user in data.user_ids], bool),
    )
    grown = _grown(checkpoint, split)
    judged, off = _judged(grown, split, kinds, options.validation_users)
    table: Table = {
        name: {"rows": _count(validation), "before": validation.measure(grown)}
        for name, validation in judged.items()
    }
    is_main, trains = True, options.training and bool((trained < (split.part == 0)).any())
    if trains:
        askable = {name: rows for name, rows in kinds.items() if name in judged}
        is_main = _train(grown, split, trained, askable, options, training, lessons)
    if is_main:
        from p5t5.reporting.model_card import training_card

        if trains:
            _fit_trust(grown, split)
            for name, validation in judged.items():
                table[name]["after"] = validation.measure(grown)
        counts = {
            "new_items": len(grown.catalogue) - len(checkpoint.catalogue),
            "new_users": len(grown.users) - len(checkpoint.users),
            "new_interactions": int(is_new.sum()),
        }
        grown.save(options.out, training_card(grown.info))
        report = {**counts, "replay": options.replay, "validation": table}
        (Path(options.out) / REPORT).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        print(", ".join(f"{name.replace('_', ' ')}: {number:,}" for name, number in counts.items()))
        for name, reason in off.items():
            print(f"{name}: not looked at: {reason}")
        print(format_table(table))
        print(f"updated {options.model} → {options.out}")


def _check_trained(checkpoint: Checkpoint, name: str) -> None:
    if not checkpoint.info.tasks:
        raise UserError(
            f"{name} has only been pretrained: fine-tune it first, or pretrain a model on the new data."
        )


def _check_tables(checkpoint: Checkpoint, data: Any) -> None:
    """UserError where the new data lacks items that the model knows, or rates otherwise."""
    lacking = sorted(set(checkpoint.catalogue.item_ids) - set(data.item_ids.tolist()))
    if lacking:
        raise UserError(
            f"{data.name} lacks {len(lacking)} of the {len(checkpoint.catalogue)} items that the model knows, such as "
            f"{', '.join(lacking[:3])}: a catalogue can only grow. Keep them in items.parquet."
        )
    if checkpoint.rating_values.tolist() != data.rating_values.tolist():
        raise UserError(
            f"{data.name} has ratings {data.rating_values.tolist()}, the model knows {checkpoint.rating_values.tolist()}: "
            "its answers cannot be extended. Train a model on the new data."
        )


def _grown(checkpoint: Checkpoint, split: Split) -> Checkpoint:
    from p5t5.updating.new_entities import add_items, add_users
    from p5t5.updating.new_interactions import data_record

    grown = add_users(add_items(checkpoint, split.data.items), split)
    grown.info = grown.info.copy(data=data_record(split), trained=checkpoint.info.trained_data)
    return grown


def _judged(
    checkpoint: Checkpoint, split: Split, kinds: Mapping[str, np.ndarray], limit: int
) -> tuple[dict[str, Validation], dict[str, str]]:
    """A validation a kind of rows; and why there is none, for kinds whose rows no task can ask about."""
    found, off = {}, {}
    for name, rows in kinds.items():
        try:
            found[name] = _validation(checkpoint, split, rows, limit)
        except UserError as error:
            off[name] = str(error)
    return found, off


def _validation(checkpoint: Checkpoint, split: Split, rows: np.ndarray, limit: int) -> Validation:
    from p5t5.evaluation.validation import validation_metric
    from p5t5.updating.new_interactions import restrict_validation

    return validation_metric(checkpoint, restrict_validation(split, rows), limit=limit or None)


def _fit_trust(grown: Checkpoint, split: Split) -> None:
    from p5t5.inference.predictor import Predictor
    from p5t5.inference.rating_calibration_fit import fit_rating_calibration, keep_rating_calibration

    predictor = Predictor(grown, split.data)
    keep_rating_calibration(
        grown, fit_rating_calibration(predictor, split, grown.info.tasks, grown.build_options(-1))
    )


def _count(validation: Validation) -> int:
    return max(len(rows) for rows in validation.rows.values())


def _train(
    grown: Checkpoint,
    split: Split,
    trained: np.ndarray,
    kinds: Mapping[str, np.ndarray],
    options: UpdateOptions,
    training: UpdateTraining,
    lessons: Mapping[str, float] | None,
) -> bool:
    """Trains the grown model; True in the process that may write files. ``lessons``: None for those it had before."""
    from p5t5.cli.model_setup import identity
    from p5t5.distillation.soft_targets import make_soft_targets
    from p5t5.text.mixture import make_mixture
    from p5t5.training.loop import train
    from p5t5.updating.new_interactions import Replay

    last: dict[str, Any] = next((stage for stage in reversed(grown.info.stages) if stage.get("rates")), {})
    rates = last.get("rates") or dict.fromkeys(grown.info.tasks, 1.0)
    weights = last.get("loss_weights") or {}
    mixture, off = make_mixture(
        split, grown.prompts, rates, grown.build_options(), training.seed, loss_weights=weights
    )
    strengths = (last.get("lessons") or {}) if lessons is None else lessons
    asked = {task: strength for task, strength in strengths.items() if task in mixture.tasks}
    # On the split's training rows, old and new: teachers know no others.
    taught, untaught = make_soft_targets(grown, split, asked, training.seed, progress=True)
    replay = Replay.of(mixture, trained, options.replay)
    renderer = grown.renderer_for(split.data)
    result = train(
        grown.model,
        lambda epoch: replay.render(renderer, epoch, taught),
        training,
        Path(options.out),
        _validation(grown, split, _balanced(split, kinds, training.seed), options.validation_users)
        if kinds
        else None,
        notes=off + untaught,
        identity=identity(
            "update",
            grown,
            replay=options.replay,
            tasks=dict(mixture.weights),
            loss_weights=weights,
            lessons=asked,
        ),
    )
    told_of = {"rates": dict(rates), "loss_weights": weights, "lessons": asked if taught else {}}
    grown.add_stage({"stage": "update", **told_of, "replay": options.replay, **result.summary()})
    return result.is_main


def _balanced(split: Split, kinds: Mapping[str, np.ndarray], seed: int) -> np.ndarray:
    """bool [n]: as many old as new validation rows, drawn: the best weights are chosen for both."""
    from p5t5.core.randomness import hashed

    held = split.part == 1
    rows = [np.flatnonzero(kinds[name] & held) for name in ("old rows", "new rows") if name in kinds]
    chosen = np.zeros(len(held), bool)
    for part in rows:
        order = np.argsort(hashed(seed, part), kind="stable")
        chosen[part[order[: min(map(len, rows))]]] = True
    return chosen


def format_table(table: Mapping[str, Mapping[str, Any]]) -> str:
    """The before/after table as text: a line a kind of validation rows and metric."""
    lines = [f"{'validation rows':<18}{'n':>7}  {'metric':<10}{'before':>9}{'after':>9}"]
    for name, entry in table.items():
        for metric, before in entry["before"].items():
            after = entry.get("after", {}).get(metric)
            shown = f"{after:>9.4f}" if after is not None else f"{'–':>9}"
            lines.append(f"{name:<18}{entry['rows']:>7}  {metric:<10}{before:>9.4f}{shown}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
