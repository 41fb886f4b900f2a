"""Opening a source: a path, a descriptor, standard input, a Python object."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import sys
from typing import BinaryIO

from ..errors import SourceError, UsageError, os_reason
from .base import FdSource, ObjectSource, Source

__all__ = ["as_source", "detach_standard_input", "open_file", "take_standard_input"]

_SOURCE_MEMBERS = ("name", "length_bytes", "start", "readinto", "finish", "stop", "close")
_ONLY_IN_SOURCES = ("length_bytes", "start", "finish", "stop")


def as_source(source: Source | BinaryIO | int | str | os.PathLike[str]) -> Source:
    """A Source for anything that the library accepts: descriptor, path, file object, Source.

    A descriptor is duplicated; 0 is taken over, see `take_standard_input`. UsageError for an
    object that cannot be read, SourceError if it cannot be opened.
    """
    if isinstance(source, FdSource):  # most of them: to compare with a protocol takes 100 µs
        return source
    if isinstance(source, int):
        if source == 0:
            return take_standard_input()
        name = f"descriptor {source}"
        try:
            return FdSource(os.dup(source), name)
        except OSError as error:
            raise SourceError(f"cannot read {name}: {os_reason(error)}") from error
    if isinstance(source, str | os.PathLike):
        return open_file(source)
    if isinstance(source, Source):
        return source
    _check_file_object(source)
    return ObjectSource(source, str(getattr(source, "name", type(source).__name__)))


def _check_file_object(source: object) -> None:
    """UsageError if `source` is an incomplete Source, or cannot be read at all.

    A file object has none of the members that only a source has, so any of them shows that a
    Source was meant.
    """
    kind = type(source).__name__
    if any(hasattr(source, name) for name in _ONLY_IN_SOURCES):
        missing = [name for name in _SOURCE_MEMBERS if not hasattr(source, name)]
        raise UsageError(
            f"{kind} is not a Source: it has no {', '.join(missing)}",
            hint="streamtos3.Source lists the members, docs/library.org shows an example",
        )
    if not hasattr(source, "readinto") and not hasattr(source, "read"):
        raise UsageError(
            f"{kind} cannot be read: it has neither readinto() nor read()",
            hint="give a descriptor, a path, a binary file object or a streamtos3.Source",
        )


def open_file(path: str | os.PathLike[str]) -> FdSource:
    """The file at `path`, opened. SourceError if it is missing, unreadable or a directory.

    A FIFO is opened without waiting for its writer; reading waits instead.
    """
    name = os.fspath(path)
    try:
        fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC | _without_waiting(name))
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        raise SourceError(f"cannot read {name}: {os_reason(error)}") from error
    if stat.S_ISDIR(os.fstat(fd).st_mode):
        os.close(fd)
        raise SourceError(
            f"cannot read {name}: it is a directory", hint=f"tar -c {name} | streamtos3 s3://…"
        )
    return FdSource(fd, name)


def _without_waiting(path: str) -> int:
    """The flag that opens a FIFO without waiting for its writer, 0 for anything else.

    Linux only: elsewhere a FIFO without a writer may look like one that has ended.
    """
    try:
        is_fifo = stat.S_ISFIFO(os.stat(path).st_mode)
    except (OSError, ValueError):  # `open` reports it
        return 0
    return os.O_NONBLOCK if is_fifo and sys.platform == "linux" else 0


def take_standard_input() -> FdSource:
    """Take over standard input, see `detach_standard_input`. SourceError if it is closed."""
    fd = detach_standard_input()
    if fd is None:
        raise SourceError("cannot read standard input: it is closed")
    if stat.S_ISDIR(os.fstat(fd).st_mode):
        os.close(fd)
        raise SourceError("cannot read standard input: it is a directory")
    return FdSource(fd, "standard input")


def detach_standard_input() -> int | None:
    """A duplicate of descriptor 0, which then becomes the null device.

    None if standard input is closed, or open for writing only. Must come before the first
    boto3 session. A `credential_process` and botocore's MFA prompt inherit descriptor 0 and were
    measured to swallow thousands of bytes of the stream (docs/design.org, invariant 12).
    """
    try:
        can_be_read = fcntl.fcntl(0, fcntl.F_GETFL) & os.O_ACCMODE != os.O_WRONLY
    except OSError as error:
        if error.errno != errno.EBADF:
            raise
        can_be_read = False
    # At least 3, because a closed standard descriptor has left its number free.
    fd = fcntl.fcntl(0, fcntl.F_DUPFD_CLOEXEC, 3) if can_be_read else None
    null = os.open(os.devnull, os.O_RDONLY)
    if null != 0:
        os.dup2(null, 0)
        os.close(null)
    return fd
