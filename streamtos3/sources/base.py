"""Where the bytes come from: a descriptor, a file, or a Python object that can be read.

Every error here is a SourceError, so that it is never mistaken for an error of the service. A
read waits for the producer and for the upload's scope at the same time: a failed upload ends
the program even while the producer is silent.
"""

from __future__ import annotations

import fcntl
import os
import select
import stat
from typing import BinaryIO, Protocol, runtime_checkable

from ..errors import SourceError, os_reason
from ..runtime.cancel import CancelScope

__all__ = [
    "FdSource",
    "ObjectSource",
    "Source",
    "WrappedSource",
    "enlarge_pipe",
]

_F_SETPIPE_SZ = 1031  # Linux; `fcntl` names it only from Python 3.10 on some builds
_PIPE_BYTES = 1 << 20


@runtime_checkable
class Source(Protocol):
    """What an upload reads from; docs/library.org shows how to write one.

    `name` is what messages call it; `length_bytes` is how much it will yield, None if that is
    not known. One thread calls `start`, `readinto` until it returns 0, `finish` and `close`, and
    `stop` before `close` if the upload fails. The first three raise SourceError if the input fails.
    """

    name: str
    length_bytes: int | None

    def start(self) -> None:
        """Get ready to be read. Called once, after the destination was checked."""

    def readinto(self, view: memoryview, scope: CancelScope) -> int:
        """Read up to `len(view)` bytes into `view`, and return how many; 0 only at the end.

        Raises Cancelled when the upload fails meanwhile; where a read may block, wait for
        `scope.wake_fd` as well.
        """

    def finish(self, scope: CancelScope) -> None:
        """Called after the end of the input. Raises SourceError if it was not a true end."""

    def stop(self) -> None:
        """Begin ending the input, because the upload has failed. Never waits."""

    def close(self) -> None:
        """Release the input, whatever happened. May wait for what `stop` began."""


class WrappedSource:
    """A source that passes every call on to `wrapped`; a subclass changes what it needs to."""

    def __init__(self, wrapped: Source) -> None:
        self.name = wrapped.name
        self.length_bytes = wrapped.length_bytes
        self.wrapped = wrapped

    def start(self) -> None:
        """Start the wrapped source."""
        self.wrapped.start()

    def readinto(self, view: memoryview, scope: CancelScope) -> int:
        """Read from the wrapped source."""
        return self.wrapped.readinto(view, scope)

    def finish(self, scope: CancelScope) -> None:
        """Finish the wrapped source."""
        self.wrapped.finish(scope)

    def stop(self) -> None:
        """Stop the wrapped source."""
        self.wrapped.stop()

    def close(self) -> None:
        """Close the wrapped source."""
        self.wrapped.close()


class FdSource:
    """A file descriptor: pipe, file, device, socket or terminal. Owns and closes it."""

    _can_block = True

    def __init__(self, fd: int, name: str) -> None:
        self.name = name
        self.length_bytes = _length_bytes(fd)
        self._fd = fd
        self._offset = 0
        self._poll = select.poll()
        self._waits_on: int | None = None

    def start(self) -> None:
        """Enlarge a pipe, see `enlarge_pipe`."""
        if self._can_block:
            enlarge_pipe(self._fd)

    def readinto(self, view: memoryview, scope: CancelScope) -> int:
        """Read what is there, up to `len(view)` bytes; waits for input or for the scope."""
        if self._can_block:
            self._watch(scope)
        while True:
            try:
                if self._can_block:
                    self._poll.poll()
                scope.check()
                count = os.readv(self._fd, [view])
            except BlockingIOError:  # another process left the descriptor non-blocking
                continue
            except OSError as error:
                raise SourceError(
                    f"cannot read {self.name} at byte {self._offset}: {os_reason(error)}",
                    hint="nothing was stored: an object with a hole in it would look complete",
                ) from error
            self._offset += count
            return count

    def finish(self, scope: CancelScope) -> None:
        """Nothing to check beyond the end of file."""

    def stop(self) -> None:
        """Close the descriptor, so that the producer notices."""
        self.close()

    def close(self) -> None:
        """Close the descriptor."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _watch(self, scope: CancelScope) -> None:
        if self._waits_on is None:
            self._waits_on = scope.wake_fd
            self._poll.register(self._fd, select.POLLIN)
            self._poll.register(scope.wake_fd, select.POLLIN)


class ObjectSource:
    """A binary file object, read by its own `readinto` or `read`; closed by the caller.

    A blocking read cannot be woken when the upload fails; pass a descriptor where that matters.
    """

    def __init__(self, reader: BinaryIO, name: str) -> None:
        self.name = name
        self.length_bytes: int | None = None
        self._reader = reader
        self._offset = 0

    def start(self) -> None:
        """Nothing to prepare."""

    def readinto(self, view: memoryview, scope: CancelScope) -> int:
        """Read from the object. SourceError if it raises, or is non-blocking and has no data."""
        scope.check()
        try:
            count = self._read_into(view)
        except Exception as error:  # gzip, HTTP and others raise errors of their own
            raise SourceError(
                f"cannot read {self.name} at byte {self._offset}: {os_reason(error)}"
            ) from error
        self._offset += count
        return count

    def _read_into(self, view: memoryview) -> int:
        if hasattr(self._reader, "readinto"):
            count: int | None = self._reader.readinto(view)
        else:
            data = self._reader.read(len(view))
            count = None if data is None else len(data)
            view[: count or 0] = data or b""
        if count is None:  # must not be mistaken for the end of the input
            raise BlockingIOError("it is non-blocking and has no data now")
        return count

    def finish(self, scope: CancelScope) -> None:
        """Nothing to check beyond the end of the object."""

    def stop(self) -> None:
        """Nothing to stop: the caller closes the object."""

    def close(self) -> None:
        """Nothing to close: the caller closes the object."""


def enlarge_pipe(fd: int) -> None:
    """Enlarge a pipe from 64 KiB to 1 MiB, which saves most of the context switches."""
    try:
        if stat.S_ISFIFO(os.fstat(fd).st_mode):
            fcntl.fcntl(fd, _F_SETPIPE_SZ, _PIPE_BYTES)
    except OSError:  # not Linux, or the user's pipe memory is used up: slower, not wrong
        return


def _length_bytes(fd: int) -> int | None:
    """Bytes from the current position to the end, where that can be known before reading."""
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode) and not stat.S_ISBLK(status.st_mode):
        return None
    position = os.lseek(fd, 0, os.SEEK_CUR)
    if stat.S_ISREG(status.st_mode):
        # Files of /proc and the like say 0 and hold more.
        return max(0, status.st_size - position) or None
    end = os.lseek(fd, 0, os.SEEK_END)
    os.lseek(fd, position, os.SEEK_SET)
    return end - position
