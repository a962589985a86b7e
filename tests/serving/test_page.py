"""The page's HTML: readable, and nothing of a catalogue or a person in it is markup."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p5t5.core.errors import UserError
from p5t5.serving import page_html as show
from p5t5.serving.page import conditions

TAGS = re.compile(r"</?(?:ol|ul|li|div|span|small)(?: (?:class|style|title)=\"[^\"<>]*\")*>")


def item(title="Alien (1979)", score=-1.0, why=None, attributes=None):
    return {"item_id": "1", "title": title, "score": score, "why": why or {}, "attributes": attributes or {}}


@given(st.text(max_size=60), st.text(max_size=30))
def test_no_text_becomes_markup(text, other):
    found = [
        show.ranked([item(text, why={other: 1.0}, attributes={"genre": [other]})]),
        show.message(text),
        show.tokens([text, other]),
        show.answered({"kind": "text", "text": text, "value": 0.5, "notes": [other]}),
        show.rating({"rating": 3.0, "interval": [2, 4], "distribution": {text: 1.0}}, other, [1.0, 5.0]),
    ]
    for html in found:
        assert not set(TAGS.sub("", html)) & set("<>\"'")


def test_the_best_has_the_longest_bar_and_reasons_are_shares():
    html = show.ranked([item(score=-1), item("Heat", -3, {"model": 0.25, "als": 0.75}), item("Babe", -2)])
    assert re.findall(r"width:(\d+)%", html) == ["100", "12", "56"]
    assert "people like you 75%, the model&#x27;s choice 25%" in html
    assert show.reasons({"model": 1.0}) == "the model's choice" and show.reasons({}) == ""
    assert "remove a filter" in show.ranked([])


def test_filters_become_conditions():
    filters = [("where", "genre"), ("without", "genre"), ("lowest", "year"), ("highest", "year")]
    assert conditions(filters, [[], None, "", ""]) == ({}, {})
    assert conditions(filters, [["Comedy"], ["War"], "1990", ""]) == (
        {"genre": ["Comedy"], "year": (1990.0, None)},
        {"genre": ["War"]},
    )
    assert conditions(filters, [[], [], "1990", "1999"])[0] == {"year": (1990.0, 1999.0)}
    with pytest.raises(UserError, match="year: 'soon' is no number"):
        conditions(filters, [[], [], "soon", ""])
