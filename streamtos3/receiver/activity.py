"""What a sink did lately: the rate of the last ten minutes, the last objects, the last error."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone

from ..results import SinkFigures

__all__ = ["STEPS", "STEP_S", "Activity", "RecentObject"]

STEP_S = 10.0
"""Seconds between two samples."""

STEPS = 60
"""How many are kept."""

_OBJECTS = 10


@dataclass(frozen=True)
class RecentObject:
    """An object that was stored and proved."""

    url: str
    size_bytes: int
    proof: str
    at: datetime


class Activity:
    """Remembers; thread-safe. `rates` are records a second, one for each ten seconds, oldest first.

    `objects` are the last ten, newest first; `last_error` says what went wrong last and when,
    whether or not a retry helped.
    """

    def __init__(
        self,
        now: Callable[[], datetime] = lambda: datetime.now(timezone.utc),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._now = now
        self._clock = clock
        self._lock = threading.Lock()
        self._rates: deque[float] = deque(maxlen=STEPS)
        self._objects: deque[RecentObject] = deque(maxlen=_OBJECTS)
        self._last_error: tuple[str, datetime] | None = None
        self._seen: tuple[float, int] | None = None

    @property
    def rates(self) -> list[float]:
        """Records a second."""
        with self._lock:
            return list(self._rates)

    @property
    def objects(self) -> list[RecentObject]:
        """The last objects."""
        with self._lock:
            return list(self._objects)

    @property
    def last_error(self) -> tuple[str, datetime] | None:
        """What went wrong last, and when; None where nothing has."""
        return self._last_error

    def stored(self, url: str, size_bytes: int, proof: str) -> None:
        """An object is stored."""
        with self._lock:
            self._objects.appendleft(RecentObject(url, size_bytes, proof, self._now()))

    def failed(self, message: str) -> None:
        """Something went wrong."""
        self._last_error = message, self._now()

    def sample(self, figures: SinkFigures) -> None:
        """Note how many records have come since the sample before."""
        at_s = self._clock()
        with self._lock:
            if self._seen is not None:
                before_s, records = self._seen
                came = figures.received_records - records
                self._rates.append(came / max(at_s - before_s, 0.001))
            self._seen = at_s, figures.received_records

    @contextmanager
    def sampled(self, figures: Callable[[], SinkFigures]) -> Iterator[None]:
        """Sample every ten seconds inside the block."""
        ended = threading.Event()

        def watch() -> None:
            while True:
                self.sample(figures())
                if ended.wait(STEP_S):
                    return

        thread = threading.Thread(target=watch, name="streamtos3-activity", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
