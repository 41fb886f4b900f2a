"""How many small files are under way at a time: as many as keep one processor busy.

The threads take turns on one interpreter, and each turn costs: sixteen that share a processor
need a seventh more of it than two. How many it takes depends on how long a request waits for its
answer, which is measured. Of larger files most of the work is done outside the interpreter.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable

__all__ = ["Width"]

_SMALL_BYTES = 1 << 18
_FIRST = 2
_LOOK_EVERY_S = 0.1
_BUSY_SHARE = 0.8


class Width:
    """`count` are under way, never more than `most`; all of them at once where files are larger.

    `sizes` are those of all files in bytes; None where one is not known. Thread-safe. The clocks
    are for tests.
    """

    def __init__(
        self,
        most: int,
        sizes: Iterable[int | None],
        clock: Callable[[], float] = time.monotonic,
        cpu_clock: Callable[[], float] = time.process_time,
    ) -> None:
        known = [size for size in sizes if size is not None]
        is_small = bool(known) and sum(known) < _SMALL_BYTES * len(known)
        self.count = min(_FIRST, most) if is_small else most
        self._most = most
        self._clock = clock
        self._cpu_clock = cpu_clock
        self._looked: tuple[float, float] | None = None
        self._lock = threading.Lock()

    def more(self) -> int:
        """How many to add now, to be asked after each file. They count as under way."""
        if self.count == self._most:
            return 0
        with self._lock:
            now_s = self._clock()
            if self._looked is None:
                self._looked = now_s, self._cpu_clock()
            before_s, cpu_before_s = self._looked
            if now_s - before_s < _LOOK_EVERY_S:
                return 0
            self._looked = now_s, self._cpu_clock()
            share = (self._looked[1] - cpu_before_s) / (now_s - before_s)
            if share >= _BUSY_SHARE:
                return 0
            before = self.count
            wanted = math.ceil(before / max(share, before / self._most))
            self.count = min(self._most, max(before + 1, wanted))
            return self.count - before
