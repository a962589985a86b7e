"""What a service counts, in the format of Prometheus, in a registry of its own."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """Counters and histograms of one service. Paths that do not exist are counted as one."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._known: dict[tuple[str, int], tuple[Counter, Histogram]] = {}
        self.requests = Counter(
            "p5t5_requests",
            "Requests by operation and status",
            ["operation", "status"],
            registry=self.registry,
        )
        self.seconds = Histogram(
            "p5t5_request_seconds", "Time to answer", ["operation"], buckets=SECONDS, registry=self.registry
        )
        self.batch_size = Histogram(
            "p5t5_batch_size", "Requests answered together", buckets=SIZES, registry=self.registry
        )
        self.batch_seconds = Histogram(
            "p5t5_batch_seconds", "Time of a batch", buckets=SECONDS, registry=self.registry
        )
        self.waiting = Gauge("p5t5_waiting", "Requests that wait", registry=self.registry)
        self.reloads = Counter("p5t5_reloads", "Reloads by result", ["result"], registry=self.registry)

    def watch(self, waiting: Callable[[], int]) -> None:
        """Where the number of waiting requests is to be read."""
        self.waiting.set_function(waiting)

    def batch(self, size: int, seconds: float) -> None:
        """A batch has been computed."""
        self.batch_size.observe(size)
        self.batch_seconds.observe(seconds)

    def answered(self, operation: str, status: int, seconds: float) -> None:
        """A request has been answered."""
        known = self._known.get((operation, status))
        if known is None:
            known = self.requests.labels(operation, str(status)), self.seconds.labels(operation)
            self._known[operation, status] = known
        known[0].inc()
        known[1].observe(seconds)

    def text(self) -> bytes:
        """All of it, as Prometheus reads it."""
        return generate_latest(self.registry)
