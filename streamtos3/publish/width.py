"""How many small files are under way at a time: as many as keep one processor busy.

The threads take turns on one interpreter, and each turn costs: sixteen that share a processor
need a seventh more of it than two. How many it takes depends on how long a request waits for its
answer, which is measured. Of larger files most of the work is done outside the interpreter.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable

__all__ = ["LOOK_S", "Width"]

LOOK_S = 0.1
"""How often to ask."""

_SMALL_BYTES = 1 << 18
_FIRST = 2
_BUSY_SHARE = 0.8


class Width:
    """`count` are under way, never more than `most`; all of them at once where a file is larger.

    `sizes` are those of all files in bytes; None where one is not known. Made when the work
    begins. The clocks are for tests.
    """

    def __init__(
        self,
        most: int,
        sizes: Iterable[int | None],
        clock: Callable[[], float] = time.monotonic,
        cpu_clock: Callable[[], float] = time.process_time,
    ) -> None:
        are_small = all(size is not None and size < _SMALL_BYTES for size in sizes)
        self.count = min(_FIRST, most) if are_small else most
        self._most = most
        self._clock = clock
        self._cpu_clock = cpu_clock
        self._looked = clock(), cpu_clock()

    def more(self) -> int:
        """How many to add now, by what has happened since this was asked. They count at once."""
        if self.count == self._most:
            return 0
        (before_s, cpu_before_s), self._looked = self._looked, (self._clock(), self._cpu_clock())
        share = (self._looked[1] - cpu_before_s) / max(LOOK_S, self._looked[0] - before_s)
        if share >= _BUSY_SHARE:
            return 0
        before = self.count
        wanted = math.ceil(before / max(share, before / self._most))
        self.count = min(self._most, max(before + 1, wanted))
        return self.count - before
