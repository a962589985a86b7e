"""The mixture is a pure function of (seed, epoch), keeps its rates, and never trains a held-out wording."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from support.tiny_data import at_random, by_hand

from p5t5.core.errors import UserError
from p5t5.tasks.base import BuildOptions
from p5t5.tasks.registry import TASKS
from p5t5.text.mixture import TITLE_SLOTS, _walk, make_mixture, single, usable_prompts, validation_sample
from p5t5.text.prompts import load_prompts

PROMPTS = load_prompts()
OPTIONS = BuildOptions(candidates=5)


def mixture(split=None, rates=None, **more):
    return make_mixture(split or at_random(), PROMPTS, rates, OPTIONS, **{"seed": 1, **more})[0]


def as_tuple(choice):
    return choice.task.tolist(), choice.row.tolist(), choice.prompt.tolist()


def test_same_seed_and_epoch_same_choice_in_any_order():
    first, second = mixture(), mixture()
    later = as_tuple(first.choose(3))
    assert as_tuple(first.choose(0)) == as_tuple(second.choose(0))
    assert as_tuple(second.choose(3)) == later
    assert as_tuple(first.choose(0)) != later
    assert as_tuple(mixture(seed=2).choose(0)) != as_tuple(first.choose(0))


def test_dtypes_and_size():
    choice = mixture(size=1000).choose(0)
    assert (choice.task.dtype, choice.row.dtype, choice.prompt.dtype) == (np.int16, np.int64, np.int32)
    assert len(choice.task) == len(choice.row) == len(choice.prompt) == 1000


def test_the_rates_are_kept_to_the_example():
    mixed = mixture(rates={"sequential/next_item": 2, "rating/score": 1, "direct/choose": 0.5}, size=1001)
    assert mixed.tasks == ("rating/score", "sequential/next_item", "direct/choose")
    exact = 1001 * np.array([1, 2, 0.5]) / 3.5
    for epoch in range(3):
        counts = np.bincount(mixed.choose(epoch).task, minlength=3)
        assert counts.sum() == 1001 and (np.abs(counts - exact) < 1).all()


def test_tasks_are_spread_over_the_epoch():
    task = mixture(rates={"sequential/next_item": 1, "rating/score": 1}, size=2000).choose(0).task
    assert abs(task[:1000].mean() - 0.5) < 0.06


def test_rows_are_covered_evenly_over_epochs():
    mixed = mixture(rates={"sequential/next_item": 1}, size=100)
    rows = mixed.eligible["sequential/next_item"]
    seen = Counter(row for epoch in range(12) for row in mixed.choose(epoch).row.tolist())
    assert set(seen) <= set(rows.tolist())
    most, least = max(seen.values()), min(seen.get(row, 0) for row in rows.tolist())
    assert most - least <= 1 and sum(seen.values()) == 1200
    # an epoch of twice all rows holds each of them twice
    twice = mixture(rates={"sequential/next_item": 1}, size=2 * len(rows)).choose(5)
    assert set(Counter(twice.row.tolist()).values()) == {2}


def test_a_walk_has_a_new_order_every_lap_and_can_be_cut_anywhere():
    rows = np.arange(100, 150)
    whole = _walk(rows, 0, 150, 3, 4)
    laps = whole.reshape(3, 50)
    assert all(sorted(lap.tolist()) == rows.tolist() for lap in laps)
    assert len({tuple(lap.tolist()) for lap in laps}) == 3
    for start, count in [(0, 0), (7, 43), (49, 2), (50, 50), (3, 147)]:
        assert _walk(rows, start, count, 3, 4).tolist() == whole[start : start + count].tolist()
    assert _walk(rows, 0, 50, 3, 5).tolist() != laps[0].tolist()


def test_prompts_are_seen_ones_of_the_task_each_at_its_rate():
    mixed = mixture(by_hand(), size=6000)
    choice = mixed.choose(0)
    for number, name in enumerate(mixed.tasks):
        used = Counter(choice.prompt[choice.task == number].tolist())
        allowed = [i for i, each in enumerate(PROMPTS) if each.task == name and not each.held_out]
        assert set(used) <= set(allowed)
        rates = {wording: PROMPTS[wording].rate for wording in allowed}
        for wording, rate in rates.items():
            expected = sum(used.values()) * rate / sum(rates.values())
            assert abs(used[wording] - expected) < 5 * np.sqrt(expected), PROMPTS[wording].id


def test_data_without_titles_or_attributes_use_no_prompts_with_them():
    mixed = mixture(at_random(), size=5000)
    used = {slot for index in set(mixed.choose(0).prompt.tolist()) for slot in PROMPTS[index].slots}
    assert not used & (TITLE_SLOTS | {"about"})
    everything = usable_prompts(PROMPTS, "rating/score", by_hand().data, held_out=False)
    titles = by_hand(items=by_hand().data.items[["item_id", "title"]]).data
    fewer = usable_prompts(PROMPTS, "rating/score", titles, held_out=False)
    assert set(fewer) < set(everything) and len(fewer) >= 4


def test_examples_are_the_choice_grouped_by_task():
    split = by_hand()
    mixed = mixture(split, size=200)
    choice, places_seen = mixed.choose(4), []
    for task, examples, prompt, places in mixed.examples(4):
        assert [mixed.tasks[number] for number in set(choice.task[places].tolist())] == [task.name]
        assert examples.rows.tolist() == choice.row[places].tolist()
        assert prompt.tolist() == choice.prompt[places].tolist()
        assert {PROMPTS[index].task for index in prompt.tolist()} == {task.name}
        alone = task.build(split, examples.rows, replace(OPTIONS, epoch=4))
        for slot, column in alone.columns.items():
            assert column.elements.values.tolist() == examples.columns[slot].elements.values.tolist()
        places_seen += places.tolist()
    assert sorted(places_seen) == list(range(200))


def test_only_training_rows_are_chosen():
    split = at_random()
    assert (split.part[mixture(split, size=3000).choose(0).row] == 0).all()


def test_tasks_that_the_data_lack_are_off_with_a_sentence():
    mixed, off = make_mixture(by_hand(rating=None, texts={}), PROMPTS, None, OPTIONS, 0)
    assert {name.split("/")[0] for name in mixed.tasks} == {"sequential", "direct"}
    assert "review/headline is off: hand has no column review and no column summary" in off
    assert len(off) == len(TASKS) - len(mixed.tasks)
    empty = {name: [""] * 8 for name in ("review", "summary", "explanation", "feature")}
    _, off = make_mixture(by_hand(texts=empty), PROMPTS, None, OPTIONS, 0)
    assert "review/headline is off: no training row of hand has what it needs" in off
    fewer = [each for each in PROMPTS if each.task != "direct/choose" or each.held_out]
    _, off = make_mixture(by_hand(), fewer, None, OPTIONS, 0)
    assert any("direct/choose is off: none of its prompts" in sentence for sentence in off)


def test_families_and_zero_rates():
    rates = {"rating": 1, "rating/like": 3, "sequential": 0, "sequential/next_item": 2}
    assert mixture(rates=rates).weights == {
        "rating/score": 1,
        "rating/verify": 1,
        "rating/like": 3,
        "sequential/next_item": 2,
    }


@pytest.mark.parametrize(
    ("rates", "message"),
    [
        ({"rating/scores": 1}, "unknown task 'rating/scores'; the tasks are rating/score,"),
        ({"rating/score": -1}, "the rate of rating/score must be"),
        ({"rating/score": float("nan")}, "the rate of rating/score must be"),
        ({"rating/score": 0}, "all rates are 0"),
        ({"review/score": 1}, "no task is left to train on: review/score is off"),
    ],
)
def test_wrong_rates(rates, message):
    with pytest.raises(UserError, match=message):
        mixture(rates=rates)


def test_wrong_size_and_loss_weights():
    with pytest.raises(UserError, match="at least 1 example"):
        mixture(size=0)
    with pytest.raises(UserError, match="loss weight for an unknown task 'x'"):
        mixture(loss_weights={"x": 1})
    assert mixture(loss_weights={"rating/score": 2}).loss_weights == {"rating/score": 2}


def test_default_rates_follow_the_rows_and_their_worth_and_size_the_training_part():
    split = by_hand()
    mixed = mixture(split)
    assert mixed.size == len(split.rows("train")) == 4
    assert mixed.weights["direct/choose"] == pytest.approx(4 * 0.15)
    assert mixed.weights["sequential/next_item"] == 2 and mixed.weights["sequential/continue"] == 2 * 3


# ---- evaluation


def test_single_asks_each_row_once_and_always_the_same():
    split = at_random()
    examples, prompt = single(split, "sequential/choose", PROMPTS, "test", OPTIONS)
    assert examples.rows.tolist() == split.rows("test").tolist()
    assert not any(PROMPTS[index].held_out for index in prompt.tolist()) and len(set(prompt.tolist())) > 1
    again, same = single(split, "sequential/choose", PROMPTS, "test", replace(OPTIONS, epoch=7))
    assert again.candidates.values.tolist() == examples.candidates.values.tolist()
    assert same.tolist() == prompt.tolist()
    few, part = single(split, "sequential/choose", PROMPTS, "test", OPTIONS, rows=examples.rows[3:6])
    assert few.candidates.to_lists() == examples.candidates.take(np.arange(3, 6)).to_lists()
    assert part.tolist() == prompt[3:6].tolist()


def test_single_by_held_out_or_id():
    split = by_hand()
    _, prompt = single(split, "rating/score", PROMPTS, "test", OPTIONS, "held_out")
    assert all(PROMPTS[index].held_out for index in prompt.tolist())
    _, prompt = single(split, "rating/score", PROMPTS, "test", OPTIONS, "rating-2")
    assert {PROMPTS[index].id for index in prompt.tolist()} == {"rating-2"}


@pytest.mark.parametrize(
    ("prompt", "message"),
    [("rating-99", "no prompt with the id"), ("direct-1", "belongs to direct/verify")],
)
def test_single_with_a_wrong_prompt(prompt, message):
    with pytest.raises(UserError, match=message):
        single(by_hand(), "rating/score", PROMPTS, "test", OPTIONS, prompt)
    with pytest.raises(UserError, match="no held_out prompt"):
        single(by_hand(), "rating/score", PROMPTS[:1], "test", OPTIONS, "held_out")


def test_train_and_test_of_one_user_never_meet_in_training():
    """The same (user, test item) never appears as a true pair, in any task, over several epochs."""
    split = at_random(users=20, items=200)
    data, test = split.data, split.rows("test")
    held = set(zip(data.user[test].tolist(), data.item[test].tolist(), strict=True))
    for epoch in range(3):
        for task, examples, _, _ in mixture(split, size=2000).examples(epoch):
            pairs = zip(data.user[examples.rows].tolist(), data.item[examples.rows].tolist(), strict=True)
            assert not held & set(pairs), task.name
            for name in ("history", "rated_history", "items"):
                if name in examples.columns:
                    column = examples.columns[name]
                    users = data.user[examples.rows][column.elements.row_of_value]
                    items = column.elements.values[column.pools == 1]
                    users = users[column.pools == 1]
                    assert not held & set(zip(users.tolist(), items.tolist(), strict=True)), (task.name, name)


def test_a_validation_sample_is_a_drawn_part_of_the_validation_rows():
    split = at_random()
    wanted = TASKS["rating/score"].eligible(split, "validation")
    examples, index = validation_sample(split, "rating/score", PROMPTS, OPTIONS, 5)
    assert (
        len(examples) == 5
        and set(examples.rows) <= set(wanted)
        and list(examples.rows) == sorted(examples.rows)
    )
    assert not any(PROMPTS[place].held_out for place in index)
    whole, _ = validation_sample(split, "rating/score", PROMPTS, OPTIONS, 10_000)
    assert whole.rows.tolist() == wanted.tolist()
    assert validation_sample(split, "review/score", PROMPTS, OPTIONS, 5) is None, "no reviews"
