"""A run's clock and its request to stop, agreed on by all processes."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from accelerate import Accelerator


class RunClock:
    """``elapsed``: seconds of training, over all resumes; ``told``: some process was told to stop (SIGTERM).

    Both change in ``agree`` alone, where all processes take part: what is done upon them is done by all.
    """

    def __init__(self, accelerator: Accelerator):
        self.accelerator = accelerator
        self.began = time.monotonic()
        self.elapsed = 0.0
        self.told = False
        self._signalled = False

    def go_on_from(self, elapsed: float) -> None:
        """The clock of a resumed run."""
        self.began, self.elapsed = time.monotonic() - elapsed, elapsed

    def agree(self) -> None:
        """All processes take the main one's clock, and are told if any of them was."""
        now = time.monotonic() - self.began
        if self.accelerator.num_processes == 1:
            self.elapsed, self.told = now, self._signalled
            return
        mine = [now if self.accelerator.is_main_process else 0.0, float(self._signalled)]
        both = torch.tensor(mine, dtype=torch.float32, device=self.accelerator.device)
        elapsed, told = self.accelerator.reduce(both, "sum").tolist()
        self.elapsed, self.told = elapsed, told > 0

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Inside, SIGTERM asks for an orderly end instead of ending the process."""
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
