"""Parts wait for each other, so that their MD5s are computed side by side.

Several MD5s cost hardly more than one (`integrity.md5`), but a reader that digests the stream
hands out its parts one by one. So a full part waits here for others, as long as the processors are
busy: where they have time to spare it is the input or the link that is slow, and nothing is gained.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from ..integrity.md5 import md5_method
from ..runtime.buffers import BufferPool
from ..runtime.cancel import CancelScope
from ..runtime.host import LoadMeter
from ..runtime.workers import WorkerPool
from .part_reader import Part

__all__ = ["PartBatches"]

_LARGEST_BATCH = 4  # 6 save another fiftieth of the processor time, and take 16 MiB more
_BUFFERS = 7  # a batch, one part that is being read, two that are being sent
_ALWAYS_UNDER_WAY = 2
_LOOK_S = 0.05
_LONGEST_WAIT_S = 1.0


class PartBatches:
    """Gathers parts into batches, and hands each to `start`, which must not wait.

    A batch is started as soon as one of these holds:
    - as many parts wait as are hashed at the price of one, or as there is memory for, but for two
      that are being sent meanwhile;
    - the processors had time to spare when this was last looked at, 20 times a second;
    - a part has waited for a second;
    - the input has ended.

    The rule is applied, with the scope's lock held, by whoever changes what it depends on: the
    reader, by `add` and `end`, and a thread of its own, which looks at the processors. Nobody
    waits for a batch, so no wake-up can be lost; and once the upload has failed, that thread ends
    and no worker runs what `start` submits.
    """

    def __init__(
        self, pool: BufferPool, scope: CancelScope, start: Callable[[Sequence[Part]], None]
    ) -> None:
        self._largest = min(_LARGEST_BATCH, md5_method().lanes)
        self._pool = pool
        self._scope = scope
        self._start = start
        self._waiting: list[Part] = []
        self._waiting_since_s = 0.0
        self._has_ended = False
        self._has_spare_time = False
        if self._largest > 1:
            pool.allow(_BUFFERS)
            watch = WorkerPool(1, scope)
            watch.submit(self._look)
            watch.shutdown()  # the thread ends with this task

    def add(self, part: Part) -> None:
        """Take a part that is full, or the last."""
        with self._scope.condition:
            if not self._waiting:
                self._waiting_since_s = time.monotonic()
            self._waiting.append(part)
            self._start_if_due()

    def end(self) -> None:
        """The input has ended: nothing is worth waiting for any more."""
        with self._scope.condition:
            self._has_ended = True
            self._start_if_due()
            self._scope.condition.notify_all()

    def _look(self) -> None:
        """Look at the processors until the input has ended."""
        load = LoadMeter()
        while not self._scope.wait_for(lambda: self._has_ended, _LOOK_S):
            with self._scope.condition:
                self._has_spare_time = load.has_spare_time()
                self._start_if_due()

    def _start_if_due(self) -> None:
        """Apply the rule; called with the scope's lock held."""
        if self._waiting and self._is_due():
            batch, self._waiting = self._waiting, []
            self._start(batch)

    def _is_due(self) -> bool:
        return (
            self._has_ended
            or self._has_spare_time
            or len(self._waiting) >= self._batch_size()
            or time.monotonic() - self._waiting_since_s > _LONGEST_WAIT_S
        )

    def _batch_size(self) -> int:
        room = self._pool.room_for(self._waiting[-1].buffer.size_bytes)
        return max(1, min(self._largest, room - _ALWAYS_UNDER_WAY))
