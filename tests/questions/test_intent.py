"""Questions → tasks: the 60 committed questions in people's words, and the router's parts."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import yaml
from support.paths import ROOT

from p5t5.questions.entity_linking import Linker, everyday_language
from p5t5.questions.intent import NEAR, Router
from p5t5.questions.masking import outline, pasted_text
from p5t5.tasks.registry import TASKS
from p5t5.text.prompts import Prompt, load_prompts

QUESTIONS = yaml.safe_load((ROOT / "tests/questions/questions.yaml").read_text("utf-8"))


@pytest.fixture(scope="module")
def router() -> Router:
    return Router(load_prompts())


def test_sixty_questions_are_routed_right(router):
    """They were written by others than the cues were; neither is to be written after the other."""
    assert Counter(question["family"] for question in QUESTIONS) == dict.fromkeys(
        ("rating", "sequential", "explanation", "review", "direct"), 12
    )
    routes = [router.route(question["text"]) for question in QUESTIONS]
    right = [route.family == question["family"] for route, question in zip(routes, QUESTIONS, strict=True)]
    exact = [route.task == question["task"] for route, question in zip(routes, QUESTIONS, strict=True)]
    wrong = [question["text"] for question, good in zip(QUESTIONS, right, strict=True) if not good]
    assert np.mean(right) >= 0.9, wrong
    assert np.mean(exact) >= 0.75
    assert np.mean([route.near for route in routes]) >= 0.9


def test_the_questions_are_not_the_cues():
    cues = {cue.lower().strip(" ?.") for cues in everyday_language()["cues"].values() for cue in cues}
    for question in QUESTIONS:
        assert outline(question["text"]).lower().strip(" ?.") not in cues


def test_each_wording_is_nearest_to_its_own_task(router):
    for prompt in router.prompts:
        text = prompt.input.replace("{user}", "user 17").replace("{feature}", "sound")
        for slot in ("item", "title"):
            text = text.replace(f"{{{slot}}}", "item 5")
        for slot in ("history", "history_titles", "rated_history", "rated_titles", "candidates"):
            text = text.replace(f"{{{slot}}}", "item 5, item 6 and item 7")
        text = text.replace("{about}", "").replace("{rating_guess}", "4")
        text = text.replace("{review}", '"it was not as good as I had hoped but it is fine for the price"')
        assert router.route(text).family == prompt.family, text


def test_cues_name_real_tasks_and_find_them(router):
    cues = everyday_language()["cues"]
    assert set(TASKS) - set(cues) == {"review/score_with_headline"}, "nobody gives the headline apart"
    found = [router.route(cue).task == task for task, texts in cues.items() for cue in texts]
    assert np.mean(found) > 0.9


def test_only_the_given_tasks_are_found():
    router = Router(load_prompts(), ["rating/score", "sequential/next_item"])
    assert router.route("Which of these should I pick, Alien (1979) or Fargo (1996)?").task in router.tasks


@pytest.mark.parametrize("text", ["hello", "asdf qwer", "ζητω", "", "!!!"])
def test_nothing_is_near_nonsense(router, text):
    route = router.route(text)
    assert not route.near and 0 <= route.similarity < NEAR


def test_similarity_is_a_cosine():
    """Of one wording with itself 1, of two without a common word 0; by_prompt is in the prompts' order."""
    prompts = [
        Prompt("a-1", "rating/score", "how many stars will {user} give {item} ?", "{rating}"),
        Prompt("b-1", "sequential/next_item", "{history} and then", "{item}"),
    ]
    router = Router(prompts)
    route = router.route("how many stars will user 7 give item 9 ?")
    assert route.task == "rating/score"
    assert route.by_prompt == pytest.approx([1, 0], abs=0.02)
    assert set(route.by_task) == {"rating/score", "sequential/next_item"}


@pytest.mark.parametrize(
    "text, task",
    [
        ("I watched Alien (1979) and loved Fargo (1996). Would I like Heat (1995)?", "rating/like"),
        ("I bought Fargo (1996) last week and enjoyed it. How many stars for Heat (1995)?", "rating/score"),
        ("I rated Heat (1995) 4 stars and Fargo (1996) five. What comes next?", "sequential/next_item"),
        ("My rating of Heat (1995) was 4 stars. Why should I see Fargo (1996)?", "explanation/explain"),
        (
            "I have been watching Alien (1979), Fargo (1996) and Heat (1995) one after the other. "
            "Should I see Speed (1994)?",
            "direct/verify",
        ),
        (
            "I would rate Heat (1995) with 5 stars. Which of Fargo (1996) and Speed (1994) should I pick?",
            "direct/choose",
        ),
    ],
)
def test_the_sentence_that_asks_counts_more(router, text, task):
    assert router.route(text).task == task


def test_a_pasted_text_speaks_for_a_review(router):
    text = 'My friend wrote "it arrived late and the box was crushed, but it is fine". Rating?'
    assert router.route(text).task == "review/score"


@pytest.mark.parametrize(
    "text, outlined",
    [
        ("Is Heat (1995) good?", "Is [item] good?"),
        ("I saw Alien (1979), Fargo (1996) and Heat (1995).", "I saw [items] ."),
        ("why would user 17 buy item 5?", "why would [user] buy [item] ?"),
        ('sum up "it was not very good and I have had better" now', "sum up [text] now"),
        ('rate "Toy Story" for me', "rate [item] for me"),
        ("headline: it is a very good set of strings but they are not cheap", "headline: [text]"),
        ("pick one: Alien, Fargo, Heat", "pick one: [items]"),
        ("said: it is fine and I was very happy with it. How many stars?", "said: [text] How many stars?"),
        ("do you sell the Fender Deluxe Strap here", "do you sell the [item] here"),
    ],
)
def test_outline(text, outlined):
    assert outline(text) == outlined


def test_a_list_of_names_is_no_pasted_text(router):
    """Unknown titles behind a colon, whose words are those of prose."""
    names = "Which of these would suit me: The Lsat Islnad, The Irno Stattion or The Big Oen?"
    assert "[text]" not in outline(names) and router.route(names).family == "direct"
    assert router.route(names).names >= 2
    assert outline("Sum up: It was good, I liked the sound and the strings of it.").endswith("[text]")


def test_links_are_outlined():
    linker = Linker(["1", "2"], ["Alien (1979)", "Fargo (1996)"], {"17": 0}.get)
    text = "would user 17 like alien more than fargo"
    assert outline(text, linker.link(text)) == "would [user] like [item] more than [item]"


@pytest.mark.parametrize(
    "text, review",
    [
        (
            'Title for "it was not very good and I have had better"?',
            "it was not very good and I have had better",
        ),
        (
            "Sum it up: it was not very good and I have had better",
            "it was not very good and I have had better",
        ),
        (
            "A review came in. It is not very good and I have had better ones.",
            "It is not very good and I have had better ones.",
        ),
        ("I have seen: Alien, Fargo, Heat, Contact, Speed, Babe", None),
        ('rate "Toy Story"', None),
        ("what next?", None),
        # terse, but called a review; a list of names is none all the same
        (
            "Rate this review: great strings, sound beautiful, last long",
            "great strings, sound beautiful, last long",
        ),
        ("After my last review: Alien, Fargo, Heat, The Rock, Big, Jaws", None),
        ("What fits these: great strings, sound beautiful, last long", None),
    ],
)
def test_pasted_text(text, review):
    assert pasted_text(text) == review


def test_what_else_is_told_does_not_drown_the_question(router):
    told = (
        "The weather was awful all week, so my sister came over and we cooked soup and talked about school."
    )
    route = router.route(f"{told} Would I like Heat (1995)?")
    assert route.task == "rating/like" and route.similarity > 0.5
