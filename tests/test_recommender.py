"""The front door on a small film catalogue and an untrained model: what is asked, and what comes back."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.films import FILMS, film_records

import p5t5
from p5t5.checkpoint.checkpoint import user_key
from p5t5.checkpoint.creation import create_checkpoint
from p5t5.core.errors import UserError
from p5t5.data.records.cleaning import clean_text
from p5t5.data.splits import leave_one_out
from p5t5.decoding.ranking import rank_items, score_choices
from p5t5.inference.answers import Answer
from p5t5.inference.prompt_choice import choose_prompt, choose_task
from p5t5.inference.request import PromptFacts, fill_slots
from p5t5.recommender import Recommender
from p5t5.tasks.base import NOW, BuildOptions
from p5t5.tasks.registry import TASKS
from p5t5.text.prompts import PLACEHOLDER, load_prompts

ALIEN, ALIENS, FARGO, GODFATHER, HEAT, SABRINA, _, SPEED, TOY_STORY, TITANIC = range(10)
REVIEW = "it was not as good as I had hoped but the sound is fine"


@pytest.fixture(scope="module")
def data():
    return film_records().index()


@pytest.fixture(scope="module")
def rec(data) -> Recommender:
    checkpoint = create_checkpoint(leave_one_out(data), load_prompts(), model="tiny", vocabulary_size=400)
    checkpoint.info.tasks = list(TASKS)
    return Recommender(checkpoint, "the card")


def named(rec: Recommender, item: int) -> str:
    """The identifier of one of FILMS' items."""
    names = dict(zip(rec.catalogue.titles, rec.catalogue.items["identifier"], strict=True))
    return names[FILMS[item]]


def spelled(rec: Recommender, *items: int) -> str:
    """A history of FILMS' items, as the prompt holds it."""
    return " ".join([*(named(rec, item) for item in items), "->"])


def titles(answer: Answer) -> list[str]:
    return [item.title for item in answer.items]


# -- which wording asks it


def test_fill_leaves_out_what_is_not_known():
    filled = fill_slots(
        [PromptFacts(history=[1, 2, 3], rated=[(1, 4)])], BuildOptions(max_history=2, max_titles=1)
    )
    assert set(filled.columns) == {"history", "history_titles", "rated_history", "rated_titles"}
    assert filled.columns["history"].elements.to_lists() == [[2, 3, NOW]]
    assert filled.columns["history_titles"].elements.to_lists() == [[3, NOW]]
    assert filled.columns["rated_history"].elements.to_lists() == [[1, 4, NOW]]
    assert not filled.empty
    assert fill_slots([PromptFacts()], BuildOptions()).empty == {
        "history",
        "history_titles",
        "rated_history",
        "rated_titles",
    }


def test_fill_gives_columns_the_length_of_the_facts():
    facts = [
        PromptFacts(user=1, item=0, review="a b", feature="x"),
        PromptFacts(user=0, item=5, review="c", feature="y"),
    ]
    filled = fill_slots(facts, BuildOptions(max_words=1), [f"about {item}" for item in range(6)])
    assert filled.columns["user"].elements.to_lists() == [[1], [0]]
    for slot, texts in {"about": ["about", "about"], "review": ["a", "c"], "feature": ["x", "y"]}.items():
        assert [filled.texts[place] for place in filled.columns[slot].elements.values] == texts
    assert "user" not in fill_slots([PromptFacts(user=1), PromptFacts()], BuildOptions()).columns


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize(
    "facts",
    [
        PromptFacts(),
        PromptFacts(item=1),
        PromptFacts(user=0, item=1),
        PromptFacts(item=1, history=[2, 3], rated=[(2, 0)]),
        PromptFacts(
            user=0,
            item=1,
            history=[2],
            rated=[(2, 0)],
            candidates=[1, 2],
            review="r",
            feature="f",
            headline="h",
            guess=1,
        ),
    ],
)
def test_a_chosen_wording_can_always_be_filled(task, facts):
    prompts = load_prompts()
    filled = fill_slots([facts], BuildOptions())
    for allow_empty in (False, True):
        place = choose_prompt(prompts, task, filled, allow_empty=allow_empty)
        if place is not None:
            slots = set(PLACEHOLDER.findall(prompts[place].input))
            assert prompts[place].task == task and slots <= set(filled.columns)
            assert allow_empty or not slots & filled.empty
    if facts.user is not None and facts.guess is not None:  # all is known: every task can be asked
        assert choose_prompt(prompts, task, filled) is not None


def test_the_nearest_fillable_wording_is_chosen():
    prompts = load_prompts()
    filled = fill_slots([PromptFacts(history=[1])], BuildOptions())
    for prompt in prompts:
        slots = set(PLACEHOLDER.findall(prompt.input))
        if prompt.task == "sequential/next_item" and slots == {"history"} and not prompt.held_out:
            near = np.array([other.id == prompt.id for other in prompts], float)
            assert prompts[choose_prompt(prompts, prompt.task, filled, near)].id == prompt.id
    near = np.array([prompt.held_out for prompt in prompts], float)  # trained wordings come first
    assert not prompts[choose_prompt(prompts, "sequential/next_item", filled, near)].held_out


def test_substitutes_are_asked_where_the_task_cannot_be():
    prompts = load_prompts()
    filled = fill_slots([PromptFacts(item=1, history=[1], rated=[(1, 1)], candidates=[1, 2])], BuildOptions())
    learnt = ["rating/score", "sequential/next_item"]
    assert choose_task(prompts, "rating/like", filled, learnt)[0] == "rating/score"
    assert choose_task(prompts, "direct/choose", filled, learnt)[0] == "sequential/next_item"
    assert choose_task(prompts, "review/headline", filled, learnt) is None
    assert choose_task(prompts, "rating/like", filled)[0] == "rating/like"


# -- answers


def test_next_items_are_ranked_and_what_was_seen_is_left_out(rec):
    answer = rec("I loved Alien (1979) and Fargo (1996). What should I watch next?", k=10)
    assert (answer.kind, answer.task) == ("items", "sequential/next_item")
    assert answer.linked == ("Alien (1979)", "Fargo (1996)") and answer.similarity > 0.5
    assert len(answer.items) == 10 and not {"Alien (1979)", "Fargo (1996)"} & set(titles(answer))
    assert [item.score for item in answer.items] == sorted(
        (item.score for item in answer.items), reverse=True
    )
    assert all(FILMS[int(item.item_id) - 100] == item.title for item in answer.items)
    again = rec("I loved Alien (1979) and Fargo (1996). What should I watch next?", k=12, exclude_seen=False)
    assert set(titles(again)) == set(FILMS)


def test_the_answer_is_what_the_model_ranks_for_the_rendered_prompt(rec, data):
    answer = rec("I loved Alien (1979) and Fargo (1996). What should I watch next?", k=3)
    wording = next(prompt for prompt in rec.checkpoint.prompts if prompt.id == answer.prompt)
    text = wording.input.replace("{history}", spelled(rec, ALIEN, FARGO))
    ids = torch.tensor([rec.checkpoint.renderer.encode_text(" ".join(text.split()))])
    ranked = rank_items(rec.checkpoint.model, ids, torch.ones_like(ids), rec.catalogue.trie, 5)
    best = [rec.catalogue.titles[item] for item in ranked.items[0]]
    assert titles(answer) == [title for title in best if title not in answer.linked][:3]
    assert answer.asked == " ".join(text.split())


def test_a_rating_is_the_expectation_over_the_scale(rec):
    answer = rec("How many stars would user 17 give to Heat (1995)?")
    assert (answer.kind, answer.task) == ("number", "rating/score")
    ids = torch.tensor([rec.checkpoint.renderer.encode_text(answer.asked)])
    words = [rec.checkpoint.renderer.encode_text(str(stars)) for stars in range(1, 6)]
    logs = score_choices(rec.checkpoint.model, ids, torch.ones_like(ids), words)[0].astype(float)
    by_hand = (
        sum(stars * np.exp(log) for stars, log in zip(range(1, 6), logs, strict=True)) / np.exp(logs).sum()
    )
    assert answer.value == pytest.approx(by_hand, abs=1e-4)


def test_ratings_said_reach_the_prompt(rec):
    answer = rec("I gave Alien 5 stars and Speed two, what would I give Fargo?")
    assert f"{named(rec, ALIEN)} 5 {named(rec, SPEED)} 2 ->" in answer.asked
    assert named(rec, FARGO) in answer.asked
    loved = rec("I loved Alien and hated Speed. What would I give Fargo?")
    assert f"{named(rec, ALIEN)} 5 {named(rec, SPEED)} 1" in loved.asked
    assert any("Alien (1979) 5, Speed (1994) 1" in note for note in loved.notes)


def test_what_was_hated_is_no_taste_but_not_recommended_either(rec):
    answer = rec("I loved Alien. I hated Speed. What should I watch next?", k=10)
    assert spelled(rec, ALIEN) in answer.asked and spelled(rec, SPEED) not in answer.asked
    assert "Speed (1994)" not in titles(answer)


def test_a_choice_is_among_the_named(rec):
    answer = rec("I adore Alien. Which of Fargo, Heat and Speed should I pick?")
    assert answer.task == "direct/choose" and set(titles(answer)) == {
        "Fargo (1996)",
        "Heat (1995)",
        "Speed (1994)",
    }
    assert answer.items[0].score >= answer.items[1].score >= answer.items[2].score


def test_a_choice_among_what_is_not_found_is_refused(rec):
    answer = rec("Which of these wuold suit me: Alein, Fagro, Heat?")
    assert (answer.kind, answer.task, answer.items) == ("text", "direct/choose", ())
    assert "two items or more" in answer.text and "Found: Heat (1995)." in answer.text
    assert "“Alein” is not in the catalogue: do you mean Alien (1979)?" in answer.notes
    assert rec("Which one should user 17 pick next?").items  # no names: what comes next


@pytest.mark.parametrize(
    "text, task, texts",
    [
        ("Would user 17 like Heat?", "rating/like", ("like", "dislike")),
        ("Should I watch Titanic (1997)?", "direct/verify", ("yes", "no")),
        ("Would user 17 give Heat 4 stars?", "rating/verify", ("yes", "no")),
        ("After Alien and Aliens, will user 17 watch Contact next?", "sequential/verify", ("yes", "no")),
    ],
)
def test_a_decision_comes_with_its_probability(rec, text, task, texts):
    answer = rec(text)
    assert (answer.kind, answer.task) == ("text", task)
    assert answer.text == texts[0 if answer.value > 0.5 else 1] and 0 < answer.value < 1


@pytest.mark.parametrize(
    "text, task",
    [
        ("Explain why user 17 would enjoy Fargo.", "explanation/explain"),
        ("Explain why user 17 would like Fargo, focusing on its humour.", "explanation/explain_feature"),
        ("Rate Heat for user 18 and say why.", "explanation/rate_and_explain"),
        (f"Write a headline for this review: {REVIEW}", "review/headline"),
    ],
)
def test_free_text(rec, text, task):
    answer = rec(text)
    assert (answer.kind, answer.task) == ("text", task)
    assert not re.search(r"<(item|user|extra_id)_|</s>", answer.text)
    assert (answer.value is not None) == (task == "explanation/rate_and_explain")


def test_a_review_gets_stars(rec):
    answer = rec(f'How many stars goes with this review? "{REVIEW}"')
    assert (answer.kind, answer.task) == ("number", "review/score")
    assert REVIEW in answer.asked and 1 <= answer.value <= 5


def test_nothing_linked_is_said(rec):
    answer = rec("What should I watch next?", k=3)
    assert answer.kind == "items" and len(answer.items) == 3 and "no history" in answer.notes[0]
    answer = rec("How many stars would user 17 give to Nosuchfilm (1901)?")
    assert (answer.kind, answer.prompt) == ("text", None) and "Which item is meant" in answer.text
    assert "No item" in rec("How many stars would user 17 give to it?").text
    assert "No review" in rec("Write a headline for my review please").text


def test_ambiguous_titles_and_strangers_are_said(rec):
    answer = rec("How many stars would user 17 give to Sabrina?")
    assert "Sabrina (1954) or Sabrina (1995)" in answer.text
    answer = rec("How many stars would user 999 give to Heat?")
    assert "user 999 is not known" in answer.notes[0] and answer.kind == "number"


def test_data_gives_the_history_of_a_named_user(rec, data):
    row = data.user_ids.tolist().index("17")
    items = data.item[data.user_start[row] : data.user_start[row + 1]]
    answer = rec("What should user 17 watch next?", k=6, data=data)
    assert " ".join(rec.catalogue.items["identifier"][item] for item in items) in answer.asked
    assert not answer.notes
    assert "name the data folder" in " ".join(rec("What should user 17 watch next?").notes)
    assert "what most people like" in rec("What should I watch next?").notes[-1]
    assert not {data.titles[item] for item in items} & set(titles(answer))
    assert titles(answer) == [item.title for item in rec.recommend(user="17", data=data, k=6)]
    asked = data.titles[items[0]]
    rated = rec(f"How many stars would user 17 give to {asked}?", data=data)  # rated already: not told
    assert rated.asked.split().count(rec.catalogue.items["identifier"][items[0]]) == 1


@pytest.mark.parametrize("text", ["ζητω  πρδ\n", "hello", "asdf qwer", "Was soll ich nach Fargo schauen?"])
def test_no_question_gets_help_and_no_number(rec, text):
    answer = rec(text)
    assert (answer.kind, answer.prompt, answer.task, answer.value) == ("text", None, None, None)
    assert "in English" in answer.text and "What next?" in answer.text


def test_a_task_that_was_not_learnt(data, rec):
    info = rec.checkpoint.info.copy(tasks=["rating/score", "sequential/next_item"])
    narrow = Recommender(dataclasses.replace(rec.checkpoint, info=info))
    assert "not learnt" in narrow("Explain why user 17 would enjoy Fargo.").text
    like = narrow("Would user 17 like Heat?")
    assert (like.kind, like.task) == ("number", "rating/score") and "asked as rating/score" in like.notes[0]
    choice = narrow("I adore Alien. Which of Fargo, Heat and Speed should I pick?")
    assert (choice.kind, choice.task, len(choice.items)) == ("items", "sequential/next_item", 3)
    with pytest.raises(UserError, match="not trained for explanation"):
        narrow.explain("Fargo")


hostile = st.lists(
    st.sampled_from(
        ["</s>", "<pad>", "<extra_id_0>", "<item_3>", "▁<item_3>", "<user_1>", "<0x0A>", "＜item_3＞", "what", "next",
         "stars", "I loved", "\u200b", "<", ">", "▁", "{item}", "\x00", "review:", "why"]
    ),
    min_size=1,
    max_size=8,
).map(" ".join)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(hostile | st.text(min_size=1, max_size=40))
def test_no_spelling_becomes_a_control_or_identifier_token(rec, text):
    """Cleaned text never, and slots only what was linked."""
    cleaned = clean_text(text)
    vocabulary = rec.checkpoint.tokenizer.get_vocab()
    reserved = {
        number
        for piece, number in vocabulary.items()
        if re.match(r"^▁?<(item|user|extra_id)_", piece) or piece in ("</s>", "<pad>")
    }
    assert not reserved & set(rec.checkpoint.renderer.encode_text(cleaned)[:-1])
    if cleaned:
        review = rec._answerer.inputs(
            "review/headline", _place(rec, "review-1"), [PromptFacts(review=cleaned)]
        )
        assert not reserved & set(review.values.tolist()[:-1])


def _place(rec, name: str) -> int:
    return next(place for place, prompt in enumerate(rec.checkpoint.prompts) if prompt.id == name)


# -- by method


def test_recommend_takes_ids_titles_and_users(rec, data):
    by_title = rec.recommend(["Alien (1979)", "the godfather"], k=4)
    assert by_title == rec.recommend(history=["100", "103"], k=4)
    assert {item.title for item in by_title}.isdisjoint({"Alien (1979)", "Godfather, The (1972)"})
    allowed = rec.recommend(["100"], k=5, allow=["Fargo (1996)", "Heat (1995)"])
    assert {item.title for item in allowed} == {"Fargo (1996)", "Heat (1995)"}
    assert len(rec.recommend(k=3)) == 3  # of nobody anything is known
    assert len(rec.recommend(user="17", k=2)) == 2


def test_many_users_get_what_each_gets_alone(rec, data):
    users = data.user_ids.tolist()[::-1]
    told: list[int] = []
    many = rec.recommend_many(users, data, k=4, token_budget=60, progress=told.append)
    assert sum(told) == len(users)
    for user, items in zip(users, many, strict=True):
        alone = rec.recommend(user=user, data=data, k=4)
        assert [item.title for item in items] == [item.title for item in alone]
        assert np.allclose([i.score for i in items], [i.score for i in alone], atol=1e-4)


def test_users_that_training_did_not_see_have_their_history(rec, data):
    renamed = dataclasses.replace(data, user_ids=np.array(["new", *data.user_ids[1:]], object))
    many = rec.recommend_many(["18", "new"], renamed, k=3)
    assert [len(items) for items in many] == [3, 3]
    alone = rec.recommend(user="18", data=data, k=3)
    assert [one.item_id for one in many[0]] == [one.item_id for one in alone]
    np.testing.assert_allclose([one.score for one in many[0]], [one.score for one in alone], atol=1e-5)
    assert [item.title for item in many[1]] == [
        item.title for item in rec.recommend(user="new", data=renamed, k=3)
    ]


def test_rank_rate_explain_summarize(rec):
    ranked = rec.rank(["Alien (1979)"], ["Fargo (1996)", "104", "Heat (1995)", "Speed (1994)"])
    assert {item.title for item in ranked} == {"Fargo (1996)", "Heat (1995)", "Speed (1994)"}
    assert [item.score for item in ranked] == sorted((item.score for item in ranked), reverse=True)
    value = rec.rate("Heat (1995)", history=[("Alien (1979)", 5), ("Speed (1994)", 2)])
    asked = rec("After I gave Alien 5 stars and Speed 2 stars, the rating of Heat?")  # near `rate`'s wording
    assert (asked.prompt, asked.value) == ("rating-6", value)
    assert value == rec.rate("104", history={"100": 5, "107": 2})
    assert 1 <= rec.rate("Heat (1995)", user="17") <= 5
    assert list(value.distribution) == [1, 2, 3, 4, 5]
    assert sum(value.distribution.values()) == pytest.approx(1)
    assert value == pytest.approx(sum(rating * share for rating, share in value.distribution.items()))
    low, high = value.interval
    within = sum(share for rating, share in value.distribution.items() if low <= rating <= high)
    assert within > 0.8 - 1e-6
    assert isinstance(rec.explain("Fargo (1996)", user="17"), str)
    assert isinstance(rec.explain("Fargo (1996)", user="17", feature="plot"), str)
    assert isinstance(rec.summarize(REVIEW), str) and isinstance(rec.summarize(REVIEW, item="Fargo"), str)


@pytest.mark.parametrize(
    "ask, message",
    [
        (lambda rec, data: rec(" \n"), "empty"),
        (lambda rec, data: rec("What next?", k=0), "k is 0"),
        (lambda rec, data: rec("What next?", k=13), "k is 13, but must lie between 1 and the catalogue's 12"),
        (lambda rec, data: rec.recommend(["Nosuchfilm"]), "'Nosuchfilm' is not in the catalogue"),
        (lambda rec, data: rec.recommend(["Sabrina"]), "'Sabrina' could be Sabrina"),
        (lambda rec, data: rec.recommend(user="999"), "user '999' is not known"),
        (lambda rec, data: rec.recommend(user="999", data=data), "user '999' is not in the data films"),
        (lambda rec, data: rec.recommend(["Alien"], k=99), "k is 99"),
        (lambda rec, data: rec.rank(["Alien"], []), "at least one"),
        (lambda rec, data: rec.summarize(" "), "review is empty"),
    ],
)
def test_a_users_mistakes(rec, data, ask, message):
    with pytest.raises(UserError, match=re.escape(message)):
        ask(rec, data)


def test_data_of_another_catalogue(rec, data):
    other = dataclasses.replace(
        data, items=data.items.assign(item_id=[f"x{n}" for n in range(len(data.items))])
    )
    with pytest.raises(UserError, match="none of its 12 items"):
        rec.recommend(user="17", data=other)


# -- folders


QUESTIONS = [
    "I loved Alien (1979) and Fargo (1996). What should I watch next?",
    "How many stars would user 17 give to Heat (1995)?",
    "Explain why user 17 would enjoy Fargo.",
]


def test_saved_and_loaded_it_answers_the_same(rec, tmp_path, monkeypatch):
    rec.save_pretrained(tmp_path / "model")
    again = p5t5.Recommender.from_pretrained(tmp_path / "model")
    assert [again(text) for text in QUESTIONS] == [rec(text) for text in QUESTIONS]
    assert (tmp_path / "model" / "README.md").read_text() == "the card" and again.card == "the card"
    again.save_pretrained(tmp_path / "copy")
    assert p5t5.Recommender.from_pretrained(tmp_path / "copy", device="cpu")(QUESTIONS[0]) == rec(
        QUESTIONS[0]
    )
    # A Hub id, offline, from a cache filled by hand.
    commit = "0" * 40
    repository = tmp_path / "cache" / "models--somebody--films"
    shutil.copytree(tmp_path / "model", repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    assert p5t5.Recommender.from_pretrained("somebody/films")(QUESTIONS[0]) == rec(QUESTIONS[0])


def test_a_wrong_folder_is_named(tmp_path):
    with pytest.raises(UserError, match="not a p5t5 checkpoint"):
        Recommender.from_pretrained(tmp_path)
    with pytest.raises(UserError, match="nowhere"):
        Recommender.from_pretrained(tmp_path / "nowhere")


def test_the_folder_holds_no_interactions_and_no_plain_user_ids(rec, tmp_path):
    rec.save_pretrained(tmp_path)
    assert set(rec.checkpoint.users) == {user_key(str(17 + user)) for user in range(8)}
    assert "interactions" not in {path.stem for path in tmp_path.iterdir()}
    json.loads((tmp_path / "p5t5.json").read_text())


def test_an_answer_is_shown_briefly(rec):
    assert str(rec("What should I watch next?", k=2)).startswith(" 1. ")
    assert re.fullmatch(r"\d\.\d", str(rec("How many stars would user 17 give to Heat (1995)?")))
    assert re.fullmatch(r"(like|dislike) \([01]\.\d\d\)", str(rec("Would user 17 like Heat?")))
    assert str(Answer("text", text="so")) == "so"


def test_importing_p5t5_is_light():
    assert p5t5.Recommender is Recommender
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        p5t5.Nothing  # noqa: B018


def test_pushing_says_what_goes_and_how():
    with pytest.raises(UserError, match="p5t5 push FOLDER REPO"):
        Recommender.push_to_hub(None, "people/shop")
