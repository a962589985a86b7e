"""What a task says of itself agrees with itself, whatever the task: also a new one is held to it."""

import numpy as np
import pytest
from support.tiny_data import at_random

from p5t5.tasks.base import BuildOptions, Decoding
from p5t5.tasks.registry import FAMILIES, TASKS

EACH = pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)


@EACH
def test_the_name_is_the_key_and_its_family_is_listed(task):
    assert TASKS[task.name] is task
    assert task.name == f"{task.family}/{task.name.partition('/')[2]}" and task.family in FAMILIES


@EACH
def test_metrics(task):
    assert task.primary_metric in task.metrics and set(task.card_metrics) <= set(task.metrics)
    if task.card_metrics:
        assert task.primary_metric in task.card_metrics  # further protocols show this one alone


@EACH
def test_the_answer_fits_the_decoding(task):
    targets = [name for name, slot in task.slots.items() if slot.target]
    assert task.target_slot == targets[-1]
    assert bool(task.choices) == (task.decoding is Decoding.CHOICE) == (targets == ["answer"])
    assert task.ranks == (targets in (["item"], ["items"]))
    assert task.rates == ("rating" in targets) and (not task.rates or "rating" in task.needs)
    assert task.writes == bool(task.text_column) and (not task.writes or task.text_column in task.needs)


@EACH
def test_what_is_read_is_needed_and_has_a_slot(task):
    assert set(task.review_columns) <= set(task.needs)
    assert task.reads_review == ("review" in task.slots) and (not task.hint or task.hint in task.slots)
    assert not task.hint or task.hint in task.needs


@EACH
def test_training(task):
    assert task.default_weight > 0 and task.default_loss_weight > 0
    assert (task.teacher is None) == (task.default_alpha == 0) and 0 <= task.default_alpha < 1


@EACH
def test_substitutes_are_other_tasks_and_what_repeats_has_the_same_metrics(task):
    assert task.name not in task.substitutes and set(task.substitutes) <= set(TASKS)
    if task.repeats:
        original = TASKS[task.repeats]
        assert not original.repeats and original.metrics == task.metrics


@EACH
def test_positive_ratings_are_the_answers_of_the_examples(task):
    split = at_random()
    values = split.data.rating_values
    positive = task.positive_ratings(values)
    if positive is None:
        return
    assert task.positive_ratings(values[:0]).shape == (0,) and positive.dtype == bool
    rows = task.eligible(split, "train")
    answers = task.build(split, rows, BuildOptions()).answer
    rating = np.searchsorted(values, split.data.rating[rows])
    assert ((answers == 0) == positive[rating]).all() and 0 < positive.sum() < len(positive)


def test_places_of_validation_and_short_names_are_different():
    watched = [task for task in TASKS.values() if task.validation_place]
    assert sorted(task.validation_place for task in watched) == list(range(1, len(watched) + 1))
    names = [task.metric_name for task in TASKS.values()]
    assert len(set(names)) == len(names) == 15 and {"ndcg@10", "rmse", "review/score:rmse"} <= set(names)
