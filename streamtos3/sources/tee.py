"""`--tee`: what is read goes on to standard output as well.

Whoever reads the copy may hold the stream back, but never decides what becomes of the upload:
when nobody reads any more the copying ends, and is reported once the object is stored.
"""

from __future__ import annotations

import os
import select
from contextlib import suppress

from ..errors import ReportError
from ..runtime.cancel import CancelScope
from ..runtime.files import os_reason
from .base import Source, WrappedSource

__all__ = ["TeeSource"]


class TeeSource(WrappedSource):
    """A source whose bytes are also written to the descriptor `fd`."""

    def __init__(self, source: Source, fd: int) -> None:
        super().__init__(source)
        self._failed: ReportError | None = None
        self._fd = fd

    def readinto(self, view: memoryview, scope: CancelScope) -> int:
        """Read, and write what was read to the copy."""
        count = self.wrapped.readinto(view, scope)
        if count and self._failed is None:
            try:
                self._write(view[:count], scope)
            except OSError as error:
                reason = os_reason(error)
                self._failed = ReportError(f"the copy on standard output is incomplete: {reason}")
        return count

    def check(self) -> None:
        """ReportError where the copy is incomplete."""
        if self._failed is not None:
            raise self._failed

    def _write(self, data: memoryview, scope: CancelScope) -> None:
        """Write all of `data`, woken when the upload fails.

        A pipe that polls writable takes PIPE_BUF bytes without blocking, and more might block.
        """
        poll = select.poll()
        poll.register(self._fd, select.POLLOUT)
        poll.register(scope.wake_fd, select.POLLIN)
        while data:
            poll.poll()
            scope.check()
            with suppress(BlockingIOError):  # somebody else made it so, and it is full again
                data = data[os.write(self._fd, data[: select.PIPE_BUF]) :]
