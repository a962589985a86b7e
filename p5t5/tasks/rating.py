"""Ratings: how many stars, are these the stars, would it be liked."""

from __future__ import annotations

import numpy as np

from p5t5.core.randomness import below, uniform
from p5t5.data.records.tables import IndexedRecords
from p5t5.data.splits import Split
from p5t5.tasks.base import (
    DISLIKE,
    LIKE,
    NO,
    RATING,
    RATING_METRICS,
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
from p5t5.tasks.columns import Texts, is_rated, rated_history, rating_index, user_item_title
from p5t5.tasks.negatives import GUESS, WHICH

SLOTS = {
    "user": Slot("the user's identifier"),
    "item": Slot("the item's identifier"),
    "title": Slot("the item's title"),
    "about": Slot("the item's attributes in words"),
    "rated_history": Slot("earlier items, each with the user's rating"),
    "rated_titles": Slot("earlier titles, each with the user's rating"),
}


def middle(values: np.ndarray) -> float:
    """The middle of the rating scale of these ``values``; an item rated strictly above it is liked."""
    return (float(values.min()) + float(values.max())) / 2


class _Rating(Task):
    needs = ("rating",)
    values = 1  # how many different ratings the data must have for the question to make sense

    def eligible(self, split: Split, part: str) -> np.ndarray:
        rows = split.rows(part)
        if len(split.data.rating_values) < self.values:
            return rows[:0]
        return rows[is_rated(split.data, rows)]

    def build(self, split: Split, rows: np.ndarray, options: BuildOptions) -> Examples:
        data, texts = split.data, Texts(options.max_words)
        assert data.rating is not None
        columns = user_item_title(data, rows, data.item[rows])
        columns["about"] = texts.about(data, data.item[rows])
        columns |= rated_history(split, rows, options)
        answer = self.answer(data, rows, options, columns)
        return Examples(self.name, rows, columns, texts.strings, answer=answer)

    def answer(
        self, data: IndexedRecords, rows: np.ndarray, options: BuildOptions, columns: dict[str, Column]
    ) -> np.ndarray | None:
        """Adds the answer's column; returns the place of the truth among ``choices``, if there are any."""
        raise NotImplementedError


class Score(_Rating):
    """What rating will the user give the item?"""

    name = "rating/score"
    slots = {**SLOTS, "rating": Slot("the rating", target=True)}
    decoding = Decoding.RATING
    metrics = RATING_METRICS
    primary_metric = short_name = "rmse"
    validation_place = 2
    card_metrics = ("rmse", "mae")
    default_weight = 1.5
    teacher, default_alpha = Teacher.RATING, 0.7

    def answer(self, data, rows, options, columns):
        columns["rating"] = Column.single(RATING, rating_index(data, data.rating[rows]))


class Verify(_Rating):
    """Is this the rating? Half the guesses are true, the others uniform over the other values."""

    name = "rating/verify"
    slots = {**SLOTS, "rating_guess": Slot("a rating"), "answer": Slot("yes or no", target=True)}
    decoding = Decoding.CHOICE
    choices = (YES, NO)
    metrics = ("accuracy", "auc")
    primary_metric = "accuracy"
    default_weight = 0.1
    substitutes = ("rating/score",)
    values = 2

    def answer(self, data, rows, options, columns):
        truth, count = rating_index(data, data.rating[rows]), len(data.rating_values)
        is_true = uniform(options.seed, GUESS, options.epoch, rows) < 0.5
        step = 1 + below(count - 1, options.seed, WHICH, options.epoch, rows)
        guess = np.where(is_true, truth, (truth + step) % count)
        columns["rating_guess"] = Column.single(RATING, guess)
        columns["answer"] = Column.single(WORD, np.where(is_true, YES, NO))
        return np.where(is_true, 0, 1).astype(np.int32)


class Like(_Rating):
    """Will the user like it, that is, rate it above the middle of the scale?"""

    name = "rating/like"
    slots = {**SLOTS, "answer": Slot("like or dislike", target=True)}
    decoding = Decoding.CHOICE
    choices = (LIKE, DISLIKE)
    metrics = ("accuracy", "auc")
    primary_metric = "accuracy"
    default_weight = 0.2
    teacher, default_alpha = Teacher.RATING, 0.7
    substitutes = ("rating/score", "direct/verify")
    values = 2

    def positive_ratings(self, values: np.ndarray) -> np.ndarray:
        values = np.asarray(values)
        return values > middle(values) if len(values) else np.zeros(0, bool)

    def answer(self, data, rows, options, columns):
        liked = data.rating[rows] > middle(data.rating_values)
        columns["answer"] = Column.single(WORD, np.where(liked, LIKE, DISLIKE))
        return np.where(liked, 0, 1).astype(np.int32)
