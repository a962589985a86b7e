"""Requests answered: conditions are kept to, facts come from the data, nothing known gets what most people like."""

from __future__ import annotations

import pickle
import random

import numpy as np
import pandas as pd
import pytest
from support.films import FILMS, film_records

from p5t5.checkpoint.creation import create_checkpoint
from p5t5.core.errors import UserError
from p5t5.data.splits import leave_one_out
from p5t5.evaluation.results import write_rows
from p5t5.questions.request import Request
from p5t5.recommender import Recommender
from p5t5.tasks.registry import TASKS
from p5t5.text.prompts import load_prompts

GENRE = {title: "Drama" if index % 2 else "Comedy" for index, title in enumerate(FILMS)}
YEAR = {title: int(title[-5:-1]) for title in FILMS}


@pytest.fixture(scope="module")
def data():
    return film_records().index()


@pytest.fixture(scope="module")
def rec(data) -> Recommender:
    checkpoint = create_checkpoint(leave_one_out(data), load_prompts(), model="tiny", vocabulary_size=400)
    checkpoint.info.tasks = list(TASKS)
    return Recommender(checkpoint)


def titles(answer) -> list[str]:
    return [item.title for item in getattr(answer, "items", answer)]


@pytest.mark.parametrize(
    "text, allowed",
    [
        ("three comedies please", lambda title: GENRE[title] == "Comedy"),
        ("I liked Alien. Films from the 90s?", lambda title: 1990 <= YEAR[title] <= 1999),
        ("I liked Heat, but no dramas please. What next?", lambda title: GENRE[title] != "Drama"),
        ("something like Alien, but newer", lambda title: YEAR[title] > 1979),
        ("drama since 1995", lambda title: GENRE[title] == "Drama" and YEAR[title] >= 1995),
    ],
)
def test_conditions_said_are_kept_to(rec, text, allowed):
    answer = rec(text)
    assert answer.kind == "items" and answer.items
    assert all(allowed(title) for title in titles(answer)), titles(answer)


def test_a_count_said_wins(rec):
    assert len(rec("recommend me 3 films").items) == 3
    assert len(rec("top 5 comedies").items) == 5


def test_random_requests_get_nothing_forbidden(rec, data):
    """200 here; benchmarks/forbidden.py asks 10,000."""
    draw = random.Random(0)
    for _ in range(200):
        where, without = {}, {}
        if draw.random() < 0.5:
            where["genre"] = draw.choice(["Comedy", "Drama", ["Comedy", "Drama"]])
        if draw.random() < 0.5:
            low = draw.choice([None, 1954, 1979, 1990, 1995])
            where["year"] = (low, draw.choice([None, 1996, 1997]))
        if draw.random() < 0.3:
            without["year"] = draw.choice([(None, 1979), (1995, 1995), 1996])
        exclude = draw.sample(FILMS[:5] + FILMS[7:], draw.randrange(4))
        history = draw.sample(FILMS[:5] + FILMS[7:], draw.randrange(3))
        reranking = rec.reranking(diversity=draw.choice([0, 0.5]), promotions=draw.sample(FILMS[:5], 1))
        try:
            found = rec.recommend(
                history,
                where=where,
                without=without,
                exclude=exclude,
                k=draw.choice([1, 5, 12]),
                reranking=reranking,
            )
        except UserError as error:
            assert "no item of the catalogue" in str(error)
            continue
        for title in titles(found):
            assert title not in exclude and title not in history
            wanted = where.get("genre", GENRE[title])
            assert GENRE[title] in ([wanted] if isinstance(wanted, str) else wanted)
            low, high = where.get("year", (None, None))
            assert (low or 0) <= YEAR[title] <= (high or 9999)
            out = without.get("year")
            if isinstance(out, tuple):
                assert not (out[0] or 0) <= YEAR[title] <= (out[1] or 9999)
            elif out:
                assert YEAR[title] != out


def test_conditions_and_text_go_together(rec):
    answer = rec("I liked Alien. More films?", where={"genre": "Comedy"}, exclude=["Fargo (1996)"])
    assert answer.items and all(GENRE[title] == "Comedy" for title in titles(answer))
    assert "Fargo (1996)" not in titles(answer)


@pytest.mark.parametrize(
    "conditions, message",
    [
        ({"where": {"mood": "sad"}}, "no attribute 'mood'; they have: genre, year"),
        ({"where": {"genre": "Comdy"}}, "do you mean Comedy"),
        ({"where": {"year": "soon"}}, "give a number or"),
        ({"where": {"year": (1999, 1990)}}, "is empty"),
        ({"without": {"genre": ["Comedy", "Drama"]}}, "no item of the catalogue"),
        ({"exclude": "Alien (1979)"}, "exclude: give a list"),
    ],
)
def test_wrong_conditions_are_refused(rec, conditions, message):
    with pytest.raises(UserError, match=message):
        rec.recommend(["Alien (1979)"], **conditions)


def test_nothing_known_gets_what_most_people_like(rec, data):
    answer = rec("What is a good film?", k=3, data=data)
    counts = np.bincount(data.item, minlength=len(FILMS))
    best = sorted(counts.tolist(), reverse=True)[:3]
    number = dict(zip(data.titles, counts.tolist(), strict=True))
    assert [number[title] for title in titles(answer)] == best
    assert "what most people like" in answer.notes[-1] and answer.items[0].why == {"popular": 1.0}
    assert answer.prompt is None


def test_a_dislike_alone_is_no_taste(rec, data):
    answer = rec("I can't stand Alien. Suggest something.", k=12, data=data)
    assert "Alien (1979)" not in titles(answer) and "what most people like" in " ".join(answer.notes)


def test_facts_come_from_the_data(rec, data):
    row = data.user_ids.tolist().index("17")
    last = data.user_start[row + 1] - 1
    title, stars = data.titles[data.item[last]], data.rating[last]
    assert title in rec("What did user 17 watch last?", data=data).text
    assert f"gave {title} {stars:g}" in rec(f"What rating did user 17 give {title}?", data=data).text
    for text in ("What did user 17 watch last?", "who directed Fargo?", "how many pages has Fargo?"):
        answer = rec(text)
        assert answer.text.startswith("I don't know") and answer.value is None
    assert rec("how many comedies do you have").text.startswith("6 of the catalogue's 12")
    assert "1996" in rec("When did Fargo come out?").text
    assert "not in the data" in rec("What did user 999 watch last?", data=data).text


def test_ratings_keep_their_scale(rec):
    answer = rec("How would I rate Heat if I rated Fargo 9/10 and Contact 2/10?")
    assert answer.kind == "number"
    assert "took 9 of 10 for Fargo (1996) as 4.5 of 5" in answer.notes
    assert "took 2 of 10 for Contact (1997) as 1.0 of 5" in answer.notes
    off = rec("I rated Fargo 9. How many stars would I give Heat?")
    assert any("off the scale (1 to 5)" in note for note in off.notes)


@pytest.mark.parametrize("value", [99, 0, -1, float("nan"), float("inf"), "good", True])
def test_ratings_off_the_scale_are_refused(rec, value):
    with pytest.raises(UserError, match=r"scale|no number"):
        rec.rate("Heat (1995)", history={"100": value})


def test_several_people_and_questions_are_noted(rec):
    assert any("2 people" in note for note in rec("something for user 17 and user 18").notes)
    assert any(
        "2 questions" in note for note in rec("What after Alien? And how many stars would I give Heat?").notes
    )


def test_unknown_names_are_named_and_asked_about(rec):
    notes = rec("I loved Farggo (1996) and Inception. What next?").notes
    assert any("Inception" in note and "not in the catalogue" in note for note in notes)
    assert any("Fargo (1996)" in note for note in notes)


def test_similar(rec):
    found = rec.similar("Alien (1979)", 11)
    assert len(found) == 11 and "Alien (1979)" not in titles(found)
    assert [item.score for item in found] == sorted((item.score for item in found), reverse=True)
    assert all(
        GENRE[title] == "Comedy"
        for title in titles(rec.similar("Alien (1979)", 5, where={"genre": "Comedy"}))
    )
    with pytest.raises(UserError, match="no option"):
        rec.similar("Alien (1979)", mood="sad")


def test_natural_arguments(rec, data):
    same = rec.recommend(["100", "102"], k=2)
    for history in ([100, 102], (100, 102), np.array([100, 102]), pd.Series(["100", "102"])):
        assert rec.recommend(history, k=np.int64(2)) == same
    assert rec.recommend(user=17, data=data, k=2) == rec.recommend(user="17", data=data, k=2)
    assert rec.rate(104, history=[(100, 5), (np.int64(102), np.float32(3))]) == rec.rate(
        "104", history={"100": 5, "102": 3}
    )
    assert all(item.why == {"model": 1.0} for item in same)


@pytest.mark.parametrize(
    "ask, message",
    [
        (lambda rec, data: rec.recommend("Alien (1979)"), "history: give a list"),
        (lambda rec, data: rec.recommend(100), "history: give a list"),
        (lambda rec, data: rec.recommend({"100", "102"}), "a set has no order"),
        (lambda rec, data: rec.recommend_many("17", data), "users: give a list of user ids"),
        (lambda rec, data: rec.rank(["100"], "Fargo"), "candidates: give a list"),
        (lambda rec, data: rec.recommend(["100"], k=2.5), "whole number"),
        (lambda rec, data: rec.recommend(["100"], k=True), "whole number"),
        (lambda rec, data: rec.recommend([100.5]), "by its id or title"),
        (lambda rec, data: rec.recommend(user=["17"]), "id of one user"),
        (lambda rec, data: rec.recommend([("100", 5, 3)]), "no .item, rating. pair"),
        (lambda rec, data: rec(17), "give one text"),
        (lambda rec, data: rec("word " * 2000), "at most 2000"),
        (lambda rec, data: rec.recommend(["Fargoo"]), "do you mean Fargo"),
    ],
)
def test_wrong_arguments_are_refused(rec, data, ask, message):
    with pytest.raises(UserError, match=message):
        ask(rec, data)


def test_pickling_after_a_question(rec):
    text = "I loved Alien (1979) and Fargo (1996). What should I watch next?"
    before = rec(text)
    assert pickle.loads(pickle.dumps(rec))(text) == before


def test_a_request_as_json_is_answered_as_its_text(rec):
    text = "I loved Alien (1979). three comedies please"
    request = rec.request(text)
    read = Request.from_json(request.as_json(rec.catalogue.item_ids), rec.catalogue.index_of)
    assert titles(rec.answer(read, text=text)) == titles(rec(text))
    assert len(rec.answer(read).items) == 3


def test_data_whose_ids_mean_other_items_is_refused(rec, data):
    import dataclasses

    other = dataclasses.replace(
        data, items=data.items.assign(title=[f"Other {n}" for n in range(len(data.items))])
    )
    for ask in (
        lambda: rec.recommend(user="17", data=other),
        lambda: rec("What should user 17 watch next?", data=other),
    ):
        with pytest.raises(UserError, match="name other items") as refused:
            ask()
        assert "'Other" in str(refused.value)
    renamed = [f"x{n}" if n > 2 else item for n, item in enumerate(data.items["item_id"])]
    other = dataclasses.replace(data, items=data.items.assign(item_id=renamed))
    with pytest.raises(UserError, match="9 of its 12 items are not in the model's"):
        rec.recommend(user="17", data=other)


def test_what_was_at_chance_when_evaluated_is_told_as_a_guess(rec, tmp_path):
    rec.save_pretrained(tmp_path)
    row = {"model": "p5t5", "metric": "auc", "prompt": "seen", "value": 0.5, "ci95": [0.4, 0.6]}
    rows = [{**row, "task": task} for task in TASKS if task.endswith(("like", "verify"))]
    write_rows(tmp_path / "results.json", rows)
    evaluated = Recommender.from_pretrained(tmp_path)
    question = "Would I like Heat? I loved Alien."
    assert any("take this as a guess" in note for note in evaluated(question).notes)
    assert not any("take this as a guess" in note for note in rec(question).notes)
    assert not any("take this as a guess" in note for note in evaluated("I loved Alien. What next?").notes)
