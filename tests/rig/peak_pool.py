"""A buffer pool that remembers how much memory it ever held."""

from __future__ import annotations

from typing import Any

from streamtos3.runtime.buffers import Buffer, BufferPool

__all__ = ["PeakPool"]


class PeakPool(BufferPool):
    """Like its base; `peak_bytes` is the most that buffers in use and free ones had together."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.peak_bytes = 0

    def acquire(self, size_bytes: int) -> Buffer:
        buffer = super().acquire(size_bytes)
        with self._scope.condition:
            held_bytes = self._in_use_bytes + sum(each.size_bytes for each in self._free)
            self.peak_bytes = max(self.peak_bytes, held_bytes)
        return buffer
