"""Many asked together get what each would get alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.films import FILMS, film_records

from p5t5.checkpoint.creation import create_checkpoint
from p5t5.core.errors import UserError
from p5t5.data.splits import leave_one_out
from p5t5.fusion.model_scores import fit_for
from p5t5.inference.asks import together
from p5t5.recommender import Recommender
from p5t5.tasks.registry import TASKS
from p5t5.text.prompts import load_prompts


@pytest.fixture(scope="module")
def data():
    return film_records().index()


@pytest.fixture(scope="module")
def rec(data) -> Recommender:
    checkpoint = create_checkpoint(leave_one_out(data), load_prompts(), model="tiny", vocabulary_size=400)
    checkpoint.info.tasks = list(TASKS)
    return Recommender(checkpoint)


def plans(rec: Recommender, data) -> list:
    """Requests of all kinds with different histories, conditions and numbers; made anew each time."""
    does, random = rec.operations, np.random.default_rng(3)
    made = []
    for number in range(24):
        films = [FILMS[item] for item in random.permutation(len(FILMS))[: number % 5]]
        person = does.person(None if number % 3 else 17 + number % 8, films, None)
        keep = (
            None,
            does.keep(where={"genre": "Comedy"}),
            does.keep(exclude=FILMS[:3]),
            does.keep(FILMS[4:6]),
        )[number % 4]
        mixed = rec.reranking(diversity=0.5) if number % 7 == 1 else None
        made.append(does.recommend(person, 1 + number % 3, keep=keep, reranking=mixed))
        made.append(does.rank(person, list(range(number % 4 + 1)), None))
        rated = does.person(17, [(film, 1 + number % 5) for film in films], None)
        made.append(does.rate(rated, number % 12))
        made.append(rec.plan(rec.request(f"I loved {FILMS[number % 12]}. What next?"), 4, text=""))
    made.append(does.explain(does.person(18, None, None), 4))
    made.append(does.explain(does.person(19, None, None), 5, "plot"))
    made.append(does.summarize(does.person(None, None, None), "the plot was fine"))
    made.append(does.summarize(does.person(None, None, None), "a long and weak plot", 3))
    made += [rec.plan(rec.request(f"Would user {user} like Heat?"), data=data) for user in (17, 18, 19)]
    return made


def check_same(ones, others):
    assert len(ones) == len(others)
    for one, other in zip(ones, others, strict=True):
        assert [item.item_id for item in one.items] == [item.item_id for item in other.items]
        np.testing.assert_allclose(
            [item.score for item in one.items], [item.score for item in other.items], atol=1e-4
        )
        assert (one.value is None) == (other.value is None)
        if one.value is not None:
            assert one.value == pytest.approx(other.value, abs=1e-4)
        plain = [
            replace(answer, items=(), value=None, interval=None, distribution={}) for answer in (one, other)
        ]
        assert plain[0] == plain[1]


def test_many_together_are_each_as_alone(rec, data):
    alone = [rec.together([plan])[0] for plan in plans(rec, data)]
    assert not any(isinstance(answer, Exception) for answer in alone)
    check_same(rec.together(plans(rec, data)), alone)
    assert {answer.task for answer in alone} >= {"rating/score", "review/headline", "explanation/explain"}


def test_with_a_fusion_too(rec, data):
    fusion = fit_for(rec.checkpoint, leave_one_out(data))
    fused = Recommender(rec.checkpoint, fusion=fusion)
    alone = [fused.together([plan])[0] for plan in plans(fused, data)]
    check_same(fused.together(plans(fused, data)), alone)
    assert len(alone[0].items[0].why) > 1


def test_they_are_computed_together(rec, data, monkeypatch):
    sizes = []
    rank = rec._answerer.predictor.rank
    monkeypatch.setattr(
        rec._answerer.predictor,
        "rank",
        lambda inputs, k, **options: sizes.append(len(inputs)) or rank(inputs, k, **options),
    )
    people = [rec.operations.person(None, [film], None) for film in FILMS]
    keeps = [rec.operations.keep(exclude=[film]) for film in FILMS]
    found = rec.together(
        [rec.operations.recommend(one, 3, keep=keep) for one, keep in zip(people, keeps, strict=True)]
    )
    assert sizes == [len(FILMS)]
    for film, answer in zip(FILMS, found, strict=True):
        assert film not in [item.title for item in answer.items]


def test_what_the_model_read_is_said(rec):
    (answer,) = rec.together(
        [rec.operations.recommend(rec.operations.person(None, ["Heat (1995)"], None), 2)]
    )
    ids = rec.checkpoint.renderer.encode_text(answer.asked)
    assert list(answer.tokens) == rec.checkpoint.tokenizer.convert_ids_to_tokens(ids)


def test_one_that_fails_takes_no_other_with_it(rec):
    good, bad = rec.operations.person(None, ["Heat (1995)"], None), rec.operations
    results = rec.together(
        [bad.recommend(good, 2), bad.recommend(good, 99), bad.rank(good, []), bad.recommend(good, 2)]
    )
    assert [type(result).__name__ for result in results] == ["Answer", "UserError", "UserError", "Answer"]
    assert results[0].items == results[3].items and "99" in str(results[1])


def test_a_failure_of_the_model_is_raised_inside_the_plans_that_asked():
    def plan(name):
        try:
            got = yield name
        except UserError:
            return f"{name} caught"
        return got

    def compute(asks):
        return [UserError("no") if ask == "b" else f"answer to {ask}" for ask in asks]

    def failing():
        yield "b"

    found = together(compute, [plan("a"), plan("b"), failing()])
    assert found[:2] == ["answer to a", "b caught"] and isinstance(found[2], UserError)
    assert together(compute, []) == []
