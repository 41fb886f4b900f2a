"""A part's memory as the body of a request, which botocore reads, or of an answer (pure)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from ..errors import TransientError
from ..runtime.rate import RateLimit

__all__ = ["Landing", "ObjectStream", "PartBody"]

_READ_BYTES = 1 << 18  # between two checks whether the download was stopped


class PartBody:
    """A request body over a part's memory, without a copy.

    `read` returns slices of the memory itself and calls `check` before each, so that a failed
    upload stops sending; not after the last one, when the service may already have it all. One
    large `bytes` would cost a copy, one `bytearray` would be a single send that must finish
    within the time-out (docs/design.org).

    `sending` is False while the body is only read for its signature: that may happen in C code
    (awscrt), through which no exception propagates. With a `limit` it is sent piece by piece,
    each when it is due.
    """

    def __init__(self, data: memoryview, check: Callable[[], None]) -> None:
        self._data = data
        self.check = check
        self.limit: RateLimit | None = None
        self.sending = True
        self._position = 0

    def __len__(self) -> int:
        return len(self._data)

    def read(self, size: int | None = -1) -> memoryview:
        """The next `size` bytes, fewer where a limit makes it so, or the rest."""
        start = self._position
        size = -1 if size is None else size
        sending = self.sending and start < len(self._data)
        if sending:
            self.check()
            if self.limit is not None and size > 0:
                size = self.limit.cut(size)
        piece = self._data[start : len(self._data) if size < 0 else start + size]
        if sending and self.limit is not None:
            self.limit.wait(len(piece), self.check)
        self._position += len(piece)
        return piece

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move as a file does; botocore rewinds for its own signing and redirects."""
        base = (0, self._position, len(self._data))[whence]
        self._position = max(0, base + offset)
        return self._position

    def tell(self) -> int:
        """The current position."""
        return self._position


class Landing:
    """The memory that an answer's body is read into, in as many tries as it takes.

    `check` is called before each read, so that a stopped download stops receiving. With a `limit`
    each read waits until it is due.
    """

    def __init__(self, room: memoryview, check: Callable[[], None]) -> None:
        self._room = room
        self.check = check
        self.limit: RateLimit | None = None
        self.filled_bytes = 0

    @property
    def size_bytes(self) -> int:
        """How many bytes are wanted."""
        return len(self._room)

    @property
    def is_full(self) -> bool:
        """Whether all has arrived."""
        return self.filled_bytes == len(self._room)

    @property
    def data(self) -> memoryview:
        """What has arrived."""
        return self._room[: self.filled_bytes]

    def fill(self, readinto: Callable[[memoryview], int]) -> None:
        """Read until the room is full, or nothing more comes."""
        while not self.is_full:
            self.check()
            wanted = min(_READ_BYTES, self.size_bytes - self.filled_bytes)
            if self.limit is not None:
                wanted = self.limit.cut(wanted)
                self.limit.wait(wanted, self.check)
            count = readinto(self._room[self.filled_bytes : self.filled_bytes + wanted])
            if not count:
                return
            self.filled_bytes += count

    def clear(self) -> None:
        """Forget what has arrived: it was damaged."""
        self.filled_bytes = 0


class ObjectStream:
    """The body of an answer that is a whole object, read once and in order.

    `mapped_errors` makes errors of our own of what leaves botocore.
    """

    def __init__(
        self,
        what: str,
        body: Any,
        mapped_errors: Callable[[str], AbstractContextManager[None]],
        limit: RateLimit,
    ) -> None:
        self._what = what
        self._body = body
        self._mapped_errors = mapped_errors
        self._limit = limit
        self.position_bytes = 0

    def fill(self, offset_bytes: int, landing: Landing) -> None:
        """Fill `landing` with what it lacks of the bytes from `offset_bytes` on.

        What stands before them is thrown away; `position_bytes` must not be beyond them. Raises
        TransientError where the stream ends before.
        """
        landing.limit = self._limit
        with self._mapped_errors(self._what):
            self._skip(offset_bytes + landing.filled_bytes - self.position_bytes, landing.check)
            landing.fill(self._readinto)
        if not landing.is_full:
            raise TransientError(f"cannot {self._what}: the answer was cut short")

    def _skip(self, size_bytes: int, check: Callable[[], None]) -> None:
        room = memoryview(bytearray(min(size_bytes, _READ_BYTES)))
        left_bytes = size_bytes
        while left_bytes:
            waste = Landing(room[:left_bytes], check)
            waste.limit = self._limit
            waste.fill(self._readinto)
            if not waste.is_full:
                return
            left_bytes -= waste.size_bytes

    def close(self) -> None:
        """Give the connection back, or end it."""
        self._body.close()

    def _readinto(self, room: memoryview) -> int:
        count: int = self._body.readinto(room)
        self.position_bytes += count
        return count
