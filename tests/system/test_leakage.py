"""Leak gates: nothing of a validation or test row reaches anything that is trained on.

On the simulated shop always; on the real data sets where they lie beside the repository.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from p5t5.data.cooccurrence import cooccurrence, user_factors
from p5t5.data.records.building import make_records
from p5t5.data.sources import amazon, sequences
from p5t5.data.sources.simulated import simulate
from p5t5.data.splits import Split, at_random, leave_one_out, temporal
from p5t5.identifiers.methods import METHODS, fit_identifiers
from p5t5.tasks.base import BuildOptions
from p5t5.tasks.registry import TASKS
from p5t5.text.mixture import make_mixture, single
from p5t5.text.pretraining_corpus import build_corpus, training_texts
from p5t5.text.prompts import load_prompts

MARK = "heldoutmark"


@pytest.fixture(scope="module")
def beauty(shared_data):
    return leave_one_out(sequences.read(shared_data / "amazon-beauty").index())


@pytest.fixture(scope="module")
def instruments(shared_data):
    return leave_one_out(amazon.read(shared_data / "amazon-musical-instruments").index())


@pytest.fixture(scope="module")
def shop():
    return leave_one_out(simulate(users=80, items=160, seed=11).data)


@pytest.fixture(
    params=["shop", "shop by time", "shop at random", "instruments", "instruments at random", "beauty"]
)
def split(request):
    found = request.getfixturevalue(request.param.split()[0])
    schemes = {"by time": temporal, "at random": at_random}
    return schemes[request.param.split(" ", 1)[1]](found.data) if " " in request.param else found


def poisoned(split: Split, parts=("validation", "test")) -> Split:
    """The same data, but every row of ``parts`` has another item, rating and text."""
    data = split.data
    rows = np.concatenate([split.rows(part) for part in parts])
    item = data.item.copy()
    item[rows] = (item[rows] + 1 + np.arange(len(rows)) % (data.number_of_items - 1)) % data.number_of_items
    rating = None if data.rating is None else data.rating.copy()
    if rating is not None:
        rating[rows] = data.rating_values[
            (np.searchsorted(data.rating_values, rating[rows]) + 1) % len(data.rating_values)
        ]
    texts = {column: list(values) for column, values in data.texts.items()}
    for values in texts.values():
        for row in rows:
            values[row] = MARK
    return Split(replace(data, item=item, rating=rating, texts=texts), split.scheme, split.part)


def same(a, b) -> bool:
    """Two Columns with equal elements."""
    return all(
        np.array_equal(x, y)
        for x, y in (
            (a.elements.values, b.elements.values),
            (a.elements.offsets, b.elements.offsets),
            (a.pools, b.pools),
        )
    )


def test_the_poison_works(shop):
    other = poisoned(shop)
    held_out = shop.part > 0
    assert (other.data.item[held_out] != shop.data.item[held_out]).all()
    assert (other.data.item[~held_out] == shop.data.item[~held_out]).all()
    assert other.data.texts["review"].count(MARK) == held_out.sum()


def test_histories_are_in_time_order(split):
    data = split.data
    rows = np.concatenate([split.rows("validation"), split.rows("test")])
    history = split.history(rows, 20)
    asked = rows[history.row_of_value]
    assert (history.values < asked).all() and (data.user[history.values] == data.user[asked]).all()
    if data.timestamp is not None:
        assert (data.timestamp[history.values] <= data.timestamp[asked]).all()
        assert (np.diff(data.timestamp)[np.diff(data.user) == 0] >= 0).all()
    if not split.in_time_order:
        assert (split.part[history.values] == 0).all()
        return
    last = history.values[history.offsets[1:][history.lengths > 0] - 1]
    assert (last == rows[history.lengths > 0] - 1).all()  # the item right before is the last of the history


def test_beauty_keeps_the_order_of_the_file(beauty, shared_data):
    data = beauty.data
    number = {user: place for place, user in enumerate(data.user_ids)}
    for line in (shared_data / "amazon-beauty" / "sequences.txt").read_text().splitlines()[::997]:
        user, *items = line.split()
        start, end = data.user_start[number[user] : number[user] + 2]
        assert data.item_ids[data.item[start:end]].tolist() == items


def test_no_held_out_pair_is_in_the_training_rows(split):
    data = split.data
    pair = data.user.astype(np.int64) * data.number_of_items + data.item
    for part in ("validation", "test"):
        assert len(split.rows(part)) > 0
        assert np.isin(pair[split.rows(part)], pair[split.rows("train")]).sum() == 0


def test_held_out_rows_reach_no_identifier_and_no_cooccurrence(split):
    other = poisoned(split)
    for method in METHODS:
        for of in ("item", "user") if method != "title" else ("item",):
            assert np.array_equal(
                fit_identifiers(method, split, of, 3).codes, fit_identifiers(method, other, of, 3).codes
            )
    assert (cooccurrence(split) != cooccurrence(other)).nnz == 0
    some = np.random.default_rng(0).standard_normal((split.data.number_of_items, 4))
    assert np.array_equal(user_factors(split, some), user_factors(other, some))


def test_held_out_rows_reach_no_pretraining_text(split):
    other = poisoned(split)
    for epoch in (0, 1):
        options = BuildOptions(epoch=epoch)
        ours, theirs = build_corpus(split, options=options), build_corpus(other, options=options)
        assert same(ours.column, theirs.column) and list(ours.texts) == list(theirs.texts)
    texts = list(training_texts(other))
    assert texts == list(training_texts(split)) and not any(MARK in text for text in texts)


def test_held_out_rows_reach_no_training_example(split):
    prompts = load_prompts()
    size = min(len(split.rows("train")), 15_000)
    ours, _ = make_mixture(split, prompts, size=size)
    theirs, _ = make_mixture(poisoned(split), prompts, size=size)
    assert ours.weights == theirs.weights
    for (task, a, prompt_a, _), (_, b, prompt_b, _) in zip(ours.examples(1), theirs.examples(1), strict=True):
        assert (split.part[a.rows] == 0).all(), task.name
        assert np.array_equal(a.rows, b.rows) and np.array_equal(prompt_a, prompt_b)
        assert list(a.texts) == list(b.texts), task.name
        for slot in a.columns:
            assert same(a.columns[slot], b.columns[slot]), (task.name, slot)


def test_a_test_question_does_not_hold_its_answer(split):
    """Another test item, rating or text changes the target only, never the question."""
    prompts, other, options = load_prompts(), poisoned(split, ("test",)), BuildOptions()
    rows = split.rows("test")[:2000]
    if split.scheme == "temporal":  # an earlier test row of the same user is rightly in the history
        first = np.unique(split.data.user[split.rows("test")], return_index=True)[1]
        rows = split.rows("test")[first]
    for task, slots in (
        ("sequential/next_item", ("user", "history")),
        ("rating/score", ("user", "rated_history")),
    ):
        if (task == "rating/score" and not split.data.has("rating")) or TASKS[task].why_off(split):
            continue
        a, _ = single(split, task, prompts, "test", options, rows=rows)
        b, _ = single(other, task, prompts, "test", options, rows=rows)
        assert np.array_equal(a.rows, b.rows) and len(a) > 0
        for slot in slots:
            assert same(a.columns[slot], b.columns[slot]), (task, slot)


def max_plus_one(split: Split, numbers: np.ndarray) -> float:
    """NDCG@10 of the rule "largest number in the history, plus 1, plus 2, …" (unfiltered)."""
    rows = split.rows("test")
    history = split.history_items(rows, 10**6)
    largest = np.maximum.reduceat(numbers[history.values], history.offsets[:-1])
    rank = numbers[split.data.item[rows]] - largest - 1
    hit = (rank >= 0) & (rank < 10)
    return float(np.where(hit, 1 / np.log2(np.clip(rank, 0, 9) + 2), 0).mean())


def numbers_of(identifiers) -> np.ndarray:
    """The number that the digits spell: digits order as the codes do."""
    base = max(identifiers.level_sizes)
    return (identifiers.codes.astype(np.int64) * base ** np.arange(identifiers.levels - 1, -1, -1)).sum(1)


def test_max_plus_one_stays_at_chance_on_beauty(beauty):
    """P5's numbering over whole sequences makes a rule without parameters score .045; ours must not."""
    leaky = beauty.data.item_ids.astype(np.int64)  # the file numbers items as P5 did
    assert max_plus_one(beauty, leaky) > 0.03  # the rule itself is written rightly
    popularity = np.bincount(beauty.data.item[beauty.rows("train")], minlength=beauty.data.number_of_items)
    top = np.argsort(-popularity, kind="stable")[:10]
    rows = beauty.rows("test")
    rank = (beauty.data.item[rows][:, None] == top).argmax(1)
    found = (beauty.data.item[rows][:, None] == top).any(1)
    chance = float(np.where(found, 1 / np.log2(rank + 2), 0).mean())
    for method in ("atomic", "random", "sequential"):  # the others' codes are no numbers
        score = max_plus_one(beauty, numbers_of(fit_identifiers(method, beauty, "item", 0)))
        assert score < max(chance, 0.006), method


def test_renumbering_items_at_random_changes_nothing(instruments):
    """Other item ids, so another order of the numbers: the same counts, row by row."""
    data = instruments.data
    new = np.random.default_rng(0).permutation(data.number_of_items)
    records = make_records(
        "renamed",
        pd.DataFrame(
            {
                "user_id": data.user_ids[data.user],
                "item_id": [f"{new[item]:05d}" for item in data.item],
                "rating": data.rating,
                "timestamp": data.timestamp,
            }
        ),
    )
    other = leave_one_out(records.index())
    number = {item_id: place for place, item_id in enumerate(other.data.item_ids)}
    moved = np.array([number[f"{name:05d}"] for name in new])  # our number → its number
    assert np.array_equal(other.data.item, moved[data.item]) and np.array_equal(other.part, instruments.part)
    a, b = cooccurrence(instruments).tocoo(), cooccurrence(other).toarray()
    np.testing.assert_allclose(b[moved[a.coords[0]], moved[a.coords[1]]], a.data)
