"""Praise and blame in turns of phrase, and what is said where nothing is understood."""

from __future__ import annotations

import pandas as pd
import pytest
import yaml
from support.paths import ROOT

from p5t5.questions.opinions import DISLIKED, LIKED, opinion_of
from p5t5.questions.parsing import Vocabulary, parse_request

CONTENT = yaml.safe_load((ROOT / "p5t5" / "questions" / "opinions.yaml").read_text())
FILMS = Vocabulary.of_items(
    pd.DataFrame({"item_id": ["1", "2"], "title": ["Fargo (1996)", "Alien (1979)"], "genre": ["Crime", "Horror"]})
)  # fmt: skip


def read(text: str):
    return parse_request(text, FILMS)


@pytest.mark.parametrize("feeling", [LIKED, DISLIKED])
def test_a_phrase_is_in_one_list_once(feeling):
    other = {LIKED: DISLIKED, DISLIKED: LIKED}[feeling]
    phrases = [phrase for group in CONTENT[feeling] for phrase in group]
    assert len(set(phrases)) == len(phrases)
    assert not set(phrases) & {phrase for group in CONTENT[other] for phrase in group}


@pytest.mark.parametrize(
    ("words", "feeling"),
    [
        ("My wife dozed off during Fargo. What else?", DISLIKED),
        ("fargo put us straight to sleep, any ideas?", DISLIKED),
        ("We could never get through Fargo. Suggestions?", DISLIKED),
        ("He'd sooner watch paint dry than Fargo again. Recommend something", DISLIKED),
        ("Anything but Fargo, please.", DISLIKED),
        ("Fargo was not worth the ticket. What next?", DISLIKED),
        ("The kids refused to finish Fargo. Ideas?", DISLIKED),
        ("Fargo? Hard pass. What else?", DISLIKED),
        ("We were all rather underwhelmed by Fargo. What now?", DISLIKED),
        ("Fargo kept her on the edge of her seat. What next?", LIKED),
        ("You can't go wrong with Fargo. What else?", LIKED),
        ("Dad knows Fargo by heart. What should he watch?", LIKED),
        ("I could watch Fargo over and over. What else would suit me?", LIKED),
        ("Can't recommend Fargo enough. What next?", LIKED),
        ("Fargo wasn't half bad. What else?", LIKED),
        ("Fargo never fails to cheer us up. Any suggestions?", LIKED),
        ("Nothing beats Fargo. What comes close?", LIKED),
    ],
)
def test_what_is_said_in_a_roundabout_way_is_felt(words, feeling):
    request = read(words)
    assert request.intent == "recommend"
    assert getattr(request, feeling) == (0,), request
    assert not request.seen and not request.assumed


@pytest.mark.parametrize("words", ["Would I be bored to tears by Fargo?", "Will Fargo put me to sleep?"])
def test_what_is_asked_is_nobody_s_opinion(words):
    request = read(words)
    assert request.items == (0,) and not request.disliked


def test_each_of_two_items_has_its_own():
    request = read("Fargo knocked my socks off but I nodded off during Alien. What next?")
    assert (request.liked, request.disliked) == ((0,), (1,))


@pytest.mark.parametrize(
    "words", ["I just finished Fargo. What next?", "We watched Fargo last night with friends. What now?"]
)
def test_watching_is_no_opinion_and_nothing_to_tell(words):
    request = read(words)
    assert request.seen == (0,) and not request.assumed


@pytest.mark.parametrize(
    "words", ["Fargo reminded Gerald of kumquats. What next?", "I frobnicated Fargo. What next?"]
)
def test_what_is_not_understood_of_an_item_is_said(words):
    request = read(words)
    assert request.seen == request.assumed == (0,)


def test_blame_is_not_turned_into_praise_by_a_second_not():
    assert opinion_of("I couldn't sit through ", "").feeling == DISLIKED
    assert opinion_of("", " was not boring").feeling == LIKED
    assert opinion_of("", " was never a masterpiece").feeling == DISLIKED
    assert opinion_of("I saw ", " on a train") is None


@pytest.mark.parametrize(
    ("words", "where", "without"),
    [
        ("anything but horror", {}, {"genre": ("Horror",)}),
        ("any genre but horror, please", {}, {"genre": ("Horror",)}),
        ("I'm bored of horror, suggest something", {}, {"genre": ("Horror",)}),
        ("horror is too gloomy for me, what else do you suggest?", {}, {"genre": ("Horror",)}),
        ("not in the mood for horror. Suggest a film", {}, {"genre": ("Horror",)}),
        ("never again horror. What else?", {}, {"genre": ("Horror",)}),
        ("films from 1979 or 1996", {"year": (1979, 1996)}, {}),
        ("something from before I was born in 1980", {"year": (None, 1979)}, {}),
        ("post 1990 crime", {"genre": ("Crime",), "year": (1991, None)}, {}),
    ],
)
def test_what_is_not_wanted_is_a_condition(words, where, without):
    request = read(words)
    assert request.intent == "recommend"
    assert dict(request.where) == where and dict(request.without) == without, request


@pytest.mark.parametrize(
    ("words", "intent"),
    [
        ("five stars for Fargo, one star for Alien - what should I see?", "recommend"),
        ("Alien gets a weak 2 of 5. And Fargo?", "rate"),
        ("Is Fargo as bad as they say?", "like"),
        ("Sell me Fargo", "explain"),
        ("Got anything in the mould of Fargo?", "similar"),
        ("another Fargo please", "similar"),
        ("If you had to take one, Fargo or Alien?", "choose"),
        ("genre of Fargo", "lookup"),
    ],
)
def test_intents_in_other_words(words, intent):
    assert read(words).intent == intent


def test_stars_said_before_an_item_are_its_own():
    request = read("five stars for Fargo, one star for Alien - what should I see?")
    assert dict(request.ratings) == {0: (5.0, None), 1: (1.0, None)}
