"""``p5t5 evaluate``: the clean protocol, the model beside the baselines on the same rows."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from p5t5.cli.main import run
from p5t5.cli.model_setup import quiet
from p5t5.cli.options import option, parse, required
from p5t5.core.errors import UserError

if TYPE_CHECKING:
    from p5t5.checkpoint.checkpoint import Checkpoint
    from p5t5.data.splits import Split
    from p5t5.fusion.blend import Fusion

EXAMPLE = "p5t5 evaluate --data runs/ml-100k --model runs/model --out runs/results.json"
MANY = 2000  # users: to write texts for more takes hours on a CPU
CALIBRATION = ".calibration.json"  # beside the results too, where ratings were asked for
SAMPLES, COMPARISONS, VALUES = (
    ".samples.json",
    ".comparisons.json",
    ".values.parquet",
)  # behind the name of the results


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
    prompts: str = option("seen,held_out", "wordings: seen, held_out, or prompt ids")
    protocols: str = option("filtered,unfiltered", "full rankings without and with the items of the history")
    fusion: bool = option(
        False,
        "rank next items by the blend of model and baselines too; it is fitted on validation rows and saved in the "
        "model's folder, unless one is there",
    )
    baselines: bool = option(True, "evaluate the baselines on the same rows too")
    values: bool = option(
        False,
        "keep the value of every single row too, results.values.parquet: for paired comparisons elsewhere",
    )
    limit: int = option(0, "at most this many users, drawn by seed; 0: all")
    variant: str = option("main", "the name of an ablation, kept in the rows")
    seed: int = option(0, "seed of wordings, candidates and bootstraps")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    return run("evaluate", lambda: _main(argv))


def _main(argv: Sequence[str] | None) -> None:
    (options,) = parse(
        (EvaluateOptions,),
        argv,
        name="evaluate",
        about="Evaluates a model, and baselines beside it, by the clean protocol (docs/evaluation.md).",
        example=EXAMPLE,
    )
    from p5t5.checkpoint.checkpoint import Checkpoint
    from p5t5.data.explanations.build import check_split
    from p5t5.data.records.loading import load
    from p5t5.data.splits import PARTS, split_by, split_label
    from p5t5.evaluation.baselines import evaluate_baselines
    from p5t5.evaluation.evaluate import evaluate_checkpoint
    from p5t5.evaluation.example_values import write_example_values
    from p5t5.evaluation.results import compare, compare_prompts, write_rows
    from p5t5.tasks.registry import TASKS
    from p5t5.updating.new_interactions import split_of

    quiet()
    if options.part not in PARTS:
        raise UserError(f"--part {options.part}: choose test or validation.")
    tasks = _names(options.tasks)
    if unknown := [name for name in tasks if name not in TASKS]:
        raise UserError(f"--tasks: there is no task {unknown[0]!r}; there are {', '.join(TASKS)}.")
    out = Path(options.out)
    if out.is_dir():  # said before the long part
        raise UserError(f"--out {out} is a folder: name a file, such as {out / 'results.json'}.")
    checkpoint = Checkpoint.load(options.model) if options.model else None
    data = load(options.data)
    if checkpoint is not None:
        checkpoint.check_same(data)
    split = split_of(checkpoint.info, data) if checkpoint else split_by(options.split, data)
    check_split(options.data, split.scheme)
    if options.fusion and not split.in_time_order:
        raise UserError(f"--fusion ranks next items, and the {split.scheme} split has none: leave it out.")
    shared = dict(
        part=options.part, seed=options.seed, protocols=_names(options.protocols), limit=options.limit or None
    )
    found = []
    if options.fusion and checkpoint is None:
        raise UserError("--fusion blends a model with the baselines: give --model too.")
    if checkpoint is not None:
        tasks = tasks or checkpoint.info.tasks
        texts = [task for task in tasks if TASKS[task].writes]
        if texts and not options.limit and len(split.rows(options.part)) > MANY:
            count = f"{len(split.rows(options.part)):,} rows get texts in {len(texts)} tasks"
            print(f"{count}: this takes long. --limit {MANY} asks a sample of the users.", file=sys.stderr)
        _choose_text(options.model, checkpoint, split, tasks or list(TASKS), options.seed)
        model = evaluate_checkpoint(
            checkpoint,
            split,
            tasks or None,
            prompts=_names(options.prompts),
            checkpoint_name=Path(options.model).name,
            variant=options.variant,
            fusion=_fusion(options.model, checkpoint, split, options.seed) if options.fusion else None,
            **shared,
        )
        found.append(model)
    if options.baselines:
        build = checkpoint.build_options() if checkpoint else None
        found.append(evaluate_baselines(split, tasks=tasks or None, options=build, **shared))
    rows = [row for part in found for row in part.rows]
    if not rows:
        raise UserError("nothing was evaluated: " + "; ".join(s for part in found for s in part.skipped))
    write_rows(out, rows)
    comparisons = compare(found[0], found[1], options.seed) if len(found) == 2 else []
    comparisons += compare_prompts(found[0], options.seed)
    _write(out.with_suffix(COMPARISONS), comparisons)
    _write(out.with_suffix(CALIBRATION), [table for part in found for table in part.calibration])
    _write(out.with_suffix(SAMPLES), [sample for part in found for sample in part.samples])
    if options.values:
        about = {"part": options.part, **_identity(split, checkpoint)}
        write_example_values(out.with_suffix(VALUES), [one for part in found for one in part.measured], about)
    for sentence in dict.fromkeys(sentence for part in found for sentence in part.skipped):
        print(sentence)
    if options.fusion and options.part == "validation":
        print("fusion: its weights were fitted on validation rows, so these rows flatter it")
    if not split.in_time_order:
        print(f"split: {split_label(split.scheme)}")
    print(_table(rows))
    for line in _verdicts(rows, comparisons):
        print(line)
    print(f"{len(rows)} rows → {out}")


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


def _choose_text(model: str, checkpoint: Checkpoint, split: Split, tasks: list[str], seed: int) -> None:
    """How each task's text is decoded, if that was not chosen yet; kept in the model's folder, if it is one."""
    from dataclasses import replace

    from tqdm import tqdm

    from p5t5.inference.item_phrases import fit_item_ngrams
    from p5t5.inference.predictor import Predictor
    from p5t5.inference.text_decoding_search import (
        choose_text_options,
        keep_text_options,
        settings,
    )
    from p5t5.inference.text_writer import describe_decoding, saved_options
    from p5t5.metrics.text import require_packages
    from p5t5.tasks.registry import TASKS

    missing = [task for task in tasks if TASKS[task].writes and task not in saved_options(checkpoint)]
    missing = [task for task in missing if not TASKS[task].missing(split.data)]
    if not missing:
        return
    require_packages()
    build = replace(checkpoint.build_options(-1), seed=seed)
    ngrams = fit_item_ngrams(checkpoint.tokenizer, split, missing, build)
    predictor = Predictor(checkpoint, split.data, item_ngrams=ngrams)
    ways = sum(
        len(settings(bool(TASKS[task].hint), TASKS[task].target_slot in predictor.item_ngrams))
        for task in missing
    )
    with tqdm(desc="choosing how text is decoded", total=ways, unit=" ways", leave=False) as bar:
        chosen = choose_text_options(
            predictor,
            split,
            missing,
            build,
            progress=lambda what: (bar.set_postfix_str(what), bar.update()),
        )
    where = "not saved: --model is not a local folder; download it first"
    keep_text_options(checkpoint, chosen, predictor.item_ngrams)
    if Path(model).is_dir():  # what lies in the Hub's cache is not ours to change
        try:
            checkpoint.save_fitted(model)
            where = str(Path(model) / "p5t5.json")
        except OSError as error:
            where = f"not kept in {model}: {error}"
    for task, decoding in saved_options(checkpoint).items():
        if task in chosen:
            rows = chosen[task]["validation"]["rows"]
            print(f"{task}: {describe_decoding(decoding)}, chosen on {rows} validation rows → {where}")


def _fusion(model: str, checkpoint: Checkpoint, split: Split, seed: int) -> Fusion:
    """The one beside the model, or a new one that is then saved there, if that is a folder."""
    from tqdm import tqdm

    from p5t5.checkpoint.hub import resolve
    from p5t5.fusion.blend import FILE, Fusion
    from p5t5.fusion.model_scores import fit_for

    folder = resolve(model)
    if (folder / FILE).is_file():
        fusion = Fusion.load(folder)
        fusion.check(checkpoint.info.data.hash)
        return fusion
    with tqdm(unit=" rows", desc="fitting the fusion", leave=False) as bar:
        fusion = fit_for(checkpoint, split, seed=seed, progress=bar.update)
    where = "not saved: --model is not a local folder; download it first"
    if Path(model).is_dir():
        fusion.save(folder)
        where = str(folder / FILE)
    print(f"fusion: {fusion.kind}, fitted on {fusion.about['rows']} validation rows → {where}")
    return fusion


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _write(path: Path, content: list) -> None:
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    temporary.replace(path)


def _table(rows: list[dict]) -> str:
    """The main metric of each task and model, as people read it in a terminal."""
    shown = [row for row in rows if row["metric"] in ("ndcg@10", "rmse", "accuracy", "rouge1")]
    lines = [
        f"{'task':<24} {'model':<16} {'prompt':<9} {'protocol':<21} {'metric':<9} {'value':>7}  95 % interval"
    ]
    for row in shown:
        low, high = row["ci95"] or (float("nan"), float("nan"))
        value = float("nan") if row["value"] is None else row["value"]
        lines.append(
            f"{row['task']:<24} {row['model']:<16} {row['prompt'] or '':<9} {row['protocol']:<21} "
            f"{row['metric']:<9} {value:7.4f}  {low:.4f} to {high:.4f}"
        )
    return "\n".join(lines)


def _verdicts(rows: list[dict], comparisons: list[dict]) -> list[str]:
    """One sentence for each comparison that a reader will ask for: with the floors, with the best baseline, and of
    held-out wordings with seen ones."""
    from p5t5.evaluation.results import SEEN_PROMPTS
    from p5t5.reporting.results_page import strongest

    words = {True: "better than", False: "worse than", None: "level with"}
    found, wordings = [], []
    for one in comparisons:
        if one["metric"] not in ("ndcg@10", "rmse", "rouge1", "accuracy") or one["ci95"] is None:
            continue
        about, metric, model = f"{one['task']}, {one['protocol']}", one["metric"], one["model"]
        if one["against"] == SEEN_PROMPTS:
            part = one["protocol"].endswith((", model alone", "history"))
            if one["relative_ci95"] is not None and not part:
                low, high = one["relative_ci95"]
                wordings.append(
                    f"{about}: {model} in held-out wordings against seen ones: "
                    f"{metric} {one['relative']:+.1%} (95 % {low:+.1%} to {high:+.1%})"
                )
            continue
        best = strongest(rows, one["task"], metric, one["protocol"]) or {}
        if one["prompt"] == "seen" and one["against"] in ("count_floor", "bias", best.get("model")):
            low, high = one["ci95"]
            found.append(
                f"{about}: {model} is {words[one['better']]} {one['against']} "
                f"({metric} {one['difference']:+.4f}, 95 % {low:+.4f} to {high:+.4f})"
            )
    return found + wordings


if __name__ == "__main__":
    sys.exit(main())
