"""Options from keywords: types, nearest names, and what stands for the command line's spelling."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from p5t5.core.errors import UserError
from p5t5.core.options import as_text, from_keywords, names, option, rates, required


@dataclass
class First:
    out: str = required("a folder")
    steps: int | None = option(None, "steps")
    rate: float = option(0.5, "a rate")
    given: frozenset[str] = field(default=frozenset(), init=False)


@dataclass
class Second:
    tasks: str = option("", "tasks")
    deep: bool = option(False, "deep or not")
    users: list[str] = option([], "users")


def test_each_class_gets_its_own_options_and_learns_which_were_named():
    first, second = from_keywords("train", (First, Second), {"out": Path("a") / "b", "deep": True})
    assert (first.out, first.steps, first.rate) == ("a/b", None, 0.5) and second == Second(deep=True)
    assert first.given == {"out", "deep"}


def test_natural_values_are_read_in_the_type_of_the_field():
    values = {"out": "x", "steps": np.int64(3), "rate": 1, "users": (1, "b"), "tasks": {"rating/score": 2}}
    first, second = from_keywords("train", (First, Second), values)
    assert first.steps == 3 and type(first.steps) is int and first.rate == 1.0 and type(first.rate) is float
    assert second.users == ["1", "b"] and second.tasks == "rating/score=2"
    assert from_keywords("train", (First,), {"out": "x", "steps": None})[0].steps is None
    assert from_keywords("train", (Second,), {"tasks": ["a", "b"]})[0].tasks == "a,b"


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"stepz": 3}, "train(): there is no option 'stepz'. Did you mean steps?"),
        ({"qqqq": 3}, "There are deep, out, rate, steps, tasks, users"),
        ({"given": {"x"}}, "no option 'given'"),
        ({"steps": "3"}, "steps must be a whole number or None, not '3' (str)"),
        ({"steps": 2.5}, "steps must be a whole number or None"),
        ({"steps": True}, "steps must be a whole number"),
        ({"rate": None}, "rate must be a number, not None"),
        ({"deep": 1}, "deep must be True or False"),
        ({"tasks": None}, "tasks must be a text"),
        ({"users": "abc"}, "users must be a list, not 'abc'"),
    ],
)
def test_other_values_are_refused_by_name(values, says):
    with pytest.raises(UserError) as error:
        from_keywords("train", (First, Second), {"out": "x", **values})
    assert says in str(error.value)


@given(st.dictionaries(st.text("abc/_", min_size=1), st.floats(0, 9, width=32), min_size=1))
def test_rates_survive_their_spelling(wanted):
    assert rates(wanted, "--tasks") == rates(as_text(wanted), "--tasks") == wanted


def test_rates_name_the_option_and_names_drop_empty_ones():
    assert rates("a=2, b", "--x") == {"a": 2.0, "b": 1.0} and rates("", "--x") is None
    with pytest.raises(UserError, match="--x: 'a=many'"):
        rates("a=many", "--x")
    assert names(" a, ,b,") == ["a", "b"]
