from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from support.small_data import small_split

from p5t5.core.errors import UserError
from p5t5.data.splits import Split
from p5t5.tasks.base import ITEM, RATING, TEXT, TITLE, USER, WORD, BuildOptions
from p5t5.text.pretraining_corpus import KINDS, build_corpus, training_texts

NAMES = ("u", "i", "t", "r", "w", "x")


def told(sequences):
    """Each sequence as a list of "pool number"; texts are written out."""
    pools = np.split(sequences.column.pools, sequences.column.elements.offsets[1:-1])
    return [
        [
            sequences.texts[i] if p == TEXT else f"{NAMES[p]}{i}"
            for p, i in zip(pool.tolist(), row, strict=True)
        ]
        for pool, row in zip(pools, sequences.column.elements.to_lists(), strict=True)
    ]


def test_behaviour_tells_each_users_training_rows_once_and_in_order():
    split = small_split()
    options = BuildOptions(max_history=2)
    found = build_corpus(split, ("behaviour",), options)
    items: dict[int, list[int]] = {}
    for row in told(found):
        assert row[0][0] == "u"
        window = [int(part[1:]) for part in row[1:] if part[0] == "i"]
        assert 2 <= len(window) <= 4
        items.setdefault(int(row[0][1:]), []).extend(window)
    for user in range(split.data.number_of_users):
        wanted = split.data.item[(split.data.user == user) & (split.part == 0)].tolist()
        heard = items.get(user, [])
        # A window of one item is left out; nothing else is.
        assert heard == [item for item in wanted if item in heard]
        assert len(wanted) - len(heard) <= 2


def test_ratings_stand_behind_their_items_in_about_half_of_the_windows():
    split = small_split(users=60)
    data = split.data
    with_ratings = 0
    rows = told(build_corpus(split, ("behaviour",)))
    for row in rows:
        user = int(row[0][1:])
        with_ratings += any(part[0] == "r" for part in row)
        for item, rating in pairwise(row):
            if rating[0] == "r":
                at = np.flatnonzero((data.user == user) & (data.item == int(item[1:])))
                assert data.rating_values[int(rating[1:])] in data.rating[at]
    assert 0.3 < with_ratings / len(rows) < 0.7
    unrated = Split(replace(data, rating=None), split.scheme, split.part)
    assert RATING not in build_corpus(unrated, ("behaviour", "reviews")).column.pools


def test_the_windows_move_from_epoch_to_epoch_only_where_they_must():
    split = small_split()

    def cuts(max_history):
        """The different ways to cut in 6 epochs, ratings aside."""
        found = set()
        for epoch in range(6):
            rows = told(
                build_corpus(split, ("behaviour",), BuildOptions(max_history=max_history, epoch=epoch))
            )
            found.add(str([[part for part in row if part[0] != "r"] for row in rows]))
        return len(found)

    assert cuts(max_history=2) > 1
    assert cuts(max_history=6) == 1  # windows of 12 hold every history whole


def test_items_reviews_and_triples_by_hand():
    split = small_split()
    items = told(build_corpus(split, ("items",)))
    assert items[0] == ["i0", "t0", "year 1995 ; genres Animation, Comedy"]
    assert items[1] == ["i1", "t1"]
    assert len(items) == 12
    triples = told(build_corpus(split, ("triples",)))
    assert triples == [
        ["i0", "t0", "brand Acme"],
        ["i0", "t0", "made of steel , wood"],
        ["i5", "t5", "brand Bolt"],
    ]
    reviews = told(build_corpus(split, ("reviews",)))
    data, rows = split.data, split.rows("train")
    assert len(reviews) == len(rows)
    for row, sequence in zip(rows.tolist(), reviews, strict=True):
        wanted = [f"u{data.user[row]}", f"i{data.item[row]}"]
        if np.isfinite(data.rating[row]):
            wanted.append(f"r{int(data.rating[row]) - 1}")
        wanted.append(f"row {row}")
        if row % 3:
            wanted += ["w6", f"review of row {row} : warm sound !"]
        assert sequence == wanted


def test_long_texts_are_cut():
    found = build_corpus(small_split(), ("reviews",), BuildOptions(max_words=2))
    assert max(len(text.split()) for text in found.texts) == 2


def test_what_the_data_lacks_gives_no_sequences():
    bare = small_split(titles=False, texts=False)
    found = build_corpus(bare)
    assert set(found.kind.tolist()) == {KINDS.index("behaviour")}
    assert TITLE not in found.column.pools and TEXT not in found.column.pools
    assert len(build_corpus(bare, ())) == 0
    with pytest.raises(UserError, match=r"no kind 'poems'; choose among behaviour, items"):
        build_corpus(bare, ("poems",))


def test_kinds_are_marked_and_everything_is_deterministic():
    split = small_split()
    one, two = build_corpus(split), build_corpus(split)
    assert told(one) == told(two) and len(one) == len(one.column.elements)
    assert sorted(set(one.kind.tolist())) == [0, 1, 2, 3]
    alone = build_corpus(split, ("triples",))
    assert told(one)[-len(alone) :] == told(alone)


def test_nothing_that_is_held_back_is_told():
    """Change every held-back row: neither the corpus nor the tokenizer's text may notice."""
    split = small_split()
    data, held = split.data, split.part > 0
    other = replace(
        data,
        item=np.where(held, (data.item + 1) % 12, data.item).astype(np.int32),
        rating=np.where(held, 1, data.rating).astype(np.float32),
        texts={
            name: ["changed" if h else t for t, h in zip(column, held, strict=True)]
            for name, column in data.texts.items()
        },
    )
    changed = Split(other, split.scheme, split.part)
    assert told(build_corpus(split)) == told(build_corpus(changed))
    assert list(training_texts(split)) == list(training_texts(changed))


def test_training_texts_hold_words_ratings_titles_facts_and_reviews():
    texts = list(training_texts(small_split()))
    for text in (
        "yes",
        "5",
        "Fargo (1996)",
        "year 1995 ; genres Animation, Comedy",
        "row 1",
        "made of steel , wood",
    ):
        assert text in texts
    assert {USER, ITEM, WORD} <= set(build_corpus(small_split()).column.pools.tolist())
