"""What a task is: a kind of question with its slots, its answer, its metrics and its decoding.

A slot value is a list of **elements**; an element is (pool, index). The pools are the only kinds of
things a prompt can hold, so that text and token ids are rendered by one rule: look each element up
in its pool and join with spaces.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import ClassVar

import numpy as np

from p5t5.core.ragged import Ragged, positions
from p5t5.data.records.tables import IndexedRecords
from p5t5.data.splits import Split

# Pools: what an element's index counts.
USER, ITEM, TITLE, RATING, WORD, TEXT = range(6)
POOLS = ("user", "item", "title", "rating", "word", "text")

# The pool WORD: every fixed answer and separator of the tasks. Append only: checkpoints count on it.
WORDS = ("yes", "no", "like", "dislike", ";", ",", ":", "->")
YES, NO, LIKE, DISLIKE, SEMICOLON, COMMA, COLON, NOW = range(len(WORDS))

# What every task that rates is judged by, and what every task that writes is judged by.
RATING_METRICS = ("rmse", "mae", "ece", "coverage80", "width80")
TEXT_METRICS = (
    *("bleu1", "bleu2", "bleu4", "rouge1", "rouge2", "rougeL"),
    *("length", "distinct1", "distinct2", "unique_sentences"),
)


@dataclass(frozen=True)
class Column:
    """One slot's values for n examples: ``elements`` Ragged int32 [n], ``pools`` uint8 a value."""

    elements: Ragged
    pools: np.ndarray

    @staticmethod
    def single(pool: int, index: np.ndarray) -> Column:
        """One element an example."""
        index = np.asarray(index, np.int32)
        return Column.listed(pool, Ragged.from_lengths(index, np.ones(len(index), np.int64)))

    @staticmethod
    def listed(pool: int, elements: Ragged) -> Column:
        """Several elements an example, all of one pool."""
        return Column(elements, np.full(len(elements.values), pool, np.uint8))

    @staticmethod
    def grouped(parts: Sequence[tuple[int, Ragged]], separator: int | None = None) -> Column:
        """a0 b0 ; a1 b1 …: aligned lists, each of its pool, with a WORD between groups if one is given."""
        pools = [pool for pool, _ in parts]
        values = [elements.values for _, elements in parts]
        lengths, counts = parts[0][1].lengths, len(parts) * parts[0][1].lengths
        if separator is not None:
            pools.append(WORD)
            values.append(np.full(len(values[0]), separator))
            counts = np.maximum(counts + lengths - 1, 0)
        flat = np.stack([part.astype(np.int32) for part in values], 1).reshape(-1)
        flat_pools = np.tile(np.array(pools, np.uint8), len(values[0]))
        if separator is not None:  # a group's separator goes, where the group ends its row
            keep = np.ones(len(flat), bool)
            keep[np.cumsum(lengths)[lengths > 0] * len(pools) - 1] = False
            flat, flat_pools = flat[keep], flat_pools[keep]
        return Column(Ragged.from_lengths(flat, counts), flat_pools)

    @staticmethod
    def separated(pool: int, elements: Ragged, separator: int = SEMICOLON) -> Column:
        """Elements of one pool with a WORD between each two: titles need one, identifiers none."""
        return Column.grouped([(pool, elements)], separator)

    @staticmethod
    def interleaved(pool_a: int, a: Ragged, pool_b: int, b: Ragged) -> Column:
        """a0 b0 a1 b1 …: aligned lists of two pools, such as items with their ratings."""
        return Column.grouped([(pool_a, a), (pool_b, b)])

    def ended(self, word: int = NOW) -> Column:
        """With a WORD behind each row that is not empty.

        Histories end so: whatever the wording goes on to say, the newest item has the same neighbour,
        by which the model finds it (T5's cross-attention knows no positions).
        """
        lengths = self.elements.lengths
        longer = lengths + (lengths > 0)
        values = Ragged.from_lengths(np.full(int(longer.sum()), word, np.int32), longer)
        pools = np.full(len(values.values), WORD, np.uint8)
        where = positions(values.offsets[:-1], lengths)
        values.values[where], pools[where] = self.elements.values, self.pools
        return Column(values, pools)

    def take(self, rows: np.ndarray) -> Column:
        return Column(self.elements.take(rows), Ragged(self.pools, self.elements.offsets).take(rows).values)


@dataclass(frozen=True)
class Examples:
    """n questions of one task: the slot columns, and what is needed to judge an answer.

    - ``rows``: int64 [n], the interaction (row of IndexedRecords) each example comes from.
    - ``columns``: slot name → Column. ``texts``: what elements of pool TEXT count.
    - ``candidates``: Ragged of item indexes for tasks that choose; ``answer``: int32 [n], the place
      of the truth (in ``candidates``, or in the task's ``choices``), −1 where there is none.
    - ``references``: the true text of each example, for text tasks; the true rating is
      ``IndexedRecords.rating[rows]``, the true item ``IndexedRecords.item[rows]``.
    """

    task: str
    rows: np.ndarray
    columns: Mapping[str, Column]
    texts: Sequence[str] = ()
    candidates: Ragged | None = None
    answer: np.ndarray | None = None
    references: Sequence[str] | None = None

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True)
class Slot:
    """``doc`` is shown by the lint's errors; ``target`` slots may appear in targets only."""

    doc: str
    target: bool = False


@dataclass(frozen=True)
class BuildOptions:
    """How examples are built. All of it goes into the checkpoint's ``p5t5.json``."""

    max_history: int = 20
    max_titles: int = 10  # of the history, where it is told in titles: they are long
    max_continue: int = 10
    candidates: int = 100  # of an evaluation: one positive, the rest drawn uniformly
    train_candidates: int = 20  # of training, where a hundred would be most of the prompt
    max_words: int = 80  # longest text slot, in words
    seed: int = 0
    epoch: int = 0  # −1: evaluation, where draws must not change

    @property
    def drawn_candidates(self) -> int:
        """How many candidates a question of this epoch has."""
        return self.candidates if self.epoch < 0 else min(self.candidates, self.train_candidates)


class Decoding(Enum):
    """How an answer is read from the model."""

    ITEMS = "items"  # ranked over the whole catalogue
    CANDIDATES = "candidates"  # ranked among the candidates of each example
    CHOICE = "choice"  # one of ``Task.choices``
    RATING = "rating"  # a distribution over the rating scale
    TEXT = "text"
    RATING_AND_TEXT = "rating_and_text"

    @property
    def ranks(self) -> bool:
        """Whether the answer is a ranking of items."""
        return self in (Decoding.ITEMS, Decoding.CANDIDATES)

    @property
    def rates(self) -> bool:
        """Whether the answer holds a rating."""
        return self in (Decoding.RATING, Decoding.RATING_AND_TEXT)

    @property
    def writes(self) -> bool:
        """Whether the answer holds free text."""
        return self in (Decoding.TEXT, Decoding.RATING_AND_TEXT)


class Teacher(Enum):
    """Where the soft targets of a task come from (`p5t5.distillation`)."""

    NEXT_ITEM = "next_item"  # a blend of co-occurrence, text similarity and popularity
    RATING = "rating"  # biases or factors; for tasks that read a review, ridge regression on its words


class Task:
    """A family/task: everything that is known about one kind of question.

    One subclass per task; an instance has no state, so it serves as a constant. A new task is one subclass
    and one line in `p5t5.tasks.registry`, with prompts of its own.
    """

    # The question and its answer.
    name: ClassVar[str]
    slots: ClassVar[Mapping[str, Slot]]
    needs: ClassVar[tuple[str, ...]] = ()  # interaction columns without which the task is off
    needs_time_order: ClassVar[bool] = False  # asks what comes next, or what was not met so far
    review_columns: ClassVar[tuple[str, ...]] = ()  # text columns of a review that the prompt contains
    decoding: ClassVar[Decoding]
    choices: ClassVar[tuple[int, ...]] = ()  # for Decoding.CHOICE: WORDS indexes, the positive one first
    text_column: ClassVar[str] = ""  # for tasks that write: the column with the true text
    hint: ClassVar[str] = ""  # the slot (and column) of a feature that the text must mention

    # Training. The weights are those that served best in the recipes: several answers per prompt count more,
    # ratings are learnt slowly, choosing and verifying teach little else, reviews are long.
    default_weight: ClassVar[float] = 1.0  # of one row in the mixture, relative to other tasks
    default_loss_weight: ClassVar[float] = 1.0
    teacher: ClassVar[Teacher | None] = None
    default_alpha: ClassVar[float] = 0.0  # share of the answer's weight that goes to the soft targets

    # Evaluation.
    metrics: ClassVar[tuple[str, ...]]
    primary_metric: ClassVar[str]  # one of ``metrics``: the one that validation during training watches
    short_name: ClassVar[str] = ""  # of the primary metric in logs
    validation_place: ClassVar[int] = (
        0  # among the tasks that are watched, from 1; 0: watched where no other is
    )
    repeats: ClassVar[str] = ""  # the task whose measurements this one's say again
    card_metrics: ClassVar[tuple[str, ...]] = ()  # shown in the model card's table

    # Questions of people.
    asked_in_words: ClassVar[bool] = True  # whether a question in plain words may be routed to it
    substitutes: ClassVar[tuple[str, ...]] = ()  # tasks that can answer where this one cannot be asked

    @property
    def family(self) -> str:
        """The part of the name before the slash."""
        return self.name.split("/")[0]

    @property
    def ranks(self) -> bool:
        """Whether the answer is a ranking of items."""
        return self.decoding.ranks

    @property
    def rates(self) -> bool:
        """Whether the answer holds a rating."""
        return self.decoding.rates

    @property
    def writes(self) -> bool:
        """Whether the answer holds free text."""
        return self.decoding.writes

    @property
    def reads_review(self) -> bool:
        """Whether the question contains a review."""
        return bool(self.review_columns)

    @property
    def metric_name(self) -> str:
        """What the primary metric is called in logs: its short name, or "review/score:rmse"."""
        return self.short_name or f"{self.name}:{self.primary_metric}"

    @property
    def target_slot(self) -> str:
        """The last slot of the answer; tasks that write and share it write texts of the same kind."""
        return [name for name, slot in self.slots.items() if slot.target][-1]

    def positive_ratings(self, values: np.ndarray) -> np.ndarray | None:
        """bool [values]: the ratings that mean the first of ``choices``; None if ratings don't decide the answer."""
        return None

    def missing(self, data: IndexedRecords) -> list[str]:
        """The needed columns that the data lacks; empty when the task can be used."""
        return [column for column in self.needs if not data.has(column)]

    def why_off(self, split: Split) -> str:
        """Why no row of this kind of split may be asked about; "" where some may."""
        if self.needs_time_order and not split.in_time_order:
            return f"the {split.scheme} split is not in time order, so nobody can be asked what comes next"
        return ""

    def eligible(self, split: Split, part: str) -> np.ndarray:
        """int64: the interactions of ``part`` from which an example can be built; none where it is off."""
        raise NotImplementedError

    def build(self, split: Split, rows: np.ndarray, options: BuildOptions) -> Examples:
        """Examples for the given interactions, vectorised; draws are keyed by row, seed, epoch."""
        raise NotImplementedError
