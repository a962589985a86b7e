"""Title identifiers: the first words of an item's title, in the text's own tokens; nothing new to learn.

They take several tokens per item, and the model can already read them. Equal names get a number.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from p5t5.core.errors import UserError
from p5t5.data.splits import Split
from p5t5.data.text_features import WORD
from p5t5.identifiers.base import Identifiers

LONGEST = 6  # words of a title


def fit(split: Split, of: str, seed: int = 0) -> Identifiers:
    """The title's first six different words; ``seed`` is not used. UserError for users and without titles."""
    if of == "user":
        raise UserError("identifiers: users have no titles; name them atomic, collaborative or by none.")
    if not split.data.has("title"):
        raise UserError(f"identifiers: {split.data.name} has no column title; choose another method.")
    names, collisions = _names(split.data.items, set())
    return Identifiers("title", of, *_coded(names, []), collisions=collisions)


def name_new(named: Identifiers, known: pd.DataFrame, new: pd.DataFrame, seed: int = 0) -> Identifiers:
    """New items by their titles; nothing is fitted."""
    names, _ = _names(new, set(named.spellings()))
    codes, _, words = _coded(names, named.words)
    return named.extended(codes, words)


def _names(items: pd.DataFrame, taken: set[str]) -> tuple[list[list[str]], int]:
    """The words of each item's name, unlike all others and ``taken``; and how many needed a number."""
    titles = items["title"] if "title" in items else items["item_id"]
    out, collisions = [], 0
    seen, last = set(taken), dict[str, int]()
    for title, item_id in zip(titles.tolist(), items["item_id"].tolist(), strict=True):
        words = (
            list(dict.fromkeys(WORD.findall(str(title))))[:LONGEST] or WORD.findall(str(item_id)) or ["item"]
        )
        name, number = " ".join(words), 1
        if name in seen:
            collisions += 1
            number = last.get(name, 1) + 1
            while f"{name} {number}" in seen:
                number += 1
            last[name] = number
            words = [*words, str(number)]
        seen.add(" ".join(words))
        out.append(words)
    return out, collisions


def _coded(names: Sequence[Sequence[str]], known: Sequence[str]) -> tuple[np.ndarray, tuple, tuple[str, ...]]:
    """Codes [n, longest], level sizes and the words they count: the known ones first, then in sorted order."""
    words = [*known, *sorted({word for name in names for word in name} - set(known))]
    place = {word: number for number, word in enumerate(words)}
    codes = np.full((len(names), max(map(len, names), default=1)), -1, np.int32)
    for row, name in zip(codes, names, strict=True):
        row[: len(name)] = [place[word] for word in name]
    return codes, (len(words),) * codes.shape[1], tuple(words)
