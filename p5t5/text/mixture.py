"""What is trained on: which task, which row and which prompt, by seed. Where tasks meet prompts."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from p5t5.core.errors import UserError
from p5t5.core.randomness import generator, sample, uniform
from p5t5.data.records.tables import IndexedRecords
from p5t5.data.splits import Split
from p5t5.tasks.base import BuildOptions, Examples, Task
from p5t5.tasks.registry import TASKS
from p5t5.text.prompts import Prompt

# Default rates are proportional to the rows of a task, but no task counts more rows than this: on big
# data sets the tasks with few rows (those that need reviews) are not drowned.
ROWS_CAP = 100_000

TITLE_SLOTS = frozenset({"title", "history_titles", "rated_titles"})

# What a draw is for, so that draws of different kinds do not hang together.
_ROWS, _ORDER, _WORDING = range(101, 104)


@dataclass(frozen=True)
class Choice:
    """The examples of an epoch, each by three numbers.

    - ``task``: int16 [size], an index into ``Mixture.tasks``.
    - ``row``: int64 [size], an interaction. ``prompt``: int32 [size], an index into ``Mixture.prompts``.
    """

    task: np.ndarray
    row: np.ndarray
    prompt: np.ndarray


@dataclass(frozen=True)
class Mixture:
    """The training examples of every epoch, as a pure function of (seed, epoch).

    - ``weights``: task → rate, its relative share of the examples. Tasks that are not named are off.
    - ``size``: examples an epoch. Each task gets its share of it, rounded (largest remainder), the
      same in every epoch. It walks its rows in a random order, without repeats until all have been
      used; the next epoch goes on where the last one ended.
    - ``loss_weights``: task → weight of its answers in the loss, 1 where not named.
    """

    split: Split
    prompts: Sequence[Prompt]
    weights: Mapping[str, float]
    options: BuildOptions
    seed: int
    size: int
    loss_weights: Mapping[str, float] = field(default_factory=dict)

    @cached_property
    def tasks(self) -> tuple[str, ...]:
        """The names of the tasks that are on, in the order of TASKS."""
        return tuple(name for name in TASKS if self.weights.get(name, 0) > 0)

    @cached_property
    def counts(self) -> np.ndarray:
        """int64 [tasks]: examples of each task in an epoch."""
        weights = np.array([self.weights[name] for name in self.tasks], np.float64)
        exact = self.size * weights / weights.sum()
        counts = np.floor(exact).astype(np.int64)
        extra = np.argsort(counts - exact, kind="stable")[: self.size - counts.sum()]
        counts[extra] += 1
        return counts

    @cached_property
    def eligible(self) -> dict[str, np.ndarray]:
        """task → int64: its rows of the training part."""
        return {name: TASKS[name].eligible(self.split, "train") for name in self.tasks}

    def choose(self, epoch: int) -> Choice:
        """Task, row and wording of each example of the epoch."""
        task = np.repeat(np.arange(len(self.tasks), dtype=np.int16), self.counts)
        row = np.zeros(self.size, np.int64)
        prompt = np.zeros(self.size, np.int32)
        for number, name in enumerate(self.tasks):
            mine = task == number
            count, key = int(self.counts[number]), zlib.crc32(name.encode())
            row[mine] = _walk(self.eligible[name], epoch * count, count, self.seed, key)
            wordings = usable_prompts(self.prompts, name, self.split.data, held_out=False)
            # Keyed by the place in the walk: the same row may come twice in an epoch.
            drawn = uniform(self.seed, _WORDING, key, epoch, np.arange(count))
            prompt[mine] = _by_rate(self.prompts, wordings, drawn)
        order = generator(self.seed, _ORDER, epoch).permutation(self.size)
        return Choice(task[order], row[order], prompt[order])

    def examples(
        self, epoch: int, choice: Choice | None = None, start: int = 0, stop: int | None = None
    ) -> Iterator[tuple[Task, Examples, np.ndarray, np.ndarray]]:
        """(task, its examples, their prompts' indexes, their places in 0 … size−1), task by task.

        ``start`` and ``stop`` limit it to those places; ``choice`` saves choosing the epoch once more.
        """
        choice = self.choose(epoch) if choice is None else choice
        options = replace(self.options, epoch=epoch)
        for number, name in enumerate(self.tasks):
            places = start + np.flatnonzero(choice.task[start:stop] == number)
            if len(places):
                examples = TASKS[name].build(self.split, choice.row[places], options)
                yield TASKS[name], examples, choice.prompt[places], places


def make_mixture(
    split: Split,
    prompts: Sequence[Prompt],
    rates: Mapping[str, float] | None = None,
    options: BuildOptions | None = None,
    seed: int = 0,
    size: int | None = None,
    loss_weights: Mapping[str, float] | None = None,
) -> tuple[Mixture, list[str]]:
    """The mixture of the tasks that the data allows, and a sentence for each that is off.

    ``rates`` names the tasks that are wanted, or the families ("rating": its rate goes to each of its
    tasks; a task named as well keeps its own); 0 switches one off. Without it, all tasks are wanted,
    each in proportion to its rows of the training part, of which at most ROWS_CAP count, times
    ``Task.default_weight``. ``size`` is by default the number of training interactions. Raises UserError for an unknown task, a rate
    that is no finite number ≥ 0, or when no task is left.
    """
    wanted = None if rates is None else _rates_of_tasks(rates)
    weights: dict[str, float] = {}
    off: list[str] = []
    for name in TASKS if wanted is None else wanted:
        if wanted is not None and wanted[name] == 0:
            continue
        reason = why_off(split, name, prompts)
        if reason:
            off.append(reason)
        elif wanted is None:
            rows = min(len(TASKS[name].eligible(split, "train")), ROWS_CAP)
            weights[name] = TASKS[name].default_weight * rows
        else:
            weights[name] = wanted[name]
    if not weights:
        raise UserError("no task is left to train on: " + ("; ".join(off) or "all rates are 0"))
    size = len(split.rows("train")) if size is None else size
    if size < 1:
        raise UserError(f"an epoch must have at least 1 example, not {size}")
    unknown = [name for name in loss_weights or {} if name not in TASKS]
    if unknown:
        raise UserError(f"loss weight for an unknown task {unknown[0]!r}; the tasks are {', '.join(TASKS)}")
    options = options or BuildOptions(seed=seed)
    mixture = Mixture(split, list(prompts), weights, options, seed, size, dict(loss_weights or {}))
    return mixture, off


def single(
    split: Split,
    task: str,
    prompts: Sequence[Prompt],
    part: str,
    options: BuildOptions,
    prompt: str = "seen",
    rows: np.ndarray | None = None,
) -> tuple[Examples, np.ndarray]:
    """Each eligible row of a part once, for evaluation, and int32 the prompt of each.

    ``prompt``: "seen" or "held_out" (one such wording a row, drawn by ``options.seed`` at their rates) or a
    prompt's id. ``rows`` limits it to a choice of interactions. Draws are those of epoch −1, whatever the
    options say, so that they never change. Raises UserError where there is no such wording.
    """
    if rows is None:
        rows = TASKS[task].eligible(split, part)
    wordings = _named_prompts(split.data, task, prompts, prompt)
    examples = TASKS[task].build(split, rows, replace(options, epoch=-1))
    drawn = uniform(options.seed, _WORDING, zlib.crc32(task.encode()), -1, rows)
    return examples, _by_rate(prompts, wordings, drawn)


def validation_sample(
    split: Split, task: str, prompts: Sequence[Prompt], options: BuildOptions, limit: int
) -> tuple[Examples, np.ndarray] | None:
    """`single` of at most ``limit`` validation rows, drawn by ``options.seed``, in seen wordings: for what is
    fitted to a trained model. None where the data can't ask the task there.
    """
    if TASKS[task].missing(split.data):
        return None
    rows = TASKS[task].eligible(split, "validation")
    if not len(rows) or not len(usable_prompts(prompts, task, split.data, held_out=False)):
        return None
    rows = sample(rows, limit, options.seed)
    return single(split, task, prompts, "validation", options, "seen", rows)


def usable_prompts(prompts: Sequence[Prompt], task: str, data: IndexedRecords, held_out: bool) -> np.ndarray:
    """int32: indexes of the task's wordings that the data can fill: no titles, no prompts with titles."""
    empty = set() if data.has("title") else set(TITLE_SLOTS)
    if not data.attributes:
        empty.add("about")
    indexes = [
        index
        for index, prompt in enumerate(prompts)
        if prompt.task == task and prompt.held_out == held_out and not empty & set(prompt.slots)
    ]
    return np.array(indexes, np.int32)


def why_off(split: Split, task: str, prompts: Sequence[Prompt]) -> str | None:
    """A sentence on why a task can't be trained on this data, or None where it can."""
    data = split.data
    missing = TASKS[task].missing(data)
    if missing:
        return f"{task} is off: {data.name} has no column {' and no column '.join(missing)}"
    if reason := TASKS[task].why_off(split):
        return f"{task} is off: {reason}"
    if not len(TASKS[task].eligible(split, "train")):
        return f"{task} is off: no training row of {data.name} has what it needs"
    if not len(usable_prompts(prompts, task, data, held_out=False)):
        return f"{task} is off: none of its prompts that are not held out can be filled from {data.name}"
    return None


def _named_prompts(data: IndexedRecords, task: str, prompts: Sequence[Prompt], name: str) -> np.ndarray:
    if name in ("seen", "held_out"):
        found = usable_prompts(prompts, task, data, held_out=name == "held_out")
        if not len(found):
            raise UserError(f"{task} has no {name} prompt that {data.name} can fill")
        return found
    found = np.array([i for i, prompt in enumerate(prompts) if prompt.id == name], np.int32)
    if not len(found):
        raise UserError(f"no prompt with the id {name!r}; ask for seen, held_out or an id of prompts/*.yaml")
    if prompts[found[0]].task != task:
        raise UserError(f"prompt {name!r} belongs to {prompts[found[0]].task}, not to {task}")
    return found


def _rates_of_tasks(rates: Mapping[str, float]) -> dict[str, float]:
    """Families spread out to their tasks, in the order of TASKS."""
    families = {task.family for task in TASKS.values()}
    for name, rate in rates.items():
        if name not in TASKS and name not in families:
            raise UserError(f"unknown task {name!r}; the tasks are {', '.join(TASKS)}")
        if not np.isfinite(rate) or rate < 0:
            raise UserError(f"the rate of {name} must be a finite number that is not negative, not {rate}")
    wanted = {name: rates.get(name, rates.get(task.family)) for name, task in TASKS.items()}
    return {name: float(rate) for name, rate in wanted.items() if rate is not None}


def _by_rate(prompts: Sequence[Prompt], wordings: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """Of ``wordings`` (indexes of ``prompts``) one for each of ``drawn``, uniform in [0, 1), in proportion to their rates."""
    shares = np.cumsum([prompts[wording].rate for wording in wordings])
    return wordings[np.searchsorted(shares, drawn * shares[-1], side="right")]


def _walk(rows: np.ndarray, start: int, count: int, seed: int, key: int) -> np.ndarray:
    """int64: places start … start+count−1 of an endless walk, lap by lap in a new random order."""
    out, place = [], start
    while place < start + count:
        lap, offset = divmod(place, len(rows))
        order = generator(seed, _ROWS, key, lap).permutation(len(rows))
        taken = order[offset : offset + start + count - place]
        out.append(rows[taken])
        place += len(taken)
    return np.concatenate(out) if out else rows[:0]
