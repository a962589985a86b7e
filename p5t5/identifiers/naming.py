"""Identifiers for items that arrive later: the codes of the most similarly described known item."""

from __future__ import annotations

import numpy as np
import pandas as pd

from p5t5.core.randomness import hashed
from p5t5.data.text_features import item_words, text_vectors
from p5t5.identifiers.base import Identifiers

CHUNK = 1024


def name_like_nearest(
    named: Identifiers, known: pd.DataFrame, new: pd.DataFrame, seed: int = 0
) -> Identifiers:
    """Each new item gets the leading codes of the known item that is described most alike, and under them
    the first free last code (a new one where none is free). An item without text goes to a drawn place.

    Needs no state but the catalogue: the codes in use and the items' texts.
    """
    items = pd.concat([known, new], ignore_index=True).fillna("")
    vectors = text_vectors(items, seed)
    old, fresh = vectors[: len(known)], vectors[len(known) :]
    like = np.concatenate(
        [(fresh[at : at + CHUNK] @ old.T).argmax(1) for at in range(0, len(fresh), CHUNK)]
        or [np.zeros(0, int)]
    )
    silent = np.array([not row for row in item_words(items)[len(known) :]], bool)
    drawn = (hashed(seed, 41, np.arange(len(new))) % np.uint64(len(known))).astype(np.int64)
    like = np.where(silent, drawn, like)
    last = (named.codes >= 0).sum(1) - 1  # the place of each last code
    row, codes = np.arange(len(named)), named.codes.copy()
    numbers = codes[row, last]
    codes[row, last] = -1
    taken: dict[bytes, set[int]] = {}
    wanted = {codes[place].tobytes() for place in np.unique(like).tolist()}
    for place in range(len(codes)):
        if (key := codes[place].tobytes()) in wanted:
            taken.setdefault(key, set()).add(int(numbers[place]))
    out = codes[like]
    for at, place in enumerate(like.tolist()):
        used = taken[codes[place].tobytes()]
        number = next(free for free in range(len(used) + 1) if free not in used)
        used.add(number)
        out[at, last[place]] = number
    return named.extended(out)
