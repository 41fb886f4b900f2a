"""Where a download is written to: a descriptor, a Python object, or nowhere.

Every error here is an OutputError, so that it cannot be taken for an error of the store. A write
into a pipe may block for ever; `ranges` runs it in a thread that is never joined.
"""

from __future__ import annotations

import os
import select
from typing import BinaryIO, Protocol, runtime_checkable

from ..errors import OutputClosedError, OutputError, os_reason
from ..runtime.cancel import CancelScope
from ..sources.base import enlarge_pipe

__all__ = ["FdWriter", "NullWriter", "ObjectWriter", "Writer", "as_writer"]

_WRITE_BYTES = 1 << 20  # between two looks at the scope


@runtime_checkable
class Writer(Protocol):
    """What `download` writes to, in order."""

    def deliver(self, data: memoryview, scope: CancelScope) -> None:
        """Write all of `data`. Raises OutputError, and Cancelled once the download has failed."""

    def close(self) -> None:
        """Release the output; a second call does nothing."""


class FdWriter:
    """Writes to a file descriptor, which it owns and closes."""

    def __init__(self, fd: int, name: str) -> None:
        self._fd = fd
        self._name = name
        self._offset = 0
        enlarge_pipe(fd)

    def deliver(self, data: memoryview, scope: CancelScope) -> None:
        """Write all of `data`, waiting where the descriptor does not block."""
        while data:
            scope.check()
            data = data[self._write_some(data[:_WRITE_BYTES], scope) :]

    def _write_some(self, data: memoryview, scope: CancelScope) -> int:
        try:
            count = os.write(self._fd, data)
        except BlockingIOError:  # another process left the descriptor non-blocking
            self._wait(scope)
            return 0
        except BrokenPipeError as error:
            raise OutputClosedError(f"{self._name} was closed by its reader") from error
        except OSError as error:
            reason = os_reason(error)
            raise OutputError(
                f"cannot write {self._name} at byte {self._offset}: {reason}"
            ) from error
        self._offset += count
        return count

    def _wait(self, scope: CancelScope) -> None:
        poll = select.poll()
        poll.register(self._fd, select.POLLOUT)
        poll.register(scope.wake_fd, select.POLLIN)
        poll.poll()

    def close(self) -> None:
        """Close the descriptor."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class ObjectWriter:
    """Writes to a binary file object, which stays open: the caller has opened it."""

    def __init__(self, stream: BinaryIO, name: str) -> None:
        self._stream = stream
        self._name = name

    def deliver(self, data: memoryview, scope: CancelScope) -> None:
        """Write all of `data`; an unbuffered object may take less than it is given."""
        while data:
            scope.check()
            try:
                count = self._stream.write(data)
            except BrokenPipeError as error:
                raise OutputClosedError(f"{self._name} was closed by its reader") from error
            except (OSError, ValueError) as error:
                raise OutputError(f"cannot write {self._name}: {error}") from error
            data = data[count:]

    def close(self) -> None:
        """Do nothing; the owner closes the object."""


class NullWriter:
    """Discards everything, for a caller who wants the proof and not the bytes."""

    def deliver(self, data: memoryview, scope: CancelScope) -> None:
        """Discard `data`."""

    def close(self) -> None:
        """Do nothing; there is nothing to close."""


def as_writer(writer: Writer | BinaryIO | int) -> Writer:
    """A Writer for what the library accepts: a descriptor (duplicated), a binary file, a Writer."""
    if isinstance(writer, int):
        name = "standard output" if writer == 1 else f"descriptor {writer}"
        return FdWriter(os.dup(writer), name)
    if isinstance(writer, Writer):
        return writer
    return ObjectWriter(writer, str(getattr(writer, "name", type(writer).__name__)))
