"""`transformers.pipeline("recommendation")` is the recommender, in plain values."""

from __future__ import annotations

import json

import pytest
from support.shared_model import write_folders
from transformers import pipeline

from p5t5.core.errors import UserError
from p5t5.recommender import Recommender

QUESTION = "I loved Alien (1979) and Fargo (1996). What should I watch next?"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_folders(tmp_path_factory.mktemp("pipeline"))[0]


def test_it_answers_as_the_recommender_does(folder):
    ask, recommender = pipeline("recommendation", model=str(folder)), Recommender.from_pretrained(folder)
    answer = ask(QUESTION, k=3)
    assert [one["item_id"] for one in answer["items"]] == [
        one.item_id for one in recommender(QUESTION, 3).items
    ]
    listed, rated = ask(
        [{"history": ["Alien (1979)"], "k": 2}, {"operation": "rate", "item": "Fargo (1996)"}]
    )
    assert [one["title"] for one in listed["items"]] == [
        one.title for one in recommender.recommend(["Alien (1979)"], k=2)
    ]
    assert rated["value"] == pytest.approx(float(recommender.rate("Fargo (1996)")))
    assert pipeline("recommendation", model=str(folder), k=2)(QUESTION)["items"] == answer["items"][:2]
    json.dumps([answer, listed, rated], allow_nan=False)
    assert ask.recommender.checkpoint.model is ask.model, "the weights are read once"


def test_it_says_what_is_wrong(folder):
    ask = pipeline("recommendation", model=str(folder))
    with pytest.raises(UserError, match="there is no 'data'"):
        ask({"history": ["Alien (1979)"], "data": "/etc"})
    with pytest.raises(UserError, match="folder or Hub id"):
        ask.model.name_or_path = ""
        type(ask)(model=ask.model)
