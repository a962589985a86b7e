"""What training texts say of items: counted, kept in a file, and asked of samples."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.writing_cases import small_split, untrained

from p5t5.core.ragged import Ragged
from p5t5.inference import item_phrases as phrases
from p5t5.inference.item_phrases import (
    PRIOR,
    ItemNgrams,
    ItemNgramTable,
    distinct_ngrams,
    fit_item_ngrams,
)
from p5t5.tasks.registry import TASKS
from p5t5.text.tokenizer import text_tokens


@pytest.fixture(scope="module")
def split():
    return small_split()


@pytest.fixture(scope="module")
def checkpoint(split):
    return untrained(split)


TEXTS = st.lists(st.lists(st.integers(0, 4), max_size=5), min_size=1, max_size=8)


def runs(text, size):
    return set(zip(*(text[at:] for at in range(size)), strict=False))


def slow_agreement(texts, items, item, answer):
    """As `ItemNgrams.expected_f1` says it, with sets."""
    total = 0.0
    for size in (1, 2):
        grams = [runs(text, size) for text in texts]
        common = {gram for own in grams for gram in own if sum(gram in one for one in grams) >= 2}
        mine = [own for own, one in zip(grams, items, strict=True) if one == item]
        shared = 0.0
        for gram in runs(answer, size) & common:
            own = sum(gram in one for one in mine)
            shared += (own + PRIOR * sum(gram in one for one in grams) / len(texts)) / (len(mine) + PRIOR)
        length = max(np.mean([len(text) for text in texts]) - size + 1, 1)
        total += 2 * shared / (max(len(answer) - size + 1, 0) + length)
    return total


def test_by_hand():
    texts, item = Ragged.from_lists([[7, 8], [7, 8, 9], [9], [5, 7]]), np.array([0, 0, 1, 1])
    found = ItemNgrams.of(texts, item, 3)
    assert found.texts.tolist() == [2, 2, 0, 4] and found.length == 2
    assert np.diff(found.start).tolist() == [4, 2, 0, 4]  # 7, 8, 9, "7 8" | 7, 9 | nothing | 7, 8, 9, "7 8"
    # of all four texts 7 is in 3, "7 8" in 2; of item 0's two both have both
    seven, both = (2 + PRIOR * 3 / 4) / (2 + PRIOR), (2 + PRIOR * 2 / 4) / (2 + PRIOR)
    agreed = found.expected_f1(0, [[7], [7, 8], [5], []])
    assert agreed[0] == pytest.approx(2 * seven / (1 + 2))
    assert agreed[1] == pytest.approx(2 * (seven + both) / (2 + 2) + 2 * both / (1 + 1))
    assert agreed[2] == agreed[3] == 0  # a single text holds 5
    assert found.expected_f1(0, [[8]]) > found.expected_f1(1, [[8]]) > 0


@given(TEXTS, st.lists(st.lists(st.integers(0, 5), max_size=5), min_size=1, max_size=4), st.data())
def test_agreement_is_what_its_description_says(texts, answers, data):
    items = data.draw(st.lists(st.integers(0, 2), min_size=len(texts), max_size=len(texts)))
    found = ItemNgrams.of(Ragged.from_lists(texts), np.array(items), 3)
    if found is None:
        tokens = [token for text in texts for token in set(text)]
        assert len(tokens) == len(set(tokens))
        return
    for item in (-1, 0, 1, 2, 3):
        expected = [slow_agreement(texts, items, item, answer) for answer in answers]
        np.testing.assert_allclose(found.expected_f1(item, answers), expected, atol=1e-12)


@given(TEXTS)
def test_phrases_are_counted_once_a_text(texts):
    owner, codes, pair = distinct_ngrams(Ragged.from_lists(texts))
    expected = {
        (row, gram[0], gram[1] if size == 2 else -1)
        for row, text in enumerate(texts)
        for size in (1, 2)
        for gram in runs(text, size)
    }
    found = list(
        zip(owner.tolist(), (codes >> 32).tolist(), ((codes & phrases.LOW) - 1).tolist(), strict=True)
    )
    assert len(found) == len(expected) and set(found) == expected
    assert pair.tolist() == [second >= 0 for _, _, second in found]


def test_a_table_gives_back_what_it_was_made_of():
    own = ItemNgrams.of(Ragged.from_lists([[7, 8], [7, 8], [9], [9, 7]]), np.array([0, 2, 2, 2]), 4)
    other = ItemNgrams.of(Ragged.from_lists([[1, 1], [1]]), np.array([1, 1]), 4)
    ids, answers = ["a", "b", "c", "d"], [[7, 8], [9], [1, 1], []]
    table = ItemNgramTable.of({"explanation": own, "headline": other}, ids)
    again = ItemNgramTable(table.data, table.lengths)
    more = ["new", "d", "c", "newer", "b", "a"]  # items that came later, numbered among the others
    for slot, made in (("explanation", own), ("headline", other)):
        read, grown = again.read(slot, ids), again.read(slot, more)
        for name in ("code", "count", "start", "texts", "length"):
            np.testing.assert_array_equal(getattr(read, name), getattr(made, name))
        for item in range(-1, 5):
            expected = made.expected_f1(item, answers)
            place = more.index(ids[item]) if 0 <= item < 4 else 0
            np.testing.assert_array_equal(grown.expected_f1(place, answers), expected, f"{slot} {item}")
    assert ItemNgramTable.of({"explanation": own, "headline": other}, ids).data == table.data


def test_only_training_texts_of_items_are_read(checkpoint, split, monkeypatch):
    tasks = ["rating/score", "explanation/explain_feature", "explanation/explain", "review/headline"]
    assert [TASKS[task].target_slot for task in tasks[1:]] == ["explanation", "explanation", "headline"]
    build = checkpoint.build_options()
    found = fit_item_ngrams(checkpoint.tokenizer, split, tasks, build)
    assert set(found) == {"explanation", "headline"}
    train = split.rows("train")
    texts = [split.data.texts["explanation"][row] for row in train.tolist()]
    assert found["explanation"].texts[-1] == sum(bool(text) for text in texts)
    said = [row[row >= 0].tolist() for row in text_tokens(checkpoint.tokenizer, [t for t in texts if t])]
    assert found["explanation"].length == pytest.approx(np.mean([len(text) for text in said]))
    monkeypatch.setattr(phrases, "MAX_TEXTS", 5)
    assert fit_item_ngrams(checkpoint.tokenizer, split, tasks, build)["headline"].texts[-1] == 5


def test_the_file_names_no_user_and_nothing_that_is_said_once(checkpoint, split, tmp_path):
    found = fit_item_ngrams(checkpoint.tokenizer, split, ["explanation/explain"], checkpoint.build_options())
    (tmp_path / "p").write_bytes(ItemNgramTable.of(found, split.data.item_ids.tolist()).data)
    table = pd.read_parquet(tmp_path / "p")
    assert table.columns.tolist() == ["slot", "item_id", "first", "second", "count"]
    everything = table[(table["item_id"] == "") & (table["first"] != phrases.NONE)]
    assert (everything["count"] >= phrases.MIN_COUNT).all()
    known = set(zip(everything["first"], everything["second"], strict=True))
    of_items = table[(table["item_id"] != "") & (table["first"] != phrases.NONE)]
    assert set(zip(of_items["first"], of_items["second"], strict=True)) <= known
