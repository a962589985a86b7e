"""Every task's examples against slow twins and values worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.tiny_data import at_random, by_hand

from p5t5.core.ragged import Ragged
from p5t5.tasks import negatives as drawing
from p5t5.tasks.base import (
    ITEM,
    NOW,
    POOLS,
    RATING,
    SEMICOLON,
    TITLE,
    WORD,
    WORDS,
    BuildOptions,
    Column,
    Examples,
)
from p5t5.tasks.columns import cut_at_sentences, describe_items, rating_index, shorten
from p5t5.tasks.negatives import Met, draw_candidates, draw_negatives, draw_pairs
from p5t5.tasks.rating import middle
from p5t5.tasks.registry import TASKS
from p5t5.text.prompts import PLACEHOLDER, load_prompts

OPTIONS = BuildOptions(candidates=3)


def spoken(split, examples: Examples, slot: str) -> list[str]:
    """A slot's values as text, with u0 and i3 for users and items: a slow twin of rendering."""
    data, column = split.data, examples.columns[slot]
    names = {
        "user": [f"u{number}" for number in range(data.number_of_users)],
        "item": [f"i{number}" for number in range(data.number_of_items)],
        "title": data.titles,
        "rating": [f"{value:g}" for value in data.rating_values],
        "word": WORDS,
        "text": examples.texts,
    }
    pools = Ragged(column.pools, column.elements.offsets)
    return [
        " ".join(
            names[POOLS[pool]][index] for pool, index in zip(pools[row], column.elements[row], strict=True)
        )
        for row in range(len(examples))
    ]


def build(task: str, split, part: str = "test", options: BuildOptions = OPTIONS) -> Examples:
    return TASKS[task].build(split, TASKS[task].eligible(split, part), options)


# ---- columns


@settings(deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 9), max_size=4), max_size=6),
    st.sampled_from([None, SEMICOLON]),
    st.integers(1, 3),
)
def test_grouped_equals_a_plain_loop(lists, separator, width):
    parts = [(pool, Ragged.from_lists(lists)) for pool in range(width)]
    column = Column.grouped(parts, separator)
    expected = []
    for values in lists:
        row: list[tuple[int, int]] = []
        for value in values:
            if row and separator is not None:
                row.append((WORD, separator))
            row += [(pool, value) for pool in range(width)]
        expected.append(row)
    pools = Ragged(column.pools, column.elements.offsets)
    rows = range(len(lists))
    actual = [list(zip(pools[row].tolist(), column.elements[row].tolist(), strict=True)) for row in rows]
    assert actual == expected
    assert (column.elements.values.dtype, column.pools.dtype) == (np.int32, np.uint8)


def test_separated_and_interleaved():
    items = Ragged.from_lists([[4, 5], [], [6]])
    titles = Column.separated(TITLE, items)
    assert titles.elements.to_lists() == [[4, SEMICOLON, 5], [], [6]]
    assert titles.pools.tolist() == [TITLE, WORD, TITLE, TITLE]
    rated = Column.interleaved(ITEM, items, RATING, Ragged.from_lists([[1, 2], [], [3]]))
    assert rated.elements.to_lists() == [[4, 1, 5, 2], [], [6, 3]]
    assert rated.take(np.array([2, 0])).elements.to_lists() == [[6, 3], [4, 1, 5, 2]]
    assert rated.take(np.array([2, 0])).pools.tolist() == [ITEM, RATING] * 3


def test_a_history_ends_in_the_same_word_and_an_empty_one_stays_empty():
    ended = Column.listed(ITEM, Ragged.from_lists([[4, 5], [], [6]])).ended()
    assert ended.elements.to_lists() == [[4, 5, NOW], [], [6, NOW]]
    assert ended.pools.tolist() == [ITEM, ITEM, WORD, ITEM, WORD]


def test_describe_items_and_shorten():
    items = by_hand().data.items
    assert describe_items(items)[:3] == ["year 1990 ; item type x, y", "year 1991", ""]
    assert describe_items(items, [3, 0], words=2) == ["year 1993", "year 1990"]
    assert describe_items(items[["item_id", "title"]]) == [""] * 6
    assert shorten(" a  b\tc ", 2) == "a b"


def test_a_long_review_keeps_its_beginning_and_its_last_sentences():
    text = "One two.  Three four five. Six\tseven eight nine! Ten (eleven.) The end."
    assert cut_at_sentences(text, 14) == " ".join(text.split()), "short enough"
    assert cut_at_sentences(text, 9) == "One two. Three four five. Ten (eleven.) The end."
    assert cut_at_sentences(text, 8) == "One two. Three four five. Six The end.", "cut at the seam alone"
    assert cut_at_sentences(text, 4) == "One two. The end."
    assert cut_at_sentences("no border in all of this", 3) == "no border in"
    assert cut_at_sentences("a b c d e f g. Fine.", 4) == "a b c Fine."
    assert cut_at_sentences("a b. c d e f g h", 4) == "a b. c d", "what has no end is no last sentence"
    assert [cut_at_sentences(none, 3) for none in ("", " ", "... !")] == ["", "", "... !"]


WORDS_OF_REVIEWS = st.sampled_from(["a", "amp", "strings.", "“works!”", "why?)", "...", "3.5", "end"])


@given(st.lists(WORDS_OF_REVIEWS, max_size=40), st.integers(0, 30))
def test_cut_texts_fill_their_room_with_first_words_and_last_whole_sentences(found, room):
    cut = cut_at_sentences(" ".join(found), room).split()
    assert len(cut) == min(room, len(found))
    ways = [
        tail
        for tail in range(len(cut) + 1)
        if found[: len(cut) - tail] + found[len(found) - tail :] == cut
        and (tail in (0, len(found)) or found[-tail - 1].endswith((".", "!", "?", "!”", "?)")))
    ]
    assert ways, (found, room, cut)


def test_rating_index_takes_the_nearest_value():
    data = replace(by_hand().data, rating_values=np.array([0.7, 1.1, 5], np.float32))
    assert rating_index(data, np.array([0.7, 1.1, 5.0, 0.0, 9.0, 3.2])).tolist() == [0, 1, 2, 0, 2, 2]
    assert middle(data.rating_values) == pytest.approx(2.85)


# ---- the families, by hand


def test_rating_score():
    split = by_hand()
    examples = build("rating/score", split, "train")
    assert examples.rows.tolist() == [0, 2, 5], "a row without a rating asks nothing"
    assert spoken(split, examples, "rating") == ["1", "5", "2"]
    assert spoken(split, examples, "user") == ["u0", "u0", "u1"]
    assert spoken(split, examples, "item") == ["i0", "i2", "i5"]
    assert spoken(split, examples, "title") == ["A (1990)", "C (1992)", "F (1995)"]
    assert spoken(split, examples, "about") == ["year 1990 ; item type x, y", "", "year 1995 ; item type z"]
    test = build("rating/score", split, "test")
    assert spoken(split, test, "rated_history") == ["i0 1 i2 5 i3 3 ->", "i5 2 i0 3 ->"]
    assert spoken(split, test, "rated_titles")[0] == "A (1990) 1 ; C (1992) 5 ; D (1993) 3 ->"
    short = build("rating/score", split, "test", BuildOptions(max_history=2, max_titles=1))
    assert spoken(split, short, "rated_history") == ["i2 5 i3 3 ->", "i5 2 i0 3 ->"]
    assert spoken(split, short, "rated_titles") == ["D (1993) 3 ->", "A (1990) 3 ->"]


def test_like_means_strictly_above_the_middle():
    split = by_hand()
    everything = np.array([0, 2, 3, 4, 5, 6, 7])
    examples = TASKS["rating/like"].build(split, everything, OPTIONS)
    liked = [value > 3 for value in split.data.rating[everything]]
    assert spoken(split, examples, "answer") == ["like" if yes else "dislike" for yes in liked]
    assert examples.answer.tolist() == [0 if yes else 1 for yes in liked]
    assert [WORDS[word] for word in TASKS["rating/like"].choices] == ["like", "dislike"]


def test_like_on_a_scale_that_the_data_do_not_fill():
    data = replace(by_hand().data, rating_values=np.array([2, 3, 10], np.float32))
    assert middle(data.rating_values) == 6


def test_rating_verify_guesses_true_half_the_time_and_every_other_value_else():
    split = at_random(users=200)
    examples = build("rating/verify", split, "train")
    truth = rating_index(split.data, split.data.rating[examples.rows])
    guess = examples.columns["rating_guess"].elements.values
    assert ((guess == truth) == (examples.answer == 0)).all()
    assert [WORDS[word] for word in TASKS["rating/verify"].choices] == ["yes", "no"]
    assert spoken(split, examples, "answer") == ["yes" if right else "no" for right in guess == truth]
    assert 0.46 < (guess == truth).mean() < 0.54
    off = np.bincount(4 * truth[guess != truth] + guess[guess != truth], minlength=16).reshape(4, 4)
    assert (np.diag(off) == 0).all() and (off + np.eye(4) > 0).all()
    other = build("rating/verify", split, "train", replace(OPTIONS, epoch=1))
    assert (other.answer != examples.answer).mean() > 0.3


def test_one_rating_value_has_nothing_to_verify():
    split = by_hand(rating_values=np.array([5], np.float32), rating=np.full(8, 5, np.float32))
    assert not len(TASKS["rating/verify"].eligible(split, "train"))
    assert not len(TASKS["rating/like"].eligible(split, "train"))
    assert len(TASKS["rating/score"].eligible(split, "train")) == 4


def test_next_item():
    split = by_hand()
    examples = build("sequential/next_item", split)
    assert spoken(split, examples, "history") == ["i0 i1 i2 i3 ->", "i5 i0 ->"]
    assert spoken(split, examples, "item") == ["i4", "i1"]
    assert spoken(split, examples, "history_titles")[1] == "F (1995) ; A (1990) ->"
    assert build("sequential/next_item", split, "train").rows.tolist() == [1, 2], "no history, no question"
    short = build("sequential/next_item", split, options=BuildOptions(max_history=2, max_titles=1))
    assert spoken(split, short, "history") == ["i2 i3 ->", "i5 i0 ->"]
    assert spoken(split, short, "history_titles") == ["D (1993) ->", "A (1990) ->"]


def test_continue_stays_within_user_and_part():
    split = by_hand()
    rows = np.array([0, 1, 2, 3, 4, 5, 6, 7])
    examples = TASKS["sequential/continue"].build(split, rows, OPTIONS)
    assert spoken(split, examples, "items") == ["i0 i1 i2", "i1 i2", "i2", "i3", "i4", "i5", "i0", "i1"]
    two = TASKS["sequential/continue"].build(split, rows[:1], BuildOptions(max_continue=2))
    assert spoken(split, two, "items") == ["i0 i1"]


def test_verify_and_choose_by_hand():
    split = by_hand()
    for family in ("sequential", "direct"):
        choose = build(f"{family}/choose", split)
        # user 0 has met items 0 1 2 3 and asks for 4: only item 5 can be a wrong answer
        assert sorted(choose.candidates[0].tolist()) == [4, 5]
        assert len(choose.candidates[1]) == 3 and not {5, 0} & set(choose.candidates[1].tolist())
        assert spoken(split, choose, "item") == ["i4", "i1"]
        assert [choose.candidates[row][choose.answer[row]] for row in (0, 1)] == [4, 1]
        assert choose.columns["candidates"].elements.to_lists() == choose.candidates.to_lists()
        verify = build(f"{family}/verify", split)
        for row, answer in enumerate(spoken(split, verify, "answer")):
            item = verify.columns["item"].elements.values[row]
            assert (
                (answer == "yes") == (item == split.data.item[verify.rows[row]]) == (verify.answer[row] == 0)
            )
            assert spoken(split, verify, "title")[row] == split.data.titles[item]
    about = spoken(split, verify, "about")
    assert about == [
        describe_items(split.data.items)[item] for item in verify.columns["item"].elements.values
    ]


def test_direct_asks_users_without_history_too():
    assert TASKS["direct/choose"].eligible(by_hand(), "train").tolist() == [0, 1, 2, 5]
    assert TASKS["direct/verify"].eligible(by_hand(), "train").tolist() == [0, 1, 2, 5]
    assert TASKS["sequential/choose"].eligible(by_hand(), "train").tolist() == [1, 2]


def test_explanations():
    split = by_hand()
    explain = build("explanation/explain", split, "train")
    assert explain.rows.tolist() == [0, 2, 5]
    assert spoken(split, explain, "explanation") == ["the bright strings", "the soft strings", "the new amp"]
    assert spoken(split, explain, "about")[0] == "year 1990 ; item type x, y"
    assert explain.references == spoken(split, explain, "explanation")
    feature = TASKS["explanation/explain_feature"]
    assert feature.eligible(split, "test").tolist() == [7]
    assert spoken(split, build(feature.name, split, "train"), "feature") == ["strings", "strings", "amp"]
    both = build("explanation/rate_and_explain", split, "train")
    assert spoken(split, both, "rating") == ["1", "5", "2"]
    assert spoken(split, both, "explanation")[0] == "the bright strings"
    cut = build("explanation/explain", split, "train", BuildOptions(max_words=2))
    assert spoken(split, cut, "explanation")[0] == "the bright"
    assert cut.references[0] == "the bright strings", "judged by the whole text"


def test_reviews():
    split = by_hand()
    headline = build("review/headline", split, "train")
    assert headline.rows.tolist() == [0, 2, 5]
    assert spoken(split, headline, "review")[0] == "I think bright strings all over"
    assert spoken(split, headline, "headline") == ["Bright Strings", "Soft Strings", "New Amp"]
    assert headline.references == ["Bright Strings", "Soft Strings", "New Amp"]
    score = build("review/score", split, "test", BuildOptions(max_words=3))
    assert spoken(split, score, "review") == ["I think old", "I think bad"]
    assert spoken(split, score, "rating") == ["4", "5"]
    told = build("review/score_with_headline", split, "train")
    assert spoken(split, told, "headline") == ["Bright Strings", "Soft Strings", "New Amp"]
    assert spoken(split, told, "review")[0] == "I think bright strings all over"
    assert told.references is None


def test_missing_columns_switch_tasks_off():
    bare = by_hand(rating=None, texts={}).data
    off = {name: task.missing(bare) for name, task in TASKS.items() if task.missing(bare)}
    assert off["review/headline"] == ["review", "summary"]
    assert off["explanation/rate_and_explain"] == ["rating", "explanation"]
    assert {name.split("/")[0] for name in off} == {"rating", "explanation", "review"}
    assert not any(task.missing(by_hand().data) for task in TASKS.values())


# ---- all tasks


@pytest.mark.parametrize("task", TASKS)
def test_columns_are_the_slots_and_in_range(task):
    split = by_hand()
    examples = build(task, split, "train")
    assert set(examples.columns) == set(TASKS[task].slots)
    assert examples.task == task and len(examples)
    spoken_slots = {slot: spoken(split, examples, slot) for slot in examples.columns}
    assert all(len(values) == len(examples) for values in spoken_slots.values())
    for column in examples.columns.values():
        assert column.elements.values.dtype == np.int32 and column.pools.dtype == np.uint8
        assert len(column.pools) == len(column.elements.values)
    for name, slot in TASKS[task].slots.items():
        if slot.target:
            assert all(spoken_slots[name]), "an answer may not be empty"


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("part", ["train", "validation", "test"])
def test_an_example_does_not_depend_on_its_company(task, part):
    split = by_hand()
    rows = TASKS[task].eligible(split, part)
    together = TASKS[task].build(split, rows, OPTIONS)
    for place, row in enumerate(rows):
        alone = TASKS[task].build(split, np.array([row]), OPTIONS)
        for slot in together.columns:
            assert spoken(split, alone, slot)[0] == spoken(split, together, slot)[place]


@pytest.mark.parametrize("task", TASKS)
def test_no_rows_give_no_examples(task):
    assert len(TASKS[task].build(by_hand(), np.zeros(0, np.int64), OPTIONS)) == 0


@pytest.mark.parametrize("task", TASKS)
def test_a_training_example_is_the_same_whatever_comes_later(task):
    """Change all validation and test rows: no training example may move."""
    split = by_hand()
    changed = split.data
    later = split.part > 0
    rating = np.where(later, 1, changed.rating).astype(np.float32)
    texts = {
        name: ["other" if late else text for late, text in zip(later, column, strict=True)]
        for name, column in changed.texts.items()
    }
    item = np.where(later, 5, changed.item).astype(np.int32)
    other = by_hand(rating=rating, texts=texts, item=item)
    # so that a negative can be an item of the user's own later rows, draw often
    for epoch in range(5):
        options = replace(OPTIONS, epoch=epoch)
        before, after = build(task, split, "train", options), build(task, other, "train", options)
        for slot in before.columns:
            assert spoken(split, before, slot) == spoken(other, after, slot)


def test_targets_of_the_prompts_end_in_the_answer():
    for prompt in load_prompts():
        slots = TASKS[prompt.task].slots
        assert all(slots[slot].target for slot in PLACEHOLDER.findall(prompt.target))


# ---- negatives


def met_slowly(data, row: int) -> set[int]:
    first = data.user_start[data.user[row]]
    return set(data.item[first : row + 1].tolist())


@pytest.mark.parametrize("repeats", [False, True])
def test_met_equals_a_plain_loop(repeats):
    data = at_random(repeats=repeats).data
    met, rows = Met(data), np.arange(len(data))
    table = met(rows[:, None], np.arange(data.number_of_items)[None, :])
    for row in rows:
        assert set(np.flatnonzero(table[row]).tolist()) == met_slowly(data, row)
    assert met.count(rows).tolist() == [len(met_slowly(data, row)) for row in rows]


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 50), st.integers(1, 60), st.integers(26, 300), st.integers(-1, 3), st.booleans())
def test_negatives_are_different_unmet_and_as_many_as_there_are(seed, count, items, epoch, repeats):
    data = at_random(users=8, items=items, seed=seed, repeats=repeats).data
    rows = np.arange(len(data))
    negatives = draw_negatives(data, rows, count, seed, epoch)
    for row in rows:
        met, mine = met_slowly(data, row), negatives[row].tolist()
        assert len(mine) == len(set(mine)) == min(count, items - len(met))
        assert not met & set(mine)
    few = np.random.default_rng(seed).permutation(rows)[:5]
    assert draw_negatives(data, few, count, seed, epoch).to_lists() == negatives.take(few).to_lists()


@pytest.mark.parametrize(("items", "exact"), [(400, False), (30, True)])
def test_negatives_are_uniform_both_ways(items, exact, monkeypatch):
    data = at_random(users=3, items=items, longest=6, seed=1).data
    if exact:
        monkeypatch.setattr(drawing, "_by_rejection", None)
    else:
        monkeypatch.setattr(drawing, "_by_order", None)
    row, count = np.array([len(data) - 1]), 20
    counts = np.zeros(items)
    for epoch in range(1500):
        counts[draw_negatives(data, row, count, 0, epoch).values] += 1
    unmet = np.setdiff1d(np.arange(items), list(met_slowly(data, row[0])))
    expected = 1500 * count / len(unmet)
    variance = expected * (1 - count / len(unmet))
    assert (np.abs(counts[unmet] - expected) < 5 * np.sqrt(variance)).all()
    assert counts.sum() == counts[unmet].sum() == 1500 * count


@pytest.mark.parametrize("items", [40, 400])
def test_rows_epochs_and_seeds_draw_differently(items):
    data = at_random(users=1, items=items, longest=8).data
    same = np.array([0, 1])
    draws = [draw_negatives(data, same, 20, seed, epoch) for seed, epoch in [(0, 0), (0, 1), (1, 0), (0, -1)]]
    assert len({tuple(draw[row].tolist()) for draw in draws for row in (0, 1)}) == 8


def test_later_items_of_the_user_are_drawn_like_any_other():
    """Excluding them would tell the model which items are held back for the test."""
    data = at_random(users=1, items=60, longest=20, seed=3).data
    first = np.array([0])
    drawn = np.concatenate([draw_negatives(data, first, 20, 0, epoch).values for epoch in range(200)])
    later = np.isin(drawn, data.item[1:]).mean()
    assert abs(later - (len(data) - 1) / 59) < 0.03


def test_rows_that_clash_too_long_are_drawn_exactly(monkeypatch):
    data = at_random(users=5, items=300, seed=2).data
    rows = np.arange(len(data))
    whole = draw_negatives(data, rows, 100, 0, 0)
    monkeypatch.setattr(drawing, "ROUNDS", 1)
    for few in (draw_negatives(data, rows, 100, 0, 0), whole):
        for row in rows:
            assert len(set(few[row].tolist()) - met_slowly(data, row)) == 100
    monkeypatch.setattr(drawing, "CELLS", 500)
    monkeypatch.setattr(drawing, "ROUNDS", 16)
    assert draw_negatives(data, rows, 100, 0, 0).to_lists() == whole.to_lists()


def test_candidates_hold_the_truth_at_a_random_place():
    data = at_random(users=400, items=300).data
    rows = np.arange(len(data))
    candidates, place = draw_candidates(data, rows, 10, 0, -1)
    assert (candidates.lengths == 10).all()
    assert (candidates.values[candidates.offsets[:-1] + place] == data.item[rows]).all()
    assert (np.abs(np.bincount(place, minlength=10) / len(rows) - 0.1) < 0.02).all()
    assert draw_candidates(data, rows[:2], 1, 0, 0)[0].to_lists() == [[data.item[0]], [data.item[1]]]


def test_pairs_are_true_half_the_time():
    data = at_random(users=300, items=50).data
    rows = np.arange(len(data))
    items, is_true = draw_pairs(data, rows, 0, 0)
    assert 0.47 < is_true.mean() < 0.53
    assert ((items == data.item[rows]) == is_true).all()
    assert not Met(data)(rows, items)[~is_true].any()


def test_a_user_who_has_met_everything_is_asked_of_the_truth_only():
    split = by_hand(item=np.array([0, 1, 2, 3, 4, 5, 0, 1]), user=np.array([0] * 6 + [1] * 2, np.int32))
    for epoch in range(10):
        items, is_true = draw_pairs(split.data, np.array([5]), 0, epoch)
        assert items.tolist() == [5] and is_true.tolist() == [True]
    candidates, place = draw_candidates(split.data, np.array([5]), 100, 0, 0)
    assert candidates.to_lists() == [[5]] and place.tolist() == [0]
