"""A regular file that tells afterwards whether it stayed what it was while it was read.

Compared are size, modification time and identity, before the first byte and after the last one. A
change that alters none of them cannot be seen.
"""

from __future__ import annotations

import os
import stat

from ..errors import SourceError
from ..runtime.cancel import CancelScope
from ..runtime.files import os_reason
from .base import FdSource

__all__ = ["WatchedFile"]


class WatchedFile(FdSource):
    """The file at `path`, opened. SourceError if it cannot be, or is not a regular file.

    `status` is what it was when it was opened; `changed` is known after `finish`.
    """

    def __init__(self, path: str, *, follow_links: bool) -> None:
        fd = _opened(path, follow_links)
        super().__init__(fd, path)
        self.status = os.fstat(fd)
        self.changed = False
        self._path = path
        self._fd_watched = fd
        self._follow_links = follow_links

    def finish(self, scope: CancelScope) -> None:
        """See Source; looks whether the file has changed."""
        now = os.fstat(self._fd_watched)
        try:
            there = os.stat(self._path, follow_symlinks=self._follow_links)
        except OSError:  # removed or renamed: the name means something else now
            self.changed = True
            return
        self.changed = not (_seen(self.status) == _seen(now) == _seen(there))


def _seen(status: os.stat_result) -> tuple[int, int, int, int]:
    return status.st_size, status.st_mtime_ns, status.st_ino, status.st_dev


def _opened(path: str, follow_links: bool) -> int:
    # Non-blocking, because what was a file a moment ago may be a named pipe by now.
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
