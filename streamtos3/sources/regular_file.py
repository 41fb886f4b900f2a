"""A file source that detects changes made while it is read.

Size, modification time and identity are compared before the first byte and after the last. A
change that alters none of them cannot be seen.
"""

from __future__ import annotations

import os
import stat

from ..errors import SourceError, os_reason
from ..runtime.cancel import CancelScope
from .base import FdSource

__all__ = ["WatchedFile"]


class WatchedFile(FdSource):
    """The open file at `path`. SourceError if it cannot be opened or is not a regular file.

    `status` is its status when it was opened; `changed` is known after `finish`.
    """

    _can_block = False  # as regular files never do

    def __init__(self, path: str, *, follow_links: bool) -> None:
        fd = _open(path, follow_links)
        super().__init__(fd, path)
        self.status = os.fstat(fd)
        self.changed = False
        self._path = path
        self._fd_watched = fd
        self._follow_links = follow_links

    def finish(self, scope: CancelScope) -> None:
        """Compare the file with what it was, and set `changed`. Raises nothing."""
        now = os.fstat(self._fd_watched)
        try:
            there = os.stat(self._path, follow_symlinks=self._follow_links)
        except OSError:  # removed or renamed
            self.changed = True
            return
        self.changed = not (_identity(self.status) == _identity(now) == _identity(there))


def _identity(status: os.stat_result) -> tuple[int, int, int, int]:
    return status.st_size, status.st_mtime_ns, status.st_ino, status.st_dev


def _open(path: str, follow_links: bool) -> int:
    # Non-blocking, because a file may have been replaced with a named pipe.
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        fd = os.open(path, flags if follow_links else flags | os.O_NOFOLLOW)
    except (OSError, ValueError) as error:
        reason = os_reason(error)
        raise SourceError(f"cannot read {path}: {reason}") from error
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise SourceError(f"cannot read {path}: it is not a regular file")
    return fd
