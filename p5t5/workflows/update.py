"""Updating: a model meets a newer data folder with new items, users and interactions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from p5t5.core.errors import UserError
from p5t5.core.files import atomic_write
from p5t5.core.options import from_keywords, option, rates, required, with_default
from p5t5.training.options import TrainOptions
from p5t5.workflows.model_setup import LOG, Log, check_out, identity

if TYPE_CHECKING:
    from p5t5.checkpoint.checkpoint import Checkpoint
    from p5t5.data.splits import Split
    from p5t5.evaluation.validation import Validation

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
    soft_targets: str = option(
        KEPT,
        "soft targets from simple models of old and new training rows, as in `p5t5 finetune --soft_targets`; "
        f"{KEPT}: those that the model was last trained with; empty: none",
    )
    training: bool = option(True, "continue training; false: new items and users are only named and placed")
    validation_users: int = option(
        1000, "validation rows of each kind (old, new, …) that are evaluated; 0: all"
    )


@dataclass
class UpdateTraining(TrainOptions):
    """Few steps at a low rate, and embeddings at the same rate as the rest."""

    epochs: float = option(3.0, "passes over the new interactions; 0: no such limit")
    learning_rate: float = with_default(TrainOptions, "learning_rate", 2e-4)


@dataclass(frozen=True)
class Update:
    """An updated model, and what changed.

    ``counts``: new_items, new_users, new_interactions. ``validation``: kind of rows → {"rows": their number,
    "before": metric → value, "after": the same where the model was trained}. ``skipped``: kind of rows → why it was
    not evaluated.
    """

    checkpoint: Checkpoint
    counts: Mapping[str, int]
    validation: Table
    skipped: Mapping[str, str] = field(default_factory=dict)


def update(data: str | Path, model: str | Path, out: str | Path, *, log: Log = LOG, **options: Any) -> Update:
    """Adds what is new in the ``data`` folder to ``model``, trains it on that, and saves it in ``out``.

    ``options``: those of ``p5t5 update`` (UpdateOptions, UpdateTraining), as in ``replay=0.7``. ``log`` receives the
    lines that the command prints. Raises UserError where the data is not newer data of the model, and for options or
    folders that cannot be used.
    """
    given = {"data": data, "model": model, "out": out, **options}
    return update_with(*from_keywords("update", (UpdateOptions, UpdateTraining), given), log=log)


def update_with(options: UpdateOptions, training: UpdateTraining, *, log: Log = LOG) -> Update:
    """``update`` with instances of its option classes."""
    from p5t5.checkpoint.checkpoint import Checkpoint, user_key
    from p5t5.data.records.loading import load
    from p5t5.updating.new_interactions import split_newer_data, update_groups

    alphas = _checked(options)
    check_out(options.out, training)
    checkpoint = Checkpoint.load(options.model)
    _check_trained(checkpoint, options.model)
    data = load(options.data)
    _check_tables(checkpoint, data)
    split, is_new, trained = split_newer_data(
        checkpoint.info, data, load(options.old) if options.old else None
    )
    groups = update_groups(
        split,
        is_new,
        checkpoint.catalogue.numbers(data.item_ids.tolist()) >= 0,
        np.array([user_key(user) in checkpoint.users for user in data.user_ids], bool),
    )
    updated = _extended(checkpoint, split)
    validations, skipped = group_validations(updated, split, groups, options.validation_users)
    table: Table = {
        name: {"rows": rows_evaluated(validation), "before": validation.measure(updated)}
        for name, validation in validations.items()
    }
    is_main, trains = True, options.training and bool((trained < (split.part == 0)).any())
    if trains:
        askable = {name: rows for name, rows in groups.items() if name in validations}
        is_main = _train(updated, split, trained, askable, options, training, alphas)
    counts = {
        "new_items": len(updated.catalogue) - len(checkpoint.catalogue),
        "new_users": len(updated.users) - len(checkpoint.users),
        "new_interactions": int(is_new.sum()),
    }
    found = Update(updated, counts, table, skipped)
    if is_main:
        if trains:
            _fit_calibration(updated, split)
            for name, validation in validations.items():
                table[name]["after"] = validation.measure(updated)
        _save(found, options)
        log(summary(found))
        log(f"updated {options.model} → {options.out}")
    return found


def _checked(options: UpdateOptions) -> dict[str, float] | None:
    """The alphas of the soft targets; None for those of the last training. UserError for options that make no sense."""
    from p5t5.distillation.soft_targets import check_alphas

    if not 0 <= options.replay < 1:
        raise UserError(f"--replay {options.replay}: must be a share from 0 to below 1.")
    if options.validation_users < 0:
        raise UserError("--validation_users must not be negative.")
    if options.soft_targets == KEPT:
        return None
    alphas = rates(options.soft_targets, "--soft_targets") or {}
    check_alphas(alphas)
    return alphas


def _save(found: Update, options: UpdateOptions) -> None:
    """Writes the folder, with update.json beside the model."""
    from p5t5.reporting.model_card import training_card

    found.checkpoint.save(options.out, training_card(found.checkpoint.info))
    report = {**found.counts, "replay": options.replay, "validation": found.validation}
    atomic_write(Path(options.out) / REPORT, json.dumps(report, indent=1) + "\n")


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


def _extended(checkpoint: Checkpoint, split: Split) -> Checkpoint:
    from p5t5.updating.new_entities import add_items, add_users
    from p5t5.updating.new_interactions import data_record

    updated = add_users(add_items(checkpoint, split.data.items), split)
    updated.info = updated.info.copy(data=data_record(split), trained=checkpoint.info.trained_data)
    return updated


def group_validations(
    checkpoint: Checkpoint, split: Split, groups: Mapping[str, np.ndarray], limit: int
) -> tuple[dict[str, Validation], dict[str, str]]:
    """One validation per group of rows, and for the others why no task can ask about them."""
    found, off = {}, {}
    for name, rows in groups.items():
        try:
            found[name] = _validation(checkpoint, split, rows, limit)
        except UserError as error:
            off[name] = str(error)
    return found, off


def _validation(checkpoint: Checkpoint, split: Split, rows: np.ndarray, limit: int) -> Validation:
    from p5t5.evaluation.validation import validation_metric
    from p5t5.updating.new_interactions import restrict_validation

    return validation_metric(checkpoint, restrict_validation(split, rows), limit=limit or None)


def _fit_calibration(updated: Checkpoint, split: Split) -> None:
    from p5t5.inference.predictor import Predictor
    from p5t5.inference.rating_calibration_fit import fit_rating_calibration, store_rating_calibration

    predictor = Predictor(updated, split.data)
    store_rating_calibration(
        updated, fit_rating_calibration(predictor, split, updated.info.tasks, updated.build_options(-1))
    )


def rows_evaluated(validation: Validation) -> int:
    return max(len(rows) for rows in validation.rows.values())


def _train(
    updated: Checkpoint,
    split: Split,
    trained: np.ndarray,
    groups: Mapping[str, np.ndarray],
    options: UpdateOptions,
    training: UpdateTraining,
    alphas: Mapping[str, float] | None,
) -> bool:
    """Trains the updated model; True in the process that may write files. ``alphas``: None for those it had before."""
    from p5t5.distillation.soft_targets import make_soft_targets
    from p5t5.text.mixture import make_mixture
    from p5t5.training.loop import train
    from p5t5.updating.new_interactions import Replay

    last: dict[str, Any] = next((stage for stage in reversed(updated.info.stages) if stage.get("rates")), {})
    task_rates = last.get("rates") or dict.fromkeys(updated.info.tasks, 1.0)
    weights = last.get("loss_weights") or {}
    mixture, off = make_mixture(
        split, updated.prompts, task_rates, updated.build_options(), training.seed, loss_weights=weights
    )
    alphas = (last.get("soft_targets") or {}) if alphas is None else alphas
    asked = {task: alpha for task, alpha in alphas.items() if task in mixture.tasks}
    # From the split's training rows, old and new: teachers see no others.
    soft_targets, without = make_soft_targets(updated, split, asked, training.seed, progress=True)
    replay = Replay.of(mixture, trained, options.replay)
    renderer = updated.renderer_for(split.data)
    result = train(
        updated.model,
        lambda epoch: replay.render(renderer, epoch, soft_targets),
        training,
        Path(options.out),
        _validation(updated, split, _balanced(split, groups, training.seed), options.validation_users)
        if groups
        else None,
        notes=off + without,
        identity=identity(
            "update",
            updated,
            replay=options.replay,
            tasks=dict(mixture.weights),
            loss_weights=weights,
            soft_targets=asked,
        ),
    )
    kept = {"rates": dict(task_rates), "loss_weights": weights, "soft_targets": asked if soft_targets else {}}
    updated.add_stage({"stage": "update", **kept, "replay": options.replay, **result.summary()})
    return result.is_main


def _balanced(split: Split, groups: Mapping[str, np.ndarray], seed: int) -> np.ndarray:
    """bool [n]: as many old as new validation rows, drawn: the best weights are chosen for both."""
    from p5t5.core.randomness import sample

    held = split.part == 1
    rows = [np.flatnonzero(groups[name] & held) for name in ("old rows", "new rows") if name in groups]
    chosen = np.zeros(len(held), bool)
    for part in rows:
        chosen[sample(part, min(map(len, rows)), seed)] = True
    return chosen


def summary(found: Update) -> str:
    """What changed, and the metrics before and after, one line per kind of validation rows and metric."""
    lines = [", ".join(f"{name.replace('_', ' ')}: {number:,}" for name, number in found.counts.items())]
    lines += [f"{name}: not evaluated: {reason}" for name, reason in found.skipped.items()]
    return "\n".join([*lines, format_table(found.validation)])


def format_table(table: Mapping[str, Mapping[str, Any]]) -> str:
    """The before/after table as text: one line per kind of validation rows and metric."""
    lines = [f"{'validation rows':<18}{'n':>7}  {'metric':<10}{'before':>9}{'after':>9}"]
    for name, entry in table.items():
        for metric, before in entry["before"].items():
            after = entry.get("after", {}).get(metric)
            shown = f"{after:>9.4f}" if after is not None else f"{'–':>9}"
            lines.append(f"{name:<18}{entry['rows']:>7}  {metric:<10}{before:>9.4f}{shown}")
    return "\n".join(lines)
