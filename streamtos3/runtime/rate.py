"""A limit to the rate at which bytes are sent and received: a token bucket for many threads.

Whoever is about to send or receive some bytes asks first, and is kept until they are due. What a
slow link does to time-outs and retries, the limit must not: few transfers run at a time, each fast
enough for a server not to give up on it, and `clock` stands still for whoever is kept waiting.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ..errors import UsageError
from ..units import KIB, format_size

__all__ = ["RateLimit"]

_LEAST_BYTES_PER_S = KIB
_EACH_BYTES_PER_S = 256 * KIB
"""What each transfer should have at least: servers end one that stands still for 20 s."""
_CREDIT_S = 0.05  # what a thread that woke late may catch up on
_PIECE_S = 0.02
_SOON_S = 0.001  # not worth a system call
_LOOK_UP_S = 0.1  # the longest wait before a stopped transfer is noticed


class RateLimit:
    """So many bytes a second for all who share it, smooth within a second; None for no limit.

    In any time at most the rate's bytes for that time are let through, and those of 0.07 s more.
    UsageError for less than 1 KiB a second. Thread-safe. Tests inject `clock` and `sleep`.
    """

    def __init__(
        self,
        bytes_per_s: int | None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if bytes_per_s is not None and bytes_per_s < _LEAST_BYTES_PER_S:
            raise UsageError(
                f"a limit of {format_size(bytes_per_s)} a second is too low",
                hint=f"at least {format_size(_LEAST_BYTES_PER_S)} a second",
            )
        self._bytes_per_s = bytes_per_s
        self._now = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._next_s = clock()
        self._free = max(1, (bytes_per_s or 0) // _EACH_BYTES_PER_S)
        self._kept = threading.local()

    @property
    def is_reached(self) -> bool:
        """Whether somebody is kept waiting just now."""
        return self._bytes_per_s is not None and self._next_s > self._now()

    def clock(self) -> float:
        """Seconds like `time.monotonic`, less those for which this thread was kept waiting."""
        kept_s: float = getattr(self._kept, "seconds", 0.0)
        return self._now() - kept_s

    def cut(self, size_bytes: int) -> int:
        """How many of `size_bytes` are to be asked for at once, so that the flow is smooth."""
        if self._bytes_per_s is None:
            return size_bytes
        return min(size_bytes, max(1, int(self._bytes_per_s * _PIECE_S)))

    def wait(self, size_bytes: int, check: Callable[[], None]) -> None:
        """Return when `size_bytes` more are due. `check` is called meanwhile, and may raise."""
        if self._bytes_per_s is None:
            return
        with self._lock:
            due_s = max(self._next_s, self._now() - _CREDIT_S)
            self._next_s = due_s + size_bytes / self._bytes_per_s
        with self._keeping():
            while (left_s := due_s - self._now()) > _SOON_S:
                self._sleep(min(left_s, _LOOK_UP_S))
                check()

    @contextmanager
    def turn(self, check: Callable[[], None]) -> Iterator[None]:
        """One transfer, of as many at a time as the rate can keep going; `check` as for `wait`."""
        if self._bytes_per_s is None:
            yield
            return
        with self._keeping():
            while not self._take_turn():
                self._sleep(_LOOK_UP_S)
                check()
        try:
            yield
        finally:
            with self._lock:
                self._free += 1

    def _take_turn(self) -> bool:
        with self._lock:
            if not self._free:
                return False
            self._free -= 1
            return True

    @contextmanager
    def _keeping(self) -> Iterator[None]:
        """Count what passes inside the block as waiting."""
        began_s = self._now()
        try:
            yield
        finally:
            kept_s: float = getattr(self._kept, "seconds", 0.0)
            self._kept.seconds = kept_s + self._now() - began_s
