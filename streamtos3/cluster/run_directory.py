"""The directory that Dask wants for each worker process: in memory, and gone with the run."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile

__all__ = ["RunDirectory"]

_MEMORY = "/dev/shm"
_PREFIX = "streamtos3-"


class RunDirectory:
    """A new directory in memory; `path` is None where the system has no such place.

    It is locked as long as this process lives. So one that is not is what a killed program has
    left, and is removed by the next one.
    """

    def __init__(self, memory: str = _MEMORY) -> None:
        self.path: str | None = None
        if not os.access(memory, os.W_OK):
            return
        _remove_left_behind(memory)
        while self.path is None:
            path = tempfile.mkdtemp(prefix=_PREFIX, dir=memory)
            fd = _lock(path)
            if fd is not None:  # else another program took it for one that was left, just now
                self._fd, self.path = fd, path

    def close(self, timeout: float) -> None:
        """Remove it, with what Dask has left in it."""
        if self.path is not None:
            shutil.rmtree(self.path, ignore_errors=True)
            os.close(self._fd)
            self.path = None


def _remove_left_behind(memory: str) -> None:
    for entry in os.scandir(memory):
        is_ours = entry.name.startswith(_PREFIX) and entry.is_dir(follow_symlinks=False)
        if is_ours and entry.stat(follow_symlinks=False).st_uid == os.getuid():
            fd = _lock(entry.path)
            if fd is not None:
                shutil.rmtree(entry.path, ignore_errors=True)
                os.close(fd)


def _lock(path: str) -> int | None:
    """A locked descriptor of the directory; None where another process has it, or it is gone."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(fd).st_ino == os.stat(path).st_ino:
            return fd
    except OSError:
        pass
    os.close(fd)
    return None
