"""Micro-batching, of whatever: one bounded queue, one thread; a batch is what waited while the last one ran."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

Job = TypeVar("Job")
LINGER = 0.01  # seconds


class Refused(Exception):
    """A request that is not computed; ``status`` as in HTTP, ``remedy`` for people."""

    status = 503
    remedy = "Try again."
    headers: tuple[tuple[bytes, bytes], ...] = ()


class Overloaded(Refused):
    """Too many wait; ``retry_after``: seconds in which those who wait now will have been answered."""

    status = 429

    def __init__(self, waiting: int, retry_after: float) -> None:
        super().__init__(f"{waiting} requests are waiting already")
        self.retry_after = max(math.ceil(retry_after), 1)
        self.remedy = f"Come again in {self.retry_after} s."
        self.headers = ((b"retry-after", str(self.retry_after).encode()),)


class Expired(Refused):
    """A request waited longer than its deadline."""

    status = 504
    remedy = "Come again when less is going on, or ask for less."


class Draining(Refused):
    """The service is stopping."""

    status = 503
    remedy = "Ask another instance, or wait until this one has been started again."


@dataclass
class _Waiting(Generic[Job]):
    job: Job
    cost: int
    deadline: float
    future: Future = field(default_factory=Future)


class MicroBatcher(Generic[Job]):
    """Computes jobs in batches on a thread of its own, in the order in which they came.

    ``compute``: jobs in, as many results out, one of which may be an exception. ``most``, ``most_cost``: of a batch, by
    number and by the sum of the jobs' costs (one job is always taken). ``queue``: jobs that may wait; ``deadline``:
    seconds that one may wait. ``observe``: told (jobs, seconds) of each batch.
    """

    def __init__(
        self,
        compute: Callable[[Sequence[Job]], Sequence[Any]],
        *,
        most: int = 32,
        most_cost: int = 8192,
        queue: int = 128,
        deadline: float = 10.0,
        observe: Callable[[int, float], None] | None = None,
    ) -> None:
        self.compute, self.most, self.most_cost = compute, most, most_cost
        self.queue, self.deadline, self.observe = queue, deadline, observe
        self._waiting: deque[_Waiting[Job]] = deque()
        self._change = threading.Condition()
        self._draining = False
        self._seconds_a_job = 0.01
        self._last = 0  # size of the last batch
        self._thread = threading.Thread(target=self._run, name="p5t5-model", daemon=True)
        self._thread.start()

    def submit(self, job: Job, cost: int = 1) -> Future:
        """The job's result, later. Raises Overloaded or Draining; the future may hold Expired."""
        with self._change:
            if (refusal := self.refusal()) is not None:
                raise refusal
            waiting = _Waiting(job, cost, time.monotonic() + self.deadline)
            self._waiting.append(waiting)
            self._change.notify()
            return waiting.future

    def refusal(self, under_way: int = 0) -> Refused | None:
        """Why a job would not be taken now; None where it would.

        ``under_way``: jobs that wait, are computed, or will be submitted soon; of these as many are taken as wait or are
        computed at most.
        """
        if self._draining:
            return Draining("the service is stopping")
        waiting = max(len(self._waiting), under_way - self.most)
        if waiting >= self.queue:
            return Overloaded(waiting, waiting * self._seconds_a_job)
        return None

    @property
    def waiting(self) -> int:
        """How many jobs wait."""
        return len(self._waiting)

    @property
    def alive(self) -> bool:
        """Whether jobs are taken and computed."""
        return self._thread.is_alive() and not self._draining

    def close(self, seconds: float = 20.0) -> None:
        """Takes no more jobs and computes those that wait; after so many seconds the rest is refused."""
        with self._change:
            self._draining = True
            self._change.notify()
        self._thread.join(seconds)
        with self._change:
            left, self._waiting = list(self._waiting), deque()
        for one in left:
            _set(one.future, Draining("the service stopped before this was answered"))

    def _run(self) -> None:
        while (batch := self._next()) is not None:
            if not batch:
                continue
            start = time.monotonic()
            try:
                results: Sequence[Any] = self.compute([one.job for one in batch])
            except Exception as error:
                results = [error] * len(batch)
            seconds = time.monotonic() - start
            self._seconds_a_job += 0.2 * (seconds / len(batch) - self._seconds_a_job)
            if self.observe is not None:
                self.observe(len(batch), seconds)
            for one, result in zip(batch, results, strict=True):
                _set(one.future, result)

    def _linger(self) -> None:
        """Waits for those who were answered together the last time: they come again one after the other."""
        end = time.monotonic() + LINGER
        while len(self._waiting) < self._last and not self._draining:
            if not self._change.wait(end - time.monotonic()):
                return

    def _next(self) -> list[_Waiting[Job]] | None:
        """The next batch, without those that expired or that nobody waits for any more; None at the end."""
        batch: list[_Waiting[Job]] = []
        expired: list[_Waiting[Job]] = []
        cost = 0
        with self._change:
            while not self._waiting:
                if self._draining:
                    return None
                self._change.wait()
            self._linger()
            now = time.monotonic()
            while self._waiting and len(batch) < self.most:
                one = self._waiting[0]
                if batch and cost + one.cost > self.most_cost:
                    break
                self._waiting.popleft()
                if one.deadline < now:
                    expired.append(one)
                elif one.future.set_running_or_notify_cancel():
                    batch.append(one)
                    cost += one.cost
        self._last = len(batch)
        for one in expired:
            _set(one.future, Expired(f"it waited longer than {self.deadline:g} s"))
        return batch


def _set(future: Future, result: Any) -> None:
    """Gives a future its result, unless nobody waits for it any more."""
    if future.done():
        return
    if isinstance(result, Exception):
        future.set_exception(result)
    else:
        future.set_result(result)
