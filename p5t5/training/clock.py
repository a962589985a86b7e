"""A run's clock and its request to stop, synchronized over all processes."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from accelerate import Accelerator


class RunClock:
    """``elapsed``: seconds of training, over all resumes; ``stop_requested``: some process received SIGTERM.

    Both change only in ``sync``, which all processes call together, so all of them act on the same values.
    """

    def __init__(self, accelerator: Accelerator):
        self.accelerator = accelerator
        self.began = time.monotonic()
        self.elapsed = 0.0
        self.stop_requested = False
        self._signalled = False

    def resume_from(self, elapsed: float) -> None:
        """Sets the clock of a resumed run."""
        self.began, self.elapsed = time.monotonic() - elapsed, elapsed

    def sync(self) -> None:
        """All processes take the main one's clock, and stop if any of them was asked to."""
        now = time.monotonic() - self.began
        if self.accelerator.num_processes == 1:
            self.elapsed, self.stop_requested = now, self._signalled
            return
        local = [now if self.accelerator.is_main_process else 0.0, float(self._signalled)]
        values = torch.tensor(local, dtype=torch.float32, device=self.accelerator.device)
        elapsed, requested = self.accelerator.reduce(values, "sum").tolist()
        self.elapsed, self.stop_requested = elapsed, requested > 0

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Inside, SIGTERM requests an orderly stop instead of ending the process."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def remember(signum, frame):
            self._signalled = True

        previous = signal.signal(signal.SIGTERM, remember)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, previous)
