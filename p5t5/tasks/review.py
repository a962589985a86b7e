"""Reviews: the headline of a review, and the rating that goes with it."""

from __future__ import annotations

import numpy as np

from p5t5.splits import Split
from p5t5.tasks.base import RATING, BuildOptions, Column, Examples, Slot, Task
from p5t5.tasks.columns import Texts, has_text, is_rated, rating_index, user_item_title

SLOTS = {
    "user": Slot("the user's identifier"),
    "item": Slot("the item's identifier"),
    "title": Slot("the item's title"),
    "review": Slot("the text of the review"),
}


class Headline(Task):
    """A short headline for the review (the column ``summary``)."""

    name = "review/headline"
    slots = {**SLOTS, "headline": Slot("the headline", target=True)}
    needs = ("review", "summary")
    decoding = "text"
    metrics = ("bleu4", "rouge1", "rouge2", "rougeL", "distinct1", "distinct2", "unique_sentences")

    def eligible(self, split: Split, part: str) -> np.ndarray:
        rows = split.rows(part)
        return rows[has_text(split.data, "review", rows) & has_text(split.data, "summary", rows)]

    def build(self, split: Split, rows: np.ndarray, options: BuildOptions) -> Examples:
        data, texts = split.data, Texts(options.max_words)
        columns = user_item_title(data, rows, data.item[rows])
        columns["review"] = texts.of_rows(data.texts["review"], rows)
        columns["headline"] = texts.of_rows(data.texts["summary"], rows)
        references = [data.texts["summary"][row] for row in rows.tolist()]
        return Examples(self.name, rows, columns, texts.strings, references=references)


class Score(Task):
    """The rating that the writer of the review gave."""

    name = "review/score"
    slots = {**SLOTS, "rating": Slot("the rating", target=True)}
    needs = ("review", "rating")
    decoding = "rating"
    metrics = ("rmse", "mae")

    def eligible(self, split: Split, part: str) -> np.ndarray:
        rows = split.rows(part)
        return rows[has_text(split.data, "review", rows) & is_rated(split.data, rows)]

    def build(self, split: Split, rows: np.ndarray, options: BuildOptions) -> Examples:
        data, texts = split.data, Texts(options.max_words)
        assert data.rating is not None
        columns = user_item_title(data, rows, data.item[rows])
        columns["review"] = texts.of_rows(data.texts["review"], rows)
        columns["rating"] = Column.single(RATING, rating_index(data, data.rating[rows]))
        return Examples(self.name, rows, columns, texts.strings)
