"""Titles and ids in free text → items: each rule with an example that it takes and one that it leaves."""

from __future__ import annotations

import itertools
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p5t5.data.records.cleaning import clean_text
from p5t5.questions.entity_linking import AMBIGUOUS, ITEM, USER, Linker, normalize, replace_links, title_keys

FILMS = [
    "Alien (1979)",
    "Alien 3 (1992)",
    "Aliens (1986)",
    "Fargo (1996)",
    "Godfather, The (1972)",
    "Godfather: Part II, The (1974)",
    "Good, The Bad and The Ugly, The (1966)",
    "Sabrina (1995)",
    "Sabrina (1954)",
    "Heat (1995)",
    "Big (1988)",
    "M (1931)",
    "Friday (1995)",
    "Game, The (1997)",
    "Seven (Se7en) (1995)",
    "Misérables, Les (1995)",
    "L.A. Confidential (1997)",
    "M*A*S*H (1970)",
    "Twelve Monkeys (1995)",
    "Dr. Strangelove or: How I Learned to Stop Worrying and Love the Bomb (1963)",
    "Chasing Amy (1997)",
    "Chasing Amy (1997)",
    "Four Rooms (1995)",
    "Truth About Cats & Dogs, The (1996)",
    "Big Night (1996)",
    "Schindler's List (1993)",
]
IDS = [str(100 + place) for place in range(len(FILMS))]
USERS = {"17": 0, "A2IBPI20UZIR0U": 1, "anna": 2}


@pytest.fixture(scope="module")
def linker() -> Linker:
    return Linker(IDS, FILMS, USERS.get)


def found(linker: Linker, text: str) -> list[str]:
    return [FILMS[link.item] for link in linker.link(text) if link.kind == ITEM]


@pytest.mark.parametrize(
    "text, titles",
    [
        ("I loved Alien (1979) and Fargo (1996).", ["Alien (1979)", "Fargo (1996)"]),
        ("i loved alien and fargo, what next", ["Alien (1979)", "Fargo (1996)"]),
        ("ALIEN 3 or Aliens?", ["Alien 3 (1992)", "Aliens (1986)"]),  # the longest match wins
        ("The Godfather", ["Godfather, The (1972)"]),
        ("Godfather, The", ["Godfather, The (1972)"]),
        ("the godfather (1972)", ["Godfather, The (1972)"]),
        ("I saw Godfather yesterday", ["Godfather, The (1972)"]),
        ("The Godfather: Part II", ["Godfather: Part II, The (1974)"]),
        ("The Good, the Bad and the Ugly", ["Good, The Bad and The Ugly, The (1966)"]),
        ("Good, The Bad and The Ugly, The", ["Good, The Bad and The Ugly, The (1966)"]),
        ("Sabrina (1954)", ["Sabrina (1954)"]),
        ("Se7en, Seven", ["Seven (Se7en) (1995)", "Seven (Se7en) (1995)"]),
        ("les miserables", ["Misérables, Les (1995)"]),
        ("LA Confidential and l.a. confidential", ["L.A. Confidential (1997)", "L.A. Confidential (1997)"]),
        ("I like MASH", ["M*A*S*H (1970)"]),
        ("saw 12 monkeys", ["Twelve Monkeys (1995)"]),
        ("Dr. Strangelove", [FILMS[19]]),
        ("Chasing Amy", ["Chasing Amy (1997)"]),  # listed twice: the first stands for both
        ("the truth about cats and dogs", ["Truth About Cats & Dogs, The (1996)"]),
        ("schindlers list, Schindler’s List", ["Schindler's List (1993)", "Schindler's List (1993)"]),
        ("Big Night", ["Big Night (1996)"]),
    ],
)
def test_links(linker, text, titles):
    assert found(linker, text) == titles


@pytest.mark.parametrize(
    "text, titles",
    [
        ("i like big films and a big heat wave", []),
        ("I watched Big last night", ["Big (1988)"]),  # a capital inside a sentence
        ("Big films are fine", []),  # one at its start says nothing
        ('rate "big" for me', ["Big (1988)"]),
        ("big (1988) was fun", ["Big (1988)"]),
        ("the game is on", []),
        ("have you seen The Game?", ["Game, The (1997)"]),
        ("we saw it on Friday", []),
        ("we saw Friday (1995)", ["Friday (1995)"]),
        ("i am m", []),
        ("i liked heat and fargo", ["Heat (1995)", "Fargo (1996)"]),
        ("the heat outside", []),
        ("I'm fond of four rooms", ["Four Rooms (1995)"]),
    ],
)
def test_everyday_words_need_evidence(linker, text, titles):
    assert found(linker, text) == titles


def test_another_year_is_another_film(linker):
    assert found(linker, "Alien (2015)") == []
    assert found(linker, "Fargo (1997)") == ["Fargo (1996)"]  # a year off: another country's release
    assert found(linker, "Sabrina (1955)") == ["Sabrina (1954)"]


def test_ambiguous_titles_name_all_their_items(linker):
    (link,) = linker.link("Should I see Sabrina?")
    assert link.kind == AMBIGUOUS and link.item == -1
    assert [FILMS[item] for item in link.items] == ["Sabrina (1995)", "Sabrina (1954)"]


def test_spans_and_replacement(linker):
    text = "I loved Alien (1979), and user 17 too."
    links = linker.link(text)
    assert [text[link.start : link.end] for link in links] == ["Alien (1979)", "user 17"]
    assert replace_links(text, links, {ITEM: "[i]", USER: "[u]"}) == "I loved [i], and [u] too."


@pytest.mark.parametrize(
    "text, titles",
    [
        ("item 103 please", ["Fargo (1996)"]),
        ("item_103, movie #100 and product id: 109", ["Fargo (1996)", "Alien (1979)", "Heat (1995)"]),
        ("items 100, 102 and 103", ["Alien (1979)", "Aliens (1986)", "Fargo (1996)"]),
        ("item 100 and 103 others", ["Alien (1979)"]),
        ("items 100 and 103 others", ["Alien (1979)"]),
        ("'100' or \"103\"", ["Alien (1979)", "Fargo (1996)"]),
        ("103 times", []),
        ("item 999", []),
    ],
)
def test_item_ids(linker, text, titles):
    assert found(linker, text) == titles


@pytest.mark.parametrize(
    "text, user",
    [
        ("for user 17", 0),
        ("user_17's next", 0),
        ("customer A2IBPI20UZIR0U.", 1),
        ("A2IBPI20UZIR0U likes it", 1),
        ("viewer anna", 2),
        ("user id: 17", 0),
        ("user 999", -1),  # a stranger, but said to be a user
    ],
)
def test_users(linker, text, user):
    assert [link.user for link in linker.link(text) if link.kind == USER] == [user]


def test_an_id_may_begin_with_the_word_user():
    """ "reader3" as an id is not reader 3, where both are known too."""
    both = Linker(["1"], ["Fargo"], {"reader3": 0, "3": 1, "user-7": 2}.get)
    for text, user in (
        ("would reader3 like it", 0),
        ("would reader 3 like it", 1),
        ("user-7?", 2),
        ("reader4", -1),
    ):
        assert [link.user for link in both.link(text)] == [user], text


def test_a_word_behind_user_is_no_user(linker):
    assert linker.link("the user wants something; each customer likes it") == []


def test_titles_that_are_ids_are_no_titles():
    plain = Linker(["50", "B0002CZUHA"], ["50", "B0002CZUHA"])
    assert plain.link("give me 50 of them") == []
    assert [link.item for link in plain.link("item 50 and B0002CZUHA and b0002czuha")] == [0, 1, 1]


def test_short_ids_alone_are_taken_as_they_are_written():
    short = Linker(
        ["A0007", "A0012", "007", "013", "12"], ["Soap", "Comb", "Bowl", "Lamp", "Bank"], {"u8": 0}.get
    )
    named = lambda text: [link.item for link in short.link(text) if link.kind == ITEM]  # noqa: E731
    assert named("Would kunde17 like A0007, or A0012?") == [0, 1]
    assert named("I clicked 007 and 013. What next?") == [2, 3]
    assert named("a0007 is spelled otherwise, and 12 is a number; A00 and 0070 are none") == []
    assert [link.user for link in short.link("What would u8 buy?")] == [0]


def test_years_from_an_attribute():
    with_years = Linker(["1", "2"], ["Sabrina", "Sabrina"], years=["1995", "1954"])
    assert [link.item for link in with_years.link("Sabrina (1954)")] == [1]
    assert with_years.link("I saw Sabrina")[0].kind == ITEM  # one title, twice: the first


def test_every_title_finds_itself(linker):
    for place, title in enumerate(FILMS):
        for text in (title, title.lower(), f"I loved {title} so much."):
            (link,) = linker.link(text)
            assert FILMS[link.item] == title, (text, place)


def test_title_keys_by_hand():
    keys = {key: rank for rank, key in sorted(title_keys("Godfather, The (1972)"), reverse=True)}
    assert keys == {
        "godfather the 1972": 0,
        "the godfather 1972": 1,
        "godfather 1972": 1,
        "godfather the": 2,
        "the godfather": 2,
        "godfather": 3,
    }


def test_normalise():
    assert normalize("  Schindler’s—LIST & ＣＯ., Ｃité! ") == "schindlers list and co cite"


def slow_titles(text: str) -> set[tuple[int, int, int]]:
    """All spans of words that spell a whole title with its year, by trying each span and each title."""
    words = normalize(text).split()
    spelled = {}
    for item, title in enumerate(FILMS):
        for rank, key in title_keys(title):
            if rank < 2:
                spelled.setdefault(key, item)
    spans = [
        (end - start, start, spelled[" ".join(words[start:end])])
        for start in range(len(words))
        for end in range(start + 1, len(words) + 1)
        if " ".join(words[start:end]) in spelled
    ]
    taken: set[int] = set()
    out = set()
    for length, start, item in sorted(spans, key=lambda span: (-span[0], span[1])):
        if not taken & set(range(start, start + length)):
            taken |= set(range(start, start + length))
            out.add((start, length, item))
    return out


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from([*FILMS, "and", "or the", "3", "part ii"]), max_size=6))
def test_the_scan_agrees_with_trying_everything(parts):
    linker = Linker(["x" + i for i in IDS], FILMS)
    text = " ; ".join(parts)
    dated = [
        link.item for link in linker.link(text) if link.kind == ITEM and "(" in text[link.start : link.end]
    ]
    assert dated == [item for _, _, item in sorted(slow_titles(text))]


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=80))
def test_any_text_is_survived(text):
    linker = Linker(IDS, FILMS, USERS.get)
    cleaned = clean_text(text)
    links = linker.link(cleaned)
    assert all(0 <= link.start < link.end <= len(cleaned) for link in links)
    assert all(left.end <= right.start for left, right in itertools.pairwise(links))


def test_many_titles_take_no_time():
    titles = [f"Word{place % 97} Thing{place} Kit, The (19{place % 90 + 10})" for place in range(5_000)]
    started = time.process_time()
    linker = Linker([str(place) for place in range(5_000)], titles)
    assert time.process_time() - started < 5
    started = time.process_time()
    assert linker.link("I own the Word5 Thing102 Kit. " * 50)[0].item == 102
    assert time.process_time() - started < 1
