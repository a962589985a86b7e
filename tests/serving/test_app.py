"""The web side: what is asked and answered over HTTP, what is refused, and how."""

from __future__ import annotations

import json
import logging
import re
import shutil

import pytest
from support.served import film_settings, save_films

pytest.importorskip("fastapi")
from fastapi.testclient import TestClient

from p5t5.core.errors import UserError
from p5t5.serving.app import api_key, app
from p5t5.serving.batching import Draining, Overloaded
from p5t5.serving.schemas import request_models

ASKED = "I loved Alien (1979). What should I watch next?"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("served")
    save_films(root)
    save_films(root / "other", seed=1)
    return root


@pytest.fixture(scope="module")
def made(root):
    return app(film_settings(root, max_text=500, max_k=12, max_body_kb=16, body_seconds=0.5), key="")


@pytest.fixture(scope="module")
def client(made):
    with TestClient(made) as client:
        yield client


def ids(response) -> list[str]:
    return [item["item_id"] for item in response.json()["items"]]


@pytest.mark.parametrize(
    "operation", ["recommend", "similar", "rank", "rate", "explain", "summarize", "query", "feedback"]
)
def test_the_example_of_each_operation_is_answered(client, made, operation):
    model = request_models(made.state.service.settings)[operation]
    (example,) = model.model_json_schema()["examples"]
    response = client.post(f"/{operation}", json=example)
    assert response.status_code == 200, response.text
    assert response.json()["checkpoint"] == made.state.service.loaded.digest
    assert re.fullmatch("[0-9a-f]{32}", response.headers["x-request-id"])


def test_answers_are_those_of_the_service(client, made):
    service = made.state.service
    body = {
        "history": ["Heat (1995)", {"item": "101", "rating": 4}],
        "k": 3,
        "where": {"genre": "Comedy", "year": [1970, None]},
    }
    assert client.post("/recommend", json=body).json() == service.recommend(
        ["Heat (1995)", {"item": "101", "rating": 4}], k=3, where={"genre": "Comedy", "year": [1970, None]}
    )
    assert client.post("/query", json={"text": ASKED}).json() == service.query(ASKED)
    assert client.get("/items", params={"search": "alien", "k": 2}).json() == service.items("alien", 2)
    assert client.get("/describe").json() == service.describe()


@pytest.mark.parametrize(
    "path, body, status, says",
    [
        ("/recommend", {"history": ["Alein (1979)"]}, 422, "do you mean Alien"),
        ("/recommend", {"history": ["Heat"], "k": 13}, 422, "k: "),
        ("/recommend", {"history": ["Heat"], "k": True}, 422, "k: "),
        ("/recommend", {"histroy": []}, 422, "histroy"),
        ("/recommend", {"history": [{"item": "Heat", "rating": 9}]}, 422, "scale"),
        ("/recommend", {"history": ["Heat"], "where": {"year": [2000, 1990]}}, 422, "empty"),
        ("/recommend", {"user": "nobody"}, 422, "nobody"),
        ("/recommend", b'{"diversity": NaN}', 422, "diversity"),
        ("/recommend", b'{"k": 1e400}', 422, "k"),
        ("/recommend", b'{"history": ["\\ud800"]}', 400, "JSON"),
        ("/recommend", b"{", 400, "JSON"),
        ("/recommend", b"", 400, "JSON"),
        ("/recommend", b"[]", 422, "body"),
        ("/query", {"text": ""}, 422, "text"),
        ("/query", {"text": "x" * 501}, 422, "500"),
        ("/rank", {"candidates": []}, 422, "candidates"),
        ("/nothing", {}, 404, "Not Found"),
        ("/items", {}, 405, "Method"),
        ("/query", b'{"text": "' + b"x" * 17000 + b'"}', 413, "larger than"),
        ("/admin/reload", {}, 403, "key"),
    ],
)
def test_mistakes_get_a_status_an_error_and_a_remedy(client, path, body, status, says):
    sent = (
        {"content": body, "headers": {"content-type": "application/json"}}
        if isinstance(body, bytes)
        else {"json": body}
    )
    response = client.post(path, **sent)
    said = response.json()
    assert response.status_code == status and says in said["error"]
    assert (
        set(said) == {"error", "remedy", "request_id"}
        and said["request_id"] == response.headers["x-request-id"]
    )
    assert "Traceback" not in response.text


@pytest.mark.parametrize("query", ["k=0", "k=13", "k=٣", "k=1&k=2", "x=1", "search=" + "x" * 501, "k="])
def test_mistakes_of_a_search(client, query):
    assert client.get(f"/items?{query}").status_code == 422


def test_a_body_that_is_no_json_type_is_refused(client):
    response = client.post(
        "/query", content=b"text=hello", headers={"content-type": "application/x-www-form-urlencoded"}
    )
    assert response.status_code == 422 and "application/json" in response.json()["error"]


def test_a_request_id_is_kept_if_it_is_one(client):
    assert client.get("/health/live", headers={"x-request-id": "abc-1"}).headers["x-request-id"] == "abc-1"
    assert client.get("/health/live", headers={"x-request-id": 'a"b'}).headers["x-request-id"] != 'a"b'


def test_the_log_has_no_data_of_users(client, caplog):
    caplog.set_level(logging.INFO, "p5t5.serving")
    client.post(
        "/query",
        json={"text": "I am Anna and loved Heat (1995). What next?"},
        headers={"x-request-id": "one"},
    )
    client.get("/items?search=secret")
    client.get("/anna/secret")
    lines = [json.loads(record.message) for record in caplog.records if record.name == "p5t5.serving"]
    assert [(line["path"], line["status"]) for line in lines] == [
        ("/query", 200),
        ("/items", 200),
        ("other", 404),
    ]
    assert lines[0]["request_id"] == "one" and lines[0]["ms"] > 0
    assert not re.search("Anna|Heat|secret", caplog.text)


def test_a_bug_is_said_without_its_traceback(client, made, caplog, monkeypatch):
    monkeypatch.setattr(type(made.state.service), "describe", lambda self: 1 / 0)
    response = client.get("/describe")
    assert response.status_code == 500 and "division" not in response.text
    assert response.json()["request_id"] in caplog.text and "ZeroDivisionError" in caplog.text


def test_overload_and_the_end_have_their_own_status(client, made, monkeypatch):
    def refuse(error):
        def submit(job, cost=1):
            raise error

        monkeypatch.setattr(made.state.service.batcher, "submit", submit)

    refuse(Overloaded(128, 2.3))
    response = client.post("/query", json={"text": ASKED})
    assert (response.status_code, response.headers["retry-after"]) == (429, "3")
    refuse(Draining("the service is stopping"))
    assert client.post("/query", json={"text": ASKED}).status_code == 503


def test_metrics_count_what_happened(client):
    before = client.get("/metrics").text
    client.post("/recommend", json={"history": ["Heat (1995)"], "k": 1})
    client.get("/no/such/path")
    after = client.get("/metrics").text

    def count(text, name):
        found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    name = 'p5t5_requests_total{operation="recommend",status="200"}'
    assert count(after, name) == count(before, name) + 1
    other = 'p5t5_requests_total{operation="other",status="404"}'
    assert count(after, other) == count(before, other) + 1
    assert count(after, "p5t5_batch_size_count") > count(before, "p5t5_batch_size_count")
    assert "no/such" not in after


def test_the_key_is_wanted_everywhere_but_for_health(root, tmp_path):
    with TestClient(app(film_settings(root), key="s3cret")) as client:
        for path in ("/items", "/describe", "/metrics", "/openapi.json", "/nothing"):
            response = client.get(path)
            assert response.status_code == 401 and "Bearer" in response.headers["www-authenticate"]
            assert set(response.json()) == {"error", "remedy", "request_id"}
        assert client.get("/health/live").status_code == client.get("/health/ready").status_code == 200
        for headers in ({"x-api-key": "s3cret"}, {"authorization": "Bearer s3cret"}):
            assert client.get("/items", headers=headers).status_code == 200
        assert client.get("/items", auth=("anybody", "s3cret")).status_code == 200
        for headers in ({"x-api-key": "s3cre"}, {"authorization": "Bearer "}, {"authorization": "Basic !!"}):
            assert client.get("/items", headers=headers).status_code == 401


def test_reload_takes_a_whole_checkpoint_only_and_no_path(root, tmp_path):
    shutil.copytree(root / "model", tmp_path / "model")
    key = {"x-api-key": "k"}
    with TestClient(app(film_settings(root, model=str(tmp_path / "model")), key="k")) as client:
        first = client.post("/recommend", json={"history": ["Heat"]}, headers=key).json()
        (tmp_path / "model/tokenizer.json").unlink()
        refused = client.post("/admin/reload", headers=key)
        assert refused.status_code == 422 and "tokenizer.json is missing" in refused.json()["error"]
        assert client.post("/recommend", json={"history": ["Heat"]}, headers=key).json() == first
        shutil.copytree(root / "other/model", tmp_path / "model", dirs_exist_ok=True)
        done = client.post("/admin/reload", headers=key, json={"model": str(root / "model")})
        assert done.status_code == 200 and done.json()["before"] == first["checkpoint"]
        second = client.post("/recommend", json={"history": ["Heat"]}, headers=key).json()
        assert second["checkpoint"] == done.json()["checkpoint"] != first["checkpoint"]
        assert 'result="refused"} 1' in client.get("/metrics", headers=key).text


def test_after_the_end_nothing_is_ready(root):
    made = app(film_settings(root), key="")
    with TestClient(made) as client:
        made.state.service.close()
        assert (
            client.get("/health/ready").status_code == 503 and client.get("/health/live").status_code == 200
        )
        assert client.post("/query", json={"text": ASKED}).status_code == 503


def test_a_full_disk_is_507_and_serving_goes_on(root, tmp_path, monkeypatch):
    with TestClient(app(film_settings(root, feedback=str(tmp_path)), key="")) as client:

        def full(descriptor, data):
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr("p5t5.serving.feedback.os.write", full)
            response = client.post("/feedback", json={"user": 99, "item": "Heat"})
        assert response.status_code == 507 and "No space left" in response.json()["error"]
        assert client.post("/query", json={"text": ASKED}).status_code == 200
        assert client.post("/feedback", json={"user": 99, "item": "Heat"}).status_code == 200


def test_the_key_of_a_file_or_of_the_environment(root, tmp_path, monkeypatch):
    monkeypatch.setenv("P5T5_API_KEY", " from-env ")
    assert api_key(film_settings(root)) == "from-env"
    (tmp_path / "key").write_text("from-file\n")
    assert api_key(film_settings(root, api_key_file=str(tmp_path / "key"))) == "from-file"
    (tmp_path / "key").write_text("\n")
    for path in (tmp_path / "key", tmp_path / "none"):
        with pytest.raises(UserError, match="api_key_file"):
            api_key(film_settings(root, api_key_file=str(path)))


# -- from strangers

RESERVED = re.compile(r"▁?<(item|user|extra_id)_\d+>|<pad>|<unk>")
HOSTILE = [
    "</s>", "<pad>", "<extra_id_0>", "<item_3>", "<user_1>", "▁<item_3>", "<0x0A>", "＜item_3＞", "<\u200bitem_3>",
    "&lt;item_3&gt;", "<b>x</b>", "<script>alert(1)</script>", "../../etc/passwd", "file:///etc/passwd", "\x00",
    "a\x00b", "{history}", "{x.__class__}", "%s%n", "' OR 1=1 --", "\u202e", "💥" * 50, "a" * 400, "\n\n\r", "ﷺ" * 20,
]  # fmt: skip


def hostile_request(number: int) -> tuple[str, dict, set[str]]:
    """A path, a body, and the titles that the body names in earnest."""
    bad = HOSTILE[number % len(HOSTILE)] + " " + HOSTILE[number * 7 % len(HOSTILE)] * (number % 3)
    bad = bad[:400]
    heat, speed = "Heat (1995)", "Speed (1994)"
    requests: list[tuple[str, dict, set[str]]] = [
        ("/query", {"text": f'I loved "{bad}" a lot. What next?'}, set()),
        ("/recommend", {"history": [bad]}, set()),
        ("/rate", {"item": heat, "history": [speed], "user": bad}, {heat, speed}),
        ("/recommend", {"history": [heat], "exclude": [bad]}, {heat}),
        ("/query", {"text": f"{bad} Which film next after Heat (1995)?"}, {heat}),
    ]
    if number % 25 == 0:  # texts take their time
        return "/summarize", {"review": f"the plot {bad} was fine", "item": heat}, {heat}
    if number % 25 == 1:
        return "/explain", {"item": heat, "user": 17, "feature": bad}, {heat}
    return requests[number % 5]


def test_no_reserved_token_is_spelled_by_a_stranger(made, client):
    """1,000 requests: what the model reads holds the identifiers of items that were named, and no other reserved token."""
    service = made.state.service
    catalogue = service.loaded.recommender.catalogue
    identifier = dict(zip(catalogue.titles, catalogue.items["identifier"], strict=True))
    requests = [hostile_request(number) for number in range(1000)]
    jobs = [(path[1:], body) for path, body, _ in requests]
    answers = [answer for start in range(0, 1000, 50) for answer in service.compute(jobs[start : start + 50])]
    for (path, body, named), said in zip(requests, answers, strict=True):
        if isinstance(said, UserError):
            continue
        allowed = {"▁" + identifier[title] for title in named | set(said.get("linked", ()))}
        allowed |= {"▁<user_0>"} if body.get("user") == 17 else set()
        assert "</s>" not in said["tokens"][:-1]
        reserved = {token for token in said["tokens"] if RESERVED.fullmatch(token)}
        assert reserved <= allowed, (path, body, reserved)
    assert sum(isinstance(said, dict) for said in answers) > 500
    for path, body, _ in requests[::11]:
        assert client.post(path, json=body).status_code in (200, 422), (path, body)
