"""Runs the app under uvicorn: signals, timeouts that slow clients run into, and a clean end."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import Callable
from contextlib import contextmanager
from typing import Any, ClassVar

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from p5t5.core.errors import UserError
from p5t5.serving.app import api_key, app, reloaded
from p5t5.serving.guard import LOG
from p5t5.serving.loading import settle_memory
from p5t5.serving.settings import Settings
from p5t5.serving.shedding import Shedder

KEEP_ALIVE = 15  # seconds that a connection may be idle
# Seconds. Each operation of torch lets go of Python's lock, and at the usual 5 ms may wait as long to get it back.
SWITCH = 0.0005
MOST_HEADER_BYTES = 16 * 1024


class ImpatientProtocol(H11Protocol):
    """HTTP/1.1 whose requests must arrive in time: uvicorn alone waits for the rest of a head for ever.

    ``seconds``: for a head, and twice that for a body; who reads the body (`Guard`) answers before, if anybody does.
    ``shed``: the answer to data that need not be parsed, see `Shedder`.
    """

    seconds = 10.0
    shed: Callable[[bytes, int], bytes | None] = staticmethod(lambda data, under_way: None)
    whole: ClassVar[set[ImpatientProtocol]] = (
        set()
    )  # connections whose request has arrived, unanswered when last looked at
    _awaited = ""
    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._await("head")

    def data_received(self, data: bytes) -> None:
        between = self.conn.their_state is h11.IDLE and not self.conn.trailing_data[0]
        if between and (self.cycle is None or self.cycle.response_complete):
            answer = type(self).shed(data, self._under_way())
            if answer is not None:
                self.transport.write(answer)
                self._unset_keepalive_if_required()
                self._await("")
                self._await("head")
                return
        super().data_received(data)
        if self.conn.their_state in (h11.DONE, h11.MUST_CLOSE):
            self.whole.add(self)
        if self.conn.their_state is h11.SEND_BODY:
            self._await("body")
        else:
            self._await("head" if self.conn.their_state is h11.IDLE and self.conn.trailing_data[0] else "")

    def _under_way(self) -> int:
        """Whole requests without an answer yet: those that still arrive, or whose answers are read slowly, hold up nobody."""
        for one in [one for one in self.whole if one.cycle is None or one.cycle.response_started]:
            self.whole.discard(one)
        return len(self.whole)

    def connection_lost(self, error: Exception | None) -> None:
        self._await("")
        self.whole.discard(self)
        super().connection_lost(error)

    def _await(self, part: str) -> None:
        if part == self._awaited:
            return
        if self._late is not None:
            self._late.cancel()
            self._late = None
        self._awaited = part
        if part:
            seconds = self.seconds * (2 if part == "body" else 1)
            self._late = self.loop.call_later(seconds, self.transport.close)


class Server(uvicorn.Server):
    """Says where it listens, and reads its checkpoint anew at SIGHUP."""

    def __init__(self, config: uvicorn.Config, said: Callable[[str], None]) -> None:
        super().__init__(config)
        self._said = said

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        state = self.config.app.state  # type: ignore[union-attr]
        if self.started:
            ports = [sock.getsockname()[1] for server in self.servers for sock in server.sockets]
            host = self.config.host if ":" not in self.config.host else f"[{self.config.host}]"
            self._said(f"serving {state.service.loaded.digest} at http://{host}:{ports[0]}")

    @contextmanager
    def capture_signals(self) -> Any:
        loop, app = asyncio.get_running_loop(), self.config.app

        def renew() -> None:
            state = app.state  # type: ignore[union-attr]
            future = loop.run_in_executor(None, reloaded, state.service, state.metrics)
            future.add_done_callback(lambda done: done.exception())  # it has been logged

        if hasattr(signal, "SIGHUP"):
            loop.add_signal_handler(signal.SIGHUP, renew)
        with super().capture_signals():
            yield
            self._captured_signals.clear()  # uvicorn would raise them again: a clean end has exit code 0


def serve(settings: Settings, said: Callable[[str], None] = print) -> None:
    """Serves until a signal ends it: SIGTERM and SIGINT after the started requests, SIGHUP reads the checkpoint anew.

    Raises UserError for an address that others reach without a key, for one that is taken, and as `app` does.
    """
    key = api_key(settings)
    if not settings.local and not key and not settings.insecure:
        raise UserError(
            f"host {settings.host}: others could reach it without a key. Set P5T5_API_KEY or --api_key_file, or say --insecure."
        )
    logging.basicConfig(stream=sys.stderr, format="%(message)s", level=logging.WARNING)
    LOG.setLevel(logging.INFO)
    made = app(settings, key)
    settle_memory()
    sys.setswitchinterval(SWITCH)
    ImpatientProtocol.seconds = settings.body_seconds
    ImpatientProtocol.shed = staticmethod(Shedder(made.state.refusal, made.state.metrics))
    config = uvicorn.Config(
        made,
        host=settings.host,
        port=settings.port,
        http=ImpatientProtocol,
        loop="asyncio",
        lifespan="on",
        log_level="error",
        access_log=False,
        server_header=False,
        limit_concurrency=settings.connections,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=int(settings.drain) or 1,
        h11_max_incomplete_event_size=MOST_HEADER_BYTES,
        backlog=min(settings.connections, 2048),
    )
    server = Server(config, said)
    try:
        server.run()
    except SystemExit as error:
        made.state.service.close()
        raise UserError(
            f"{settings.host}:{settings.port} cannot be listened at: it is taken, or not this machine's. Choose another --port or --host."
        ) from error
