from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.small_data import small_split

from p5t5.core.errors import UserError
from p5t5.data.splits import Split
from p5t5.identifiers.base import Identifiers, digits, levels_for, told_apart
from p5t5.identifiers.methods import METHODS, fit_identifiers

WAYS = [(method, of) for method in METHODS for of in ("item", "user") if (method, of) != ("title", "user")]


def codes(*rows):
    return np.array(rows, np.int32)


@pytest.mark.parametrize(("method", "of"), WAYS)
def test_every_method_names_every_thing_once_and_the_same_way_twice(method, of):
    split = small_split()
    found = fit_identifiers(method, split, of, seed=3)
    assert len(found) == (12 if of == "item" else 9)
    assert found.method == method and found.prefix == of
    assert len(set(found.spellings())) == len(found)
    again = fit_identifiers(method, split, of, seed=3)
    assert np.array_equal(found.codes, again.codes) and found.level_sizes == again.level_sizes
    assert found.report()["count"] == len(found)


@pytest.mark.parametrize(("method", "of"), WAYS)
def test_held_back_rows_do_not_change_the_identifiers(method, of):
    split = small_split()
    data, held = split.data, split.part > 0
    item = data.item.copy()
    item[held] = (item[held] + 5) % 12
    changed = Split(replace(data, item=item), split.scheme, split.part)
    old, new = (fit_identifiers(method, s, of, seed=1) for s in (split, changed))
    assert np.array_equal(old.codes, new.codes)


@pytest.mark.parametrize(("method", "of"), WAYS)
def test_identifiers_are_read_back_from_what_a_checkpoint_keeps(method, of):
    found = fit_identifiers(method, small_split(), of, seed=3)
    again = Identifiers.read(found.report(), found.spellings())
    assert np.array_equal(again.codes, found.codes) and again.words == found.words
    assert again.level_sizes == found.level_sizes and again.report() == found.report()


def test_codes_are_told_apart_in_the_order_of_the_rows():
    found, collisions = told_apart(codes([2, 1], [0, 0], [2, 1], [1, 0], [2, 1], [0, 0]))
    assert found.tolist() == [[2, 1, 0], [0, 0, 0], [2, 1, 1], [1, 0, 0], [2, 1, 2], [0, 0, 1]]
    assert collisions == 5
    found, collisions = told_apart(codes([0], [1]))
    assert found.tolist() == [[0], [1]] and collisions == 0


def test_spellings_of_one_and_of_several_levels():
    atomic = Identifiers("atomic", "item", codes([1], [0]), (2,))
    assert atomic.pieces() == ["<item_0>", "<item_1>"]
    assert atomic.spellings() == ["<item_1>", "<item_0>"]
    deep = Identifiers("x", "user", codes([1, 0, -1], [1, 0, 2]), (2, 1, 3))
    assert deep.pieces() == ["<user_a0>", "<user_a1>", "<user_b0>", "<user_c0>", "<user_c1>", "<user_c2>"]
    assert deep.piece_index().tolist() == [[1, 2, -1], [1, 2, 5]]
    assert deep.spellings() == ["<user_a1> <user_b0>", "<user_a1> <user_b0> <user_c2>"]


def test_report_counts_use_and_entropy_by_hand():
    report = Identifiers("x", "item", codes([0, 0], [0, 1], [1, -1]), (4, 2)).report()
    assert report["utilisation"] == [0.5, 1.0]
    assert report["entropy"] == [0.9183, 1.0]  # shares 2/3 and 1/3; halves
    assert report["mean_length"] == pytest.approx(5 / 3, abs=1e-4)
    assert report["tokens"] == 6 and report["count"] == 3


@pytest.mark.parametrize(
    ("rows", "sizes", "words"),
    [
        ([[0], [0]], (1,), "share one identifier"),
        ([[0], [2]], (2,), "outside its level"),
        ([[-1, 0]], (1, 1), "padding"),
        ([[0, -1, 0]], (1, 1, 1), "padding"),
        ([[0, 0]], (1,), "do not fit"),
    ],
)
def test_bad_codes_are_refused(rows, sizes, words):
    with pytest.raises(ValueError, match=words):
        Identifiers("x", "item", np.array(rows, np.int32), sizes)


def test_unknown_method_and_prefix():
    with pytest.raises(UserError, match=r"no method 'magic'; choose one of atomic, random"):
        fit_identifiers("magic", small_split(), "item")
    with pytest.raises(ValueError, match="item or a user"):
        Identifiers("x", "shop", codes([0]), (1,))


def test_sequential_numbers_follow_first_training_appearance():
    split = small_split()
    found = fit_identifiers("sequential", split, "item", base=4)
    assert found.level_sizes == (3, 4)
    number = found.codes @ np.array([4, 1])
    seen: list[int] = []
    for row in range(len(split.data)):  # the slow twin
        if split.part[row] == 0 and split.data.item[row] not in seen:
            seen.append(int(split.data.item[row]))
    assert number[seen].tolist() == list(range(len(seen)))
    assert sorted(number) == list(range(12))


def test_sequential_shuffles_things_that_training_never_saw():
    split = small_split()
    nothing = Split(split.data, split.scheme, np.full(len(split.part), 2, np.int8))
    orders = [fit_identifiers("sequential", nothing, "item", seed=seed).codes[:, 0] for seed in (0, 1)]
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(12))
    assert not np.array_equal(*orders)


def test_random_identifiers_depend_on_id_and_seed_not_on_the_place_in_the_table():
    split = small_split()
    data = split.data
    turned = data.items.iloc[::-1].reset_index(drop=True)
    other = Split(replace(data, items=turned), split.scheme, split.part)
    here = dict(zip(data.item_ids, fit_identifiers("random", split, "item").spellings(), strict=True))
    there = dict(zip(other.data.item_ids, fit_identifiers("random", other, "item").spellings(), strict=True))
    assert here == there  # though 12 in 100 collide
    assert fit_identifiers("random", split, "item", seed=9).spellings() != list(here.values())


def test_random_identifiers_fill_their_space_without_a_collision():
    found = fit_identifiers("random", small_split(), "item", base=12, levels=1)
    assert sorted(found.codes[:, 0]) == list(range(12))
    with pytest.raises(ValueError, match="there are more"):
        fit_identifiers("random", small_split(), "item", base=11, levels=1)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 10**6), min_size=1), st.integers(2, 300))
def test_digits_spell_the_number(numbers, base):
    levels = levels_for(max(numbers) + 1, base)
    table = digits(np.array(numbers), base, levels)
    assert [
        sum(int(d) * base ** (levels - 1 - place) for place, d in enumerate(row)) for row in table
    ] == numbers
    assert levels == 1 or max(numbers) >= base ** (levels - 1)
