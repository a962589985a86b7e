"""Likeness of text: by hand, against a slow twin, blind to interactions and aggregates, off where there is no text."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from math import log, sqrt

import numpy as np
import pandas as pd
import pytest

from p5t5.baselines import text_similarity as likeness
from p5t5.baselines.base import Scorer
from p5t5.baselines.registry import default_scorers
from p5t5.baselines.text_similarity import ContentSimilarity, content_rankers
from p5t5.core.ragged import Ragged
from p5t5.data.sources.simulated import simulate
from p5t5.data.splits import Split, leave_one_out
from p5t5.data.text_features import item_words


@pytest.fixture(scope="module")
def split() -> Split:
    return leave_one_out(simulate(users=40, items=40, seed=3).data)


def with_items(split: Split, **columns) -> Split:
    """The split with these item columns beside the ids; where they are fewer than the items, all items are those."""
    number = len(next(iter(columns.values()))) if columns else split.data.number_of_items
    items = pd.DataFrame({"item_id": [f"i{item}" for item in range(number)], **columns})
    return Split(replace(split.data, items=items, item=split.data.item % number), split.scheme, split.part)


def test_likeness_by_hand(split):
    """Four items; "rare" and "lone" stand in one item only, and a word of one item likens nothing."""
    four = with_items(split, title=["red brush", "red soap soap", "soap rare", "lone"])
    scorer = ContentSimilarity(four, decay=0.5)
    idf = 1 + log(5 / 3)  # red and soap stand in two of four items
    twice = (1 + log(2)) * idf
    length = sqrt(idf**2 + twice**2)
    red_soap = [idf / length, twice / length]  # of item 1; item 0 is (1, 0), item 2 (0, 1), item 3 nothing
    found = scorer.scores(Ragged.from_lists([[0], [2, 1], [3], []]))
    profile = np.array([0, 0.5]) + red_soap  # item 1 is the newest
    expected = [
        [1, red_soap[0], 0, 0],
        [profile[0], profile @ red_soap, profile[1], 0],
        [0, 0, 0, 0],
        [0, 0, 0, 0],
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert found.dtype == np.float32


def test_likeness_against_a_slow_twin(split, monkeypatch):
    """Words counted in dictionaries, a history walked item by item; a few profiles at a time change nothing."""
    bags = [Counter(words) for words in item_words(split.data.items)]
    rows_with = Counter(word for bag in bags for word in bag)
    vectors = []
    for bag in bags:
        vector = {
            word: (1 + log(count)) * (1 + log((1 + len(bags)) / (1 + rows_with[word])))
            for word, count in bag.items()
            if rows_with[word] > 1
        }
        length = sqrt(sum(weight**2 for weight in vector.values())) or 1
        vectors.append({word: weight / length for word, weight in vector.items()})
    histories = split.history_items(split.rows("test")[:12], 99)
    slow = np.zeros((len(histories), len(bags)))
    for row, item in np.ndindex(slow.shape):
        for age, seen in enumerate(reversed(histories[row].tolist())):
            shared = vectors[seen].keys() & vectors[item].keys()
            slow[row, item] += 0.5**age * sum(vectors[seen][word] * vectors[item][word] for word in shared)
    scorer = ContentSimilarity(split)
    whole = scorer.scores(histories)
    np.testing.assert_allclose(whole, slow, rtol=1e-4, atol=1e-6)
    monkeypatch.setattr(likeness, "MAX_PROFILE_CELLS", 5 * scorer.words.shape[1])
    assert np.array_equal(scorer.scores(histories), whole)


def test_it_reads_no_interaction_no_price_and_no_aggregate(split):
    items = split.data.items
    data = replace(split.data, item=(split.data.item + 1) % len(items))
    other = ContentSimilarity(Split(data, split.scheme, split.part))
    scorer = ContentSimilarity(split)
    assert (other.words != scorer.words).nnz == 0
    told = items.assign(price=["9.99"] * 40, also_bought=["i1 i2"] * 40, **{"sales rank": ["Beauty 7"] * 40})
    named = ContentSimilarity(Split(replace(split.data, items=told), split.scheme, split.part))
    assert (named.words != scorer.words).nnz == 0 and named.words.shape == scorer.words.shape


def test_it_comes_back_from_its_state(split):
    scorer = ContentSimilarity(split, decay=0.3)
    again = ContentSimilarity.restored(scorer.state())
    histories = split.history_items(split.rows("test"), 99)
    assert again.number_of_items == 40 and again.decay == 0.3
    assert np.array_equal(again.scores(histories), scorer.scores(histories))


@pytest.mark.parametrize(
    "columns", [{}, {"price": ["9.99"] * 40}, {"title": [f"name{n}" for n in range(40)]}]
)
def test_items_without_words_in_common_leave_it_out(split, columns):
    bare = with_items(split, **columns)
    assert content_rankers(bare) == []
    assert [scorer.name for scorer in default_scorers(bare, False)] == ["popularity", "count_floor"]
    assert (
        not ContentSimilarity(bare).scores(Ragged.from_lists([[0, 1]])).any()
    )  # asked for by name: it knows nothing


def test_new_items_are_found_by_their_words(split):
    """No interaction at all: co-occurrence cannot rank them, words can."""
    four = with_items(split, title=["red brush", "red soap", "blue soap", "red brush"])
    items, _ = Scorer.top(
        ContentSimilarity(four), Ragged.from_lists([[0]]), 2, Ragged.from_lists([[0]], np.int32)
    )
    assert items.tolist() == [[3, 1]]
