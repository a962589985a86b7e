"""Where nobody wrote why: a sentence on what an item shares with the user's earlier ones.

The sentence of an interaction knows the item's attributes and the user's earlier interactions, no more: not its own
rating, nothing later and nobody else. So it may be trained on, or asked for, under any split by time; under another,
only training rows may be ``known``. Its feature is the shared attribute that is frequent in the user's history and rare in the catalogue.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from zlib import crc32

import numpy as np
import pandas as pd

from p5t5.core.ragged import Ragged, positions
from p5t5.data.records.tables import IndexedRecords

MOST_ROWS = 1 << 20  # interactions that are looked at together, to bound memory
MOST_WORDS = 4  # of an attribute's value; longer ones are descriptions
TOO_COMMON = 0.9  # of the catalogue: what nearly every item has explains nothing
MOSTLY, OFTEN = 0.5, 0.2  # of the user's earlier interactions
CLEARLY = 0.1  # rating points around the user's mean that are no opinion

# A user is always spoken to in one of the manners: what is different between sentences can be learnt.
OPENINGS = (
    (
        "there has been some {value} on your list",
        "now and then you choose {value}",
        "you come across {value} from time to time",
    ),
    (
        "{value} is a regular on your list",
        "you often choose {value}",
        "you come back to {value} again and again",
    ),
    (
        "most of your list is {value}",
        "you choose {value} most of the time",
        "{value} is what you mainly go for",
    ),
)
STANCES = (
    (
        "though you rate it lower than the rest",
        "but you like it less than others",
        "yet it pleases you less than others",
    ),
    ("and this is more of it", "and here it is once more", "and this one is {value} too"),
    (
        "and you rate it higher than the rest",
        "and you like it more than others",
        "and it pleases you more than others",
    ),
)
BESIDES = ("; this is {other} as well", ", with {other} besides", "; {other} is part of it too")


@dataclass(frozen=True)
class AttributeSentences:
    """``sentences``: distinct ones, the first of them "". ``sentence``: int32 [n], the one of each interaction.

    ``features``, ``feature``: likewise the shared attribute.
    """

    sentences: list[str]
    sentence: np.ndarray
    features: list[str]
    feature: np.ndarray


def shared_values(items: pd.DataFrame) -> tuple[list[str], Ragged]:
    """The values that can be shared, sorted, and which of them (int32) each item has.

    From the columns that hold short words which several items have in common; lists ("Animation, Comedy",
    "Animation|Comedy") are several values. Numbers, such as years and prices, are none.
    """
    per_item: list[dict[str, None]] = [{} for _ in range(len(items))]
    for column in items.columns:
        if column in ("item_id", "title"):
            continue
        cells = [_values(cell) for cell in items[column]]
        flat = [value for values in cells for value in values]
        wordy = [
            value for value in flat if re.search(r"[^\W\d]{2}", value) and len(value.split()) <= MOST_WORDS
        ]
        if len(wordy) < 0.5 * len(flat) or len(set(flat)) > 0.5 * len(flat):
            continue
        for known, values in zip(per_item, cells, strict=True):
            known.update(dict.fromkeys(values))
    number_of: dict[str, int] = {}
    for known in per_item:
        for value in known:
            number_of[value] = number_of.get(value, 0) + 1
    names = sorted(
        value
        for value, number in number_of.items()
        if 2 <= number <= TOO_COMMON * len(items)
        and re.search(r"[^\W\d]{2}", value)
        and len(value.split()) <= MOST_WORDS
    )
    place = {value: number for number, value in enumerate(names)}
    return names, Ragged.from_lists(
        [[place[value] for value in known if value in place] for known in per_item]
    )


def attribute_sentences(data: IndexedRecords, known: np.ndarray | None = None) -> AttributeSentences | None:
    """A sentence for each interaction that shares something with an earlier one of its user; None if none does.

    ``known``: bool [n], the interactions that count as earlier ones (default: all).
    """
    names, values = shared_values(data.items)
    if not names:
        return None
    popularity = np.bincount(values.values, minlength=len(names)) / len(values)
    manner = np.array([crc32(str(user_id).encode()) % len(BESIDES) for user_id in data.user_ids], np.int64)
    seen = np.ones(len(data)) if known is None else known.astype(np.float64)
    keys = [_chosen(data, rows, values, popularity, manner, seen) for rows in _users_together(data)]
    distinct, sentence = np.unique(np.concatenate(keys), return_inverse=True)
    if not (distinct >= 0).any():
        return None
    first = int(distinct[0] >= 0)  # 1 where no interaction is without: then "" is still number 0
    sentences = ["", *(_sentence(key, names) for key in distinct.tolist() if key >= 0)]
    features, feature = np.unique(
        np.where(distinct < 0, -1, distinct // _PARTS // (len(names) + 1)), return_inverse=True
    )
    begin = int(features[0] >= 0)
    told = ["", *(names[number] for number in features.tolist() if number >= 0)]
    sentence = sentence.reshape(-1)
    return AttributeSentences(
        sentences,
        (sentence + first).astype(np.int32),
        told,
        (feature.reshape(-1)[sentence] + begin).astype(np.int32),
    )


# A sentence as one number: ((value · (values + 1) + other) · levels + level) · stances + stance) · manners + manner.
_PARTS = len(OPENINGS) * len(STANCES) * len(BESIDES)


def _sentence(key: int, names: Sequence[str]) -> str:
    key, manner = divmod(key, len(BESIDES))
    key, stance = divmod(key, len(STANCES))
    key, level = divmod(key, len(OPENINGS))
    value, other = divmod(key, len(names) + 1)
    template = f"{OPENINGS[level][manner]} {STANCES[stance][manner]}"
    if other == len(names):
        return template.format(value=names[value])
    return (template + BESIDES[manner]).format(value=names[value], other=names[other])


def _users_together(data: IndexedRecords) -> Iterator[slice]:
    """Slices of whole users, about MOST_ROWS rows each."""
    start, borders = 0, data.user_start
    while start < len(data):
        end = int(borders[np.searchsorted(borders, min(start + MOST_ROWS, len(data)))])
        yield slice(start, end)
        start = end


def _chosen(
    data: IndexedRecords,
    rows: slice,
    values: Ragged,
    popularity: np.ndarray,
    manner: np.ndarray,
    seen: np.ndarray,
) -> np.ndarray:
    """int64 [rows]: the sentence of each as a number, −1 for none. ``seen``: 1.0 where a row may be looked at."""
    user, item = data.user[rows].astype(np.int64), data.item[rows]
    n = len(user)
    seen = seen[rows]
    history = _before(user, seen)
    lengths = values.lengths[item]
    row = np.repeat(np.arange(n), lengths)
    value = values.values[positions(values.offsets[item], lengths)].astype(np.int64)
    rating = np.zeros(n) if data.rating is None else data.rating[rows].astype(np.float64)
    rated = np.zeros(n) if data.rating is None else np.isfinite(rating) * seen
    rating = np.where(rated > 0, rating, 0.0)
    group = user[row] * len(popularity) + value
    count = _before(group, seen[row])
    mean = _before(group, rating[row]) / np.maximum(_before(group, rated[row]), 1)
    all_mean = _before(user, rating) / np.maximum(_before(user, rated), 1)
    liking = np.where(_before(group, rated[row]) > 0, mean - all_mean[row], 0.0)
    share = count / np.maximum(history[row], 1)
    fits = share / np.sqrt(popularity[value])
    # Per row the best value and the second: sorted by row, then fit (best first), then name.
    order = np.lexsort((value, -fits, row))
    order = order[count[order] > 0]
    first = np.ones(len(order), bool)
    first[1:] = row[order[1:]] != row[order[:-1]]
    best = order[first]
    after = np.flatnonzero(first) + 1
    has_other = (after < len(order)) & ~np.append(first, True)[np.minimum(after, len(order))]
    none = len(popularity)
    other = (
        np.where(has_other, value[order[np.minimum(after, len(order) - 1)]], none)
        if len(order)
        else value[best]
    )
    level = (share[best] >= OFTEN).astype(np.int64) + (share[best] >= MOSTLY)
    stance = 1 + (liking[best] > CLEARLY).astype(np.int64) - (liking[best] < -CLEARLY)
    key = value[best] * (none + 1) + other
    key = (key * len(OPENINGS) + level) * len(STANCES) + stance
    out = np.full(n, -1, np.int64)
    out[row[best]] = key * len(BESIDES) + manner[user[row[best]]]
    return out


def _before(group: np.ndarray, amount: np.ndarray) -> np.ndarray:
    """float64: what earlier elements of each element's group amount to, itself left out."""
    order = np.argsort(group, kind="stable")
    summed = np.cumsum(amount[order]) - amount[order]
    start = np.ones(len(order), bool)
    start[1:] = group[order[1:]] != group[order[:-1]]
    at_start = np.maximum.accumulate(np.where(start, np.arange(len(order)), 0))
    out = np.empty(len(order))
    out[order] = summed - summed[at_start]
    return out


def _values(cell: str) -> list[str]:
    return [value for part in re.split(r"[,|;]", cell) if (value := part.strip())]
