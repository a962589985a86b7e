"""A search for better options of a recipe, judged on validation rows alone, that may run for hours and be stopped at any time.

python benchmarks/search.py --data runs/beauty --recipe configs/recipes/amazon-beauty.yaml \\
    --space configs/search/amazon-beauty.yaml --out results/search-amazon-beauty.jsonl --minutes 120 --trial_minutes 6

A space file maps options of `p5t5 finetune` to where they are looked for; those of mappings have a dot before the task:

    learning_rate: {low: 0.0003, high: 0.003, log: true}
    token_budget: [512, 1024, 2048]
    soft_targets.sequential/next_item: {low: 0.2, high: 0.9}
    tasks.sequential/choose: [0, 0.1, 0.3]               # a rate or a share of 0 turns it off

Trial 0 is the recipe itself, so its values must lie in the space. Each further trial is the recipe with values that
Optuna's TPE draws from what all trials before it gave, trained --trial_minutes as a process of its own. Its value is
the --metric of the weights that training keeps, on --validation_users validation rows, the same ones in every trial.
Where the recipe says how many `evaluations` a training has, one that is below the median of the trials before it after
half of them is pruned.

--out gets what is searched in a first line and a line a trial, each as soon as it ends; nothing else is needed to go on
with the same command, and a trial that was broken off starts anew. A draw is made from the lines and --seed alone: a
search that was stopped goes on as if it had not been (with values of the clock's trainings, as always). The search ends
when no further trial fits into --minutes of this call. The best trial's model is kept in --work; the others are deleted.

The best of many trials flatters itself: confirm it on other seeds and all validation users with `benchmarks/ablation.py`
before a recipe is changed. Test rows are never looked at.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import math
import re
import shutil
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from statistics import median
from typing import Any

import ablation
import yaml
from common import curves
from common.search_space import Searched, read_mapping, space_of

from p5t5.core.errors import UserError
from p5t5.core.options import rates
from p5t5.metrics.direction import lower_is_better

STARTUP = 8  # trials drawn at random before TPE has something to go by
JUDGES = 5  # complete trials before one is pruned
FAILURES = 5  # in a row, and the search gives up
POLL = 1.0  # seconds between looks at a training's validations


@dataclass
class Search:
    """What is searched, and the lines of the trials so far."""

    space: list[Searched]
    recipe: dict[str, Any]
    metric: str = "ndcg@10"
    seed: int = 0
    rows: list[dict[str, Any]] = field(default_factory=list)

    @cached_property
    def sign(self) -> int:
        return -1 if lower_is_better(self.metric) else 1

    @property
    def ranked(self) -> list[dict[str, Any]]:
        """The complete trials, best first; the earlier first where two are equal."""
        done = [row for row in self.rows if row["state"] == "complete"]
        return sorted(done, key=lambda row: (-self.sign * row["value"], row["trial"]))

    def propose(self) -> tuple[dict[str, Any], Callable[[Sequence[float]], bool]]:
        """The next trial's values, and whether to prune it after the validations so far.

        Both follow from the rows and the seed alone: a study is made anew for each trial.
        """
        optuna = _optuna()
        evaluations = int(self.recipe.get("evaluations", 0))
        sampler = optuna.samplers.TPESampler(
            n_startup_trials=STARTUP, seed=1_000_003 * self.seed + len(self.rows)
        )
        pruner = optuna.pruners.MedianPruner(n_startup_trials=JUDGES, n_warmup_steps=evaluations // 2)
        direction = "maximize" if self.sign > 0 else "minimize"
        study = optuna.create_study(sampler=sampler, pruner=pruner, direction=direction)
        places = {one.name: one.distribution(optuna) for one in self.space}
        for row in self.rows:
            state = {"complete": "COMPLETE", "pruned": "PRUNED", "failed": "FAIL"}[row["state"]]
            study.add_trial(
                optuna.trial.create_trial(
                    state=optuna.trial.TrialState[state],
                    value=row["value"] if row["state"] == "complete" else None,
                    params=row["params"],
                    distributions=places,
                    intermediate_values=dict(enumerate(row["validations"], 1)),
                )
            )
        if not self.rows:
            study.enqueue_trial({one.name: one.own for one in self.space})
        trial = study.ask(places)
        params = {one.name: one.tidy(trial.params[one.name]) if self.rows else one.own for one in self.space}

        def prune(validations: Sequence[float]) -> bool:
            step = len(validations)
            if not 0 < step < evaluations:
                return False
            trial.report(validations[-1], step)
            return trial.should_prune()

        return params, prune

    def options(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """The recipe with what differs from it: for its own values the recipe to the letter."""
        out = dict(self.recipe)
        for one in self.space:
            if params[one.name] == one.own:
                continue
            name, _, task = one.name.partition(".")
            out[name] = (
                {**(rates(out[name], name) or {}), task: params[one.name]} if task else params[one.name]
            )
        return out


def _optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise UserError("the search needs the package optuna: pip install 'p5t5[compare]'.") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    return optuna


def read(out: Path, identity: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The trials in ``out``. UserError for the file of another search."""
    if not out.is_file():
        return []
    try:
        first, *rows = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
        was = first["identity"]
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{out} is not the file of a search; choose another --out.") from None
    other = [name for name in {**was, **identity} if was.get(name) != identity.get(name)]
    if other:
        shown = [
            name if isinstance(was.get(name), dict) else f"{name} ({was.get(name)}, not {identity.get(name)})"
            for name in other
        ]
        raise UserError(f"{out} is of a search with another {', '.join(shown)}; choose another --out.")
    return rows


def train(
    options: Mapping[str, Any], arguments: argparse.Namespace, folder: Path, prune: Callable[..., bool]
) -> dict[str, Any]:
    """Trains in ``folder``/model: state, value, metrics, validations, steps and error of the trial's line."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    model, recipe = folder / "model", folder / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(dict(options), sort_keys=False))
    settled = {"data": arguments.data, "out": model, "seed": arguments.seed, "metric": arguments.metric}
    settled |= {"max_minutes": arguments.trial_minutes, "validation_users": arguments.validation_users}
    words = [word for name, value in settled.items() for word in (f"--{name}", str(value))]
    command = [
        sys.executable,
        "-m",
        "p5t5",
        "finetune",
        "--config",
        str(recipe),
        *words,
        "--checkpoint_every",
        "0",
    ]
    seen: list[float] = []
    pruned = False
    with (folder / "log.txt").open("w") as log:
        child = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        try:
            while child.poll() is None and not pruned:
                time.sleep(POLL)
                found = [
                    line["validation"][arguments.metric] for line in _lines(model) if "validation" in line
                ]
                if len(found) > len(seen):
                    seen = found
                    pruned = child.poll() is None and prune(seen)
        finally:
            if child.poll() is None:
                child.terminate()
                try:
                    child.wait(60)
                except subprocess.TimeoutExpired:
                    child.kill()
                    child.wait()
    lines = _lines(model)
    line = {"state": "failed", "value": None, "metrics": None, "error": None,
            "validations": [line["validation"][arguments.metric] for line in lines if "validation" in line],
            "steps": lines[-1]["step"] if lines else 0}  # fmt: skip
    if pruned:
        return {**line, "state": "pruned", "validations": seen, "value": seen[-1]}
    if child.returncode:
        said = [
            text for text in (folder / "log.txt").read_text(errors="replace").splitlines() if text.strip()
        ]
        killed = f"killed by signal {-child.returncode}" if child.returncode < 0 else ""
        return {**line, "error": killed or (said or ["it said nothing"])[-1].strip()}
    metrics = curves.stages_of(model)[-1]["best"]["metrics"]
    value = metrics[arguments.metric]
    if not math.isfinite(value):
        return {**line, "validations": [], "error": f"its {arguments.metric} is {value}"}
    known = {name: number if math.isfinite(number) else None for name, number in metrics.items()}
    return {**line, "state": "complete", "value": value, "metrics": known}


def _lines(model: Path) -> list[dict[str, Any]]:
    """Of metrics.jsonl, while it is being written."""
    path = model / "metrics.jsonl"
    text = path.read_text() if path.is_file() else ""
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]


def run(search: Search, identity: Mapping[str, Any], arguments: argparse.Namespace) -> None:
    """Trials, one after the other, until the minutes or --trials are over; their lines go to ``search.rows`` and --out."""
    end, done, failures = time.monotonic() + 60 * arguments.minutes, 0, 0
    while not arguments.trials or len(search.rows) < arguments.trials:
        lasts = [row["seconds"] for row in search.rows if row["state"] == "complete"]
        left = end - time.monotonic()
        if done and left < max([60 * arguments.trial_minutes, *([median(lasts)] if lasts else [])]):
            break
        number = len(search.rows)
        params, prune = search.propose()
        told = ", ".join(f"{one.name} {params[one.name]}" for one in search.space) if number else "the recipe"
        print(
            f"trial {number}, {left / 60:.0f} minutes left, best so far {_best(search)}: {told}", flush=True
        )
        began = time.monotonic()
        found = train(search.options(params), arguments, folder_of(arguments, number), prune)
        row = {"trial": number, "params": params, **found}
        row |= {"seconds": round(time.monotonic() - began, 1), "seed": arguments.seed}
        if row["state"] == "failed" and not number:
            raise UserError(f"the recipe itself can't be trained: {row['error']}")
        search.rows.append(row)
        ablation.keep(arguments.out, iter([{"identity": identity}, *search.rows]))
        _clear(search, arguments)
        done, failures = done + 1, failures + 1 if row["state"] == "failed" else 0
        value = row["error"] if row["value"] is None else f"{search.metric} {row['value']:.4f}"
        print(
            f"trial {number}: {row['state']}, {value}, {row['steps']} steps, {row['seconds']:.0f} s",
            flush=True,
        )
        if failures == FAILURES:
            raise UserError(f"{FAILURES} trials in a row failed, the last one with: {row['error']}")


def folder_of(arguments: argparse.Namespace, number: int) -> Path:
    return arguments.work / f"{arguments.out.stem}-{number:04d}"


def _clear(search: Search, arguments: argparse.Namespace) -> None:
    """Deletes the trials' folders, but the best one's."""
    kept = folder_of(arguments, search.ranked[0]["trial"]).name if search.ranked else ""
    for path in arguments.work.iterdir():
        if re.fullmatch(re.escape(arguments.out.stem) + r"-\d{4,}", path.name) and path.name != kept:
            shutil.rmtree(path)


def _best(search: Search) -> str:
    best = search.ranked[:1]
    return f"{search.metric} {best[0]['value']:.4f} (trial {best[0]['trial']})" if best else "none"


@contextmanager
def alone(arguments: argparse.Namespace) -> Iterator[None]:
    """Makes --work, of which git knows nothing; UserError where another process searches for the same --out."""
    arguments.work.mkdir(parents=True, exist_ok=True)
    (arguments.work / ".gitignore").write_text("*\n")
    with (arguments.work / f"{arguments.out.stem}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UserError(f"another process is searching for {arguments.out}; wait for its end.") from None
        yield


def table(search: Search, count: int = 10) -> str:
    """The best trials, and the YAML lines of the best one that differ from the recipe."""
    names = [one.name for one in search.space]
    lines = [f"| trial | {search.metric} | steps | {' | '.join(names)} |", "| --- " * (len(names) + 3) + "|"]
    for row in search.ranked[:count]:
        who = row["trial"] or "0, the recipe"
        values = " | ".join(str(row["params"][name]) for name in names)
        lines.append(f"| {who} | {row['value']:.4f} | {row['steps']} | {values} |")
    states = [row["state"] for row in search.rows]
    counted = ", ".join(f"{states.count(state)} {state}" for state in ("complete", "pruned", "failed"))
    return "\n".join([*lines, "", f"{len(states)} trials: {counted}"])


def difference(search: Search) -> str:
    """YAML of what the best trial has other than the recipe; empty where that is the recipe."""
    changed: dict[str, Any] = {}
    for one in search.space:
        value = search.ranked[0]["params"][one.name]
        if value != one.own:
            name, _, task = one.name.partition(".")
            if task:
                changed.setdefault(name, {})[task] = value
            else:
                changed[name] = value
    return yaml.safe_dump(changed, sort_keys=False) if changed else ""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True, help="data folder, as `p5t5 prepare` writes it")
    parser.add_argument("--recipe", required=True, type=Path, help="recipe to start from: trial 0")
    parser.add_argument("--space", required=True, type=Path, help="YAML file of what is searched")
    parser.add_argument(
        "--out", required=True, type=Path, help="file for the lines, results/search-DATASET.jsonl"
    )
    parser.add_argument(
        "--minutes", type=float, default=120.0, help="minutes of this call, preparing included"
    )
    parser.add_argument(
        "--trial_minutes",
        type=float,
        default=6.0,
        help="training time of a trial, validation included; soft targets and starting vectors come before it",
    )
    parser.add_argument(
        "--trials", type=int, default=0, help="stop at so many lines in --out; 0: no such limit"
    )
    parser.add_argument(
        "--validation_users", type=int, default=3000, help="validation rows, the same in all trials; 0: all"
    )
    parser.add_argument("--metric", default="ndcg@10", help="of the training's validation: ndcg@10, rmse, …")
    parser.add_argument("--seed", type=int, default=0, help="of the trainings and the draws")
    parser.add_argument("--work", type=Path, help="folder for models; without: beside --out, ending in .work")
    arguments = parser.parse_args()
    arguments.work = arguments.work or arguments.out.with_suffix(".work")
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: the training ends too
    try:
        recipe, words = read_mapping(arguments.recipe), read_mapping(arguments.space)
        settled = ("metric", "seed", "trial_minutes", "validation_users")
        identity = {"data": ablation.hash_of(arguments.data), "recipe": recipe, "space": words}
        identity |= {name: getattr(arguments, name) for name in settled}
        identity = json.loads(json.dumps(identity, default=str))
        space = space_of(words, recipe, str(arguments.space))
        search = Search(space, recipe, arguments.metric, arguments.seed)
        with alone(arguments):
            search.rows = read(arguments.out, identity)
            try:
                run(search, identity, arguments)
            except KeyboardInterrupt:
                print("stopped; the same command goes on.", flush=True)
                raise SystemExit(130) from None
            finally:
                if search.ranked:
                    _tell(search, arguments)
    except UserError as error:
        parser.error(str(error))
    finally:
        signal.signal(signal.SIGTERM, before)


def _tell(search: Search, arguments: argparse.Namespace) -> None:
    print(f"\n{table(search)}\n")
    if not (changed := difference(search)):
        print("Nothing was better than the recipe.")
        return
    print(
        f"# trial {search.ranked[0]['trial']}, to be confirmed on other seeds: instead of {arguments.recipe}'s"
    )
    print(f"{changed}# its model: {folder_of(arguments, search.ranked[0]['trial']) / 'model'}", flush=True)


if __name__ == "__main__":
    main()
