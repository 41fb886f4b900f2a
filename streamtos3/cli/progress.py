"""Progress on standard error: a bar on a terminal, a line now and then if asked, or silence.

Driven by an operation's events. "Stored" means stored and compared, not merely sent; "read" means
passed on in order.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Protocol, TextIO

from ..model.events import (
    Event,
    PartStored,
    RangeRead,
    ReadStarted,
    Retrying,
    Started,
    WorkersCounted,
)
from ..units import format_duration, format_size, plural

__all__ = ["BarProgress", "LineProgress", "Progress", "SilentProgress"]


class Progress(Protocol):
    """Something that shows how far an upload is."""

    def __call__(self, event: Event) -> None:
        """Take in an event; calls never overlap."""

    def write(self, line: str) -> None:
        """Print `line` without disturbing the display."""

    def close(self) -> None:
        """Remove the display; safe to call twice."""


class SilentProgress:
    """Shows nothing; passes lines on."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write

    def __call__(self, event: Event) -> None:
        """Ignored."""

    def write(self, line: str) -> None:
        """Print `line`."""
        self._write(line)

    def close(self) -> None:
        """Nothing to remove."""


class LineProgress(SilentProgress):
    """A line at most every `every_s` seconds, for logs and mails."""

    def __init__(
        self,
        write: Callable[[str], None],
        every_s: float = 30.0,
        verb: str = "stored",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(write)
        self._every_s = every_s
        self._verb = verb
        self._clock = clock
        self._began_s = self._said_s = clock()
        self._done_bytes = 0
        self._retries = 0
        self._workers: int | None = None
        self._length_bytes: int | None = None

    def __call__(self, event: Event) -> None:
        """Count, and write a line when one is due."""
        if isinstance(event, Started | ReadStarted):
            self._length_bytes = event.length_bytes
            self._done_bytes = 0
            self._began_s = self._said_s = self._clock()
        elif isinstance(event, Retrying):
            self._retries += 1
        elif isinstance(event, WorkersCounted):
            self._workers = event.workers
        elif isinstance(event, PartStored):
            self._done_bytes += event.part.size_bytes
        elif isinstance(event, RangeRead):
            self._done_bytes += event.size_bytes
        now_s = self._clock()
        if now_s - self._said_s >= self._every_s:
            self._said_s = now_s
            self.write(self._line(now_s - self._began_s))

    def _line(self, elapsed_s: float) -> str:
        rate = self._done_bytes / max(elapsed_s, 0.001)
        words = [f"{format_size(self._done_bytes)} {self._verb}"]
        if self._length_bytes:
            left_s = (self._length_bytes - self._done_bytes) / max(rate, 1.0)
            words[0] += f" of {format_size(self._length_bytes)}"
            words.append(f"about {format_duration(left_s)} left")
        words.insert(1, f"{format_size(rate)}/s")
        words.append(f"{self._retries} retries")
        if self._workers is not None:
            words.append(plural(self._workers, "worker"))
        return ", ".join(words)


class BarProgress:
    """tqdm's bar: bytes stored, rate, total and time left where the length is known."""

    def __init__(
        self, stream: TextIO, as_line: Callable[[str], str] = str, verb: str = "stored"
    ) -> None:
        import tqdm

        # tqdm's own lock is shared between processes and would create a file for it.
        tqdm.tqdm.set_lock(threading.RLock())
        self._tqdm = tqdm.tqdm
        self._stream = stream
        self._as_line = as_line
        self._verb = verb
        self._bar: Any = None  # tqdm is generic over what it iterates, and this one does not
        self._retries = 0
        self._workers: int | None = None
        self._in_flight = 0

    def __call__(self, event: Event) -> None:
        """Advance the bar."""
        if isinstance(event, Started | ReadStarted):
            self.close()
            self._bar = self._tqdm(
                total=event.length_bytes,
                unit="B",
                unit_scale=True,
                unit_divisor=1024,
                file=self._stream,
                dynamic_ncols=True,
                leave=False,
                miniters=0,
                desc=self._verb,
            )
        elif isinstance(event, Retrying):
            self._retries += 1
        elif isinstance(event, WorkersCounted):
            self._workers = event.workers
        elif isinstance(event, PartStored | RangeRead) and self._bar is not None:
            done = event.part if isinstance(event, PartStored) else event
            self._bar.update(done.size_bytes)
            self._in_flight = event.in_flight
        if self._bar is not None:
            busy = f"{self._in_flight} in flight"
            if self._workers is not None:  # who alone know what they have in flight
                busy = plural(self._workers, "worker")
            words = f"{busy}, {self._retries} retries"
            told = isinstance(event, Retrying | WorkersCounted)
            self._bar.set_postfix_str(words, refresh=told)

    def write(self, line: str) -> None:
        """Print `line` above the bar."""
        self._tqdm.write(self._as_line(line), file=self._stream)

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
