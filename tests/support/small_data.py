"""A hand-made data set of 9 users and 12 items with everything a table can hold, for quick tests."""

from __future__ import annotations

import numpy as np
import pandas as pd
from hypothesis import strategies as st

from p5t5.data.records.tables import IndexedRecords
from p5t5.data.splits import Split

TITLES = [
    "Toy Story (1995)",
    "Godfather, The (1972)",
    "Cité des enfants perdus, La (1995)",
    "七人の侍 (1954)",
    "< /s> < item_3> (2001)",
    "A",
    "Fargo (1996)",
    "Alien (1979)",
    "Alien 3 (1992)",
    "It's a Wonderful Life (1946)",
    "",
    "ﾊﾝ & co. — the film !",
]


# What people might write to be taken for something else.
hostile = st.one_of(
    st.text(max_size=40),
    st.lists(
        st.sampled_from(
            ["</s>", "<pad>", "<unk>", "<extra_id_3>", "<item_17>", "▁<item_17>", "<0x41>", "＜/s＞", " ", "\u200b",
             "\u202e", "\n", "é", "e\u0301", "{user}", "\u0301", "ﬁ", "\U0001f600", "a", "<", ">", "▁", "\x00"]
        ),
        max_size=8,
    ).map("".join),
)  # fmt: skip


def small_records(users: int = 9, seed: int = 0, titles: bool = True, texts: bool = True) -> IndexedRecords:
    random = np.random.default_rng(seed)
    lengths = random.integers(1, 12, users)
    lengths[:2] = 12, 3
    user = np.repeat(np.arange(users, dtype=np.int32), lengths)
    item = np.concatenate([random.permutation(12)[:length] for length in lengths]).astype(np.int32)
    n = len(user)
    rating = random.integers(1, 6, n).astype(np.float32)
    rating[::7] = np.nan
    items = pd.DataFrame({"item_id": [f"i{place}" for place in range(12)]})
    if titles:
        items["title"] = TITLES
        items["year"] = ["1995", "", *["2001"] * 10]
        items["genres"] = ["Animation, Comedy", "", *["Drama"] * 10]
    reviews = ["" if row % 3 == 0 else f"review of row {row} : warm sound !" for row in range(n)]
    triples = pd.DataFrame(
        {
            "head": ["i0", "i0", "i0", "i5", "gone"],
            "relation": ["brand", "made_of", "made_of", "brand", "brand"],
            "tail": ["Acme", "steel", "wood", "Bolt", "Nobody"],
        }
    )
    return IndexedRecords(
        name="small",
        user=user,
        item=item,
        rating=rating,
        timestamp=np.arange(n, dtype=np.int64),
        texts={"review": reviews, "summary": [f"row {row}" for row in range(n)]} if texts else {},
        items=items,
        user_ids=np.array([f"u{place}" for place in range(users)], object),
        users=None,
        triples=triples if texts else None,
        rating_values=np.array([1, 2, 3, 4, 5], np.float32),
        hash="",
    )


def small_split(**options) -> Split:
    """Each user's last row is test, the one before it validation; users of fewer than 3 train only."""
    data = small_records(**options)
    place = np.arange(len(data)) - data.user_start[data.user]
    from_end = np.diff(data.user_start)[data.user] - place
    part = np.select([from_end == 1, from_end == 2], [2, 1], 0).astype(np.int8)
    part[np.diff(data.user_start)[data.user] < 3] = 0
    return Split(data, "leave_one_out", part)
