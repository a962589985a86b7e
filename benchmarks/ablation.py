"""What each part of a recipe buys: the same training with one thing changed at a time, in equal time.

python benchmarks/ablation.py --data runs/beauty --arms configs/ablations/amazon-beauty.yaml --minutes 5 --out results/ablation-amazon-beauty.jsonl
python benchmarks/ablation.py … --arms configs/ablations/amazon-beauty.yaml --only full "without continue" --seeds 0 1 2

An arms file names a recipe and a list of arms, each with a `name` and what it changes:

- `set`: options of `p5t5 finetune`, instead of the recipe's;
- `tasks`: rates that are added to the recipe's tasks or replace theirs; `without_item`: tasks or families to leave out;
  `families`: the only ones to train;
- `pretrain`: a recipe of `p5t5 pretrain`, which gets --share of the minutes.

The arm that all others are compared with is the first one. Each arm is trained for --minutes on each seed, and judged
on validation rows (of --asked users, drawn by the seed of evaluation, the same for all arms) in seen wordings by
p5t5.evaluation.evaluate; what a model has not learnt it is not asked. Its values stay in --work: an arm that is there with the
same options, data and --share is not trained again. --out has a line an arm and metric: the mean over seeds, and the paired bootstrap
over users of arm − first arm on the seeds that both have. Validation also chose each arm's best weights.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from common import curves

from p5t5.core.errors import UserError
from p5t5.evaluation.example_values import read_example_values, write_example_values
from p5t5.evaluation.results import STATISTICS, Measured
from p5t5.metrics.intervals import bootstrap_interval, first_mean, paired_bootstrap

ROOT = Path(__file__).resolve().parent.parent
RECIPES = ROOT / "configs" / "recipes"
JUDGED = ("sequential/next_item", "rating/score", "review/score", "explanation/explain", "review/headline",
          "direct/choose", "sequential/choose")  # fmt: skip
METRICS = ("ndcg@10", "rmse", "rouge1")
KEYS = {"name", "set", "tasks", "without", "families", "pretrain"}


@dataclass(frozen=True)
class Arm:
    """``options``: of `p5t5 finetune`, whole; ``pretrain``: those of `p5t5 pretrain`, or None."""

    name: str
    options: dict[str, Any]
    pretrain: dict[str, Any] | None = None

    @property
    def digest(self) -> str:
        words = json.dumps([self.options, self.pretrain], sort_keys=True, default=str)
        return hashlib.sha256(words.encode()).hexdigest()[:12]

    def stem(self, seed: int) -> str:
        """How its files are called."""
        return f"{''.join(c if c.isalnum() else '-' for c in self.name)}.seed{seed}"


@dataclass
class Run:
    """One arm on one seed: what was measured, and about it."""

    measured: list[Measured]
    about: dict[str, Any] = field(default_factory=dict)


def arms_of(path: Path, recipes: Path = RECIPES) -> list[Arm]:
    """The arms of a file. UserError for a key or a task that means nothing, and for a name given twice."""
    words = yaml.safe_load(path.read_text(encoding="utf-8"))
    base = _recipe(recipes, words["recipe"])
    found: dict[str, Arm] = {}
    for one in words["arms"]:
        if unknown := set(one) - KEYS:
            raise UserError(
                f"{path}: arm {one.get('name')!r} has {sorted(unknown)}; known are {sorted(KEYS)}."
            )
        if one["name"] in found:
            raise UserError(f"{path}: two arms are called {one['name']!r}.")
        tasks = chosen_tasks(base.get("tasks", {}), one, f"{path}: arm {one['name']!r}")
        pretrain = _recipe(recipes, one["pretrain"]) if "pretrain" in one else None
        options = {**base, "tasks": tasks, **one.get("set", {})}
        for name in ("soft_targets", "loss_weights"):  # what is not trained is neither distilled nor weighed
            if isinstance(options.get(name), dict):
                options[name] = {task: value for task, value in options[name].items() if task in tasks}
        found[one["name"]] = Arm(one["name"], options, pretrain)
    return list(found.values())


def _recipe(recipes: Path, name: str) -> dict[str, Any]:
    return yaml.safe_load((recipes / name).read_text(encoding="utf-8"))


def chosen_tasks(rates: Mapping[str, float], arm: Mapping[str, Any], where: str) -> dict[str, float]:
    """The recipe's ``rates`` with what the arm adds, leaves out and keeps."""
    tasks = {**rates, **arm.get("tasks", {})}
    for wanted in [*arm.get("without", []), *arm.get("families", [])]:
        if not any(_is(task, wanted) for task in tasks):
            raise UserError(
                f"{where}: the recipe has no task or family {wanted!r}; it has {', '.join(tasks)}."
            )
    gone, only = arm.get("without", []), arm.get("families", [])
    kept = {task: rate for task, rate in tasks.items() if not any(_is(task, one) for one in gone)}
    return {task: rate for task, rate in kept.items() if not only or any(_is(task, one) for one in only)}


def _is(task: str, wanted: str) -> bool:
    return wanted in (task, task.split("/")[0])


def train(arm: Arm, seed: int, arguments: argparse.Namespace, folder: Path) -> Path:
    """The trained model's folder. UserError with what the command said where it failed."""
    minutes, start = arguments.minutes, {}
    if arm.pretrain is not None:
        _command("pretrain", arm.pretrain, arguments, seed, folder / "pretrained", minutes * arguments.share)
        minutes, start = minutes * (1 - arguments.share), {"model": str(folder / "pretrained")}
    _command("finetune", {**arm.options, **start}, arguments, seed, folder / "model", minutes)
    return folder / "model"


def _command(
    name: str, options: Mapping[str, Any], arguments: argparse.Namespace, seed: int, out: Path, minutes: float
) -> None:
    """A process of its own: no arm finds what another left in memory."""
    out.parent.mkdir(parents=True, exist_ok=True)
    recipe = out.with_suffix(".yaml")
    recipe.write_text(yaml.safe_dump(dict(options)))
    shared = ["--config", str(recipe), "--data", arguments.data, "--out", str(out), "--seed", str(seed)]
    command = [sys.executable, "-m", "p5t5", name, *shared, "--max_minutes", str(minutes)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.strip()] or ["(nothing)"]
        raise UserError(f"p5t5 {name} failed: {said[-1]}")


def judged(model: Path, data: str, asked: int) -> tuple[list[Measured], dict[str, Any]]:
    """The model's answers on validation rows, and about it."""
    from p5t5.checkpoint.checkpoint import Checkpoint
    from p5t5.data.records.loading import load
    from p5t5.evaluation.evaluate import evaluate_checkpoint
    from p5t5.updating.new_interactions import split_of

    checkpoint = Checkpoint.load(model)
    split = split_of(checkpoint.info, load(data))
    tasks = [task for task in JUDGED if task in checkpoint.info.tasks]
    found = evaluate_checkpoint(
        checkpoint,
        split,
        tasks,
        "validation",
        ("seen",),
        limit=asked or None,
        progress=False,
        samples=0,
    )
    stages = checkpoint.info.stages
    return found.measured, {
        "dataset": split.data.name,
        "hash": split.data.hash,
        "steps": sum(stage.get("steps") or 0 for stage in stages),
        "seconds": round(curves.seconds_of(stages), 1),
        "parameters": sum(value.numel() for value in checkpoint.model.parameters()),
    }


@cache
def hash_of(data: str) -> str:
    """Of what is in the folder: it may be prepared anew under the same name."""
    from p5t5.data.records.loading import load

    return load(data).hash


def run_of(arm: Arm, seed: int, arguments: argparse.Namespace) -> Run:
    """What --work has of the arm and seed with the same options, or a training."""
    path = Path(arguments.work) / f"{arm.stem(seed)}.values.parquet"
    wanted = {"arm": arm.name, "seed": seed, "digest": arm.digest}
    wanted |= {"minutes": arguments.minutes, "asked": arguments.asked, "data": str(arguments.data)}
    wanted["hash"] = hash_of(str(arguments.data))
    if arm.pretrain is not None:
        wanted["share"] = arguments.share
    if path.is_file():
        measured, about = read_example_values(path)
        if all(about.get(name) == value for name, value in wanted.items()):
            return Run(measured, about)
    folder = Path(arguments.work) / arm.stem(seed)
    shutil.rmtree(folder, ignore_errors=True)
    model = train(arm, seed, arguments, folder)
    measured, about = judged(model, arguments.data, arguments.asked)
    write_example_values(path, measured, {**wanted, **about})
    if not arguments.keep:
        shutil.rmtree(folder)
    return Run(measured, {**wanted, **about})


def lines(runs: Mapping[str, Mapping[int, Run]], against: str) -> Iterator[dict[str, Any]]:
    """A line an arm, task, protocol and metric: over seeds row by row the mean, and arm − ``against``, paired."""
    for arm, seeds in runs.items():
        for key, metric, one in _asked(next(iter(seeds.values())).measured):
            # Of what all seeds of the arm were asked.
            statistic = STATISTICS.get(metric, first_mean)
            own = _mean(seeds, key, metric, list(seeds))
            value, low, high = bootstrap_interval(own, users=one.users, statistic=statistic)
            line = {
                "arm": arm,
                "task": one.task,
                "protocol": one.protocol,
                "metric": metric,
                "value": round(value, 6),
                "ci95": [round(low, 6), round(high, 6)],
                "n": len(one.rows),
                "seeds": sorted(seeds),
                **{name: _average(seeds, name) for name in ("minutes", "steps", "parameters")},
                "against": None,
                "difference": None,
                "difference_ci95": None,
            }
            both = [seed for seed in seeds if seed in runs.get(against, {})]
            if arm != against and both and (first := _find(runs[against][both[0]].measured, key, metric)):
                if not np.array_equal(first.rows, one.rows):
                    raise UserError(
                        f"{one.task}, {one.protocol}: {arm!r} and {against!r} were not asked the same rows; "
                        "delete --work."
                    )
                theirs = _mean(runs[against], key, metric, both)
                found = paired_bootstrap(
                    _mean(seeds, key, metric, both), theirs, 0, users=one.users, statistic=statistic
                )
                line |= {
                    "against": against,
                    "difference": round(found[0], 6),
                    "difference_ci95": [round(number, 6) for number in found[1:]],
                }
            yield line


def _asked(measured: Sequence[Measured]) -> Iterator[tuple[tuple, str, Measured]]:
    for one in measured:
        for metric in METRICS:
            if metric in one.values:
                yield (one.task, one.protocol), metric, one


def _find(measured: Sequence[Measured], key: tuple, metric: str) -> Measured | None:
    return next((one for one in measured if (one.task, one.protocol) == key and metric in one.values), None)


def _mean(seeds: Mapping[int, Run], key: tuple, metric: str, among: Sequence[int]) -> np.ndarray:
    """Row by row over the seeds. The rows are those of the data and the same for all; UserError where not."""
    found = [_find(seeds[seed].measured, key, metric) for seed in among]
    if any(one is None or not np.array_equal(one.rows, found[0].rows) for one in found):  # type: ignore[union-attr]
        raise UserError(f"{key[0]}, {key[1]}: the seeds were not asked the same rows; delete --work.")
    return np.mean([one.values[metric] for one in found], 0)  # type: ignore[union-attr]


def _average(seeds: Mapping[int, Run], name: str) -> float:
    return round(float(np.mean([run.about[name] for run in seeds.values()])), 2)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True, help="data folder")
    parser.add_argument("--arms", required=True, type=Path, help="YAML file of arms")
    parser.add_argument("--only", nargs="*", default=[], help="names of the arms to run; all without")
    parser.add_argument("--minutes", type=float, default=5.0, help="training time of an arm, all stages")
    parser.add_argument("--share", type=float, default=0.25, help="share of it that pretraining gets")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--asked", type=int, default=5000, help="validation users, drawn; 0: all")
    parser.add_argument("--work", default="runs/ablation", help="folder for models and values")
    parser.add_argument("--keep", action="store_true", help="keep the models")
    parser.add_argument("--out", required=True, type=Path, help="file for the lines, ablation-DATASET.jsonl")
    arguments = parser.parse_args()
    try:
        arms = arms_of(arguments.arms)
        if unknown := set(arguments.only) - {arm.name for arm in arms}:
            parser.error(f"--only: {arguments.arms} has no arm {sorted(unknown)[0]!r}")
        runs: dict[str, dict[int, Run]] = {}
        for seed in arguments.seeds:  # all arms once, before any twice
            for arm in arms:
                if arguments.only and arm.name not in arguments.only:
                    continue
                try:
                    found = run_of(arm, seed, arguments)
                except UserError as error:
                    print(f"{arm.name}, seed {seed}, is left out: {error}", flush=True)
                    continue
                runs.setdefault(arm.name, {})[seed] = found
                keep(arguments.out, lines(runs, arms[0].name))
                told = _find(found.measured, ("sequential/next_item", "filtered"), "ndcg@10")
                shown = "done" if told is None else f"ndcg@10 filtered {told.values['ndcg@10'].mean():.4f}"
                print(f"{arm.name}, seed {seed}: {shown}", flush=True)
    except UserError as error:
        parser.error(str(error))


def keep(out: Path, found: Iterator[dict[str, Any]]) -> None:
    text = "".join(json.dumps(line) + "\n" for line in found)
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(out.name + ".tmp")
    temporary.write_text(text)
    temporary.replace(out)


if __name__ == "__main__":
    main()
