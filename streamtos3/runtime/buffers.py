"""The buffer pool: where a part's bytes live from the read until they are stored.

At most `limit_bytes` (never fewer than two buffers), allocated when first needed and reused.
The pool starts small and grows only while that helps, by the rule of `BufferPool`.
"""

from __future__ import annotations

import mmap
import threading
import time
from collections.abc import Callable, Iterable

from ..units import GIB
from . import host
from .cancel import CancelScope

__all__ = ["Buffer", "BufferPool", "SpareBuffers", "default_memory_bytes", "share_memory"]

_STARTING_BUFFERS = 4
_FEWEST_BUFFERS = 3  # one is being filled, two are on their way
_PATIENCE_S = 0.02
_BUSY_SHARE = 0.4  # of the processors
_BUSY_SHARE_OF_ONE = 0.7  # if that is more, and of a single one or less
_HOLD_BACK_S = 5.0
_LEFT_TO_OTHERS = 2  # of those who take several together: what is sent meanwhile


class Buffer:
    """Memory for one part; `view` is the whole of it, writable."""

    def __init__(self, size_bytes: int) -> None:
        # Anonymous private memory is committed page by page as the input arrives, so that a
        # short stream never pays for a long part; a bytearray would be zeroed at once.
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        self.view = memoryview(mmap.mmap(-1, size_bytes, flags=flags))

    @property
    def size_bytes(self) -> int:
        """Capacity in bytes."""
        return len(self.view)


class SpareBuffers:
    """What one upload leaves for the next, because the kernel's zeroed pages are not free.

    Keeps buffers of one size, and never has any that an upload had no need for; so all uploads
    and what is spare together take no more memory than the uploads may. Thread-safe.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._buffers: list[Buffer] = []

    def take(self, size_bytes: int) -> Buffer | None:
        """A buffer of this very size, the one that was used last; None if there is none."""
        with self._lock:
            if self._buffers and self._buffers[-1].size_bytes != size_bytes:
                self._buffers.clear()
            return self._buffers.pop() if self._buffers else None

    def give(self, buffers: Iterable[Buffer]) -> None:
        """Keep these; nothing may refer to their memory any more."""
        with self._lock:
            for buffer in buffers:
                if not self._buffers or self._buffers[-1].size_bytes == buffer.size_bytes:
                    self._buffers.append(buffer)


class BufferPool:
    """Hands out buffers, waiting where the limit is reached.

    Starts with a few and allows one more for every 20 ms that the reader had to wait while this
    process used less than 40 % of the processors (70 % of a single one): then the link is the
    bottleneck, and more parts in flight help. A process that keeps the processors busy would gain
    nothing from more buffers. When parts become larger, fewer buffers are allowed at first, and
    more again by the same rule.
    `is_paced`: we hold ourselves back now, and no more buffers are allowed.
    `spare`: where buffers are taken from, before new ones are made, and left by `leave`.
    """

    def __init__(
        self,
        limit_bytes: int,
        max_buffers: int,
        scope: CancelScope,
        is_paced: Callable[[], bool] = lambda: False,
        spare: SpareBuffers | None = None,
    ) -> None:
        self._spare = spare
        self._limit_bytes = limit_bytes
        self._max_buffers = max(2, max_buffers)
        self._allowed = min(_STARTING_BUFFERS, self._max_buffers)
        self._scope = scope
        self._is_paced = is_paced
        self._free: list[Buffer] = []
        self._part_bytes = 0
        self._in_use = 0
        self._in_use_bytes = 0
        self._waited_s = 0.0
        self._cpu_s = 0.0
        self._held_back_until_s = 0.0
        self._is_closed = False

    @property
    def allowed(self) -> int:
        """How many buffers may be in use now."""
        return self._allowed

    def allow(self, buffers: int) -> None:
        """Allow so many from now on, where it were fewer, within all limits."""
        with self._scope.condition:
            self._allowed = max(self._allowed, min(buffers, self._max_buffers))
            self._scope.condition.notify_all()

    def room_for(self, size_bytes: int) -> int:
        """How many buffers of this size may be in use at once now; two at least."""
        return max(2, min(self._allowed, self._limit_bytes // size_bytes))

    def acquire(self, size_bytes: int) -> Buffer:
        """A buffer of at least `size_bytes`; waits for one. Cancelled when the upload fails."""
        return self.acquire_together(size_bytes, 1)[0]

    def acquire_together(self, size_bytes: int, most: int) -> list[Buffer]:
        """As `acquire`, but up to `most` of them, as long as that leaves room for two others.

        All are taken at the same moment: two callers that each had half of what they need would
        wait for each other.
        """
        with self._scope.condition:
            self._scope.check()
            self._keep_flat(size_bytes)
            # Without a look at the processor's clock, which is dear on some machines.
            if count := self._takeable(size_bytes, most):
                return self._take(size_bytes, count)
            while True:
                wall_s, cpu_s = time.monotonic(), time.process_time()
                patience_s = max(0.0, _PATIENCE_S - self._waited_s)
                self._scope.wait_for(lambda: bool(self._takeable(size_bytes, most)), patience_s)
                self._note_wait(time.monotonic() - wall_s, time.process_time() - cpu_s)
                if count := self._takeable(size_bytes, most):
                    return self._take(size_bytes, count)

    def release(self, buffer: Buffer) -> None:
        """Give `buffer` back for reuse; nothing may refer to its memory any more."""
        with self._scope.condition:
            self._in_use -= 1
            self._in_use_bytes -= buffer.size_bytes
            if not self._is_closed:
                self._free.append(buffer)
            self._scope.condition.notify_all()

    def close(self) -> None:
        """Free the memory; a buffer that is still in use is freed with its last reference.

        Not left to the garbage collector: an upload is a reference cycle, and may be one of many.
        """
        with self._scope.condition:
            self._is_closed = True
            self._free.clear()

    def leave(self) -> None:
        """Close, and leave the buffers to whoever comes next; all was released, and all is well."""
        with self._scope.condition:
            if self._spare is not None:
                self._spare.give(self._free)
        self.close()

    def hold_back(self) -> None:
        """The service asked for less: halve what may be in use, for good.

        Counts once in 5 s: otherwise one burst of such answers would leave only two.
        """
        with self._scope.condition:
            now_s = time.monotonic()
            if now_s < self._held_back_until_s:
                return
            self._held_back_until_s = now_s + _HOLD_BACK_S
            self._allowed = self._max_buffers = max(2, self._allowed // 2)

    def _keep_flat(self, size_bytes: int) -> None:
        """Allow fewer buffers when parts become larger; waits will show if more are needed."""
        if size_bytes <= self._part_bytes:
            return
        fewer = self._allowed * self._part_bytes // size_bytes or self._allowed
        self._allowed = max(fewer, min(_FEWEST_BUFFERS, self._allowed))
        self._part_bytes = size_bytes

    def _note_wait(self, waited_s: float, cpu_s: float) -> None:
        # Summed up, because with many parts in flight a buffer comes back every few
        # milliseconds, and no single wait would ever be long.
        self._waited_s += waited_s
        self._cpu_s += cpu_s
        if self._waited_s < _PATIENCE_S:
            return
        busy = self._cpu_s / self._waited_s
        self._waited_s = self._cpu_s = 0.0
        if self._allowed < self._max_buffers and not self._is_paced() and busy < _busy():
            self._allowed += 1

    def _takeable(self, size_bytes: int, most: int) -> int:
        """How many buffers to take now; 0 if it is to wait. By the limits, which may change."""
        count = max(1, min(most, self.room_for(size_bytes) - _LEFT_TO_OTHERS))
        if self._in_use + count > self._allowed:
            return 0
        if self._in_use_bytes + count * size_bytes <= self._limit_bytes:
            return count
        return int(count == 1 and (self._in_use < 2 or self._find_free(size_bytes) is not None))

    def _find_free(self, size_bytes: int) -> Buffer | None:
        return next((each for each in self._free if each.size_bytes >= size_bytes), None)

    def _take(self, size_bytes: int, count: int) -> list[Buffer]:
        return [self._take_one(size_bytes) for _ in range(count)]

    def _take_one(self, size_bytes: int) -> Buffer:
        buffer = self._find_free(size_bytes)
        if buffer is None:
            self._free.clear()  # too small for this plan's parts from here on
            buffer = self._spare.take(size_bytes) if self._spare else None
            buffer = buffer or Buffer(size_bytes)
        else:
            self._free.remove(buffer)
        self._in_use += 1
        self._in_use_bytes += buffer.size_bytes
        return buffer


def _busy() -> float:
    """From how much of this machine on the link is not what is slow; in processors."""
    processors = host.processors()
    return max(_BUSY_SHARE_OF_ONE * min(1, processors), _BUSY_SHARE * processors)


def share_memory(memory_bytes: int | None, part_bytes: int, at_once: int) -> tuple[int, int]:
    """How many of `at_once` uploads may run side by side, and the bytes of memory for each.

    Together they keep to `memory_bytes` (None: the default). If two parts for each do
    not fit, fewer uploads run at a time, but always one; a pool always allows two parts.
    """
    if memory_bytes is None:
        memory_bytes = default_memory_bytes()
    allowed = max(1, min(at_once, memory_bytes // (2 * part_bytes)))
    return allowed, memory_bytes // allowed


def default_memory_bytes() -> int:
    """A quarter of the memory available now, at most 1 GiB and at least 32 MiB."""
    return max(32 * 1024 * 1024, min(host.available_bytes() // 4, GIB))
