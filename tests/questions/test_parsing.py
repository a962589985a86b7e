"""Questions → requests, on a small catalogue: roles, feelings, ratings, conditions, people, and what is not understood."""

from __future__ import annotations

import json
import time

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p5t5.core.errors import UserError
from p5t5.questions.parsing import MAX_LENGTH, Vocabulary, parse_request
from p5t5.questions.request import INTENTS, ROLES, Request

FILMS = {
    "Alien (1979)": "Horror, Sci-Fi", "Aliens (1986)": "Action, Sci-Fi", "Fargo (1996)": "Crime, Drama",
    "Godfather, The (1972)": "Crime, Drama", "Godfather: Part II, The (1974)": "Crime, Drama", "Heat (1995)": "Action, Crime",
    "Sabrina (1954)": "Comedy, Romance", "Sabrina (1995)": "Comedy, Romance", "Speed (1994)": "Action, Thriller",
    "Toy Story (1995)": "Animation, Children's, Comedy", "Titanic (1997)": "Drama, Romance", "Contact (1997)": "Drama, Sci-Fi",
    "Babe (1995)": "Children's, Comedy", "Scream (1996)": "Horror, Thriller", "Terminator 2: Judgment Day (1991)": "Action, Sci-Fi",
    "Land Before Time III: The Time of the Great Giving (1995) (V)": "Animation, Children's", "Star Wars (1977)": "Action, Sci-Fi",
    "Empire Strikes Back, The (1980)": "Action, Sci-Fi",
}  # fmt: skip
TITLES = list(FILMS)
SHORT = {
    title.split(" (")[0].split(",")[0].split(":")[0]: index
    for index, title in reversed(list(enumerate(TITLES)))
}
IDS = [str(100 + index) for index in range(len(TITLES))]


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    table = pd.DataFrame({"item_id": IDS, "title": TITLES, "genres": list(FILMS.values())})
    return Vocabulary.of_items(table, {"17": 0, "18": 1, "anna lee": 2}.get)


def names(items) -> list[str]:
    return [TITLES[item].split(" (")[0].split(",")[0].split(":")[0] for item in items]


def said(request: Request) -> dict:
    """The roles of a request, items by the first words of their titles."""
    roles = {role: names(getattr(request, role)) for role in ROLES}
    return {role: items for role, items in roles.items() if items}


@pytest.mark.parametrize(
    "text, intent, roles",
    [
        ("I loved Alien (1979) and Fargo (1996). Would I like Heat?", "like", {"liked": ["Alien", "Fargo"], "items": ["Heat"]}),
        (
            "Would I like Heat given that I loved Alien and Fargo but hated Speed?",
            "like",
            {"liked": ["Alien", "Fargo"], "disliked": ["Speed"], "items": ["Heat"]},
        ),
        (
            "After Alien and Aliens, which of Fargo, Heat and Speed comes next?",
            "choose",
            {"seen": ["Alien", "Aliens"], "candidates": ["Fargo", "Heat", "Speed"]},
        ),
        (
            "Which of Fargo, Heat and Speed suits someone who loved Alien?",
            "choose",
            {"liked": ["Alien"], "candidates": ["Fargo", "Heat", "Speed"]},
        ),
        ("What should I watch next after Alien and Fargo?", "recommend", {"seen": ["Alien", "Fargo"]}),
        ("Fargo or Heat?", "choose", {"candidates": ["Fargo", "Heat"]}),
        ("My list: Alien, Aliens.", "recommend", {"seen": ["Alien", "Aliens"]}),
        ("What next?", "recommend", {}),
        # K4: a wish for something like it
        ("I need a film like Fargo", "similar", {"items": ["Fargo"]}),
        ("Show me 20 films like Alien", "similar", {"items": ["Alien"]}),
        ("if i liked fargo what else would i like", "recommend", {"liked": ["Fargo"]}),
        ("My wife loves Speed and Titanic. What could we watch?", "recommend", {"liked": ["Speed", "Titanic"]}),
        # K6: dislikes
        ("what should I watch if I don't like Alien?", "recommend", {"disliked": ["Alien"]}),
        ("I can't stand Titanic. Suggest something.", "recommend", {"disliked": ["Titanic"]}),
        ("Not a fan of Titanic, but Fargo was amazing - what next?", "recommend", {"disliked": ["Titanic"], "liked": ["Fargo"]}),
        ("Neither Heat nor Speed did anything for me. Tips?", "recommend", {"disliked": ["Heat", "Speed"]}),
        ("Titanic. Never again. What else?", "recommend", {"disliked": ["Titanic"]}),
        ("I didn't expect to like Babe but I did. More?", "recommend", {"liked": ["Babe"]}),
        ("I have not seen Heat yet, but loved Speed. What next?", "recommend", {"liked": ["Speed"]}),
        # others
        ("Tell me why people like Fargo", "explain", {"items": ["Fargo"]}),
        ("how many stars would user 17 give Heat", "rate", {"items": ["Heat"]}),
        ("Will user 17 watch Contact next?", "verify", {"items": ["Contact"]}),
        ("did user 17 rate heat", "lookup", {"items": ["Heat"]}),
    ],
)  # fmt: skip
def test_intents_and_roles(vocabulary, text, intent, roles):
    request = parse_request(text, vocabulary)
    assert (request.intent, said(request)) == (intent, roles)


@pytest.mark.parametrize(
    "text, ratings",
    [
        ("I gave Alien 5 stars and Speed two. Next?", {"Alien": (5, None), "Speed": (2, None)}),
        ("I gave 4 stars to Alien and 2/5 to Speed. Next?", {"Alien": (4, None), "Speed": (2, 5)}),
        (
            "My ratings: Fargo (1996) 5, Speed (1994): 3.5. What next?",
            {"Fargo": (5, None), "Speed": (3.5, None)},
        ),
        ("Fargo 9/10 and Heat 2 out of 10, what would I give Alien?", {"Fargo": (9, 10), "Heat": (2, 10)}),
        ("Speed: 80%. And now?", {"Speed": (80, 100)}),
        ("Fargo (4 stars), Heat (2 stars of five). What next?", {"Fargo": (4, None), "Heat": (2, 5)}),
        ("I watched Alien 3 times", {}),
        ("three films like Alien", {}),
    ],
)
def test_ratings_come_with_their_scale(vocabulary, text, ratings):
    found = parse_request(text, vocabulary).ratings
    assert {names([item])[0]: rating for item, rating in found.items()} == ratings


@pytest.mark.parametrize(
    "text, where, without",
    [
        ("three comedies from the 90s", {"genre": ("Comedy",), "year": (1990, 1999)}, {}),
        ("No horror please. I liked Scream, what else?", {}, {"genre": ("Horror",)}),
        ("scary films, nothing before 1990", {"genre": ("Horror",), "year": (1990, None)}, {}),
        ("a thriller made between 1990 and 1995", {"genre": ("Thriller",), "year": (1990, 1995)}, {}),
        (
            "sci fi since 1980 but no action",
            {"genre": ("Sci-Fi",), "year": (1980, None)},
            {"genre": ("Action",)},
        ),
        ("anything but dramas or romance", {}, {"genre": ("Drama", "Romance")}),
        ("something for the kids", {"genre": ("Children's",)}, {}),
        ("movies from the sixties or seventies", {"year": (1960, 1979)}, {}),
        ("a film of the 20th century", {"year": (1901, 2000)}, {}),
        ("what was good in '97", {"year": (1997, 1997)}, {}),
        ("crime until 1975", {"genre": ("Crime",), "year": (None, 1975)}, {}),
        ("I liked Alien (1979), what next", {}, {}),
    ],
)
def test_conditions(vocabulary, text, where, without):
    request = parse_request(text, vocabulary)
    assert (request.where, request.without) == (where, without)


@pytest.mark.parametrize(
    "text, count",
    [
        ("top 5 sci-fi", 5), ("recommend me 3 comedies", 3), ("a couple of films for tonight", 2), ("ten films like Alien", 10),
        ("list twenty films", 20), ("my son is 7, a film for him?", None), ("I saw Alien three times. More?", None),
        ("I gave Alien 5 stars, more films please", None),
    ],
)  # fmt: skip
def test_how_many(vocabulary, text, count):
    assert parse_request(text, vocabulary).count == count


@pytest.mark.parametrize(
    "text, item",
    [
        ("I loved Godfather II, next?", "Godfather: Part II, The (1974)"),
        ("I loved the godfather part two, next?", "Godfather: Part II, The (1974)"),
        ("I loved Godfather 2, next?", "Godfather: Part II, The (1974)"),
        ("I loved terminator ii, next?", "Terminator 2: Judgment Day (1991)"),
        ("I loved The Godfather, next?", "Godfather, The (1972)"),
        ("i loved starwars, next?", "Star Wars (1977)"),
        ("i loved the empire strikes bakc, next?", "Empire Strikes Back, The (1980)"),
        ("i loved terminatr 2, next?", "Terminator 2: Judgment Day (1991)"),
        ("I loved Sabrina, the 1954 one, next?", "Sabrina (1954)"),
    ],
)
def test_a_title_in_other_spellings(vocabulary, text, item):
    request = parse_request(text, vocabulary)
    assert [TITLES[i] for i in request.liked] == [item] and not request.where


def test_what_is_not_understood_is_said(vocabulary):
    request = parse_request("I liked The Matrix (1999) and Inception. What next?", vocabulary)
    assert request.unknown == ("The Matrix", "Inception") or request.unknown == (
        "The Matrix (1999)",
        "Inception",
    )
    assert parse_request("I liked Alien 4, next?", vocabulary).unknown == ("Alien 4",)
    assert parse_request("I liked Alien (2015), next?", vocabulary).unknown == ("Alien (2015)",)
    unclear = parse_request("I liked Sabrina. What next?", vocabulary)
    assert unclear.unclear == ("Sabrina",) and len(unclear.could_be[0]) == 2
    assert parse_request("something like Alien but funnier", vocabulary).unmet == ("funnier",)
    assert parse_request("a film directed by Ridley Scott", vocabulary).unmet
    assert parse_request("Any good film from 1995?", vocabulary).named == ()  # "(1995) (V)" is no name
    assert parse_request("I liked a V and a film about dogs, what next?", vocabulary).liked == ()


def test_people_and_parts(vocabulary):
    assert parse_request("user 17 and user 18 want to watch something", vocabulary).people == ("17", "18")
    assert parse_request("something for users 4, 17 and 99", vocabulary).people == ("4", "17", "99")
    assert parse_request("what will user anna lee watch next", vocabulary).people == ("anna lee",)
    assert parse_request("What does the user want?", vocabulary).people == ()
    two = parse_request("What should I watch after Alien? And how would I rate Heat?", vocabulary)
    assert (two.intent, two.parts, said(two)) == ("recommend", 2, {"seen": ["Alien"]})


@pytest.mark.parametrize(
    "text, language",
    [
        ("hello", "en"), ("asdf qwer zxcv", "en"), ("???", "en"), ("how do I delete my account", "en"),
        ("Was soll ich nach Star Wars schauen?", "de"), ("Que regarder après Star Wars ?", "fr"),
        ("¿Qué me recomiendas?", "es"), ("スター・ウォーズが好きです。", "ja"), ("Посоветуй фильм", "ru"),
    ],
)  # fmt: skip
def test_no_question_gets_help(vocabulary, text, language):
    request = parse_request(text, vocabulary)
    assert (request.intent, request.language) == ("help", language)


def test_a_review_is_not_searched_for_titles(vocabulary):
    request = parse_request(
        'Headline for: "I took it to Titanic heat, at great speed, and it was not good"', vocabulary
    )
    assert request.intent == "headline" and request.review.startswith("I took it") and not request.named
    request = parse_request(
        'How many stars goes with "it was not as good as I had hoped but fine"?', vocabulary
    )
    assert request.intent == "review_score"


def test_too_long_and_empty_questions_are_refused(vocabulary):
    with pytest.raises(UserError, match="at most 2000"):
        parse_request("word " * 2000 + "What next?", vocabulary)
    with pytest.raises(UserError, match="empty"):
        parse_request(" \n", vocabulary)


def test_time_grows_with_the_length_only(vocabulary):
    """500 characters in 50 ms, four times as many in not much more than four times as long."""
    prose = (
        "I had a long day at wrok and my brothr told me of the strange wether in Lisbon, where peple swam. "
    )

    def seconds(length: int) -> float:
        text = (prose * 30)[: length - 40] + " I liked Fargo and Alien, what next?"
        parse_request(text, vocabulary)
        started = time.process_time()
        for _ in range(3):
            parse_request(text, vocabulary)
        return (time.process_time() - started) / 3

    short, long = seconds(480), seconds(MAX_LENGTH - 50)
    assert short < 0.2  # 0.02 here; a busy machine counts for more
    assert long < 12 * short


def requests():
    rows = st.integers(0, len(TITLES) - 1)
    items = st.lists(rows, max_size=3, unique=True).map(tuple)
    values = st.lists(st.text(max_size=5), min_size=1, max_size=2).map(tuple)
    ends = st.one_of(st.none(), st.integers(1900, 2020))
    words = st.lists(st.text(min_size=1, max_size=5), max_size=2).map(tuple)
    return st.builds(
        Request, intent=st.sampled_from(INTENTS), items=items, liked=items, disliked=items, seen=items, candidates=items,
        ratings=st.dictionaries(rows, st.tuples(st.floats(0, 10), st.one_of(st.none(), st.just(10.0))), max_size=2),
        people=words, where=st.dictionaries(st.just("genre"), values, max_size=1),
        without=st.dictionaries(st.just("year"), st.tuples(ends, ends), max_size=1),
        count=st.one_of(st.none(), st.integers(1, 20)), newer_than=st.one_of(st.none(), rows), unknown=words, unmet=words,
        parts=st.integers(1, 3), respelled=st.lists(st.tuples(st.text(max_size=4), rows), max_size=1).map(tuple),
    )  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(requests())
def test_json_both_ways(request_):
    written = json.dumps(request_.as_json(IDS))
    index_of = {item_id: row for row, item_id in enumerate(IDS)}
    assert Request.from_json(written, index_of) == request_


@pytest.mark.parametrize(
    "said, message",
    [
        ("{", "not JSON"),
        ({"intent": "sing"}, "intent 'sing'"),
        ({"intent": "recommend", "mood": 1}, "unknown key 'mood'"),
        ({"intent": "recommend", "liked": ["9"]}, "item '9' is not in the catalogue"),
    ],
)
def test_a_wrong_request_is_refused(said, message):
    with pytest.raises(UserError, match=message):
        Request.from_json(said, {"1": 0})


@settings(max_examples=200, deadline=None)
@given(
    st.text(max_size=120)
    | st.lists(
        st.sampled_from(
            [
                *TITLES,
                "I loved",
                "not",
                "or",
                "user 17",
                "9/10",
                "no",
                "horror",
                "the",
                "2",
                "?",
                "like",
                "⟦0⟧",
                "(",
                "'s",
                "from 1995",
                "and how many stars would I give",
            ]
        ),
        max_size=9,
    ).map(" ".join)
)
def test_any_text_is_survived(vocabulary, text):
    try:
        request = parse_request(text, vocabulary)
    except UserError:
        return
    assert request.intent in INTENTS and all(0 <= item < len(TITLES) for item in request.named)
