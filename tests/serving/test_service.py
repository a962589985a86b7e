"""The service without the web: what it answers, for whom, and with which checkpoint."""

from __future__ import annotations

import shutil
import threading
from dataclasses import replace

import pytest
from support.films import FILMS
from support.served import film_settings, save_films

from p5t5.core.errors import UserError
from p5t5.recommender import Recommender
from p5t5.serving.service import Service
from p5t5.serving.settings import Settings


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("served")
    save_films(root)
    save_films(root / "other", seed=1)
    return root


@pytest.fixture(scope="module")
def service(root):
    service = Service(film_settings(root))
    yield service
    service.close()


@pytest.fixture(scope="module")
def rec(root) -> Recommender:
    return Recommender.from_pretrained(root / "model")


def ids(answer) -> list[str]:
    return [item["item_id"] for item in answer["items"]]


def test_it_answers_as_the_recommender_does(service, rec, root):
    data = str(root / "data")
    history = ["Alien (1979)", {"item": "101", "rating": 4}, {"item": "Heat (1995)"}]
    plain = ["Alien (1979)", ("101", 4), "Heat (1995)"]
    found = service.recommend(history, k=4, where={"genre": "Comedy"}, exclude=["Babe (1995)"])
    wanted = rec.recommend(plain, k=4, where={"genre": "Comedy"}, exclude=["Babe (1995)"])
    assert ids(found) == [one.item_id for one in wanted]
    assert found["items"][0]["attributes"]["genre"] == ["Comedy"] and found["items"][0]["why"] == {
        "model": 1.0
    }
    assert ids(service.recommend(user=17, k=3)) == [
        one.item_id for one in rec.recommend(user=17, data=data, k=3)
    ]
    mixed = rec.recommend(plain, k=4, reranking=rec.reranking(diversity=0.6))
    assert ids(service.recommend(history, k=4, diversity=0.6)) == [one.item_id for one in mixed]
    assert ids(service.similar("Heat (1995)", 3)) == [one.item_id for one in rec.similar("Heat (1995)", 3)]
    ranked = rec.rank(plain, FILMS[5:9])
    assert ids(service.rank(FILMS[5:9], history)) == [one.item_id for one in ranked]
    rating = rec.rate("Fargo", history=plain[1:2])
    answer = service.rate("Fargo", history[1:2])
    assert answer["rating"] == pytest.approx(float(rating), abs=1e-4)
    assert answer["interval"] == list(rating.interval) and set(answer["distribution"]) == set("12345")
    assert service.explain("Heat", 17)["text"] == rec.explain("Heat", user=17)
    assert service.summarize("a fine plot", 17, "Heat")["text"] == rec.summarize(
        "a fine plot", user=17, item="Heat"
    )
    asked = "I loved Alien (1979). What should I watch next?"
    assert ids(service.query(asked, 3)) == [one.item_id for one in rec(asked, 3).items]


def test_every_answer_names_its_checkpoint_and_what_the_model_read(service, rec):
    answers = [
        service.recommend(["Heat"]), service.rank(["Heat", "Speed"]), service.rate("Heat", ["Speed"]),
        service.explain("Heat", 17), service.summarize("fine", 17, "Heat"), service.query("I loved Heat. What next?"),
    ]  # fmt: skip
    prompts = {prompt.id for prompt in rec.checkpoint.prompts}
    for answer in answers:
        assert answer["prompt"] in prompts and answer["asked"]
        wanted = rec.checkpoint.tokenizer.convert_ids_to_tokens(
            rec.checkpoint.renderer.encode_text(answer["asked"])
        )
        assert answer["tokens"] == wanted
    others = [service.similar("Heat"), service.items("a"), service.describe()]
    assert {answer["checkpoint"] for answer in answers + others} == {service.loaded.digest}


def test_items_are_found_by_beginning_then_part_then_likeness(service):
    assert [item["title"] for item in service.items("alien", 2)["items"]] == ["Alien (1979)", "Aliens (1986)"]
    titles = [item["title"] for item in service.items("Tittanic")["items"]]
    assert titles[0] == "Titanic (1997)"
    assert len(service.items()["items"]) == len(FILMS) and len(service.items(k=2)["items"]) == 2
    assert service.items("104")["items"][0]["title"] == "Heat (1995)"
    assert service.items("zzzzqqq")["items"] == []


def test_the_description_says_what_can_be_asked(service):
    said = service.describe()
    assert said["rating_values"] == [1, 2, 3, 4, 5] and said["items"] == len(FILMS) and said["users"]
    assert said["attributes"]["genre"] == {"values": ["Comedy", "Drama"]}
    assert said["attributes"]["year"] == {"lowest": 1954, "highest": 1997}


@pytest.mark.parametrize(
    "call, says",
    [
        (lambda s: s.recommend(["Alein (1979)"]), "do you mean Alien"),
        (lambda s: s.recommend(["Heat"], k=13), "12 items"),
        (lambda s: s.recommend(["Heat"], where={"colour": "red"}), "colour"),
        (lambda s: s.recommend([{"item": "Heat", "rating": 9}]), "scale"),
        (lambda s: s.recommend([{"rating": 3}]), "names no item"),
        (lambda s: s.recommend(user="nobody"), "nobody"),
        (lambda s: s.rank([]), "at least one"),
        (lambda s: s.similar("Heat", where={"genre": "Comedy"}, allow=[]), "ask for less"),
        (lambda s: s.summarize("  "), "empty"),
        (lambda s: s.feedback("anna", "Alein (1979)"), "do you mean Alien"),
        (lambda s: s.feedback("anna", "Alien (1979)", 7), "scale"),
    ],
)
def test_mistakes_are_said(service, call, says):
    with pytest.raises(UserError, match=says):
        call(service)


def test_feedback_counts_from_the_next_request_on(root):
    service = Service(film_settings(root))
    fresh = service.recommend(["Heat"])
    with pytest.raises(UserError):
        service.recommend(user=99)
    assert service.feedback(99, "Heat (1995)", 5)["remembered"] == 1
    assert ids(service.recommend(user=99)) == ids(fresh)
    asked = service.query("What should user 99 watch next?", 3)
    assert ids(asked) == ids(service.recommend(user=99, k=3)) == ids(fresh)[:3]
    before = service.recommend(user=17, k=12)
    service.feedback(17, before["items"][0]["item_id"])
    after = service.recommend(user=17, k=12)
    assert before["items"][0]["item_id"] not in ids(after) and len(after["items"]) == len(before["items"]) - 1
    rated = service.rate("Speed", user=99)
    assert "5 ->" in rated["asked"]
    service.feedback(99, "Heat (1995)", 2)
    assert "2 ->" in service.rate("Speed", user=99)["asked"]
    service.close()


def test_many_threads_get_their_own_answers(service):
    wanted = {film: ids(service.recommend([film], k=3)) for film in FILMS}
    wrong = []

    def ask(film):
        for _ in range(3):
            if ids(service.recommend([film], k=3)) != wanted[film]:
                wrong.append(film)

    threads = [threading.Thread(target=ask, args=(film,)) for film in FILMS]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_new_checkpoint_is_taken_and_a_damaged_one_is_not(root, tmp_path):
    shutil.copytree(root / "model", tmp_path / "model")
    service = Service(replace(film_settings(root), model=str(tmp_path / "model")))
    first = service.recommend(["Heat"])
    weights = (root / "other/model/model.safetensors").read_bytes()
    (tmp_path / "model/model.safetensors").write_bytes(weights[: len(weights) // 2])  # half copied
    with pytest.raises(UserError, match=r"model.*damaged|no T5 model"):
        service.reload()
    assert service.recommend(["Heat"])["checkpoint"] == first["checkpoint"]
    (tmp_path / "model/p5t5.json").unlink()
    with pytest.raises(UserError, match=r"p5t5\.json is missing"):
        service.reload()
    shutil.copytree(root / "other/model", tmp_path / "model", dirs_exist_ok=True)
    said = service.reload()
    assert said["before"] == first["checkpoint"] != said["checkpoint"]
    second = service.recommend(["Heat"])
    assert second["checkpoint"] == said["checkpoint"] and second["items"] != first["items"]
    service.close()


@pytest.mark.parametrize(
    "change, says",
    [
        ({"model": ""}, "model"),
        ({"dtype": "int3"}, "dtype"),
        ({"port": 70000}, "port"),
        ({"queue": 0}, "queue"),
        ({"deadline": 0}, "deadline"),
        ({"deadline": float("nan")}, "deadline"),
    ],
)
def test_settings_are_checked(change, says):
    with pytest.raises(UserError, match=says):
        Settings(**{"model": "m", **change})


@pytest.mark.parametrize(
    "host, local",
    [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("example.org", False)],
)
def test_what_only_this_machine_reaches(host, local):
    assert Settings(model="m", host=host).local is local
