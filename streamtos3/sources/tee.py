"""`--tee`: a source that also copies what it reads to standard output.

The reader of the copy may slow the upload down, but cannot make it fail: once nobody reads the
copy any more, copying ends, and that is reported after the object is stored.
"""

from __future__ import annotations

import os
import select
from contextlib import suppress

from ..errors import ReportError, os_reason
from ..runtime.cancel import CancelScope
from .base import Source, WrappedSource

__all__ = ["TeeSource"]


class TeeSource(WrappedSource):
    """A source whose bytes are also written to the descriptor `fd`."""

    def __init__(self, source: Source, fd: int) -> None:
        super().__init__(source)
        self._error: ReportError | None = None
        self._fd = fd

    def readinto(self, view: memoryview, scope: CancelScope) -> int:
        """Read, and write what was read to the copy."""
        count = self.wrapped.readinto(view, scope)
        if count and self._error is None:
            try:
                self._write(view[:count], scope)
            except OSError as error:
                reason = os_reason(error)
                self._error = ReportError(f"the copy on standard output is incomplete: {reason}")
        return count

    def check(self) -> None:
        """Raise ReportError if the copy is incomplete."""
        if self._error is not None:
            raise self._error

    def _write(self, data: memoryview, scope: CancelScope) -> None:
        """Write all of `data`. Cancelled if the upload fails meanwhile.

        A pipe that polls writable takes PIPE_BUF bytes without blocking, and more might block.
        """
        poll = select.poll()
        poll.register(self._fd, select.POLLOUT)
        poll.register(scope.wake_fd, select.POLLIN)
        while data:
            poll.poll()
            scope.check()
            with suppress(BlockingIOError):  # another process made it non-blocking, and it is full
                data = data[os.write(self._fd, data[: select.PIPE_BUF]) :]
