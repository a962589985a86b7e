"""What surrounds every request, as plain ASGI: an id, the key, limits of size and time, counting, a log line."""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import hmac
import json
import logging
import re
import time
import uuid
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from p5t5.serving.batching import Refused
from p5t5.serving.metrics import Metrics

LOG = logging.getLogger("p5t5.serving")
Message = MutableMapping[str, Any]
App = Callable[..., Awaitable[None]]
OPEN = ("/health/live", "/health/ready")  # without the key
_GIVEN_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


class BodyError(Exception):
    """A body that is not read to its end."""

    def __init__(self, status: int, error: str, remedy: str) -> None:
        super().__init__(error)
        self.status, self.error, self.remedy = status, error, remedy


class Guard:
    """Wraps an app. ``key``: "" for none; ``operations``: paths that are counted under their own names;
    ``refusal``: why a request to a path would be refused, asked before anything is read: to say no must cost little.

    Logs one JSON line per request, without anything that the user said: id, method, path if known, status, time.
    """

    def __init__(
        self,
        app: App,
        *,
        key: str,
        most_bytes: int,
        body_seconds: float,
        metrics: Metrics,
        operations: frozenset[str],
        refusal: Callable[[str], Refused | None],
    ) -> None:
        self.app, self.key = app, key.encode()
        self.most_bytes, self.body_seconds = most_bytes, body_seconds
        self.metrics, self.operations, self.refusal = metrics, operations, refusal

    async def __call__(self, scope: Message, receive: Callable, send: Callable) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value for name, value in scope["headers"]}
        given = headers.get("x-request-id", b"").decode("latin-1")
        request_id = given if _GIVEN_ID.fullmatch(given) else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id
        start, status = time.perf_counter(), 0

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", request_id.encode())]
            await send(message)

        try:
            if self.key and scope["path"] not in OPEN and not self._knows(headers):
                await self._refuse(scope, sending, request_id)
            elif scope["type"] == "http" and (refused := self.refusal(scope["path"])) is not None:
                await self._say(
                    sending, refused.status, str(refused), refused.remedy, request_id, *refused.headers
                )
            elif scope["type"] == "http":
                await self.app(scope, self._limited(headers, receive), sending)
            else:
                await self.app(scope, receive, sending)
        except Exception as error:
            LOG.error(json.dumps({"request_id": request_id, "bug": type(error).__name__}), exc_info=error)
            if scope["type"] != "http" or status:
                raise
            await self._say(
                sending,
                500,
                "something went wrong in the service",
                "Report it with its request id.",
                request_id,
            )
        finally:
            seconds = time.perf_counter() - start
            path = scope["path"] if scope["path"] in self.operations else "other"
            if scope["type"] == "http":
                self.metrics.answered(path.strip("/") or "other", status, seconds)
                logged(request_id, scope["method"], path, status, seconds)

    def _limited(self, headers: dict[str, bytes], receive: Callable) -> Callable:
        """``receive`` that refuses too large and too slow bodies with `BodyError`."""
        read, deadline = 0, time.monotonic() + self.body_seconds
        whole = False

        async def receiving() -> Message:
            nonlocal read, whole
            if whole:  # what comes now is only whether the client is still there
                return await receive()
            length = headers.get("content-length", b"")
            if length.isdigit() and int(length) > self.most_bytes:
                raise self._too_large()
            try:
                message = await asyncio.wait_for(receive(), max(deadline - time.monotonic(), 0.001))
            except asyncio.TimeoutError:
                raise BodyError(
                    408,
                    f"the body had not arrived after {self.body_seconds:g} s",
                    "Send it faster, or send less.",
                ) from None
            whole = not message.get("more_body", False)
            read += len(message.get("body", b""))
            if read > self.most_bytes:
                raise self._too_large()
            return message

        return receiving

    def _too_large(self) -> BodyError:
        return BodyError(413, f"the body is larger than {self.most_bytes} bytes", "Send less at a time.")

    def _knows(self, headers: dict[str, bytes]) -> bool:
        """Whether the request brings the key: as X-API-Key, as a bearer token, or as the password of basic authentication."""
        given = [headers.get("x-api-key", b"")]
        kind, _, rest = headers.get("authorization", b"").partition(b" ")
        if kind.lower() == b"bearer":
            given.append(rest.strip())
        if kind.lower() == b"basic":
            with contextlib.suppress(binascii.Error, ValueError):
                given.append(base64.b64decode(rest, validate=True).partition(b":")[2])
        return True in [hmac.compare_digest(one, self.key) for one in given]

    async def _refuse(self, scope: Message, send: Callable, request_id: str) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        asks = (b"www-authenticate", b'Bearer, Basic realm="p5t5"')
        remedy = "Send it as the header X-API-Key, or as Authorization: Bearer KEY."
        await self._say(send, 401, "the API key is missing or wrong", remedy, request_id, asks)

    async def _say(
        self,
        send: Callable,
        status: int,
        error: str,
        remedy: str,
        request_id: str,
        *headers: tuple[bytes, bytes],
    ) -> None:
        said = json.dumps({"error": error, "remedy": remedy, "request_id": request_id}).encode()
        headers = (
            *headers,
            (b"content-type", b"application/json"),
            (b"content-length", str(len(said)).encode()),
        )
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": said})


def logged(request_id: str, method: str, path: str, status: int, seconds: float) -> None:
    """A line of the log, without anything that the user said."""
    line = {
        "request_id": request_id,
        "method": method,
        "path": path,
        "status": status,
        "ms": round(1000 * seconds, 1),
    }
    LOG.info(json.dumps(line))
