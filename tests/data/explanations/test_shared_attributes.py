"""Explanations from what items share: against a slow twin, and without a look at what comes later."""

from __future__ import annotations

from collections import Counter
from zlib import crc32

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p5t5.data.explanations import shared_attributes as attributes
from p5t5.data.explanations.build import explained
from p5t5.data.explanations.shared_attributes import (
    BESIDES,
    OPENINGS,
    STANCES,
    attribute_sentences,
    shared_values,
)
from p5t5.data.records.building import make_records

ITEMS = pd.DataFrame(
    {
        "item_id": ["a", "b", "c", "d", "e"],
        "title": ["A", "B", "C", "D", "E"],
        "genres": ["Drama, Comedy", "Drama", "Comedy|Sci-Fi", "Sci-Fi", ""],
        "year": ["1990", "1990", "1991", "1991", "1990"],
        "about": ["one of a kind it is", "two of a kind they are", "three of a kind", "", "it is what it is"],
    }
)


def records_of(rows, items=ITEMS):
    """``rows``: (user, item, rating, time)."""
    table = pd.DataFrame(rows, columns=["user_id", "item_id", "rating", "timestamp"])
    return make_records("toy", table, items, all_items=True)


def written(records):
    """(user, item) → (feature, explanation)."""
    table = explained(records).interactions
    keys = zip(table["user_id"], table["item_id"], strict=True)
    return dict(zip(keys, zip(table["feature"], table["explanation"], strict=True), strict=True))


def test_values_are_short_words_that_several_items_have():
    names, values = shared_values(ITEMS)
    assert names == ["Comedy", "Drama", "Sci-Fi"]  # neither years nor descriptions
    assert [values[item].tolist() for item in range(5)] == [[1, 0], [1], [0, 2], [2], []]


def test_by_hand():
    found = written(records_of([("u", "b", 5, 1), ("u", "c", 1, 2), ("u", "a", 3, 3), ("u", "d", 3, 4)]))
    manner = crc32(b"u") % len(BESIDES)
    assert found["u", "b"] == found["u", "c"] == ("", "")  # nothing earlier, nothing shared
    # Before a, u had b (Drama, 5 stars) and c (Comedy, 1 star), both in half of the history; both genres have two of
    # five items, so the name decides: Comedy, liked less than the mean of 3. Drama is told besides.
    told = f"{OPENINGS[2][manner]} {STANCES[0][manner]}{BESIDES[manner]}"
    assert found["u", "a"] == ("Comedy", told.replace("{value}", "Comedy").replace("{other}", "Drama"))
    # Before d: one of three was Sci-Fi, 1 star.
    told = f"{OPENINGS[1][manner]} {STANCES[0][manner]}".replace("{value}", "Sci-Fi")
    assert found["u", "d"] == ("Sci-Fi", told)


def slow(records, known=None):
    """The same, a row and a value at a time."""
    data = records.index()
    names, values = shared_values(data.items)
    has = [[names[v] for v in values[item]] for item in range(data.number_of_items)]
    popularity = Counter(value for each in has for value in each)
    out = []
    for row in range(len(data)):
        earlier = [r for r in range(int(data.user_start[data.user[row]]), row) if known is None or known[r]]
        fits = []
        for value in has[data.item[row]]:
            sharing = [other for other in earlier if value in has[data.item[other]]]
            if sharing:
                share = len(sharing) / len(earlier)
                fits.append(
                    (-share / np.sqrt(popularity[value] / data.number_of_items), value, share, sharing)
                )
        if not fits:
            out.append(("", ""))
            continue
        (_, value, share, sharing), other = sorted(fits)[0], [name for _, name, *_ in sorted(fits)[1:2]]
        mean = lambda rows: np.mean([float(data.rating[r]) for r in rows])  # noqa: E731
        liking = mean(sharing) - mean(earlier)
        stance = 2 if liking > attributes.CLEARLY else 0 if liking < -attributes.CLEARLY else 1
        level = (share >= attributes.OFTEN) + (share >= attributes.MOSTLY)
        manner = crc32(str(data.user_ids[data.user[row]]).encode()) % len(BESIDES)
        text = f"{OPENINGS[level][manner]} {STANCES[stance][manner]}" + (BESIDES[manner] if other else "")
        out.append((value, text.replace("{value}", value).replace("{other}", (other or [""])[0])))
    return out


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(
        st.tuples(st.sampled_from("uvw"), st.sampled_from("abcde"), st.integers(1, 5), st.integers(0, 5)),
        min_size=1,
        max_size=25,
    ),
    together=st.integers(1, 30),
    known=st.none() | st.lists(st.booleans(), min_size=25, max_size=25),
)
def test_the_slow_twin_says_the_same(rows, together, known):
    records = records_of(rows)
    known = None if known is None else np.array(known[: len(records.interactions)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attributes, "MOST_ROWS", together)
        found = attribute_sentences(records.index(), known)
    expected = slow(records, known)
    if found is None:
        assert set(expected) == {("", "")}
        return
    assert len(set(found.sentences)) == len(found.sentences) and len(set(found.features)) == len(
        found.features
    )
    told = [
        (found.features[f], found.sentences[s]) for f, s in zip(found.feature, found.sentence, strict=True)
    ]
    assert told == expected


def test_nothing_later_and_nobody_else_is_known():
    random = np.random.default_rng(0)
    rows = [
        (user, item, int(random.integers(1, 6)), time) for user in "uvw" for time, item in enumerate(random.permutation(list("abcde")))
    ]  # fmt: skip
    before = written(records_of(rows))
    changed = [
        (user, item, 6 - rating if time == 4 or user == "w" else rating, time)
        for user, item, rating, time in rows
    ]
    after = written(records_of(changed))
    assert {key: told for key, told in before.items() if key[0] != "w"} == {
        key: told for key, told in after.items() if key[0] != "w"
    }


def test_marked_and_told():
    records = explained(records_of([("u", "b", 5, 1), ("u", "a", 3, 3)]))
    assert records.info["explanation_source"] == "attributes"
    assert records.info["explanations"] == {"rows": 1, "features": 1, "sentences": 1, "split": "loo"}
    assert records.info["steps"][-1].startswith("explanations from attributes, not from people: 1 of 2")
    records.check()


def test_without_attributes_or_anything_shared_nothing_is_made():
    plain = records_of([("u", "b", 5, 1), ("u", "a", 3, 3)], ITEMS[["item_id", "title"]])
    assert "explanation" not in explained(plain).interactions
    unlike = records_of([("u", "b", 5, 1), ("u", "d", 3, 3)])
    assert "explanation" not in explained(unlike).interactions
    assert (
        "explanation"
        not in explained(records_of([("u", "b", 5, 1), ("u", "a", 3, 3)]), attributes=False).interactions
    )
