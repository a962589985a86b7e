"""Identifiers: the token sequences that name items and users to the model."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from p5t5.data.records.tables import IndexedRecords

PREFIXES = ("item", "user")
LEVEL_NAMES = "abcdefghijklmnopqrstuvwxyz"
SPELLING = re.compile(r"<(?:item|user)_[a-z]?(\d+)>")


@dataclass(frozen=True)
class Identifiers:
    """A code for each thing (item or user): ``codes`` int32 [n, levels], −1 padded at the end.

    Level ``l`` counts from 0 to ``level_sizes[l] - 1`` and has tokens of its own, so one number never
    means two things. With one level a token is spelled ``<item_17>``, with more ``<item_a3>``,
    ``<item_b12>``, … Codes are unique; a duplicate or a code out of range raises ValueError.

    With ``words`` the codes of all levels count those words instead, and there are no tokens of their
    own: the spelling is text (``title``). ``collisions``: how many things shared their code with
    another before the last level told them apart.
    """

    method: str
    prefix: str
    codes: np.ndarray
    level_sizes: tuple[int, ...]
    words: tuple[str, ...] = ()
    collisions: int = 0

    def __post_init__(self) -> None:
        if self.prefix not in PREFIXES:
            raise ValueError(f"identifiers name an item or a user, not {self.prefix!r}")
        codes, levels = self.codes, len(self.level_sizes)
        if codes.ndim != 2 or codes.shape[1] != levels or not 0 < levels <= len(LEVEL_NAMES):
            raise ValueError(f"codes of shape {codes.shape} do not fit {levels} levels")
        if (codes < -1).any() or (codes >= np.asarray(self.level_sizes)).any():
            raise ValueError(f"a code lies outside its level's size; the level sizes are {self.level_sizes}")
        if (codes[:, 0] < 0).any() or ((codes[:, :-1] < 0) & (codes[:, 1:] >= 0)).any():
            raise ValueError("padding (-1) must stand behind the codes, and every thing needs one code")
        if len(np.unique(codes, axis=0)) < len(codes):
            raise ValueError(f"two {self.prefix}s share one identifier ({self.method})")

    def __len__(self) -> int:
        return len(self.codes)

    @staticmethod
    def read(report: Mapping[str, Any], spellings: Sequence[str]) -> Identifiers:
        """From their `report` and `spellings`, as a checkpoint keeps them (p5t5.json and the catalogue)."""
        parts = [spelling.split() for spelling in spellings]
        words: tuple[str, ...] = ()
        if parts and not SPELLING.fullmatch(parts[0][0]):
            words = tuple(sorted({word for row in parts for word in row}))
            place = {word: number for number, word in enumerate(words)}
            rows = [[place[word] for word in row] for row in parts]
        else:
            rows = [[int(SPELLING.sub(r"\1", piece)) for piece in row] for row in parts]
        codes = np.full((len(rows), len(report["level_sizes"])), -1, np.int32)
        for place_of, row in zip(codes, rows, strict=True):
            place_of[: len(row)] = row
        sizes, collisions = tuple(report["level_sizes"]), int(report["collisions"])
        return Identifiers(report["method"], report["of"], codes, sizes, words, collisions)

    @property
    def levels(self) -> int:
        return len(self.level_sizes)

    @cached_property
    def level_start(self) -> np.ndarray:
        """int64 [levels]: where each level's tokens begin in ``pieces()``."""
        return np.concatenate([[0], np.cumsum(self.level_sizes)[:-1]]).astype(np.int64)

    def pieces(self) -> list[str]:
        """The spellings of all tokens of their own, level by level, used by a thing or not."""
        if self.words:
            return []
        names = [""] if self.levels == 1 else LEVEL_NAMES[: self.levels]
        return [
            f"<{self.prefix}_{name}{code}>"
            for name, size in zip(names, self.level_sizes, strict=True)
            for code in range(size)
        ]

    def piece_index(self) -> np.ndarray:
        """int32 [n, levels]: the place of each token in ``pieces()``, −1 where there is none."""
        return np.where(self.codes < 0, -1, self.codes + self.level_start).astype(np.int32)

    def spellings(self) -> list[str]:
        """One string a thing: its tokens, or words, joined by a space."""
        if self.words:
            return [" ".join(self.words[word] for word in row if word >= 0) for row in self.codes.tolist()]
        pieces = self.pieces()
        return [" ".join(pieces[place] for place in row if place >= 0) for row in self.piece_index().tolist()]

    def extended(self, codes: np.ndarray, words: tuple[str, ...] = ()) -> Identifiers:
        """The same with new things behind the old; level sizes grow to hold ``codes`` int [new, levels]."""
        width = max(self.levels, codes.shape[1])
        table = np.full((len(self) + len(codes), width), -1, np.int32)
        table[: len(self), : self.levels] = self.codes
        table[len(self) :, : codes.shape[1]] = codes
        sizes = np.maximum((*self.level_sizes, *(1,) * (width - self.levels)), table.max(0, initial=-1) + 1)
        if words:
            sizes = np.full(width, len(words))
        return replace(self, codes=table, level_sizes=tuple(int(size) for size in sizes), words=words)

    def report(self) -> dict:
        """How well the token space is used, level by level.

        ``utilisation`` is the share of a level's tokens that name something; ``entropy`` (bits) is
        that of the tokens' use, at most log2 of the level's size; ``collisions`` counts the things that
        only the last level tells apart.
        """
        utilisation, entropy = [], []
        for level, size in enumerate(self.level_sizes):
            codes = self.codes[:, level]
            counts = np.bincount(codes[codes >= 0], minlength=size)
            shares = counts[counts > 0] / max(counts.sum(), 1)
            utilisation.append(round(float((counts > 0).mean()) if size else 0.0, 4))
            entropy.append(round(float(abs((shares * np.log2(shares)).sum())), 4))
        return {
            "method": self.method,
            "of": self.prefix,
            "count": len(self),
            "tokens": len(self.words) or int(sum(self.level_sizes)),
            "level_sizes": list(self.level_sizes),
            "mean_length": round(float((self.codes >= 0).sum(1).mean()) if len(self) else 0.0, 4),
            "utilisation": utilisation,
            "entropy": entropy,
            "collisions": self.collisions,
        }


def count_of(data: IndexedRecords, of: str) -> int:
    """How many items or users there are to name."""
    return data.number_of_items if of == "item" else data.number_of_users


def ids_of(data: IndexedRecords, of: str) -> list[str]:
    """Their ids in the data, in the order of their numbers."""
    return [str(name) for name in (data.item_ids if of == "item" else data.user_ids)]


def digits(numbers: np.ndarray, base: int, levels: int) -> np.ndarray:
    """int32 [n, levels]: the digits of ``numbers``, most significant first."""
    powers = base ** np.arange(levels - 1, -1, -1, dtype=np.int64)
    return ((np.asarray(numbers, np.int64)[:, None] // powers) % base).astype(np.int32)


def levels_for(room: int, base: int) -> int:
    """The fewest digits of ``base`` that give at least ``room`` different numbers."""
    if base < 2:
        raise ValueError(f"identifiers of digits need a base of at least 2, not {base}")
    levels, capacity = 1, base
    while capacity < room:
        levels, capacity = levels + 1, capacity * base
    return levels


def told_apart(codes: np.ndarray) -> tuple[np.ndarray, int]:
    """``codes`` int [n, levels] with one more level: the place among equal codes, in the order of the rows;
    and how many rows were not alone. Without a level more where none is needed.
    """
    _, group, count = np.unique(codes, axis=0, return_inverse=True, return_counts=True)
    group = group.reshape(-1)
    collisions = int(count[count > 1].sum())
    if not collisions:
        return codes.astype(np.int32), 0
    order = np.argsort(group, kind="stable")
    place = np.empty(len(codes), np.int32)
    place[order] = np.arange(len(codes)) - np.repeat(np.cumsum(count) - count, count)
    return np.concatenate([codes, place[:, None]], 1).astype(np.int32), collisions
