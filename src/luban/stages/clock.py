"""The run's clock: how much of a time limit is left, and whether the user asked to stop (Ctrl-C, SIGTERM)."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from luban.core.contract import Clock
from luban.core.notes import say


class Interrupted(KeyboardInterrupt):
    """The user asked to stop; everything needed to go on has been saved."""


class RunClock(Clock):
    def __init__(self, limit: float | None, seed: int, threads: int):
        self.started = time.perf_counter()
        self.limit = limit if limit is not None else math.inf
        self.until = self.limit
        self.stop_requested = False
        self.seed, self.threads = seed, threads

    def seconds(self) -> float:
        """Since the run (this process's part of it) began."""
        return time.perf_counter() - self.started

    def seconds_left(self) -> float:
        return self.until - self.seconds()

    def allot(self, shares: int, end: float = math.inf) -> None:
        """Gives the next model one of `shares` equal shares of the time up to `end`, but for a tenth of the limit, kept for the test."""
        if self.limit < math.inf:
            self.until = self.seconds() + max(0.0, min(end, 0.9 * self.limit) - self.seconds()) / max(1, shares)

    def stopped(self) -> bool:
        return self.stop_requested

    @contextmanager
    def listening(self) -> Iterator[None]:
        """While open, the first Ctrl-C asks the loop to save and stop; a second one ends at once. Outside the main thread: nothing."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def request(number: int, frame) -> None:
            if self.stop_requested:
                raise KeyboardInterrupt
            self.stop_requested = True
            say("stopping as soon as what can be saved is saved; Ctrl-C again stops at once")

        before = {number: signal.signal(number, request) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
