"""The text that pretraining masks: behaviour, item sentences, reviews and triples, as rows of elements.

Rows of interactions come from the training part only. Items and triples are facts of the catalogue
(title, brand, category, …), the same whoever buys; aggregates over purchases are no such facts and
must not be among the attributes (benchmarks.md on also_bought).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from p5t5.core.errors import UserError
from p5t5.core.ragged import Ragged, positions
from p5t5.core.randomness import below, uniform
from p5t5.data.records.tables import IndexedRecords
from p5t5.data.splits import Split
from p5t5.tasks.base import COLON, ITEM, RATING, TEXT, TITLE, USER, WORD, WORDS, BuildOptions, Column
from p5t5.tasks.columns import cut_at_sentences, describe_items, is_rated, rating_index, shorten

KINDS = ("behaviour", "items", "reviews", "triples")
_PHASE, _RATED = range(2)  # what a draw is for


@dataclass(frozen=True)
class Sequences:
    """``column``: the elements of each sequence; ``texts``: what its TEXT elements count; ``kind``: int8,
    an index into KINDS for each sequence."""

    column: Column
    texts: Sequence[str]
    kind: np.ndarray

    def __len__(self) -> int:
        return len(self.kind)


def build_corpus(
    split: Split, kinds: Sequence[str] = KINDS, options: BuildOptions | None = None
) -> Sequences:
    """The sequences of one epoch, kinds in the given order; a pure function of its arguments.

    A kind for which the data has nothing gives no sequences. ``options.epoch`` moves the windows of
    behaviour; the rest is the same in every epoch. UserError for an unknown kind.
    """
    builders = {"behaviour": _behaviour, "items": _items, "reviews": _reviews, "triples": _triples}
    if unknown := [kind for kind in kinds if kind not in builders]:
        raise UserError(f"corpus: there is no kind {unknown[0]!r}; choose among {', '.join(KINDS)}.")
    texts: list[str] = []
    columns = [builders[kind](split, options or BuildOptions(), texts) for kind in kinds]
    number = [np.full(len(c.elements), KINDS.index(k), np.int8) for k, c in zip(kinds, columns, strict=True)]
    return Sequences(_stacked(columns), texts, np.concatenate(number) if number else np.zeros(0, np.int8))


def answer_words(data: IndexedRecords) -> list[str]:
    """The tasks' fixed words and the ratings as spelled: what the tokenizer should keep whole."""
    return [*WORDS, *(f"{value:g}" for value in data.rating_values)]


def training_texts(split: Split, options: BuildOptions | None = None) -> Iterator[str]:
    """All text that training may show, for the tokenizer: the catalogue's and the training rows'.

    Prompt literals are not among them; the caller has the prompts.
    """
    data, words = split.data, (options or BuildOptions()).max_words
    yield from answer_words(data)
    if data.has("title"):
        yield from data.titles
    yield from (text for text in describe_items(data.items, words=words) if text)
    rows = split.rows("train").tolist()
    for column in data.texts.values():
        yield from (shorten(column[row], words) for row in rows if column[row])
    if data.triples is not None:
        yield from _facts(split, words).values()


def _behaviour(split: Split, options: BuildOptions, texts: list[str]) -> Column:
    """USER ITEM ITEM …, and in half of the windows (by draw) USER ITEM RATING ITEM RATING …

    A user's training rows are cut into windows of twice ``max_history``. Where one does not hold them
    all, the cuts move from epoch to epoch.
    """
    data = split.data
    rows = split.rows("train")
    starts, lengths, users = _windows(data.user[rows], 2 * options.max_history, options)
    several = lengths > 1  # one item says nothing of order
    starts, lengths, users = starts[several], lengths[several], users[several]
    window = Ragged.from_lengths(rows[positions(starts, lengths)], lengths)
    rated = np.zeros(len(window), bool)
    if data.rating is not None:
        rated = uniform(options.seed, options.epoch, rows[starts], _RATED) < 0.5
    shown = np.repeat(rated, lengths) & is_rated(data, window.values)
    items = np.stack([np.full(len(shown), ITEM), data.item[window.values]], 1)
    ratings = np.stack([np.full(len(shown), RATING), _rating_index(split, window.values)], 1)
    body = np.stack([items, ratings], 1).reshape(-1, 2)
    keep = np.stack([np.ones(len(shown), bool), shown], 1).reshape(-1)
    body_lengths = lengths + np.bincount(window.row_of_value[shown], minlength=len(window))
    out = Ragged.from_lengths(np.zeros(int((body_lengths + 1).sum()), np.int32), body_lengths + 1)
    pools = np.full(len(out.values), USER, np.uint8)
    out.values[out.offsets[:-1]] = users
    where = positions(out.offsets[:-1] + 1, body_lengths)
    pools[where], out.values[where] = body[keep].T
    return Column(out, pools)


def _windows(users: np.ndarray, longest: int, options: BuildOptions) -> tuple[np.ndarray, ...]:
    """(start, length, user) of each window over rows that are sorted by user."""
    found, first, count = np.unique(users, return_index=True, return_counts=True)
    phase = below(longest, options.seed, options.epoch, found, _PHASE)
    phase[count <= longest] = 0
    windows = -(-(count + phase) // longest)
    number = positions(np.zeros(len(found), np.int64), windows)
    start = number * longest - np.repeat(phase, windows)
    end = np.minimum(start + longest, np.repeat(count, windows))
    start = np.maximum(start, 0)
    return np.repeat(first, windows) + start, end - start, np.repeat(found, windows)


def _items(split: Split, options: BuildOptions, texts: list[str]) -> Column:
    """ITEM TITLE attributes; items of which nothing is known are left out."""
    data = split.data
    about = describe_items(data.items, words=options.max_words)
    told = np.array([bool(text) for text in about], bool)
    titled = np.full(data.number_of_items, data.has("title"))
    known = np.flatnonzero(titled | told)
    place = _added(texts, [about[item] for item in known.tolist()])
    return _rows([(ITEM, known, None), (TITLE, known, titled[known]), (TEXT, place, told[known])])


def _reviews(split: Split, options: BuildOptions, texts: list[str]) -> Column:
    """USER ITEM RATING summary : review, of training rows that have a review or a summary."""
    data = split.data
    rows = split.rows("train")
    columns = [data.texts.get(name) for name in ("summary", "review")]
    has = [np.array([bool(c and c[row]) for row in rows.tolist()], bool) for c in columns]
    written = has[0] | has[1]
    rows, has = rows[written], [part[written] for part in has]
    place = [
        _added(texts, [cut_at_sentences(c[row], options.max_words) if c else "" for row in rows.tolist()])
        for c in columns
    ]
    return _rows(
        [
            (USER, data.user[rows], None),
            (ITEM, data.item[rows], None),
            (RATING, _rating_index(split, rows), is_rated(data, rows)),
            (TEXT, place[0], has[0]),
            (WORD, np.full(len(rows), COLON), has[0] & has[1]),
            (TEXT, place[1], has[1]),
        ]
    )


def _triples(split: Split, options: BuildOptions, texts: list[str]) -> Column:
    """ITEM TITLE relation tail, tail, …: one sequence for each item and relation."""
    if split.data.triples is None:
        return _rows([(ITEM, np.zeros(0, np.int32), None)])
    facts = _facts(split, options.max_words)
    items = np.array([item for item, _ in facts], np.int32)
    titled = np.full(len(items), split.data.has("title"))
    return _rows(
        [(ITEM, items, None), (TITLE, items, titled), (TEXT, _added(texts, list(facts.values())), None)]
    )


def _facts(split: Split, words: int) -> dict[tuple[int, str], str]:
    """(item number, relation) → "relation tail , tail"; heads outside the catalogue are left out."""
    data = split.data
    assert data.triples is not None
    number = {item_id: place for place, item_id in enumerate(data.item_ids)}
    tails: dict[tuple[int, str], list[str]] = {}
    for head, relation, tail in data.triples[["head", "relation", "tail"]].itertuples(index=False):
        if head in number and tail:
            tails.setdefault((number[head], str(relation)), []).append(str(tail))
    return {
        key: shorten(f"{key[1].replace('_', ' ')} {' , '.join(tail)}", words) for key, tail in tails.items()
    }


def _rating_index(split: Split, rows: np.ndarray) -> np.ndarray:
    """Each row's place in rating_values; 0 where there is no rating (and none is shown)."""
    if split.data.rating is None:
        return np.zeros(len(rows), np.int32)
    return np.where(is_rated(split.data, rows), rating_index(split.data, split.data.rating[rows]), 0)


def _added(texts: list[str], new: list[str]) -> np.ndarray:
    """Appends to the texts; returns the new places."""
    texts += new
    return np.arange(len(texts) - len(new), len(texts))


def _rows(parts: list[tuple[int, np.ndarray, np.ndarray | None]]) -> Column:
    """Rows of at most one element per part: (pool, index [n], present bool [n] or None for all)."""
    present = np.stack([np.ones(len(index), bool) if keep is None else keep for _, index, keep in parts], 1)
    values = np.stack([index.astype(np.int32) for _, index, _ in parts], 1)
    pools = np.broadcast_to(np.array([pool for pool, _, _ in parts], np.uint8), values.shape)
    return Column(Ragged.from_lengths(values[present], present.sum(1)), pools[present])


def _stacked(columns: list[Column]) -> Column:
    pools = [column.pools for column in columns]
    return Column(
        Ragged.concatenate([column.elements for column in columns]),
        np.concatenate(pools) if pools else np.zeros(0, np.uint8),
    )
