"""Names and questions as people type them: other spellings of a letter, one slip, ids that are words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p5t5.questions.entity_linking import Linker
from p5t5.questions.intent import Router
from p5t5.questions.spelling import folded, one_edit_away, spelled_out
from p5t5.tasks.registry import TASKS
from p5t5.text.prompts import load_prompts

TITLES = [
    "Alien (1979)", "Fargo (1996)", "The Silent Library", "Crème Brûlée", "Gießkanne", "Müllers Käsereibe",
    "Søren Lied", "Mueller Brot", "Heat (1995)",
]  # fmt: skip


@pytest.fixture(scope="module")
def linker() -> Linker:
    return Linker([str(100 + item) for item in range(len(TITLES))], TITLES)


@pytest.fixture(scope="module")
def router() -> Router:
    return Router(load_prompts(), TASKS)


@pytest.mark.parametrize(
    ("text", "titles"),
    [
        ("I bought the Giesskanne, the Gießkanne and Muellers Kaesereibe", [4, 4, 5]),
        ("mullers kasereibe and MÜLLERS KÄSEREIBE", [5, 5]),
        ("creme brulee with Soren Lied or Soeren Lied", [3, 6, 6]),
        ("Müller Brot", [7]),  # and the other way round
    ],
)
def test_letters_that_keyboards_lack(linker, text, titles):
    assert [link.item for link in linker.link(text)] == titles


def test_an_id_of_words_is_named_like_a_title():
    ids = ["Night Song", "Käsereibe", "00 003", "B0002CZUHA", "7", "x1"]
    words = Linker(ids, ids)
    text = "I heard Night Song, 00 003 and Kaesereibe. 7 more?"
    assert [link.item for link in words.link(text)] == [0, 2, 1]


@pytest.mark.parametrize(
    ("text", "near"),
    [
        ("I loved Alein and Fagro", [("Alein", [0]), ("Fagro", [1])]),
        ("i loved the silent libary", [("the silent libary", [2])]),
        ("would i enjoy 'fargoo'?", [("fargoo", [1])]),
        ("I loved Alien and the library", []),  # found; a plain word is no title
        ("I loved a Saga", []),  # two letters away
    ],
)
def test_what_may_have_been_meant(linker, text, near):
    links = linker.link(text)
    found = [(text[link.start : link.end], list(link.items)) for link in linker.near(text, links)]
    assert found == near


@pytest.mark.parametrize(
    ("text", "task", "names"),
    [
        ("Which of these wuold suit me: Alien, Fargo, Heat", "direct/choose", 2),
        ("Which of these wuold suit me: Alein, Fagro, Heet?", "direct/choose", 2),
        ("waht shoud I wathc after Alien?", "sequential/next_item", 1),
        ("How many strs would I give Alien?", "rating/score", 1),
        ("I loved Alien. Which one should I pick next?", "sequential/next_item", 1),
    ],
)
def test_misspelled_questions_are_understood(linker, router, text, task, names):
    route = router.route(text, linker.link(text))
    assert (route.task, route.names) == (task, names)


@given(st.text("abcß", min_size=1, max_size=8), st.data())
def test_one_slip_away_is_mutual(word, data):
    """Swapping, leaving out, replacing and adding are undone by another slip (slow twin: try it)."""
    word = folded(word)
    slip = data.draw(st.sampled_from(sorted(set(one_edit_away(word)))))
    assert abs(len(slip) - len(word)) <= 1 and word in set(one_edit_away(slip))


def test_spellings_by_hand():
    assert [folded(word) for word in ("Crème", "Straße", "MØ", "Łódź", "it's")] == [
        "creme", "strasse", "mo", "lodz", "its",
    ]  # fmt: skip
    assert spelled_out("Müller, Äpfel, Mu\u0308ller") == "Mueller, Aepfel, Mueller"
    assert list(one_edit_away("ab"))[:3] == ["ba", "b", "a"]
