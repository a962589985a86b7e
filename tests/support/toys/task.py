"""A task of a family of its own: is this one of the first half of the catalogue?"""

from __future__ import annotations

import numpy as np

from p5t5.data.splits import Split
from p5t5.tasks.base import NO, WORD, YES, BuildOptions, Column, Decoding, Examples, Slot, Task
from p5t5.tasks.columns import user_item_title


class Early(Task):
    """Whether the item is among the first half of the catalogue."""

    name = "shelf/early"
    slots = {
        "user": Slot("the user's identifier"),
        "item": Slot("the item's identifier"),
        "title": Slot("the item's title"),
        "answer": Slot("yes or no", target=True),
    }
    decoding = Decoding.CHOICE
    choices = (YES, NO)
    metrics = ("accuracy", "auc")
    primary_metric = "accuracy"
    card_metrics = ("accuracy",)

    def eligible(self, split: Split, part: str) -> np.ndarray:
        return split.rows(part)

    def build(self, split: Split, rows: np.ndarray, options: BuildOptions) -> Examples:
        data = split.data
        early = data.item[rows] < data.number_of_items // 2
        columns = user_item_title(data, rows, data.item[rows])
        columns["answer"] = Column.single(WORD, np.where(early, YES, NO))
        return Examples(self.name, rows, columns, answer=np.where(early, 0, 1).astype(np.int32))
