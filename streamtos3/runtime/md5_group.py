"""A group commit for MD5s: threads that want one at the same time get theirs from one call.

Several MD5s cost hardly more than one (`integrity.md5`). Whoever comes first computes them for all
who wait at that moment; who comes meanwhile waits for the next turn. The first waits for company
only while the processors are busy and somebody has announced a part: with time to spare nothing
would be gained, and the part's memory could be read into again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ..integrity.digests import part_md5
from ..integrity.md5 import md5_method, md5s
from .host import LoadMeter

__all__ = ["LARGEST_GROUP", "Md5Group"]

LARGEST_GROUP = 8
"""For so many the first waits, where the processor has as many lanes."""

_ALWAYS_UNDER_WAY = 2
_LOOK_S = 0.05
_LONGEST_WAIT_S = 1.0


class _Request:
    """What one thread waits for: a digest, or the error of the call that was to compute it."""

    def __init__(self, data: memoryview) -> None:
        self.data = data
        self.digest: bytes | None = None
        self.error: BaseException | None = None

    @property
    def is_done(self) -> bool:
        return self.digest is not None or self.error is not None


class Md5Group:
    """Shared by the threads of one operation.

    `room_for` says how many parts of a size memory holds, so that a group never takes all of it.
    """

    def __init__(self, room_for: Callable[[int], int] = lambda size_bytes: LARGEST_GROUP) -> None:
        self._room_for = room_for
        self._condition = threading.Condition()
        self._waiting: list[_Request] = []
        self._is_busy = False
        self._announced = 0
        self._load = LoadMeter()
        self._looked_at_s = time.monotonic()
        self._has_spare_time = False

    @contextmanager
    def announced(self) -> Iterator[None]:
        """While a part is being read that will need a digest right after; for this others wait."""
        with self._condition:
            self._announced += 1
        try:
            yield
        finally:
            with self._condition:
                self._announced -= 1  # wakes nobody: the part itself does, in a moment

    def digest(self, data: memoryview) -> bytes:
        """Binary MD5 of `data`, which must not change meanwhile.

        Waits for at most two computations: the one under way, and its own, and for company at most
        a second. Raises what the computation raises (MemoryError), in every thread whose data was
        part of it.
        """
        if md5_method().lanes == 1:  # hashlib: each thread computes its own, side by side
            return part_md5(data)
        request = _Request(data)
        with self._condition:
            self._waiting.append(request)
            self._condition.notify_all()
            self._condition.wait_for(lambda: request.is_done or not self._is_busy)
            if not request.is_done:
                self._is_busy = True
                self._gather()
                batch, self._waiting = self._waiting, []
        if not request.is_done:
            self._compute(batch)
        if request.error is not None:
            raise request.error
        assert request.digest is not None
        return request.digest

    def _gather(self) -> None:
        """Wait for company, as long as that is worth it; called with the lock held."""
        until_s = time.monotonic() + _LONGEST_WAIT_S
        while self._announced and len(self._waiting) < self._worthwhile():
            now_s = time.monotonic()
            if now_s > until_s or self._spare_time(now_s):
                return
            self._condition.wait(_LOOK_S)

    def _worthwhile(self) -> int:
        """How many are hashed at the price of one and leave memory to read into."""
        room = self._room_for(max(len(request.data) for request in self._waiting))
        return min(LARGEST_GROUP, md5_method().lanes, room - _ALWAYS_UNDER_WAY)

    def _spare_time(self, now_s: float) -> bool:
        """Whether the processors idle; looked at no more than 20 times a second."""
        if now_s - self._looked_at_s >= _LOOK_S:
            self._looked_at_s = now_s
            self._has_spare_time = self._load.has_spare_time()
        return self._has_spare_time

    def _compute(self, batch: list[_Request]) -> None:
        """Answer all of `batch`, whatever happens, and let the next turn begin."""
        digests: list[bytes] = []
        error: BaseException | None = None
        try:
            digests = md5s([request.data for request in batch])
        except BaseException as caught:  # noqa: BLE001 - raised in every thread that waits for it
            error = caught
        with self._condition:
            for request, digest in zip(batch, digests, strict=error is None):
                request.digest = digest
            for request in batch:
                request.error = error
            self._is_busy = False
            self._condition.notify_all()
