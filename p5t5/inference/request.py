"""What is known of a request, as slot values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from p5t5.core.ragged import Ragged
from p5t5.tasks.base import ITEM, RATING, SEMICOLON, TEXT, TITLE, USER, BuildOptions, Column
from p5t5.tasks.columns import cut_at_sentences, shorten


@dataclass(frozen=True)
class PromptFacts:
    """All that may fill a slot. Users are numbered as in the checkpoint, items as in the catalogue.

    ``rated``: (item, index into the rating values), oldest first; ``guess`` is such an
    index too. None, "" and () mean: not known.
    """

    user: int | None = None
    item: int | None = None
    history: Sequence[int] = ()
    rated: Sequence[tuple[int, int]] = ()
    candidates: Sequence[int] = ()
    review: str = ""
    feature: str = ""
    headline: str = ""
    guess: int | None = None

    @property
    def known(self) -> tuple[bool, ...]:
        """Which of it is known; facts of the same can fill the same slots."""
        single = [value is not None for value in (self.user, self.item, self.guess)]
        several = (self.history, self.rated, self.candidates, self.review, self.feature, self.headline)
        return (*single, *(len(value) > 0 for value in several))


@dataclass(frozen=True)
class Filled:
    """``columns``: the slots that can be filled in every row; ``empty``: those of them without any element."""

    columns: dict[str, Column]
    texts: list[str]
    empty: frozenset[str]


def fill_slots(
    facts: Sequence[PromptFacts], options: BuildOptions, attributes: Sequence[str] | None = None
) -> Filled:
    """The slot columns of n requests; a slot that cannot be filled for all of them is left out.

    ``attributes``: one text per item, for the slot ``about``.
    """
    columns: dict[str, Column] = {}
    texts: list[str] = []

    def single(slot: str, pool: int, values: Sequence[int | None]) -> None:
        if all(value is not None for value in values):
            columns[slot] = Column.single(pool, np.array(values, np.int32))

    def text(slot: str, values: Sequence[str]) -> None:
        columns[slot] = Column.single(TEXT, len(texts) + np.arange(len(values)))
        cut = cut_at_sentences if slot == "review" else shorten
        texts.extend(cut(value, options.max_words) for value in values)

    max_titles = min(options.max_titles, options.max_history)
    histories = Ragged.from_lists([f.history[-options.max_history :] for f in facts])
    recent = Ragged.from_lists([f.history[-max_titles:] for f in facts])
    single("user", USER, [f.user for f in facts])
    single("item", ITEM, [f.item for f in facts])
    single("title", TITLE, [f.item for f in facts])
    single("rating_guess", RATING, [f.guess for f in facts])
    columns["history"] = Column.listed(ITEM, histories).ended()
    columns["history_titles"] = Column.separated(TITLE, recent).ended()
    columns["rated_history"] = Column.grouped(_pairs(facts, ITEM, options.max_history)).ended()
    columns["rated_titles"] = Column.grouped(_pairs(facts, TITLE, max_titles), SEMICOLON).ended()
    if all(len(f.candidates) for f in facts):
        columns["candidates"] = Column.listed(ITEM, Ragged.from_lists([f.candidates for f in facts]))
    if "item" in columns:
        text("about", ["" if attributes is None else attributes[f.item or 0] for f in facts])
    for slot in ("review", "feature", "headline"):
        if all(getattr(f, slot) for f in facts):
            text(slot, [getattr(f, slot) for f in facts])
    empty = {slot for slot, column in columns.items() if not len(column.elements.values)}
    return Filled(columns, texts, frozenset(empty))


def _pairs(facts: Sequence[PromptFacts], pool: int, longest: int) -> list[tuple[int, Ragged]]:
    latest = [list(f.rated)[-longest:] for f in facts]
    items = Ragged.from_lists([[item for item, _ in pairs] for pairs in latest])
    return [(pool, items), (RATING, Ragged.from_lists([[rating for _, rating in pairs] for pairs in latest]))]
