"""Where `search.py` looks: which options of `p5t5 finetune`, from where to where, around a recipe."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints

import yaml

from p5t5.core.errors import UserError
from p5t5.core.options import rates
from p5t5.tasks.registry import TASKS
from p5t5.workflows.finetune import FinetuneOptions, FinetuneTraining
from p5t5.workflows.model_setup import StartOptions

KINDS = (StartOptions, FinetuneOptions, FinetuneTraining)
OPTIONS = {one.name: one for kind in KINDS for one in dataclasses.fields(kind) if one.init}
TYPES = {
    name: given for kind in KINDS for name, given in get_type_hints(kind).items()
}  # `Field.type` may be a word
MAPPINGS = {"tasks": 0.0, "soft_targets": 0.0, "loss_weights": 1.0}  # and what a task has that is not named
OURS = {"data", "out", "seed", "max_minutes", "max_steps", "epochs", "metric", "validation_users", "evaluations",
        "eval_every", "patience", "checkpoint_every", "resume", "restart"}  # fmt: skip
DIGITS = 3  # of a drawn number: what a recipe would say


@dataclass(frozen=True)
class Searched:
    """An option and where it is looked for: in ``choices``, or from ``low`` to ``high``; ``own``: the recipe's value."""

    name: str
    own: Any
    choices: tuple[Any, ...] = ()
    low: float = 0
    high: float = 0
    log: bool = False
    whole: bool = False

    def distribution(self, optuna: Any) -> Any:
        if self.choices:
            return optuna.distributions.CategoricalDistribution(self.choices)
        if self.whole:
            return optuna.distributions.IntDistribution(self.low, self.high, log=self.log)
        return optuna.distributions.FloatDistribution(self.low, self.high, log=self.log)

    def tidy(self, value: Any) -> Any:
        """A drawn number with as many digits as a recipe would give it, still from ``low`` to ``high``."""
        if self.choices or self.whole:
            return value
        return min(max(float(f"{value:.{DIGITS}g}"), self.low), self.high)


def read_mapping(path: Path) -> dict[str, Any]:
    """A YAML file's `name: value` lines; UserError where it holds something else."""
    try:
        words = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} can't be read as YAML: {error}") from error
    if not isinstance(words, dict) or not words:
        raise UserError(f"{path} must hold `option: value` lines.")
    return words


def space_of(words: Mapping[str, Any], recipe: Mapping[str, Any], where: str) -> list[Searched]:
    """What a space file says. UserError for what is no option, can't be searched, or leaves the recipe outside."""
    return [_searched(str(name), place, recipe, f"{where}: {name}") for name, place in words.items()]


def _searched(name: str, place: Any, recipe: Mapping[str, Any], where: str) -> Searched:
    option, _, task = name.partition(".")
    if option not in OPTIONS or bool(task) != (option in MAPPINGS) or (task and task not in TASKS):
        raise UserError(
            f"{where} is no option of `p5t5 finetune` (for {', '.join(MAPPINGS)}: with a task, tasks.rating/score)."
        )
    if option in OURS:
        raise UserError(f"{where} is settled by the search itself and can't be searched.")
    if task and option not in recipe:
        raise UserError(f"{where}: the recipe has no {option}; write them there first.")
    if task:
        named = rates(recipe[option], option) or {}
        own: Any = named.get(task, named.get(task.split("/")[0], MAPPINGS[option]))
    else:
        own = recipe.get(option, OPTIONS[option].default)
    whole = TYPES[option] is int
    if isinstance(place, list) and len(place) > 1:
        inside = own in place
        one = Searched(name, place[place.index(own)] if inside else own, tuple(place))
    elif isinstance(place, dict) and {"low", "high"} <= set(place) <= {"low", "high", "log"}:
        try:
            low, high, own = (float(value) for value in (place["low"], place["high"], own))
        except (TypeError, ValueError):  # 1e-3 is a word to YAML, and a number here
            raise UserError(f"{where}: low, high and the recipe's {own!r} must be numbers.") from None
        log = bool(place.get("log", False))
        if not low < high < math.inf or (log and low <= 0):
            raise UserError(f"{where}: low must be below high{' and, with log, above 0' * log}.")
        if whole and not (low.is_integer() and high.is_integer()):
            raise UserError(f"{where} takes whole numbers.")
        if whole:
            low, high, own = int(low), int(high), int(own)
        inside, one = low <= own <= high, Searched(name, own, (), low, high, log, whole)
    else:
        raise UserError(f"{where}: must be {{low: …, high: …, log: true}} or a list of two or more choices.")
    if not inside:
        raise UserError(f"{where}: the recipe's value, {own!r}, is outside; trial 0 is the recipe.")
    return one
