"""At overload a whole plain request is refused unread; everything else goes the usual way."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

pytest.importorskip("fastapi")
from p5t5.serving.batching import Draining, MicroBatcher, Overloaded
from p5t5.serving.metrics import Metrics
from p5t5.serving.run import ImpatientProtocol
from p5t5.serving.shedding import Shedder


def request(path="/recommend", headers="", body=b"{}", method="POST") -> bytes:
    head = f"{method} {path} HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


@pytest.fixture
def shed():
    return Shedder(lambda path, under_way: Overloaded(64, 1.2) if path == "/recommend" else None, Metrics())


def test_the_answer_is_whole_and_says_when_to_come_again(shed):
    head, _, body = shed(request()).partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = dict(line.split(": ") for line in lines)
    said = json.loads(body)
    assert first.startswith("HTTP/1.1 429 ") and headers["retry-after"] == "2"
    assert int(headers["content-length"]) == len(body) and headers["x-request-id"] == said["request_id"]
    assert set(said) == {"error", "remedy", "request_id"}
    assert b'operation="recommend",status="429"} 1.0' in shed.metrics.text()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"POST /recomm",
        request()[:-1],
        request() + b"P",
        request() * 2,
        request("/feedback"),
        request("/recommend?x=1"),
        request(method="GET"),
        request(headers="Transfer-Encoding: chunked\r\n"),
        request(headers="Expect: 100-continue\r\n"),
        request(headers="X-Request-ID: mine\r\n"),
        request(headers="Connection: close\r\n"),
        b"POST /recommend HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00",
    ],
)
def test_what_is_not_one_whole_plain_request_is_read_as_usual(shed, data):
    assert shed(data) is None


def test_requests_under_way_count_before_they_wait():
    batcher = MicroBatcher(lambda jobs: jobs, most=4, queue=2)
    assert batcher.refusal(5) is None and isinstance(batcher.refusal(6), Overloaded)
    batcher.close()
    assert isinstance(batcher.refusal(), Draining)


def test_only_whole_requests_without_an_answer_are_under_way(monkeypatch):
    """A thousand clients that send slowly, or read slowly, must not make the service look busy."""
    monkeypatch.setattr(ImpatientProtocol, "whole", set())

    def connection(response_started: bool) -> ImpatientProtocol:
        made = ImpatientProtocol.__new__(ImpatientProtocol)
        made.cycle = SimpleNamespace(response_started=response_started)
        return made

    arriving, waiting, answered = connection(False), connection(False), connection(True)
    ImpatientProtocol.whole.update([waiting, answered])
    assert arriving._under_way() == 1
    assert ImpatientProtocol.whole == {waiting}
