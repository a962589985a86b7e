"""Saying no cheaply: at overload a request that would be refused is answered before anything parses it."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable

from p5t5.serving.batching import Refused
from p5t5.serving.metrics import Metrics

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d{1,9})(?:\r\n|$)")
_OTHERWISE = re.compile(rb"\r\n(?:transfer-encoding|expect|upgrade|x-request-id):|\r\nconnection: *close")


class Shedder:
    """Counts what it refuses, and logs none of it: a line for each would be a load of its own.

    ``refusal``: why a request to a path would be refused while so many are under way.
    """

    def __init__(self, refusal: Callable[[str, int], Refused | None], metrics: Metrics) -> None:
        self.refusal, self.metrics = refusal, metrics

    def __call__(self, data: bytes, under_way: int = 0) -> bytes | None:
        """The whole answer to ``data``, if that is one whole plain request that would be refused; None: read it as usual."""
        if not data.startswith(b"POST /"):
            return None
        path = data[5 : data.find(b" ", 5)].decode("latin-1")
        refused = self.refusal(path, under_way)
        if refused is None or (end := data.find(b"\r\n\r\n")) < 0:
            return None
        head = data[:end].lower()
        length = _LENGTH.search(head)
        if length is None or _OTHERWISE.search(head) or len(data) != end + 4 + int(length[1]):
            return None
        request_id = uuid.uuid4().hex
        said = {"error": str(refused), "remedy": refused.remedy, "request_id": request_id}
        body = json.dumps(said).encode()
        headers = (
            *refused.headers,
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"x-request-id", request_id.encode()),
        )
        self.metrics.answered(path[1:], refused.status, 0.0)
        lines = b"".join(b"%s: %s\r\n" % header for header in headers)
        return b"HTTP/1.1 %d Refused\r\n%s\r\n%s" % (refused.status, lines, body)
