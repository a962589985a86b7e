"""Soft targets about ratings: out of fold, of training rows only, calibrated; each fast step against a slow twin."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from scipy import sparse
from support.tiny_data import at_random

from p5t5.data.splits import Split
from p5t5.distillation import rating_teacher as teacher

TASKS = ("rating/score", "rating/like", "review/score", "review/score_with_headline")
WORDS = ("awful", "poor", "fair", "good", "superb")


@pytest.fixture(scope="module")
def split() -> Split:
    """40 users who like the items with high numbers, and say so; half of the ratings are noise."""
    tiny = at_random(users=40, items=20, longest=18, seed=3)
    data, draw = tiny.data, np.random.default_rng(0)
    n = len(data)
    taste = 1 + 4 * data.item / max(data.item.max(), 1)
    rating = np.clip(np.round(taste + draw.normal(0, 0.8, n)), 1, 5).astype(np.float32)
    said = [f"{WORDS[int(value) - 1]} thing number {row}" for row, value in enumerate(rating.tolist())]
    texts = {**data.texts, "review": said, "summary": [text.split()[0] for text in said]}
    values = np.arange(1, 6, dtype=np.float32)
    return Split(replace(data, rating=rating, texts=texts, rating_values=values), tiny.scheme, tiny.part)


def changed(split: Split, rows: np.ndarray) -> Split:
    """The same with other ratings in these rows."""
    rating = split.data.rating.copy()
    rating[rows] = 6 - rating[rows] + (rating[rows] == 3)
    return Split(replace(split.data, rating=rating), split.scheme, split.part)


@pytest.mark.parametrize("task", TASKS)
def test_soft_targets_are_shares_for_every_row_that_is_trained_on(split, task):
    rows, shares = teacher.rating_soft_targets(split, task)
    assert np.array_equal(rows, teacher.TASKS[task].eligible(split, "train"))
    assert shares.dtype == np.float32 and shares.shape == (len(rows), 5)
    assert (shares > 0).all() and shares.sum(1) == pytest.approx(1, abs=1e-5)
    again = teacher.rating_soft_targets(split, task)
    assert np.array_equal(rows, again[0]) and np.array_equal(shares, again[1])


@pytest.mark.parametrize("task", ("rating/score", "review/score", "review/score_with_headline"))
def test_a_soft_target_comes_from_other_rows(split, task):
    rows, before = teacher.rating_soft_targets(split, task)
    for place in (0, 7, len(rows) // 2, len(rows) - 1):
        _, after = teacher.rating_soft_targets(changed(split, rows[[place]]), task)
        assert np.array_equal(after[place], before[place])
        assert not np.array_equal(after, before)  # the other folds' soft targets heard of it


@pytest.mark.parametrize("task", ("rating/score", "review/score_with_headline"))
def test_rows_that_are_judged_on_are_not_read(split, task):
    other = changed(split, np.flatnonzero(split.part > 0))
    texts = {
        name: [text if part == 0 else "superb awful" for text, part in zip(column, split.part, strict=True)]
        for name, column in other.data.texts.items()
    }
    poisoned = Split(replace(other.data, texts=texts), split.scheme, split.part)
    for one, two in zip(
        teacher.rating_soft_targets(split, task), teacher.rating_soft_targets(poisoned, task), strict=True
    ):
        assert np.array_equal(one, two)


@pytest.mark.parametrize("task, best", [("rating/score", 0.75), ("review/score", 0.6)])
def test_soft_targets_know_more_than_the_mean(split, task, best):
    rows, shares = teacher.rating_soft_targets(split, task)
    rating = split.data.rating[rows]
    error = ((shares @ split.data.rating_values - rating) ** 2).mean()
    assert error < best * rating.var()
    assert (shares @ split.data.rating_values).mean() == pytest.approx(rating.mean(), abs=0.1)


def test_nothing_is_taught_where_there_is_too_little(split):
    few = Split(split.data, split.scheme, np.where(np.arange(len(split.part)) < 60, split.part, 2))
    single = Split(replace(split.data, rating_values=np.ones(1, np.float32)), split.scheme, split.part)
    for poor in (few, single):
        rows, shares = teacher.rating_soft_targets(poor, "rating/score")
        assert len(rows) == 0 and shares.shape == (0, len(poor.data.rating_values))


def test_many_reviews_are_drawn_from(split, monkeypatch):
    monkeypatch.setattr(teacher, "MAX_REVIEWS", 200)
    rows, shares = teacher.rating_soft_targets(split, "review/score")
    everything = teacher.TASKS["review/score"].eligible(split, "train")
    assert len(rows) == len(shares) == 200 and (np.diff(rows) > 0).all() and np.isin(rows, everything).all()
    assert len(teacher.rating_soft_targets(split, "rating/score")[0]) == len(everything)


def test_of_very_many_ratings_some_are_taught_by_biases(split, monkeypatch):
    everything = teacher.rating_soft_targets(split, "rating/score")
    monkeypatch.setattr(teacher, "MAX_FACTORED_RATINGS", len(everything[0]))  # just not too many
    monkeypatch.setattr("p5t5.baselines.rating.SOLVE_ROWS", 7)  # factors solved in pieces are the same
    for one, two in zip(teacher.rating_soft_targets(split, "rating/score"), everything, strict=True):
        assert np.array_equal(one, two)
    monkeypatch.setattr(teacher, "MAX_FACTORED_RATINGS", len(everything[0]) - 1)
    monkeypatch.setattr(teacher, "MAX_DISTILLED_ROWS", 200)
    monkeypatch.setattr(teacher, "MatrixFactorization", None)
    rows, shares = teacher.rating_soft_targets(split, "rating/score")
    assert len(rows) == len(shares) == 200 and np.isin(rows, everything[0]).all()


def test_shares_are_calibrated():
    draw = np.random.default_rng(1)
    number = draw.uniform(1, 5, 20_000)
    chance = np.exp(-((number[:, None] - np.arange(1, 6)) ** 2) / 2)
    chance /= chance.sum(1, keepdims=True)
    truth = (draw.uniform(size=(len(number), 1)) > chance.cumsum(1)).sum(1)
    found = teacher.calibrated(number[:10_000], truth[:10_000], number[10_000:], 5)
    assert np.abs(found - chance[10_000:]).max() < 0.05
    mean, true = found @ np.arange(5), truth[10_000:]
    for low in range(1, 5):
        inside = (number[10_000:] >= low) & (number[10_000:] < low + 1)
        assert mean[inside].mean() == pytest.approx(true[inside].mean(), abs=0.06)
    thinned = teacher.calibrated(number, truth, np.array([9.0, 5.0]), 5)
    assert thinned[0] == pytest.approx(thinned[1], abs=1e-3)  # beyond all that was seen it doesn't go on


def test_words_and_pairs_are_counted_as_a_slow_twin_counts_them():
    texts = ["a b a b", "", "B c", "c", "!"]
    table = teacher.word_counts(texts).toarray()
    for row, text in enumerate(texts):
        found = [word for word in text.lower().split() if word != "!"]
        counts = sorted((Counter(found) + Counter(pairwise(found))).values())
        assert sorted(table[row][table[row] > 0].tolist()) == counts
    assert table.shape == (5, 3 + 3)  # a b c; ab ba bc
    assert teacher.word_counts(["", "!"]).shape == (2, 1)


def test_ridge_solves_its_normal_equations():
    draw = np.random.default_rng(2)
    table = np.where(draw.uniform(size=(60, 9)) < 0.4, draw.uniform(size=(60, 9)), 0)
    target = table @ draw.normal(size=9) + 3
    centred = table - table.mean(0)
    solved = np.linalg.solve(centred.T @ centred + 0.5 * np.eye(9), centred.T @ (target - target.mean()))
    weights, constant = teacher.ridge(sparse.csr_array(table), target, 0.5)
    assert weights == pytest.approx(solved, abs=0.01)
    assert constant == pytest.approx(target.mean() - table.mean(0) @ solved, abs=0.01)
