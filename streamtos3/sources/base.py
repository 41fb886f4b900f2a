"""Where the bytes come from: a descriptor, a file, or a Python object that can be read.

Every error here is a SourceError, so that it can never be taken for an error of the store. A
read waits for the producer and for the upload's scope at the same time: a failed upload ends
the program even while the producer is silent.
"""

from __future__ import annotations

import fcntl
import os
import select
import stat
from typing import BinaryIO, Protocol, runtime_checkable

from ..errors import SourceError
from ..results import CommandReport
from ..runtime.cancel import CancelScope
from ..runtime.files import os_reason

__all__ = [
    "FdSource",
    "ObjectSource",
    "Reporting",
    "Source",
    "enlarge_pipe",
]

_F_SETPIPE_SZ = 1031  # Linux; `fcntl` names it only from Python 3.10 on some builds
_PIPE_BYTES = 1 << 20


@runtime_checkable
class Source(Protocol):
    """What the engine reads from.

    `length_bytes` is None where it is unknown. `waits_for_check`: reading must not begin, and
    no producer be started, before the destination was checked.
    """

    name: str
    length_bytes: int | None
    waits_for_check: bool

    def start(self) -> None:
        """Get ready to be read; called once."""

    def readinto(self, view: memoryview, scope: CancelScope) -> int:
        """Read up to `len(view)` bytes; 0 at the end of the input, and only there.

        Raises SourceError, and Cancelled when the upload fails meanwhile.
        """

    def finish(self, scope: CancelScope) -> None:
        """Called after the end of input: SourceError if it was not a true end."""

    def close(self) -> None:
        """Let go of the input, whatever happened.

        The first call never waits, because an upload that failed is to be aborted at once; a
        second one may wait for what the first began, such as the end of a producer.
        """


@runtime_checkable
class Reporting(Protocol):
    """A source that may have something to say for the receipt, because it ran a command."""

    def command_report(self) -> CommandReport | None:
        """What became of the command, None without one; asked for after `finish`."""


class FdSource:
    """A file descriptor: pipe, file, device, socket or terminal. Owns and closes it."""

    waits_for_check = False

    def __init__(self, fd: int, name: str) -> None:
        self.name = name
        self.length_bytes = _length_bytes(fd)
        self._fd = fd
        self._offset = 0
        self._poll = select.poll()
        self._waits_on: int | None = None

    def start(self) -> None:
        """See Source."""
        enlarge_pipe(self._fd)

    def readinto(self, view: memoryview, scope: CancelScope) -> int:
        """See Source."""
        self._watch(scope)
        while True:
            try:
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
        """A descriptor's end of file is all that there is to know."""

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
    """A binary file object, read by its own `readinto` or `read`; closed by whoever opened it.

    A blocking read cannot be woken when the upload fails; pass a descriptor where that matters.
    """

    waits_for_check = False

    def __init__(self, reader: BinaryIO, name: str) -> None:
        self.name = name
        self.length_bytes: int | None = None
        self._reader = reader
        self._offset = 0

    def start(self) -> None:
        """Nothing to prepare."""

    def readinto(self, view: memoryview, scope: CancelScope) -> int:
        """See Source."""
        scope.check()
        try:
            count = self._read_into(view)
        except Exception as error:  # gzip, HTTP and the like raise what they please
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
        if count is None:  # never to be taken for the end of the input
            raise BlockingIOError("it is non-blocking and has no data now")
        return count

    def finish(self, scope: CancelScope) -> None:
        """The object's end of file is all that there is to know."""

    def close(self) -> None:
        """Left to the owner."""


def enlarge_pipe(fd: int) -> None:
    """Enlarge a pipe from 64 KiB to 1 MiB, which saves most of the context switches."""
    try:
        if stat.S_ISFIFO(os.fstat(fd).st_mode):
            fcntl.fcntl(fd, _F_SETPIPE_SZ, _PIPE_BYTES)
    except OSError:  # not Linux, or the user's pipe memory is used up: slower, not wrong
        return


def _length_bytes(fd: int) -> int | None:
    """Bytes from the current position to the end, where that can be known before reading."""
    mode = os.fstat(fd).st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISBLK(mode):
        return None
    position = os.lseek(fd, 0, os.SEEK_CUR)
    if stat.S_ISREG(mode):
        # Files of /proc and the like say 0 and hold more.
        return max(0, os.fstat(fd).st_size - position) or None
    end = os.lseek(fd, 0, os.SEEK_END)
    os.lseek(fd, position, os.SEEK_SET)
    return end - position
