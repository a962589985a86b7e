"""Texts as people mean them: without markup, lists as elements, "null" as nothing."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p5t5.data.records.cell_texts import NO_TEXT, cell_texts
from p5t5.data.records.cleaning import clean_text

WORDS = st.lists(
    st.sampled_from(["Action", "Sci-Fi", "Über", "it's", "a b"]), min_size=1, max_size=3, unique=True
)


@given(
    st.lists(WORDS, min_size=1, max_size=9),
    st.sampled_from([str, json.dumps, list, tuple, lambda x: np.array(x, object)]),
)
def test_lists_become_their_elements(lists, write):
    assert cell_texts([write(words) for words in lists]) == [", ".join(words) for words in lists]


@pytest.mark.parametrize(
    ("cells", "texts"),
    [
        (["[REC]", "Alien", "[1408]"], ["[REC]", "Alien", "[1408]"]),  # films, not lists
        (["[{'id': 16, 'name': 'Animation'}, {'id': 35, 'name': 'Comedy'}]"], ["Animation, Comedy"]),
        (["['a' 'b']", "['c' 'd']"], ["a, b", "c, d"]),  # NumPy's
        (['{a,"b c"}', "{d}"], ["a, b c", "d"]),  # PostgreSQL's
        (["[]", "['x']"], ["", "x"]),
        ([None, float("nan"), "NaN", "null", "None", "Nona"], ["", "", "", "", "", "Nona"]),
        (["{'a': __import__('os')}", "[1"], ["{'a': __import__('os')}", "[1"]),  # never run
    ],
)
def test_cells(cells, texts):
    assert cell_texts(cells) == texts


def test_titles_are_no_lists():
    assert cell_texts(["[1408]", "['x']"], lists=False) == ["[1408]", "['x']"]
    assert all(cell_texts([word.upper()]) == [""] for word in NO_TEXT)


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("Nice &amp; soft, but &#34;ran&#34;.<br />Again", 'Nice & soft, but "ran". Again'),
        ('<span id="productTitle">Getting more\n\n</span>', "Getting more"),
        ("Tom &amp;amp; Jerry", "Tom & Jerry"),
        ("&lt;b&gt;x&lt;/b&gt;", "x"),
        ("AT&T &copy 2; a < b > c", "AT&T &copy 2; a < b > c"),  # neither entities nor tags
        ("</s> <extra_id_0>", "< /s> < extra_id_0>"),  # no HTML of ours
    ],
)
def test_markup_goes(raw, clean):
    assert clean_text(raw) == clean


PIECES = [
    "&",
    "amp",
    ";",
    "lt",
    "#60",
    "#x26",
    "<",
    "/",
    "b",
    "br",
    " ",
    ">",
    "＜",
    "＆",
    "\u200b",
    "!--",
    "--",
    "\n",
]


@settings(max_examples=1000, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=14).map("".join))
def test_cleaning_twice_changes_nothing(text):
    assert clean_text(clean_text(text)) == clean_text(text)
