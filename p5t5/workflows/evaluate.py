"""Evaluation by the clean protocol: the model beside the baselines on the same rows (docs/evaluation.md)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from p5t5.core.errors import UserError
from p5t5.core.files import atomic_write
from p5t5.core.options import from_keywords, names, option, required
from p5t5.workflows.model_setup import LOG, Log

if TYPE_CHECKING:
    from p5t5.checkpoint.checkpoint import Checkpoint
    from p5t5.data.splits import Split
    from p5t5.evaluation.results import Evaluation, Measured

MAX_TEXT_USERS = 2000  # to write texts for more takes hours on a CPU
MAX_FUSED_ITEMS = 200_000  # of a catalogue for which a fusion is fitted unasked
# Behind the name of the results: what is kept beside them.
CALIBRATION, SAMPLES, COMPARISONS, VALUES = (
    ".calibration.json",
    ".samples.json",
    ".comparisons.json",
    ".values.parquet",
)


@dataclass
class EvaluateOptions:
    """What is evaluated, on what."""

    data: str = required("data folder, as `p5t5 prepare` writes it")
    out: str = required(
        "file for the result rows, results.json; results.samples.json and results.comparisons.json come beside it"
    )
    model: str = option("", "p5t5 model folder or Hub id; empty: baselines only")
    split: str = option(
        "loo",
        "loo (leave one out), temporal, or random (8:1:1 as P5 did for ratings and words: leaks the future); "
        "a model brings its own",
    )
    tasks: str = option("", "tasks, separated by commas; empty: the model's own")
    part: str = option("test", "test, or validation while you are still choosing")
    prompts: str = option("seen,held_out", "prompts: seen, held_out, or prompt ids")
    protocols: str = option("filtered,unfiltered", "full rankings without and with the items of the history")
    fusion: bool | None = option(
        None,
        "also rank next items by the blend of model and baselines, which `p5t5 recommend`, `query` and `serve` then use; it is "
        "fitted on validation rows and saved in the model's folder, unless one is there (by default where it can be)",
    )
    baselines: bool = option(True, "also evaluate the baselines on the same rows")
    values: bool = option(
        False,
        "also keep the value of every single row, results.values.parquet: for paired comparisons elsewhere",
    )
    limit: int = option(0, "at most this many users, drawn by seed; 0: all")
    variant: str = option("main", "the name of an ablation, kept in the rows")
    seed: int = option(0, "seed of prompts, candidates and bootstraps")


@dataclass(frozen=True)
class EvaluationResult:
    """What an evaluation found.

    ``rows``: flat result rows (docs/results.md). ``comparisons``: paired differences between the model and each
    baseline, and between held-out and seen prompts. ``samples``: generated texts with their references.
    ``calibration``: predicted against observed ratings. ``measured``: the values of single rows behind the results.
    ``notes``: sentences on what was not evaluated, and what to bear in mind.
    """

    rows: list[dict[str, Any]]
    comparisons: list[dict[str, Any]]
    samples: list[dict[str, Any]]
    calibration: list[dict[str, Any]]
    measured: list[Measured] = field(repr=False)
    notes: list[str]


def evaluate(
    data: str | Path,
    model: str | Path = "",
    out: str | Path | None = None,
    *,
    log: Log = LOG,
    **options: Any,
) -> EvaluationResult:
    """Evaluates ``model`` (a folder or Hub id; "": baselines only) on the ``data`` folder.

    ``out``: the file for the result rows, as of ``p5t5 evaluate``; None: nothing is written. ``options``: those of the
    command (EvaluateOptions), as in ``tasks=["rating/score"], limit=500``. ``log`` receives a line on each choice
    that is made on validation rows. Raises UserError for data that the model was not made for, and for options that
    cannot be used.
    """
    given = {"data": data, "model": model, "out": "" if out is None else out, **options}
    (chosen,) = from_keywords("evaluate", (EvaluateOptions,), given)
    return evaluate_with(chosen, log=log)


def evaluate_with(options: EvaluateOptions, *, log: Log = LOG) -> EvaluationResult:
    """``evaluate`` with an instance of its option class."""
    from p5t5.evaluation.results import compare, compare_prompts

    _check(options)
    checkpoint, split = _load(options)
    found = []
    if checkpoint is not None:
        found.append(_evaluate_model(options, checkpoint, split, log))
    if options.baselines:
        found.append(_evaluate_baselines(options, checkpoint, split))
    rows = [row for part in found for row in part.rows]
    if not rows:
        raise UserError("nothing was evaluated: " + "; ".join(s for part in found for s in part.skipped))
    comparisons = compare(found[0], found[1], options.seed) if len(found) == 2 else []
    comparisons += compare_prompts(found[0], options.seed) if found else []
    result = EvaluationResult(
        rows,
        comparisons,
        [sample for part in found for sample in part.samples],
        [table for part in found for table in part.calibration],
        [one for part in found for one in part.measured],
        _notes(options, split, found),
    )
    if options.out:
        _write(result, options, {"part": options.part, **_identity(split, checkpoint)})
    return result


def _check(options: EvaluateOptions) -> None:
    """UserError for what is wrong before anything is read: it is said before the long part."""
    from p5t5.data.splits import PARTS
    from p5t5.evaluation.results import read_rows
    from p5t5.tasks.registry import TASKS

    if options.part not in PARTS:
        raise UserError(f"--part {options.part}: choose test or validation.")
    if unknown := [name for name in names(options.tasks) if name not in TASKS]:
        raise UserError(f"--tasks: there is no task {unknown[0]!r}; there are {', '.join(TASKS)}.")
    if options.fusion and not options.model:
        raise UserError("--fusion blends a model with the baselines: give --model too.")
    if not options.out:
        return
    out = Path(options.out)
    if out.is_dir():
        raise UserError(f"--out {out} is a folder: name a file, such as {out / 'results.json'}.")
    if out.exists() and out.stat().st_size:
        try:
            read_rows(out)
        except UserError:
            raise UserError(f"--out {out} exists and does not hold results: name another file.") from None


def _load(options: EvaluateOptions) -> tuple[Checkpoint | None, Split]:
    """The model, if there is one, and the split of the data, which is the model's own."""
    from p5t5.checkpoint.checkpoint import Checkpoint
    from p5t5.data.explanations.build import check_split
    from p5t5.data.records.loading import load
    from p5t5.data.splits import split_by
    from p5t5.updating.new_interactions import split_of

    checkpoint = Checkpoint.load(options.model) if options.model else None
    data = load(options.data)
    if checkpoint is not None:
        checkpoint.check_same(data)
    split = split_of(checkpoint.info, data) if checkpoint else split_by(options.split, data)
    check_split(options.data, split.scheme)
    if options.fusion and not split.in_time_order:
        raise UserError(f"--fusion ranks next items, and the {split.scheme} split has none: leave it out.")
    return checkpoint, split


def _evaluate_model(options: EvaluateOptions, checkpoint: Checkpoint, split: Split, log: Log) -> Evaluation:
    """The model's rows; first, what is chosen on validation rows is chosen where it is not there yet."""
    from p5t5.evaluation.evaluate import evaluate_checkpoint
    from p5t5.tasks.registry import TASKS
    from p5t5.workflows.selection import choose_text, load_fusion

    tasks = names(options.tasks) or checkpoint.info.tasks
    texts = [task for task in tasks if TASKS[task].writes]
    rows = len(split.rows(options.part))
    if texts and not options.limit and rows > MAX_TEXT_USERS:
        log(
            f"{rows:,} rows get texts in {len(texts)} tasks: this takes long. "
            f"--limit {MAX_TEXT_USERS} asks a sample of the users."
        )
    choose_text(options.model, checkpoint, split, tasks or list(TASKS), options.seed, log)
    fused = _can_fuse(checkpoint, split, tasks) if options.fusion is None else options.fusion
    fusion = load_fusion(options.model, checkpoint, split, options.seed, log) if fused else None
    return evaluate_checkpoint(
        checkpoint,
        split,
        tasks or None,
        prompts=names(options.prompts),
        checkpoint_name=Path(options.model).name,
        variant=options.variant,
        fusion=fusion,
        **_protocol(options),
    )


def _can_fuse(checkpoint: Checkpoint, split: Split, tasks: Sequence[str]) -> bool:
    """Whether the fusion is fitted unasked: next items are evaluated, of a catalogue for which that takes seconds."""
    from p5t5.fusion.fitting import FUSED_TASK

    small = len(checkpoint.catalogue) <= MAX_FUSED_ITEMS
    return split.in_time_order and small and FUSED_TASK in tasks and bool(len(split.rows("validation")))


def _evaluate_baselines(options: EvaluateOptions, checkpoint: Checkpoint | None, split: Split) -> Evaluation:
    """The baselines' rows: of the model's tasks, with candidates and histories as the model has them."""
    from p5t5.evaluation.baselines import evaluate_baselines

    tasks = names(options.tasks) or (checkpoint.info.tasks if checkpoint else [])
    build = checkpoint.build_options() if checkpoint else None
    return evaluate_baselines(split, tasks=tasks or None, options=build, **_protocol(options))


def _protocol(options: EvaluateOptions) -> dict[str, Any]:
    """What the model and the baselines share."""
    return {
        "part": options.part,
        "seed": options.seed,
        "protocols": names(options.protocols),
        "limit": options.limit or None,
    }


def _notes(options: EvaluateOptions, split: Split, found: Sequence[Evaluation]) -> list[str]:
    from p5t5.data.splits import split_label

    notes = list(dict.fromkeys(sentence for part in found for sentence in part.skipped))
    fused = any(row["model"].endswith("+fusion") for part in found for row in part.rows)
    if fused and options.part == "validation":
        notes.append("fusion: its weights were fitted on validation rows, so these rows flatter it")
    if not split.in_time_order:
        notes.append(f"split: {split_label(split.scheme)}")
    return notes


def _write(result: EvaluationResult, options: EvaluateOptions, about: dict[str, Any]) -> None:
    """The rows in --out, and the rest beside it."""
    from p5t5.evaluation.example_values import write_example_values
    from p5t5.evaluation.results import write_rows

    out = Path(options.out)
    write_rows(out, result.rows)
    for suffix, content in (
        (COMPARISONS, result.comparisons),
        (CALIBRATION, result.calibration),
        (SAMPLES, result.samples),
    ):
        atomic_write(out.with_suffix(suffix), json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    if options.values:
        write_example_values(out.with_suffix(VALUES), result.measured, about)


def _identity(split: Split, checkpoint: Checkpoint | None) -> dict:
    """What the values are about: those of other data or another split are never paired with them."""
    about: dict = {"dataset": split.data.name, "hash": split.data.hash, "scheme": split.scheme}
    if checkpoint is not None:
        stages = checkpoint.info.stages
        spent = (stage.get(part) or 0 for stage in stages for part in ("seconds", "prepared_seconds"))
        about["seconds"] = round(sum(spent), 1)
        about["seed"] = checkpoint.info.options.seed
        about["parameters"] = sum(value.numel() for value in checkpoint.model.parameters())
    return about
