"""A request body over a part's memory, as botocore and urllib3 read it (pure)."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["PartBody"]


class PartBody:
    """A request body over a part's memory, without a copy.

    `read` returns slices of the memory itself and calls `check` before each, so that a stopped
    upload stops sending; never after the last one, when the request may count already. One large
    `bytes` would cost a copy, one `bytearray` would be a single send that must finish within the
    time-out (docs/design.org).

    `sending` is False while the body is only read for its signature: that may happen in C code
    (awscrt), from which no exception finds its way out.
    """

    def __init__(self, data: memoryview, check: Callable[[], None]) -> None:
        self._data = data
        self._check = check
        self.sending = True
        self._position = 0

    def __len__(self) -> int:
        return len(self._data)

    def read(self, size: int | None = -1) -> memoryview:
        """The next `size` bytes, or the rest."""
        start = self._position
        if self.sending and start < len(self._data):
            self._check()
        end = len(self._data) if size is None or size < 0 else start + size
        piece = self._data[start:end]
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
