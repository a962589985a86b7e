"""Direct picks: is this one for the user, and which of these is.

Unlike the sequential tasks, these can be asked of a user without any history.
"""

from __future__ import annotations

import numpy as np

from p5t5.data.splits import Split
from p5t5.tasks.base import ITEM, NO, USER, WORD, YES, BuildOptions, Column, Decoding, Examples, Slot, Task
from p5t5.tasks.columns import Texts, history, user_item_title
from p5t5.tasks.negatives import draw_candidates, draw_pairs
from p5t5.tasks.sequential import CHOOSING


class _Direct(Task):
    # Their wrong answers are what the user had not met by then, which is said by rows of every part.
    needs_time_order = True

    def eligible(self, split: Split, part: str) -> np.ndarray:
        rows = split.rows(part)
        return rows[:0] if self.why_off(split) else rows


class Verify(_Direct):
    """Should this item be recommended to the user?"""

    name = "direct/verify"
    slots = {
        "user": Slot("the user's identifier"),
        "item": Slot("an item's identifier"),
        "title": Slot("its title"),
        "about": Slot("its attributes in words"),
        "history": Slot("the user's earlier items, oldest first"),
        "history_titles": Slot("their titles, oldest first"),
        "answer": Slot("yes or no", target=True),
    }
    decoding = Decoding.CHOICE
    choices = (YES, NO)
    metrics = ("accuracy", "auc")
    primary_metric = "accuracy"
    default_weight = 0.05
    substitutes = ("rating/like", "rating/score")

    def build(self, split: Split, rows: np.ndarray, options: BuildOptions) -> Examples:
        data, texts = split.data, Texts(options.max_words)
        items, is_true = draw_pairs(data, rows, options.seed, options.epoch)
        columns = user_item_title(data, rows, items) | history(split, rows, options)
        columns["about"] = texts.about(data, items)
        columns["answer"] = Column.single(WORD, np.where(is_true, YES, NO))
        answer = np.where(is_true, 0, 1).astype(np.int32)
        return Examples(self.name, rows, columns, texts.strings, answer=answer)


class Choose(_Direct):
    """Which of these candidates is for the user? The others are uniform over what they have not met."""

    name = "direct/choose"
    slots = {
        "user": Slot("the user's identifier"),
        "history": Slot("the user's earlier items, oldest first"),
        "history_titles": Slot("their titles, oldest first"),
        "candidates": Slot("the items to choose from"),
        "item": Slot("the item picked", target=True),
    }
    decoding = Decoding.CANDIDATES
    metrics = CHOOSING
    primary_metric = "ndcg@10"
    card_metrics = ("hr@1", "ndcg@10")
    default_weight = 0.15
    substitutes = ("sequential/choose", "sequential/next_item")

    def build(self, split: Split, rows: np.ndarray, options: BuildOptions) -> Examples:
        data = split.data
        candidates, answer = draw_candidates(
            data, rows, options.drawn_candidates, options.seed, options.epoch
        )
        columns = {
            "user": Column.single(USER, data.user[rows]),
            **history(split, rows, options),
            "candidates": Column.listed(ITEM, candidates),
            "item": Column.single(ITEM, data.item[rows]),
        }
        return Examples(self.name, rows, columns, candidates=candidates, answer=answer)
