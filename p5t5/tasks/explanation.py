"""Explanations: why this user liked (or did not like) this item, in a sentence."""

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
)
from p5t5.tasks.columns import Texts, has_text, is_rated, rating_index, user_item_title

SLOTS = {
    "user": Slot("the user's identifier"),
    "item": Slot("the item's identifier"),
    "title": Slot("the item's title"),
    "about": Slot("the item's attributes in words"),
}
FEATURE_METRICS = ("feature_match", "feature_coverage", "feature_overlap")


class Explain(Task):
    """Why does the user like the item?"""

    name = "explanation/explain"
    slots = {**SLOTS, "explanation": Slot("the explanation", target=True)}
    needs: ClassVar[tuple[str, ...]] = ("explanation",)
    decoding = Decoding.TEXT
    text_column = "explanation"
    metrics: ClassVar[tuple[str, ...]] = (*TEXT_METRICS, *FEATURE_METRICS)
    primary_metric = "rouge1"
    card_metrics: ClassVar[tuple[str, ...]] = ("rouge1", "bleu4", "feature_match")
    default_loss_weight = 0.5

    def eligible(self, split: Split, part: str) -> np.ndarray:
        rows = split.rows(part)
        return rows[has_text(split.data, "explanation", rows)]

    def build(self, split: Split, rows: np.ndarray, options: BuildOptions) -> Examples:
        data, texts = split.data, Texts(options.max_words)
        columns = user_item_title(data, rows, data.item[rows])
        columns["about"] = texts.about(data, data.item[rows])
        columns |= self.more(split, rows, texts)
        columns["explanation"] = texts.of_rows(data.texts["explanation"], rows)
        references = [data.texts["explanation"][row] for row in rows.tolist()]
        return Examples(self.name, rows, columns, texts.strings, references=references)

    def more(self, split: Split, rows: np.ndarray, texts: Texts) -> dict[str, Column]:
        """The slots that a variant adds."""
        return {}


class ExplainFeature(Explain):
    """The same, with the feature given that the explanation should be about."""

    name = "explanation/explain_feature"
    slots = {
        **SLOTS,
        "feature": Slot("the feature to speak of"),
        "explanation": Slot("the explanation", target=True),
    }
    needs = ("feature", "explanation")
    hint = "feature"
    card_metrics = ("rouge1",)
    default_weight = 0.7
    substitutes = ("explanation/explain",)

    def eligible(self, split: Split, part: str) -> np.ndarray:
        rows = super().eligible(split, part)
        return rows[has_text(split.data, "feature", rows)]

    def more(self, split: Split, rows: np.ndarray, texts: Texts) -> dict[str, Column]:
        return {"feature": texts.of_rows(split.data.texts["feature"], rows)}


class RateAndExplain(Explain):
    """First the rating, then the reason for it."""

    name = "explanation/rate_and_explain"
    slots = {
        **SLOTS,
        "rating": Slot("the rating", target=True),
        "explanation": Slot("the explanation", target=True),
    }
    needs = ("rating", "explanation")
    decoding = Decoding.RATING_AND_TEXT
    metrics = (*RATING_METRICS, *TEXT_METRICS, *FEATURE_METRICS)
    card_metrics = ()
    default_loss_weight = 1.0
    substitutes = ("explanation/explain",)

    def eligible(self, split: Split, part: str) -> np.ndarray:
        rows = super().eligible(split, part)
        return rows[is_rated(split.data, rows)]

    def more(self, split: Split, rows: np.ndarray, texts: Texts) -> dict[str, Column]:
        data = split.data
        assert data.rating is not None
        return {"rating": Column.single(RATING, rating_index(data, data.rating[rows]))}
