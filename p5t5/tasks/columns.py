"""The slot columns that several families share: histories, descriptions, free text, ratings."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable

import numpy as np
import pandas as pd

from p5t5.core.ragged import Ragged
from p5t5.data.records.tables import IndexedRecords
from p5t5.data.splits import Split
from p5t5.tasks.base import ITEM, RATING, SEMICOLON, TEXT, TITLE, USER, BuildOptions, Column

# Attributes are told in the prompt; their columns that name the item once more are not.
NOT_ATTRIBUTES = ("item_id", "title")

# A word that ends so ends a sentence; "approx." and "Mr." do too, which costs a border more and no harm.
SENTENCE_MARKS, CLOSINGS = ".!?…", "\"'”’)]"
SENTENCE_ENDS = tuple(mark + closing for mark in SENTENCE_MARKS for closing in ("", *CLOSINGS))
LAST_LETTERS = frozenset(SENTENCE_MARKS + CLOSINGS)  # asked first: most words end in a letter
CLOSING_SHARE = 0.25  # of the room for a review that is kept for its last sentences


def shorten(text: str, words: int) -> str:
    """The first ``words`` words, joined by single spaces."""
    return " ".join(text.split()[:words])


def cut_at_sentences(text: str, words: int) -> str:
    """At most ``words`` words of a text, joined by single spaces: its beginning and its last sentences.

    Reviewers come to their point at the end, so CLOSING_SHARE of the room, and what the first whole
    sentences leave of the rest, is for the last sentences, whole; the beginning goes on to where they
    start. So nothing is left empty, and of all sentences at most one, at the seam, is cut. (On validation
    reviews whole sentences alone judged worse than plain words: they leave a tenth of the room empty.)
    A text without borders is cut at a word.
    """
    found = text.split()
    if len(found) <= words:
        return " ".join(found)
    ends = [
        place
        for place, word in enumerate(found, 1)
        if word[-1] in LAST_LETTERS and word.endswith(SENTENCE_ENDS)
    ]
    if not ends or ends[-1] < len(found):
        ends.append(len(found))
    room = words - int(words * CLOSING_SHARE)
    whole = bisect_right(ends, room)
    head = ends[whole - 1] if whole else room
    starts = [0, *ends[:-1], len(found)]
    tail = starts[bisect_left(starts, len(found) - (words - head))]
    return " ".join(found[: words - (len(found) - tail)] + found[tail:])


def describe_items(items: pd.DataFrame, numbers: Iterable[int] | None = None, words: int = 80) -> list[str]:
    """ "year 1995 ; genres Animation, Comedy" for the given rows of the item table (all by default).

    An attribute that an item lacks is left out; an item without any gives "".
    """
    names = [column for column in items.columns if column not in NOT_ATTRIBUTES]
    chosen = items if numbers is None else items.iloc[np.asarray(numbers, np.int64)]
    spoken = [name.replace("_", " ") for name in names]
    columns = [chosen[name].tolist() for name in names]
    rows = zip(*columns, strict=True) if columns else [()] * len(chosen)
    return [
        shorten(
            " ; ".join(f"{name} {value}" for name, value in zip(spoken, row, strict=True) if value), words
        )
        for row in rows
    ]


class Texts:
    """Collects what elements of pool TEXT count, column by column."""

    def __init__(self, words: int) -> None:
        self.strings: list[str] = []
        self.words = words

    def of_rows(
        self, strings: list[str], rows: np.ndarray, cut: Callable[[str, int], str] = shorten
    ) -> Column:
        """The given rows of a text column, one text an example, cut to the longest allowed."""
        first = len(self.strings)
        self.strings += [cut(strings[row], self.words) for row in rows.tolist()]
        return Column.single(TEXT, np.arange(first, len(self.strings)))

    def about(self, data: IndexedRecords, items: np.ndarray) -> Column:
        """Each item's attributes; an item that is asked for often is described once."""
        numbers, place = np.unique(items, return_inverse=True)
        first = len(self.strings)
        self.strings += describe_items(data.items, numbers, self.words)
        return Column.single(TEXT, first + place.reshape(-1))


def user_item_title(data: IndexedRecords, rows: np.ndarray, items: np.ndarray) -> dict[str, Column]:
    """The slots user, item and title; ``items`` need not be those of the rows (negatives)."""
    return {
        "user": Column.single(USER, data.user[rows]),
        "item": Column.single(ITEM, items),
        "title": Column.single(TITLE, items),
    }


def history(split: Split, rows: np.ndarray, options: BuildOptions) -> dict[str, Column]:
    """The slots history and history_titles: the items before each row, oldest first."""
    items = split.history_items(rows, options.max_history)
    titles = split.history_items(rows, min(options.max_titles, options.max_history))
    return {
        "history": Column.listed(ITEM, items).ended(),
        "history_titles": Column.separated(TITLE, titles).ended(),
    }


def rated_history(split: Split, rows: np.ndarray, options: BuildOptions) -> dict[str, Column]:
    """The slots rated_history and rated_titles; interactions without a rating are left out."""
    data = split.data
    long = _rated(split, rows, options.max_history)
    short = _rated(split, rows, min(options.max_titles, options.max_history))
    rating, titles_rating = _ratings(data, long), _ratings(data, short)
    items, titles = (Ragged(data.item[part.values], part.offsets) for part in (long, short))
    return {
        "rated_history": Column.interleaved(ITEM, items, RATING, rating).ended(),
        "rated_titles": Column.grouped([(TITLE, titles), (RATING, titles_rating)], SEMICOLON).ended(),
    }


def rating_index(data: IndexedRecords, ratings: np.ndarray) -> np.ndarray:
    """int32: each rating's place in ``data.rating_values`` (the nearest; float32 data meets float64 asks)."""
    values = data.rating_values.astype(np.float64)
    middles = (values[1:] + values[:-1]) / 2
    return np.searchsorted(middles, np.asarray(ratings, np.float64)).astype(np.int32)


def is_rated(data: IndexedRecords, rows: np.ndarray) -> np.ndarray:
    """bool [n]: which of the rows have a rating."""
    if data.rating is None:
        return np.zeros(len(rows), bool)
    return np.isfinite(data.rating[rows])


def has_text(data: IndexedRecords, column: str, rows: np.ndarray) -> np.ndarray:
    """bool [n]: which of the rows have a text in ``column``."""
    strings = data.texts.get(column)
    if strings is None:
        return np.zeros(len(rows), bool)
    return np.fromiter((bool(strings[row].strip()) for row in rows.tolist()), bool, len(rows))


def _rated(split: Split, rows: np.ndarray, longest: int) -> Ragged:
    """Ragged int32: the rated ones among each row's last ``longest`` earlier interactions."""
    earlier = split.history(rows, longest)
    known = is_rated(split.data, earlier.values)
    lengths = np.bincount(earlier.row_of_value[known], minlength=len(earlier))
    return Ragged.from_lengths(earlier.values[known], lengths)


def _ratings(data: IndexedRecords, rows: Ragged) -> Ragged:
    assert data.rating is not None
    return Ragged(rating_index(data, data.rating[rows.values]), rows.offsets)
