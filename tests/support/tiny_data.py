"""Interactions made by hand and at random, small enough to check every example against the tables."""

from __future__ import annotations

import numpy as np
import pandas as pd

from p5t5.data.records.tables import IndexedRecords
from p5t5.data.splits import PARTS, Split


def by_hand(**changes) -> Split:
    """Two users, six items, leave-one-out by hand. User 0: items 0 1 2 3 4; user 1: items 5 0 1."""
    text = ["bright strings", "", "soft strings", "loud amp", "old amp", "new amp", "nice", "bad"]
    fields = {
        "name": "hand",
        "user": np.array([0, 0, 0, 0, 0, 1, 1, 1], np.int32),
        "item": np.array([0, 1, 2, 3, 4, 5, 0, 1], np.int32),
        "rating": np.array([1, np.nan, 5, 3, 4, 2, 3, 5], np.float32),
        "timestamp": np.arange(8, dtype=np.int64),
        "texts": {
            "review": [f"I think {part} all over" if part else "" for part in text],
            "summary": [part.title() for part in text],
            "explanation": [f"the {part}" if part else "" for part in text],
            "feature": ["strings", "", "strings", "amp", "", "amp", "", "amp"],
        },
        "items": pd.DataFrame(
            {
                "item_id": list("abcdef"),
                "title": ["A (1990)", "B (1991)", "C (1992)", "D (1993)", "E (1994)", "F (1995)"],
                "year": ["1990", "1991", "", "1993", "1994", "1995"],
                "item_type": ["x, y", "", "", "z", "z", "z"],
            }
        ),
        "user_ids": np.array(["u", "v"]),
        "users": None,
        "triples": None,
        "rating_values": np.arange(1, 6, dtype=np.float32),
        "hash": "0",
    }
    train, validation, test = range(3)
    part = np.array([train, train, train, validation, test, train, validation, test], np.int8)
    return Split(IndexedRecords(**(fields | changes)), "loo", part)


def at_random(
    users: int = 30, items: int = 40, longest: int = 25, seed: int = 0, repeats: bool = False
) -> Split:
    """Users with 3 … ``longest`` interactions each; without text and titles."""
    random = np.random.default_rng(seed)
    lengths = random.integers(3, longest + 1, users)
    user = np.repeat(np.arange(users), lengths).astype(np.int32)
    item = np.concatenate([random.choice(items, length, replace=repeats) for length in lengths])
    data = IndexedRecords(
        name="random",
        user=user,
        item=item.astype(np.int32),
        rating=random.choice(np.array([1, 2, 3.5, 5, np.nan], np.float32), len(user)),
        timestamp=None,
        texts={},
        items=pd.DataFrame({"item_id": [str(number) for number in range(items)]}),
        user_ids=np.array([str(number) for number in range(users)]),
        users=None,
        triples=None,
        rating_values=np.array([1, 2, 3.5, 5], np.float32),
        hash="0",
    )
    part = np.zeros(len(user), np.int8)
    ends = np.cumsum(lengths)
    part[ends - 2], part[ends - 1] = PARTS.index("validation"), PARTS.index("test")
    return Split(data, "loo", part)
