"""Clients of a service in processes of their own: keep-alive connections that send prepared requests."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import time
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass
class Load:
    """What clients met. ``status``: 0 where a connection failed; ``answers``: (request number, status, body) if kept."""

    seconds: float
    latency: list[float] = field(default_factory=list)
    status: list[int] = field(default_factory=list)
    answers: list[tuple[int, int, bytes]] = field(default_factory=list)

    def accepted(self) -> np.ndarray:
        """float [n]: the latencies of requests that were answered, in milliseconds."""
        return 1000 * np.array([s for s, code in zip(self.latency, self.status, strict=True) if code == 200])

    def summary(self) -> dict[str, Any]:
        milliseconds = self.accepted()
        p50, p95, p99 = np.percentile(milliseconds, [50, 95, 99]) if len(milliseconds) else [np.nan] * 3
        return {
            "qps": round(len(milliseconds) / self.seconds, 1),
            "p50_ms": round(float(p50), 1),
            "p95_ms": round(float(p95), 1),
            "p99_ms": round(float(p99), 1),
            "requests": len(self.status),
            "refused": sum(code in (429, 503) for code in self.status),
            "errors": sum(code in (0, 500) for code in self.status),
        }


def post(path: str, body: Any) -> bytes:
    data = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
    return head.encode() + data


def in_background(*arguments: Any, **options: Any) -> Future:
    """`drive` in a process of its own."""
    pool = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))
    future = pool.submit(drive, *arguments, **options)
    pool.shutdown(wait=False)
    return future


def drive(
    port: int,
    requests: Sequence[bytes],
    clients: int,
    *,
    seconds: float | None = None,
    count: int | None = None,
    rate: float | None = None,
    keep: bool = False,
) -> Load:
    """Sends the requests in turn from so many connections: for ``seconds``, or ``count`` of them.

    ``rate``: so many a second, whatever comes back (open loop); else each client sends its next when it has been answered.
    """
    return asyncio.run(_drive(port, requests, clients, seconds, count, rate, keep))


async def _drive(port, requests, clients, seconds, count, rate, keep) -> Load:
    start = time.perf_counter()
    load, next_number = Load(0.0), iter(range(count if count is not None else 10**9))

    async def client() -> None:
        reader = writer = None
        for number in next_number:
            now = time.perf_counter()
            due = start + number / rate if rate else now
            if seconds is not None and max(now, due) - start > seconds:
                break
            if due > now:
                await asyncio.sleep(due - now)
            sent = time.perf_counter()
            code, body = 0, b""
            try:
                if writer is None:
                    reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(requests[number % len(requests)])
                code, body = await _answer(reader)
            except (OSError, asyncio.IncompleteReadError, ValueError, IndexError):
                if writer is not None:
                    writer.close()
                writer = None
                await asyncio.sleep(0.1)
            load.latency.append(time.perf_counter() - sent)
            load.status.append(code)
            if keep:
                load.answers.append((number % len(requests), code, body))
        if writer is not None:
            writer.close()

    await asyncio.gather(*(client() for _ in range(clients)))
    load.seconds = time.perf_counter() - start
    return load


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    code = int(head[9:12])
    length = int(head.lower().split(b"content-length: ", 1)[1].split(b"\r\n", 1)[0])
    return code, await reader.readexactly(length)


async def _hold(port: int, connections: int, seconds: float) -> int:
    """Connections that say nothing, half a head, or half a body, a byte a second; returns how many were closed on them."""
    parts = (b"", b"POST /recommend HTTP/1.1\r\nHost: x\r\nX-Slow: ", b"POST /recommend HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 900\r\n\r\n{")  # fmt: skip
    closed = 0

    async def one(number: int) -> None:
        nonlocal closed
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(parts[number % 3])
            if number % 10 == 9:  # broken off
                writer.transport.abort()
                return
            end = time.perf_counter() + seconds
            while time.perf_counter() < end:
                try:
                    if await asyncio.wait_for(reader.read(1000), 1.0) == b"":
                        closed += 1
                        return
                except asyncio.TimeoutError:
                    if number % 3:
                        writer.write(b" ")
        except OSError:
            closed += 1
        finally:
            writer.close()

    await asyncio.gather(*(one(number) for number in range(connections)), return_exceptions=True)
    return closed


def hold(port: int, connections: int, seconds: float) -> int:
    """See `_hold`; for a process of its own."""
    return asyncio.run(_hold(port, connections, seconds))
