"""In a notebook answers are small tables, and no text of theirs becomes HTML."""

from __future__ import annotations

import math
import re
from html.parser import HTMLParser

import pytest

from p5t5.inference.answers import Answer, Rating, Recommendation, Recommendations

NASTY = ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "a & b", "'; drop", "x" * 500]


class Seen(HTMLParser):
    """The tags and attributes of a text, checked to be closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags, self.attributes, self.open = set(), set(), []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def rating() -> Rating:
    value = Rating(3.5)
    value.interval, value.distribution = (3.0, 4.0), {1.0: 0.0, 3.0: 0.5, 4.0: 0.5}
    return value


@pytest.mark.parametrize("nasty", NASTY)
def test_nothing_of_a_title_or_note_is_markup(nasty):
    items = [Recommendation(nasty, nasty, -1.25)]
    answers = [
        Recommendations(items),
        Answer("items", tuple(items), prompt="p", asked=nasty, notes=(nasty,)),
        Answer("text", text=nasty, value=0.5),
    ]
    for answer in answers:
        html = answer._repr_html_()
        seen = Seen(html)
        assert seen.tags <= {"div", "p", "table", "tr", "td"} and seen.attributes <= {"style"}
        assert not re.search(r"#[0-9a-f]{3,6}\b|white|black", re.sub(r">[^<]*<", "><", html)), (
            "colours are the page's"
        )
        assert len(html) < 3000


def test_what_they_show():
    table = Recommendations([Recommendation("7", "Heat (1995)", -1.25), Recommendation("8", "Fargo", -2)])
    assert re.findall(r">([^<>]+)<", table._repr_html_()) == [
        "1", "Heat (1995)", "7", "-1.25", "2", "Fargo", "8", "-2.00",
    ]  # fmt: skip
    assert table == list(table), "still a list"
    shown = rating()._repr_html_()
    assert "<b>3.50</b>" in shown and "80 %: 3 to 4" in shown and shown.count("50 %") == 2
    number = Answer("number", value=rating(), interval=(3.0, 4.0), distribution={3.0: 1.0}, notes=("n < 5",))
    assert "<b>3.50</b>" in number._repr_html_() and "n &lt; 5" in number._repr_html_()
    assert "nan" in Rating(math.nan)._repr_html_()
