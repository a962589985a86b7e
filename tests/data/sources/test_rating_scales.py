"""Ratings as people write them: each kind of scale, its neighbours, and what is no scale."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from p5t5.core.errors import UserError
from p5t5.data.sources import cells
from p5t5.data.sources.rating_scales import find_scale, is_unmistakable, named_levels, plain


def values(texts):
    scale = find_scale(dict.fromkeys(texts, 10))
    return None if scale is None else [scale.value(text) for text in texts]


@pytest.mark.parametrize(
    ("texts", "wanted"),
    [
        (["4/5", "5/5", "1/5", "8/10"], [4, 5, 1, 4]),  # another highest mark is brought to the commonest
        (["8 / 10", "10 / 10"], [8, 10]),
        (["★★★★☆", "★☆☆☆☆", "★★★½"], [4, 1, 3.5]),
        (["***", "*****"], [3, 5]),
        (["4.0 out of 5 stars", "1.0 out of 5 stars"], [4, 1]),
        (["Rated 4 out of 5", "Rated 2 out of 5"], [4, 2]),
        (["4 stars", "1 star"], [4, 1]),
        (["3,5 von 5 Sternen", "2 von 5 Sternen"], [3.5, 2]),
        (["85%", "40 %"], [85, 40]),
        (["A", "B+", "C-", "F"], [5, 4.3, 2.7, 1]),
        (["A", "E", "F"], [5, 1, 0]),
        (["Excellent", "Good", "Fair", "Poor"], [4, 3, 2, 1]),
        (["love", "like", "ok", "hate"], [4, 3, 2, 1]),
        (["Sehr gut", "gut", "schlecht"], [3, 2, 1]),
        (["it was amazing", "did not like it", "it was ok"], [3, 1, 2]),
        (["Fresh", "Rotten"], [1, 0]),
        (["True", "False"], [1, 0]),
        (["yes", "no"], [1, 0]),
        (["👍", "👎"], [1, 0]),
        (["Recommended", "Not Recommended"], [1, 0]),
        (["5 - Excellent", "1 - bad"], [5, 1]),
        (["five stars", "one star"], [5, 1]),
        (["4,0", "5,0", "3,5"], [4, 5, 3.5]),
        (["4", "2.5", "4"], [4, 2.5, 4]),
        ([True, False], [1, 0]),
        (["Blue", "Red"], None),
        (["Great tacos, will be back", "Awful"], None),
        (["2017/01", "2018/02"], None),
        (["good", "good"], None),  # one word is no scale
    ],
)
def test_scales(texts, wanted):
    assert values(texts) == wanted


def test_cells_beyond_the_scale_are_no_ratings():
    scale = find_scale({"4/5": 20, "3/5": 20})
    assert scale.value("6/5") is None and scale.value("good") is None and np.isnan(scale.value("not rated"))
    assert find_scale({"4/5": 5, "not rated": 20, "2/5": 5}).value("2/5") == 2


@given(
    st.integers(2, 20).flatmap(
        lambda most: st.tuples(st.just(most), st.lists(st.integers(0, most), min_size=2))
    )
)
def test_fractions_read_back(made):
    most, points = made
    texts = [f"{point}/{most}" for point in points]
    assert values(texts) == points


def test_the_mapping_is_told_and_can_be_replaced():
    scale = find_scale({"good": 3, "bad": 3, "ok": 4})
    assert scale.note().startswith("words as numbers: bad = 1, ok = 2, good = 3 (--rating_levels")
    named = named_levels("Bad=-1, ok=0,good = 1")
    assert [named.value(text) for text in ("bad", "OK", "Good!")] == [-1, 0, 1] and named.value("x") is None
    for wrong in ("bad", "bad=x", "=1", "bad=1,"):
        with pytest.raises(UserError, match="--rating_levels"):
            named_levels(wrong)


def test_stars_are_ratings_whatever_the_name_and_words_are_not():
    assert is_unmistakable(find_scale({"★★": 5, "★": 5})) and is_unmistakable(
        find_scale({"4/5": 5, "3/5": 5})
    )
    assert not is_unmistakable(find_scale({"good": 5, "poor": 5}))


def test_cells():
    read = lambda column: cells.ratings(column, plain)  # noqa: E731
    assert read(pa.array([True, False]))[0].tolist() == [1, 0]  # thumbs
    assert read(pa.array([1.5, None, float("nan")]))[1].tolist() == [False] * 3
    assert read(pa.array([[1], None]))[1].tolist() == [True, False]
    found, bad = read(pa.array(["NA", "1_000", "１", "x", "4"]))
    assert np.isnan(found[:4]).all() and bad.tolist() == [False, True, True, True, False]
    assert np.isnan(cells.ratings(pa.array([-1, 3]), plain, [-1.0])[0]).tolist() == [True, False]
