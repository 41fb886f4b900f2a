"""A source that is written to: one thread writes, an upload in another thread reads.

It buffers little, so that the writer is slowed down as soon as the upload is.
"""

from __future__ import annotations

from collections import deque

from ..runtime.cancel import CancelScope

__all__ = ["PipeSource"]

_HELD_BYTES = 1 << 20


class PipeSource:
    """A source for one upload, whose scope is `scope`; it buffers up to 1 MiB."""

    length_bytes: int | None = None

    def __init__(self, name: str, scope: CancelScope) -> None:
        self.name = name
        self._scope = scope
        self._chunks: deque[memoryview] = deque()
        self._held_bytes = 0
        self._ended = False

    def write(self, data: bytes) -> None:
        """Append `data`; waits while the buffer is full. Cancelled when the upload has failed."""
        with self._scope.condition:
            self._scope.wait_for(lambda: self._held_bytes < _HELD_BYTES)
            if data:
                self._chunks.append(memoryview(data))
                self._held_bytes += len(data)
            self._scope.condition.notify_all()

    def end(self) -> None:
        """End the input: the upload reads what is buffered, and then the end."""
        with self._scope.condition:
            self._ended = True
            self._scope.condition.notify_all()

    def start(self) -> None:
        """Nothing to prepare."""

    def readinto(self, view: memoryview, scope: CancelScope) -> int:
        """Read what was written; waits for `write` or `end`. 0 after the end."""
        with self._scope.condition:
            scope.wait_for(lambda: bool(self._chunks) or self._ended)
            if not self._chunks:
                return 0
            chunk = self._chunks.popleft()
            count = min(len(view), len(chunk))
            if count < len(chunk):
                self._chunks.appendleft(chunk[count:])
            self._held_bytes -= count
            self._scope.condition.notify_all()
        view[:count] = chunk[:count]
        return count

    def finish(self, scope: CancelScope) -> None:
        """Nothing to check: the input ends only when `end` was called."""

    def stop(self) -> None:
        """Nothing to stop: the upload's scope wakes the writer."""

    def close(self) -> None:
        """Nothing to release."""
