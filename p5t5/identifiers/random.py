"""Random identifiers: a few digits drawn from a hash of the id; tokens are shared by chance only."""

from __future__ import annotations

import hashlib

import numpy as np
import pandas as pd

from p5t5.core.errors import UserError
from p5t5.data.splits import Split
from p5t5.identifiers.base import Identifiers, count_of, digits, ids_of, levels_for

ROOM = 4  # numbers per thing: few collisions now, and place for things that come later


def fit(split: Split, of: str, seed: int = 0, base: int = 100, levels: int | None = None) -> Identifiers:
    """Hash (seed, id) to a number of ``levels`` digits; on a collision hash again, in the order of sorted ids.

    ``levels`` defaults to the fewest digits with room for four times as many things. A later thing
    gets its identifier in the same way, without a change to those given. Raises ValueError if
    ``base ** levels`` is less than the number of things.
    """
    levels = levels_for(ROOM * count_of(split.data, of), base) if levels is None else levels
    room = base**levels
    if room < count_of(split.data, of):
        raise ValueError(f"{levels} digits of base {base} name {room} {of}s; there are more")
    taken: dict[int, str] = {}
    for name in sorted(ids_of(split.data, of)):
        attempt = 0
        while (number := _hash(name, seed, attempt) % room) in taken:
            attempt += 1
        taken[number] = name
    number_of = {name: number for number, name in taken.items()}
    numbers = np.array([number_of[name] for name in ids_of(split.data, of)], np.int64)
    return Identifiers("random", of, digits(numbers, base, levels), (base,) * levels)


def name_new(named: Identifiers, known: pd.DataFrame, new: pd.DataFrame, seed: int = 0) -> Identifiers:
    """As fit does it, with the seed of the fit; UserError where all numbers are given away."""
    base, levels = named.level_sizes[0], named.levels
    taken = set((named.codes.astype(np.int64) @ base ** np.arange(levels - 1, -1, -1)).tolist())
    if len(taken) + len(new) > base**levels:
        raise UserError(f"random identifiers: {base**levels} numbers do not name {len(new)} more items.")
    numbers = []
    for name in new["item_id"].tolist():
        attempt = 0
        while (number := _hash(name, seed, attempt) % base**levels) in taken:
            attempt += 1
        taken.add(number)
        numbers.append(number)
    return named.extended(digits(np.array(numbers, np.int64), base, levels))


def _hash(name: str, seed: int, attempt: int) -> int:
    key = f"{seed}\0{attempt}\0{name}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "little")
