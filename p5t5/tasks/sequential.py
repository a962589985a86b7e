"""Sequences: what comes next, and after that, and which of these, and is it this."""

from __future__ import annotations

import numpy as np

from p5t5.core.ragged import Ragged, positions
from p5t5.data.splits import Split
from p5t5.tasks.base import (
    ITEM,
    NO,
    USER,
    WORD,
    YES,
    BuildOptions,
    Column,
    Decoding,
    Examples,
    Slot,
    Task,
    Teacher,
)
from p5t5.tasks.columns import history, user_item_title
from p5t5.tasks.negatives import draw_candidates, draw_pairs

SLOTS = {
    "user": Slot("the user's identifier"),
    "history": Slot("the user's earlier items, oldest first"),
    "history_titles": Slot("their titles, oldest first"),
}
RANKING = ("hr@1", "hr@5", "hr@10", "hr@20", "ndcg@5", "ndcg@10", "ndcg@20")
CHOOSING = ("hr@1", "hr@5", "hr@10", "ndcg@5", "ndcg@10")


class _Sequential(Task):
    needs_time_order = True

    def eligible(self, split: Split, part: str) -> np.ndarray:
        rows = split.rows(part)
        if self.why_off(split):
            return rows[:0]
        return rows[split.history_lengths(rows) > 0]

    def asked(self, split: Split, rows: np.ndarray, options: BuildOptions) -> dict[str, Column]:
        user = Column.single(USER, split.data.user[rows])
        return {"user": user, **history(split, rows, options)}


class NextItem(_Sequential):
    """Which item comes next, out of the whole catalogue?"""

    name = "sequential/next_item"
    slots = {**SLOTS, "item": Slot("the next item", target=True)}
    decoding = Decoding.ITEMS
    metrics = RANKING
    primary_metric = short_name = "ndcg@10"
    validation_place = 1
    card_metrics = ("ndcg@10", "hr@10")
    teacher, default_alpha = Teacher.NEXT_ITEM, 0.5

    def build(self, split: Split, rows: np.ndarray, options: BuildOptions) -> Examples:
        columns = self.asked(split, rows, options)
        columns["item"] = Column.single(ITEM, split.data.item[rows])
        return Examples(self.name, rows, columns)


class Continue(_Sequential):
    """Which items come next, in order? Judged by the first of them."""

    name = "sequential/continue"
    slots = {**SLOTS, "items": Slot("the next items, in order", target=True)}
    decoding = Decoding.ITEMS
    metrics = RANKING
    primary_metric = "ndcg@10"
    repeats = "sequential/next_item"
    default_weight = 3.0  # several answers per prompt that is read
    teacher, default_alpha = Teacher.NEXT_ITEM, 0.5
    substitutes = ("sequential/next_item",)

    def build(self, split: Split, rows: np.ndarray, options: BuildOptions) -> Examples:
        columns = self.asked(split, rows, options)
        lengths = np.minimum(_left(split, rows), options.max_continue)
        items = Ragged.from_lengths(split.data.item[positions(rows, lengths)].astype(np.int32), lengths)
        columns["items"] = Column.listed(ITEM, items)
        return Examples(self.name, rows, columns)


class Choose(_Sequential):
    """Which of these candidates comes next? The others are uniform over what the user has not met."""

    name = "sequential/choose"
    slots = {**SLOTS, "candidates": Slot("the items to choose from"), "item": Slot("the next", target=True)}
    decoding = Decoding.CANDIDATES
    metrics = CHOOSING
    primary_metric = "ndcg@10"
    card_metrics = ("ndcg@10",)
    default_weight = 0.15
    substitutes = ("direct/choose", "sequential/next_item")

    def build(self, split: Split, rows: np.ndarray, options: BuildOptions) -> Examples:
        columns = self.asked(split, rows, options)
        candidates, answer = draw_candidates(
            split.data, rows, options.drawn_candidates, options.seed, options.epoch
        )
        columns["candidates"] = Column.listed(ITEM, candidates)
        columns["item"] = Column.single(ITEM, split.data.item[rows])
        return Examples(self.name, rows, columns, candidates=candidates, answer=answer)


class Verify(_Sequential):
    """Does this item come next?"""

    name = "sequential/verify"
    slots = {
        **SLOTS,
        "item": Slot("an item's identifier"),
        "title": Slot("its title"),
        "answer": Slot("yes or no", target=True),
    }
    decoding = Decoding.CHOICE
    choices = (YES, NO)
    metrics = ("accuracy", "auc")
    primary_metric = "accuracy"
    default_weight = 0.05
    substitutes = ("direct/verify", "rating/like")

    def build(self, split: Split, rows: np.ndarray, options: BuildOptions) -> Examples:
        items, is_true = draw_pairs(split.data, rows, options.seed, options.epoch)
        columns = self.asked(split, rows, options) | user_item_title(split.data, rows, items)
        columns["answer"] = Column.single(WORD, np.where(is_true, YES, NO))
        return Examples(self.name, rows, columns, answer=np.where(is_true, 0, 1).astype(np.int32))


def _left(split: Split, rows: np.ndarray) -> np.ndarray:
    """int64: how many interactions from each row on its user has in the row's part, the row included.

    A split keeps a user's parts in time order, so they are the rows up to the user's next part.
    """
    group = split.data.user.astype(np.int64) * 128 + split.part
    ends = np.append(np.flatnonzero(np.diff(group)) + 1, len(group))
    return ends[np.searchsorted(ends, rows, side="right")] - rows
