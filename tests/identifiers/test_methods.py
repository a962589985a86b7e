"""Identifiers that mean something: collaborative, semantic, hybrid, title; and names for new items."""

from __future__ import annotations

import sys
from dataclasses import replace
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.small_data import small_split

from p5t5.checkpoint.checkpoint import Checkpoint
from p5t5.checkpoint.creation import create_checkpoint
from p5t5.core.errors import UserError
from p5t5.data.records.building import make_records
from p5t5.data.sources.simulated import simulate
from p5t5.data.splits import Split, leave_one_out
from p5t5.data.text_features import item_words, text_columns, text_vectors
from p5t5.identifiers import hybrid
from p5t5.identifiers.base import Identifiers
from p5t5.identifiers.clustering import balanced_tree, nearest, residual_kmeans
from p5t5.identifiers.methods import METHODS, fit_identifiers, name_new
from p5t5.text.prompts import load_prompts

FITTED = ("collaborative", "semantic", "hybrid")


@pytest.fixture(scope="module")
def split() -> Split:
    return leave_one_out(simulate(users=200, items=96, seed=5, longest=16).data)


def expected_f1(first: np.ndarray, group: np.ndarray) -> tuple[float, float]:
    """Share of pairs of one group, among pairs with equal first codes and among all."""
    same, alike = first[:, None] == first, group[:, None] == group
    off = ~np.eye(len(first), dtype=bool)
    return float(alike[same & off].mean()), float(alike[off].mean())


@pytest.mark.parametrize("method", FITTED)
def test_things_of_a_kind_share_their_first_code(split, method):
    found = fit_identifiers(method, split, "item", seed=0)
    share, chance = expected_f1(found.codes[:, 0], split.data.items["genre"].to_numpy())
    assert share > 2 * chance, (share, chance)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 300), st.integers(1, 5), st.integers(0, 9), st.booleans())
def test_a_balanced_tree_gives_each_row_a_leaf_of_its_own(number, width, seed, equal):
    vectors = np.random.default_rng(seed).standard_normal((number, width))
    if equal:
        vectors[:] = vectors[0]
    codes, sizes = balanced_tree(vectors, seed)
    assert len(np.unique(codes, axis=0)) == number and max(sizes) <= 64
    assert (codes >= 0).all() and (codes < sizes).all()
    count = np.bincount(codes[:, 0])  # whole halves: the leading codes are used evenly
    assert count.max() - count[count > 0].min() <= 1


def test_a_tree_cuts_where_the_gap_is():
    vectors = np.random.default_rng(0).standard_normal((64, 8)) * 0.1
    left = np.arange(64) % 2 == 0
    vectors[left, 3] += 4
    codes, sizes = balanced_tree(vectors, seed=1)
    first_bit = codes[:, 0] >= sizes[0] // 2
    assert (first_bit == left).all() or (first_bit != left).all()


def test_residual_kmeans_against_its_definition():
    vectors = np.random.default_rng(0).standard_normal((200, 4)).astype(np.float32)
    codes = residual_kmeans(vectors, 8, 2, seed=0)
    left = vectors
    for level in range(2):
        own = codes[:, level]
        centres = np.stack([left[own == code].mean(0) for code in range(8)])
        slow = ((left[:, None] - centres) ** 2).sum(2).argmin(1)
        assert (slow == own).mean() > 0.9  # Lloyd's steps end near a fixed point
        left = left - centres[own]
    assert (left**2).sum() < 0.6 * (vectors**2).sum()
    distances = ((vectors[:, None] - vectors[:5]) ** 2).sum(2)
    assert np.array_equal(nearest(vectors, vectors[:5]), distances.argmin(1))


@pytest.mark.parametrize("method", [*FITTED, "title"])
def test_the_order_of_the_input_changes_nothing(method):
    """Users and items of the source in another order, under the same ids."""
    data = simulate(users=60, items=40, seed=2).data
    names = ["user_id", "item_id", "timestamp"]
    rows = pd.DataFrame(
        dict(zip(names, (data.user_ids[data.user], data.item_ids[data.item], data.timestamp), strict=True))
    )
    mixed = np.random.default_rng(0).permutation(data.number_of_items)
    turned = rows.iloc[::-1].reset_index(drop=True)
    found = []
    for table, items in ((rows, data.items), (turned, data.items.iloc[mixed].reset_index(drop=True))):
        split = leave_one_out(make_records("x", table, items).index())
        spelled = fit_identifiers(method, split, "item", seed=4).spellings()
        found.append(dict(zip(split.data.item_ids, spelled, strict=True)))
    assert found[0] == found[1]


def test_aggregates_over_purchases_are_not_read(split):
    items = split.data.items.assign(also_bought="x y", sales_rank="7", buy_after_viewing="q", price="9.99")
    assert text_columns(items) == ["title", "genre", "maker"]
    assert np.array_equal(text_vectors(items), text_vectors(split.data.items))


def test_the_words_of_an_item():
    items = pd.DataFrame(
        {"item_id": ["a"], "title": ["Bob's Oil, 5 oz"], "brand": ["OPI"], "kind": ["Hair Care, Oil"]}
    )
    assert item_words(items)[0] == ["bob's", "oil", "5", "oz", "opi", "brand=opi", "hair", "care", "oil",
                                    "kind=hair care", "kind=oil"]  # fmt: skip


def test_an_item_without_training_rows_is_placed_by_its_text(split, monkeypatch):
    """Everybody who met item 0 has it held out: hybrid puts it among items of its genre all the same."""
    data = split.data
    part = np.where(data.item == 0, 2, split.part).astype(np.int8)
    cold = Split(data, split.scheme, part)
    found = fit_identifiers("hybrid", cold, "item")
    near = np.flatnonzero(found.codes[:, 0] == found.codes[0, 0])
    genre = data.items["genre"].to_numpy()
    assert (genre[near[near != 0]] == genre[0]).mean() >= 0.5
    assert len(fit_identifiers("collaborative", cold, "item")) == data.number_of_items
    seen: list[np.ndarray] = []
    monkeypatch.setattr(
        hybrid, "balanced_tree", lambda vectors, seed: seen.append(vectors) or balanced_tree(vectors, seed)
    )
    fit_identifiers("hybrid", cold, "item")
    behaviour, texts = np.split(seen[0], [hybrid.DIMENSIONS], axis=1)
    near = np.argsort(-(texts[1:] @ texts[0]), kind="stable")[: hybrid.NEIGHBOURS] + 1
    mean = behaviour[near].mean(0)
    np.testing.assert_allclose(behaviour[0], mean / np.linalg.norm(mean), atol=1e-4)


def test_titles_are_named_by_their_words_and_equal_ones_by_a_number():
    items = pd.DataFrame(
        {
            "item_id": ["a", "b", "c", "d", "7x"],
            "title": [
                "Alien (1979)",
                "Alien: 1979",
                "The The one two three four five six",
                "Alien 1979 2",
                "",
            ],
        }
    )
    split = small_split()
    five = Split(replace(split.data, items=items, item=split.data.item % 5), split.scheme, split.part)
    named = fit_identifiers("title", five, "item")
    assert named.spellings() == [
        "Alien 1979",
        "Alien 1979 2",
        "The one two three four five",
        "Alien 1979 2 2",
        "7x",
    ]
    assert named.collisions == 2 and named.pieces() == []
    assert named.report()["tokens"] == 10
    with pytest.raises(UserError, match="users have no titles"):
        fit_identifiers("title", five, "user")
    bare = Split(replace(five.data, items=items[["item_id"]]), split.scheme, split.part)
    with pytest.raises(UserError, match="no column title"):
        fit_identifiers("title", bare, "item")
    with pytest.raises(UserError, match="neither titles nor attributes"):
        fit_identifiers("semantic", bare, "item")


@pytest.mark.parametrize("method", METHODS)
def test_new_items_get_names_beside_the_old(split, method):
    named, known = fit_identifiers(method, split, "item", seed=2), split.data.items
    new = known.iloc[[3, 50, 3]].assign(item_id=["n1", "n2", "n3"]).reset_index(drop=True)
    found = name_new(named, known, new, seed=2)
    assert len(found) == len(known) + 3 and found.method == method  # unique: Identifiers refuses others
    if method != "title":
        assert np.array_equal(found.codes[: len(known)], named.codes)
        old = set(named.pieces())
        assert old <= set(found.pieces())
    assert found.spellings()[: len(known)] == named.spellings()
    assert np.array_equal(name_new(named, known, new, seed=2).codes, found.codes)
    if method in FITTED:  # described as items 3 and 50 are: the same leading codes
        like = named.codes[[3, 50, 3], : found.levels - 1]
        assert np.array_equal(found.codes[-3:, : found.levels - 1], like)
    with pytest.raises(UserError, match="has a name already"):
        name_new(named, known, new.assign(item_id=["n1", "n1", "n2"]))
    with pytest.raises(UserError, match="has a name already"):
        name_new(named, known, known.iloc[:1])


def test_new_names_fill_the_free_numbers_first():
    named = Identifiers("semantic", "item", np.array([[0, 0], [0, 2], [1, 0]], np.int32), (2, 3))
    known = pd.DataFrame({"item_id": list("abc"), "title": ["red nail polish", "blue nail polish", "guitar"]})
    new = pd.DataFrame({"item_id": list("xyz"), "title": ["red nail polish"] * 3})
    found = name_new(named, known, new)
    assert found.codes[3:].tolist() == [[0, 1], [0, 3], [0, 4]] and found.level_sizes == (2, 5)
    silent = name_new(named, known, pd.DataFrame({"item_id": ["q"], "title": [""]}))
    assert silent.codes[3, 0] in (0, 1)


def test_random_and_sequential_names_for_later_items_are_those_of_the_fit():
    split = small_split()
    named = fit_identifiers("random", split, "item", seed=3, base=12, levels=1)
    extra = split.data.items.iloc[:1].assign(item_id="new")
    with pytest.raises(UserError, match="12 numbers"):
        name_new(named, split.data.items, extra)
    named = fit_identifiers("sequential", split, "item", base=4)
    found = name_new(named, split.data.items, extra)
    assert found.codes[-1].tolist() == [3, 0] and found.level_sizes == (4, 4)


def test_a_text_encoder_takes_the_place_of_tfidf(split, monkeypatch):
    with pytest.raises(UserError, match="sentence-transformers"):
        fit_identifiers("semantic", split, "item", encoder="some/model")

    class Encoder:
        def __init__(self, name):
            assert name == "some/model"

        def encode(self, texts, show_progress_bar):
            return np.array([[len(text), text.count("a"), 1.0] for text in texts])

    module = ModuleType("sentence_transformers")
    module.SentenceTransformer = Encoder
    monkeypatch.setitem(sys.modules, "sentence_transformers", module)
    for method in ("semantic", "hybrid"):
        assert len(fit_identifiers(method, split, "item", encoder="some/model")) == 96


@pytest.mark.parametrize("method", ["title", "hybrid"])
def test_a_checkpoint_can_be_made_with_it_and_decodes_its_items(split, method, tmp_path):
    checkpoint = create_checkpoint(
        split,
        [prompt for prompt in load_prompts() if prompt.task == "sequential/next_item"],
        model="tiny",
        item_identifiers=method,
        vocabulary_size=600,
        whole_word_embeddings=True,
    )
    for item in (0, 5, 95):
        tokens = checkpoint.catalogue.tokens[item]
        spelled = checkpoint.catalogue.items["identifier"][item]
        assert checkpoint.renderer.encode_text(spelled)[:-1] == tokens[tokens >= 0].tolist()
    assert len(checkpoint.catalogue.trie) == 96
    checkpoint.save(tmp_path)
    again = Checkpoint.load(tmp_path)
    assert np.array_equal(again.catalogue.tokens, checkpoint.catalogue.tokens)
