"""Preloaded by a worker whose memory lies: the first byte of each read is another one.

The first and the last part are right, so that the check before the first byte finds nothing.
"""

from __future__ import annotations

from collections.abc import Callable

from streamtos3.cluster import shared_file

_read_into = shared_file.SharedFile.read_into


def _lie(
    self: shared_file.SharedFile,
    view: memoryview,
    offset_bytes: int,
    note: Callable[[memoryview], object] = lambda piece: None,
) -> None:
    _read_into(self, view, offset_bytes)
    if offset_bytes and offset_bytes + len(view) < self.size_bytes:
        view[0] ^= 1
    note(view)


shared_file.SharedFile.read_into = _lie  # type: ignore[method-assign]
