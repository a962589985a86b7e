"""Reviews: the headline of a review, and the rating that goes with it."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from p5t5.data.splits import Split
from p5t5.tasks.base import (
    RATING,
    RATING_METRICS,
    TEXT_METRICS,
    BuildOptions,
    Column,
    Decoding,
    Examples,
    Slot,
    Task,
    Teacher,
)
from p5t5.tasks.columns import Texts, cut_at_sentences, has_text, is_rated, rating_index, user_item_title

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
    review_columns = ("review",)
    decoding = Decoding.TEXT
    text_column = "summary"
    metrics = TEXT_METRICS
    primary_metric = "rouge1"
    card_metrics = ("rouge1",)
    default_weight, default_loss_weight = 0.3, 0.5

    def eligible(self, split: Split, part: str) -> np.ndarray:
        rows = split.rows(part)
        return rows[has_text(split.data, "review", rows) & has_text(split.data, "summary", rows)]

    def build(self, split: Split, rows: np.ndarray, options: BuildOptions) -> Examples:
        data, texts = split.data, Texts(options.max_words)
        columns = user_item_title(data, rows, data.item[rows])
        columns["review"] = texts.of_rows(data.texts["review"], rows, cut_at_sentences)
        columns["headline"] = texts.of_rows(data.texts["summary"], rows)
        references = [data.texts["summary"][row] for row in rows.tolist()]
        return Examples(self.name, rows, columns, texts.strings, references=references)


class Score(Task):
    """The rating that the writer of the review gave."""

    name = "review/score"
    slots = {**SLOTS, "rating": Slot("the rating", target=True)}
    needs: ClassVar[tuple[str, ...]] = ("review", "rating")
    review_columns: ClassVar[tuple[str, ...]] = ("review",)
    decoding = Decoding.RATING
    metrics = RATING_METRICS
    primary_metric = "rmse"
    card_metrics: ClassVar[tuple[str, ...]] = ("rmse",)
    default_weight = 0.5
    teacher, default_alpha = Teacher.RATING, 0.7

    def eligible(self, split: Split, part: str) -> np.ndarray:
        rows = split.rows(part)
        return rows[has_text(split.data, "review", rows) & is_rated(split.data, rows)]

    def build(self, split: Split, rows: np.ndarray, options: BuildOptions) -> Examples:
        data, texts = split.data, Texts(options.max_words)
        assert data.rating is not None
        columns = user_item_title(data, rows, data.item[rows])
        columns["review"] = texts.of_rows(data.texts["review"], rows, cut_at_sentences)
        columns["rating"] = Column.single(RATING, rating_index(data, data.rating[rows]))
        if "headline" in self.slots:
            columns["headline"] = texts.of_rows(data.texts["summary"], rows)
        return Examples(self.name, rows, columns, texts.strings)


class ScoreWithHeadline(Score):
    """The rating that the writer of the review gave, told the headline too.

    A task of its own, as `explanation/explain_feature` is: with more input it is another question, and
    its errors must not be mixed with, or compared to, those from the text alone.
    """

    name = "review/score_with_headline"
    slots = {**Score.slots, "headline": Slot("the headline of the review")}
    needs = ("review", "rating", "summary")
    review_columns = ("review", "summary")
    card_metrics = ()
    default_weight = 0.3
    substitutes = ("review/score",)
    asked_in_words = False  # nobody who asks tells the headline apart

    def eligible(self, split: Split, part: str) -> np.ndarray:
        rows = super().eligible(split, part)
        return rows[has_text(split.data, "summary", rows)]
