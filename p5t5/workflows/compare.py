"""Models and baselines side by side, on the same rows of one split."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from p5t5.core.errors import UserError
from p5t5.core.files import atomic_write
from p5t5.core.machine import peak_memory, reset_peak_memory
from p5t5.core.options import from_keywords, names, option, required
from p5t5.workflows.evaluate import EvaluateOptions, evaluate_with
from p5t5.workflows.model_setup import LOG, Log
from p5t5.workflows.push import MODEL_FILES

if TYPE_CHECKING:
    from p5t5.checkpoint.info import CheckpointInfo
    from p5t5.evaluation.results import Measured

NO_BASELINES = "none"
IMPLICIT = {"item_knn", "als", "bpr"}  # of the package implicit, which are slow to fit
FORMAT = 1
OURS = "p5t5"  # what results call a model


@dataclass
class CompareOptions:
    """What is compared, on what."""

    data: str = required("data folder, as `p5t5 prepare` writes it")
    models: list[str] = option(
        [], "fine-tuned models' folders or Hub ids; the others are compared with the first"
    )
    baselines: list[str] = option(
        [], f"baselines by name, as in results; none given: all; {NO_BASELINES}: none"
    )
    tasks: str = option("", "tasks, separated by commas; empty: those that all the models know")
    part: str = option("test", "test, or validation while you are still choosing")
    split: str = option("loo", "the split where no model brings its own: loo, temporal or random")
    limit: int = option(0, "at most this many users, drawn by seed; 0: all")
    seed: int = option(0, "seed of prompts, candidates and bootstraps")
    out: str = option("", "a JSON file for everything that was found")
    html: str = option("", "an HTML page to write")  # fmt: skip


@dataclass(frozen=True)
class Contender:
    """``seconds``: of its evaluation, loading included; ``memory_mb``: the most that the process held above its start
    (None where the system does not tell); ``parameters``: of the network; ``folder_mb``: of what must be deployed.
    The baselines are evaluated together: the first of them carries what all took.
    """

    name: str
    kind: str  # "model" or "baseline"
    seconds: float
    memory_mb: float | None = None
    parameters: int | None = None
    folder_mb: float | None = None


@dataclass(frozen=True)
class Comparison:
    """``rows``: result rows (docs/results.md), ``model`` being the contender's name; ``differences``: each contender minus
    the ``reference``, paired by user, with 95 % intervals."""

    reference: str
    contenders: list[Contender]
    rows: list[dict[str, Any]]
    differences: list[dict[str, Any]]
    notes: list[str]

    def as_json(self) -> dict[str, Any]:
        return {"format": FORMAT, **asdict(self)}


def compare(
    data: str | Path, models: Sequence[str | Path] = (), *, log: Log = LOG, **options: Any
) -> Comparison:
    """Evaluates ``models`` and baselines on the same rows of ``data``, and compares them with the first, pair by pair.

    ``options``: those of ``p5t5 compare`` (CompareOptions), as in ``tasks=["sequential/next_item"], limit=500``. Raises
    UserError for models that were made for other data or another split, and for options that cannot be used.
    """
    given = {"data": data, "models": [str(model) for model in models], **options}
    (chosen,) = from_keywords("compare", (CompareOptions,), given)
    return compare_with(chosen, log=log)


def compare_with(options: CompareOptions, *, log: Log = LOG) -> Comparison:
    """`compare` from its options."""
    infos = _infos(options)
    scheme = _scheme(options, infos)
    tasks = options.tasks or ",".join(_shared_tasks(infos))
    wants_baselines = options.baselines != [NO_BASELINES]
    if len(infos) + (2 if wants_baselines else 0) < 2:
        raise UserError("there is nothing to compare: name two --models, or leave out --baselines none.")
    _check_files(options)
    found: list[_Found] = []
    for (name, _), folder in zip(infos.items(), options.models, strict=True):
        log(f"{name}: evaluating")
        found += _model(name, folder, options, tasks)
    if wants_baselines:
        log("baselines: evaluating")
        found += _baselines(options, scheme, tasks, next(iter(infos.values()), None))
    reference, *others = found
    differences = [row for one in others for row in _differences(one, reference, options.seed)]
    notes = list(dict.fromkeys(note for one in found for note in one.notes))
    rows = [row for one in found for row in one.rows]
    result = Comparison(reference.contender.name, [one.contender for one in found], rows, differences, notes)
    if options.out:
        atomic_write(options.out, json.dumps(result.as_json(), indent=1, ensure_ascii=False) + "\n")
    if options.html:
        from p5t5.reporting.comparison_page import write_comparison

        write_comparison(options.html, result.as_json())
    return result


def _check_files(options: CompareOptions) -> None:
    """UserError for files that hold something else, before the long part."""
    for what, path, mark in (
        ("--out", options.out, b'"contenders"'),
        ("--html", options.html, b"<title>p5t5 on"),
    ):
        if path and Path(path).is_dir():
            raise UserError(f"{what} {path} is a folder: name a file.")
        if (
            path
            and Path(path).is_file()
            and Path(path).stat().st_size
            and mark not in Path(path).read_bytes()
        ):
            raise UserError(f"{what} {path} exists and holds no comparison: name another file.")


@dataclass(frozen=True)
class _Found:
    contender: Contender
    measured: list[Measured]
    rows: list[dict[str, Any]]
    notes: list[str]


def _infos(options: CompareOptions) -> dict[str, CheckpointInfo]:
    """Name → record of each model: the folder's name, or the whole path where two folders have the same."""
    from p5t5.checkpoint.hub import resolve
    from p5t5.checkpoint.info import CheckpointInfo

    short = [Path(model).name for model in options.models]
    long = [
        model if short.count(name) > 1 else name for model, name in zip(options.models, short, strict=True)
    ]
    if len(set(long)) < len(long):
        raise UserError(f"--models: {max(long, key=long.count)} is named twice.")
    return {
        name: CheckpointInfo.read(resolve(model)) for name, model in zip(long, options.models, strict=True)
    }


def _scheme(options: CompareOptions, infos: Mapping[str, CheckpointInfo]) -> str:
    """The split that all the models know. UserError where they differ, there or in the number of candidates."""
    for what, values in (
        ("splits", {info.split for info in infos.values()}),
        ("numbers of candidates", {str(info.options.candidates) for info in infos.values()}),
    ):
        if len(values) > 1:
            raise UserError(
                f"the models have different {what} ({', '.join(sorted(values))}), and so different rows."
            )
    return next(iter(infos.values())).split if infos else options.split


def _shared_tasks(infos: Mapping[str, CheckpointInfo]) -> list[str]:
    """The tasks of the first model that the others know too. UserError where there is none."""
    if not infos:
        return []
    first, *others = infos.values()
    shared = [task for task in first.tasks if all(task in info.tasks for info in others)]
    if not shared:
        raise UserError(
            "the models have no task in common: compare those that were fine-tuned on the same ones."
        )
    return shared


def _model(name: str, folder: str, options: CompareOptions, tasks: str) -> list[_Found]:
    """The model alone and, where a fusion was fitted beside it, with that: nothing is fitted or written here."""
    from p5t5.checkpoint.checkpoint import Checkpoint
    from p5t5.checkpoint.hub import resolve
    from p5t5.fusion.blend import FUSION_FILE

    place = resolve(folder)
    asked = EvaluateOptions(
        options.data, "", folder, tasks=tasks, part=options.part, prompts="seen", baselines=False,
        limit=options.limit, seed=options.seed, fusion=(place / FUSION_FILE).is_file(),
    )  # fmt: skip
    before, started = reset_peak_memory(), time.perf_counter()
    result = evaluate_with(asked)
    seconds, memory = time.perf_counter() - started, _above(before)
    size = sum(path.stat().st_size for path in place.iterdir() if path.name in MODEL_FILES)
    parameters = Checkpoint.load(place).model.num_parameters()
    about = Contender(name, "model", round(seconds, 2), memory, parameters, round(size / 1e6, 2))
    out: list[_Found] = []
    for suffix in dict.fromkeys(one.model.removeprefix(OURS) for one in result.measured):
        shown = name + suffix
        out.append(
            _Found(
                about if not out else Contender(shown, "model", 0.0),
                [replace(one, model=shown) for one in result.measured if one.model == OURS + suffix],
                [{**row, "model": shown} for row in result.rows if row["model"] == OURS + suffix],
                [f"{name}: {note}" for note in result.notes],
            )
        )
    return out


def _baselines(options: CompareOptions, scheme: str, tasks: str, info: CheckpointInfo | None) -> list[_Found]:
    """The baselines that are asked for; ``info``: of the model whose candidates and rows they get."""
    from p5t5.data.records.loading import load
    from p5t5.data.splits import split_by
    from p5t5.evaluation.baselines import evaluate_baselines
    from p5t5.updating.new_interactions import split_of

    data = load(options.data)
    split = split_by(scheme, data) if info is None else split_of(info, data)
    before, started = reset_peak_memory(), time.perf_counter()
    found = evaluate_baselines(
        split,
        options.part,
        names(tasks) or None,
        options.seed,
        limit=options.limit or None,
        options=None if info is None else info.options,
        with_implicit=None if not options.baselines or IMPLICIT & set(options.baselines) else False,
    )
    seconds, memory = round(time.perf_counter() - started, 2), _above(before)
    known = list(dict.fromkeys(one.model for one in found.measured))
    if unknown := [name for name in options.baselines if name not in known]:
        raise UserError(f"--baselines: there is no {unknown[0]!r} here; there are {', '.join(known)}.")
    chosen = options.baselines or known
    return [
        _Found(
            Contender(name, "baseline", seconds if name == chosen[0] else 0.0, memory if name == chosen[0] else None),
            [one for one in found.measured if one.model == name],
            [row for row in found.rows if row["model"] == name],
            found.skipped,
        )
        for name in chosen
    ]  # fmt: skip


def _differences(one: _Found, reference: _Found, seed: int) -> Iterator[dict[str, Any]]:
    """One contender minus the reference, where both were asked the same."""
    from p5t5.evaluation.results import Evaluation
    from p5t5.evaluation.results import compare as paired

    for ours in one.measured:
        for theirs in reference.measured:
            if (ours.task, ours.protocol) == (theirs.task, theirs.protocol):
                yield from paired(Evaluation(measured=[ours]), Evaluation(measured=[theirs]), seed)


def _above(before: int | None) -> float | None:
    """Megabytes that the process held above ``before``."""
    peak = peak_memory()
    return None if before is None or peak is None else round(max(peak - before, 0) / 1e6, 1)
