"""Files: one that appears under its name complete or not at all, and one that must be private.

A `NewFile` is written under a temporary name in the same directory, then synced and renamed. A
process that dies in between leaves at most the temporary file, whose name begins with
`.streamtos3-`. Its errors are `OSError`s, which the caller translates.
"""

from __future__ import annotations

import contextlib
import os
import stat
from types import TracebackType

from ..errors import CredentialsError, os_reason

__all__ = ["NewFile", "read_private_file"]

_LARGEST_BYTES = 64 * 1024


class NewFile:
    """`with NewFile(path) as file: write to file.fd, then file.publish(path, ...)`.

    What was not published by the end of the block is removed. Until then it is at
    `temporary_path`.
    """

    def __init__(self, path: str) -> None:
        import tempfile  # loads much, and most runs write no file

        self._directory = os.path.dirname(path) or "."
        self.fd, self.temporary_path = tempfile.mkstemp(prefix=".streamtos3-", dir=self._directory)

    def __enter__(self) -> NewFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        os.close(self.fd)
        if self.temporary_path:
            with contextlib.suppress(OSError):  # the first error is the one that matters
                os.unlink(self.temporary_path)

    def publish(self, path: str, *, replace: bool) -> None:
        """Give the file its name, durably. FileExistsError if it is taken, unless `replace`.

        `path` must be in the directory of the path that the constructor was given.
        """
        os.fchmod(self.fd, _file_mode())
        os.fsync(self.fd)
        if replace:
            os.rename(self.temporary_path, path)
        else:
            _rename_without_replacing(self.temporary_path, path)
        self.temporary_path = ""
        _sync_directory(self._directory)


def _rename_without_replacing(temporary: str, path: str) -> None:
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links: check, then rename
        if os.path.lexists(path):
            raise FileExistsError(f"{path} exists") from None
        os.rename(temporary, path)
    else:
        os.unlink(temporary)


def _file_mode() -> int:
    """The mode that the user's umask gives a new file; `mkstemp` made it private."""
    umask = os.umask(0)
    os.umask(umask)
    return (stat.S_IRUSR | stat.S_IWUSR | stat.S_IRGRP | stat.S_IROTH) & ~umask


def _sync_directory(directory: str) -> None:
    fd = os.open(directory, os.O_RDONLY)
    try:
        # Some network file systems cannot sync a directory; the file itself is synced.
        with contextlib.suppress(OSError):
            os.fsync(fd)
    finally:
        os.close(fd)


def read_private_file(path: str, what: str, form: str, *, allow_insecure: bool = False) -> bytes:
    """The content of the file at `path`; errors call it `what`, and `form` is their hint.

    CredentialsError when it cannot be read, is longer than 64 KiB, or can be read by group or world
    while `allow_insecure` is not set. The mode is that of the descriptor that is read: a path
    could name another file by then.
    """
    try:
        with open(path, "rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read(_LARGEST_BYTES + 1)
    except OSError as error:
        raise CredentialsError(f"cannot read the {what} {path}: {os_reason(error)}") from error
    if mode & (stat.S_IRGRP | stat.S_IROTH) and not allow_insecure:
        raise CredentialsError(
            f"the {what} {path} can be read by others (mode {stat.S_IMODE(mode):04o})",
            hint=f"chmod 600 {path}, or --insecure-keyfile if that is meant",
        )
    if len(content) > _LARGEST_BYTES:
        raise CredentialsError(f"the {what} {path} is malformed", hint=form)
    return content
