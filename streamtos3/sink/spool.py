"""The spool: records on the local disk, synced, until the object they belong to is stored.

One file for each object. Its first line says which object that will be, fixed when the file is
begun; so after a crash "is it stored already?" has an answer. Then frames, one for each group
of records that was synced together. A group whose write a crash cut off was never acknowledged:
it is set aside. Anything else that is not as it was written is an error, before anything is
changed, for records would be lost in silence.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import re
import secrets
import stat
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from itertools import chain, count

from ..errors import SourceError, SpoolError, SpoolFullError, UsageError, os_reason
from ..runtime.cancel import CancelScope
from .spool_format import HEAD_BYTES, Frame, Scan, head_of, scan
from .spool_header import LONGEST_HEADER_BYTES, ObjectHeader, header_of

__all__ = ["ObjectHeader", "Spool", "SpoolFile", "SpoolMark", "SpoolSource"]

_ENDING = ".spool"
_UNBORN = re.compile(r"\d{8}T\d{6}\.\d{6}-[0-9a-f]{16}\.new")
_USUAL_HEADER_BYTES = 512
# What is in the directory may be anything: no link is followed, and no FIFO waited for.
_SAFELY = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


@dataclass(frozen=True)
class SpoolMark:
    """How far a file was written at some moment, for `SpoolFile.take_back`."""

    file_bytes: int
    records: int
    payload_bytes: int


class SpoolFile:
    """The records of one object. Written by one thread at a time.

    `first_frame` is where the frames begin, `file_bytes` where they end. `identity` is that of
    the file, by which another one of the same name is told from it. `keeps_torn_end`: behind its
    frames is an unfinished write, which there was no room to keep anywhere else.
    """

    def __init__(
        self,
        path: str,
        fd: int,
        header: ObjectHeader,
        header_bytes: int,
        identity: tuple[int, int],
    ) -> None:
        self.path = path
        self.header = header
        self.first_frame = header_bytes
        self.file_bytes = header_bytes
        self.records = 0
        self.payload_bytes = 0
        self.identity = identity
        self.keeps_torn_end = False
        self._fd = fd

    @property
    def begun_at(self) -> datetime:
        """When its first record came."""
        return datetime.fromisoformat(self.header.begun_at)

    @property
    def mark(self) -> SpoolMark:
        """How far it is written now."""
        return SpoolMark(self.file_bytes, self.records, self.payload_bytes)

    def append(self, data: bytes, records: int) -> None:
        """Write one frame and sync it; SpoolError, or SpoolFullError where the disk is full.

        After a SpoolFullError the file is as it was before.
        """
        frame = Frame(self.file_bytes, len(data), records, zlib.crc32(data))
        try:
            _write_all(self._fd, frame.head + data)
            os.fdatasync(self._fd)
        except OSError as error:
            raise self._as_before(error) from error
        self.file_bytes = frame.end
        self.records += records
        self.payload_bytes += len(data)

    def take_back(self, mark: SpoolMark) -> None:
        """Cut off, durably, what was appended since `mark`. SpoolError where that fails."""
        self.file_bytes, self.records = mark.file_bytes, mark.records
        self.payload_bytes = mark.payload_bytes
        try:
            self._cut()
            os.fsync(self._fd)
        except OSError as error:
            raise SpoolError(f"cannot cut the spool {self.path}: {os_reason(error)}") from error

    def adopt(self, found: Scan) -> None:
        """Take the whole frames that are in the file for its own."""
        self.file_bytes, self.records = found.end, found.records
        self.payload_bytes = found.payload_bytes

    def end(self) -> None:
        """Close the file for writing: its object gets no more records."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _as_before(self, error: OSError) -> SpoolError:
        """Cut off a partly written frame; returns the error to raise.

        If that fails it is never a SpoolFullError: nothing may be written after half a frame.
        """
        what = f"cannot write to the spool {self.path}"
        try:
            self._cut()
        except OSError:
            return SpoolError(f"{what}: {os_reason(error)}")
        return _failed(what, error)

    def _cut(self) -> None:
        os.ftruncate(self._fd, self.file_bytes)
        os.lseek(self._fd, 0, os.SEEK_END)


class SpoolSource:
    """The records of a file that has ended, without the frames; see `sources.base.Source`."""

    def __init__(self, file: SpoolFile) -> None:
        self.name = file.path
        self.length_bytes: int | None = file.payload_bytes
        self._next_offset = file.first_frame
        self._end = file.file_bytes
        self._frame: Frame | None = None
        self._remaining_bytes = 0
        self._crc = 0
        self._fd = -1

    def start(self) -> None:
        """See Source."""
        try:
            self._fd = os.open(self.name, os.O_RDONLY | _SAFELY)
        except OSError as error:
            raise _unreadable(self.name, error) from error

    def readinto(self, view: memoryview, scope: CancelScope) -> int:
        """See Source. SourceError where a frame is not what was written."""
        scope.check()
        if not self._remaining_bytes and not self._next_frame():
            return 0
        frame = self._frame
        assert frame is not None
        offset = frame.end - self._remaining_bytes
        try:
            read_bytes = os.preadv(self._fd, [view[: self._remaining_bytes]], offset)
        except OSError as error:
            raise _unreadable(self.name, error) from error
        self._crc = zlib.crc32(view[:read_bytes], self._crc)
        self._remaining_bytes -= read_bytes
        if not read_bytes or (not self._remaining_bytes and self._crc != frame.crc):
            raise SourceError(f"{self.name} is damaged at byte {frame.offset}")
        return read_bytes

    def _next_frame(self) -> bool:
        """Advance to the next frame that has bytes; False if there is none."""
        while self._next_offset < self._end:
            offset = self._next_offset
            try:
                frame = head_of(os.pread(self._fd, HEAD_BYTES, offset), offset)
            except OSError as error:
                raise _unreadable(self.name, error) from error
            if frame is None or frame.end > self._end:
                raise SourceError(f"{self.name} is damaged at byte {offset}")
            self._frame, self._crc = frame, 0
            self._next_offset, self._remaining_bytes = frame.end, frame.payload_bytes
            if frame.payload_bytes:
                return True
        return False

    def finish(self, scope: CancelScope) -> None:
        """Nothing to check: the frames say where the end is."""

    def stop(self) -> None:
        """Close the file, which stays."""
        self.close()

    def close(self) -> None:
        """Close the file, which stays."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class Spool:
    """A directory of spool files, for one process at a time, holding at most `limit_bytes`.

    UsageError where the directory cannot be used, or another process uses it.
    """

    def __init__(self, directory: str, limit_bytes: int) -> None:
        self.directory = directory
        self._limit_bytes = limit_bytes
        self._held: dict[str, SpoolFile] = {}
        self._ended_bytes = 0
        self._header_bytes = _USUAL_HEADER_BYTES
        self._guard = threading.Lock()
        try:
            os.makedirs(directory, mode=0o700, exist_ok=True)
            _sync_directory(os.path.dirname(os.path.abspath(directory)))
            self._directory_fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            self._lock_fd = os.open(
                "lock", os.O_RDWR | os.O_CREAT | _SAFELY, 0o600, dir_fd=self._directory_fd
            )
        except OSError as error:
            raise UsageError(f"cannot use the spool {directory}: {os_reason(error)}") from error
        try:
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self.close()
            raise UsageError(
                f"the spool {directory} is used by another process",
                hint="each sink needs a spool of its own",
            ) from error

    @property
    def size_bytes(self) -> int:
        """The size of all files, in bytes."""
        with self._guard:
            return self._ended_bytes + sum(file.file_bytes for file in self._held.values())

    def room_bytes(self, objects: int = 1) -> int:
        """How many bytes of records may be added, if `objects` files are begun for them."""
        return self._limit_bytes - self.size_bytes - objects * (self._header_bytes + HEAD_BYTES)

    def has_disk_for(self, size_bytes: int) -> bool:
        """Whether the disk takes so many bytes now: tried, and given back."""
        path = self._new_path(datetime.now(timezone.utc))
        try:
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _SAFELY, 0o600)
            try:
                os.posix_fallocate(fd, 0, max(1, size_bytes))
            finally:
                os.close(fd)
                os.unlink(path)
        except OSError:
            return False
        return True

    def could_hold(self, size_bytes: int, objects: int) -> bool:
        """Whether so many bytes of records, in so many objects, fit when nothing else is there.

        Neither in the spool, nor on its disk.
        """
        overhead_bytes = objects * (self._header_bytes + HEAD_BYTES)
        return size_bytes + overhead_bytes <= min(self._limit_bytes, self._disk_bytes())

    def recover(self, on_torn: Callable[[str], None] = lambda _: None) -> list[SpoolFile]:
        """The files of an earlier process, oldest first.

        SpoolError, with nothing changed, where a single one is damaged or is no spool file. The
        unfinished end of a file is cut off and kept as NAME.torn, of which `on_torn` is told in
        a line; files without a record are removed.
        """
        with _reading(self.directory):
            names = sorted(os.listdir(self.directory))
        spooled = [os.path.join(self.directory, name) for name in names if name.endswith(_ENDING)]
        found = [_inspect(path) for path in spooled]
        for name in filter(_UNBORN.fullmatch, names):
            self._remove_unborn(os.path.join(self.directory, name))
        for file, torn_bytes in found:
            if torn_bytes:
                on_torn(self._set_aside(file, torn_bytes))
        for file, _ in found:
            self.end(self._hold(file))
            if not file.records:
                self.remove(file)
        return [file for file, _ in found if file.records]

    def create(self, header: ObjectHeader) -> SpoolFile:
        """A new file, on the disk with its header. SpoolError, SpoolFullError."""
        unborn = self._new_path(datetime.fromisoformat(header.begun_at))
        path = unborn.removesuffix(".new") + _ENDING
        line = header.line
        try:
            fd = os.open(unborn, os.O_RDWR | os.O_CREAT | os.O_EXCL | _SAFELY, 0o600)
            try:
                _write_all(fd, line)
                os.fsync(fd)
                os.rename(unborn, path)  # under its name it has a whole header, always
                os.fsync(self._directory_fd)
            except OSError:
                os.close(fd)
                for each in (unborn, path):
                    with suppress(FileNotFoundError):
                        os.unlink(each)
                raise
        except OSError as error:
            raise _failed(f"cannot begin the spool file {path}", error) from error
        self._header_bytes = len(line)  # the next ones are about as long
        return self._hold(SpoolFile(path, fd, header, len(line), _identity(os.fstat(fd))))

    def discard(self, file: SpoolFile) -> None:
        """Remove, durably, a file none of whose records were acknowledged. SpoolError."""
        self.remove(file)
        try:
            os.fsync(self._directory_fd)
        except OSError as error:
            reason = os_reason(error)
            raise SpoolError(f"cannot sync the spool {self.directory}: {reason}") from error

    def remove(self, file: SpoolFile) -> None:
        """Its object is stored. Should the file come back after a power loss, that will show.

        SpoolError where the name now belongs to another file, which stays.
        """
        self.end(file)
        what = f"cannot remove {file.path}, whose object is stored"
        try:
            if _identity(os.lstat(file.path)) != file.identity:
                raise SpoolError(f"{what}: another file has its name")
            if file.keeps_torn_end:
                os.rename(file.path, self._free_name(file.path + ".torn"))
            else:
                os.unlink(file.path)
        except OSError as error:
            raise _failed(what, error) from error
        with self._guard:
            self._ended_bytes -= file.file_bytes

    def end(self, file: SpoolFile) -> None:
        """Close `file` for writing: its object gets no more records."""
        file.end()
        with self._guard:
            if self._held.pop(file.path, None) is not None:
                self._ended_bytes += file.file_bytes

    def close(self) -> None:
        """Release the spool, so that another process can use it."""
        for fd in (self._lock_fd, self._directory_fd):
            os.close(fd)

    def _hold(self, file: SpoolFile) -> SpoolFile:
        with self._guard:
            self._held[file.path] = file
        return file

    def _disk_bytes(self) -> int:
        """How large the file system is; the limit where that cannot be said."""
        try:
            status = os.fstatvfs(self._directory_fd)
        except OSError:
            return self._limit_bytes
        return status.f_blocks * status.f_frsize or self._limit_bytes  # some say 0

    def _new_path(self, at: datetime) -> str:
        stamp = at.strftime("%Y%m%dT%H%M%S.%f")
        return os.path.join(self.directory, f"{stamp}-{secrets.token_hex(8)}.new")

    def _remove_unborn(self, path: str) -> None:
        """What a crash left of a file before it had its name, and any record."""
        with _reading(path):
            if stat.S_ISREG(os.lstat(path).st_mode):
                os.unlink(path)

    def _set_aside(self, file: SpoolFile, torn_bytes: int) -> str:
        """Cut the unfinished end off, kept beside; what to tell of it."""
        said = f"the last {torn_bytes:,} bytes of {file.path} are a write that was cut off"
        try:
            with _opened(file.path, os.O_RDWR) as fd, _reading(file.path):
                if _identity(os.fstat(fd)) != file.identity:
                    raise SpoolError(f"the spool file {file.path} was replaced meanwhile")
                kept_as = self._keep(os.pread(fd, torn_bytes, file.file_bytes), file.path + ".torn")
                os.ftruncate(fd, file.file_bytes)
                os.fsync(fd)
        except SpoolFullError:  # to upload what is whole is what makes room
            file.keeps_torn_end = True
            kept_as = f"{file.path}.torn, with the rest of it, once its object is stored"
        return f"{said} and was never acknowledged; they are kept as {kept_as}"

    def _keep(self, data: bytes, path: str) -> str:
        """Write `data` to a new file, durably; its path, or that of one that holds the same."""
        if os.path.lexists(path) and _content(path) == data:
            return path  # a start that was killed just here has kept it
        path = self._free_name(path)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _SAFELY, 0o600)
        try:
            _write_all(fd, data)
            os.fsync(fd)
            os.fsync(self._directory_fd)
        except OSError:
            os.unlink(path)
            raise
        finally:
            os.close(fd)
        return path

    def _free_name(self, path: str) -> str:
        """`path`, with a number behind it where there is such a file already."""
        numbered = (f"{path}.{number}" for number in count(2))
        return next(name for name in chain([path], numbered) if not os.path.lexists(name))


def _inspect(path: str) -> tuple[SpoolFile, int]:
    """The file at `path`, and how many bytes of an unfinished write it ends in.

    SpoolError where it is damaged, or no spool file. Nothing is changed.
    """
    with _opened(path, os.O_RDONLY) as fd, _reading(path):
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise _not_ours(path, "it is not a regular file")
        if not status.st_size:
            raise _not_ours(path, "it is empty")
        with mmap.mmap(fd, 0, access=mmap.ACCESS_READ) as content:
            line = content[: content.find(b"\n", 0, LONGEST_HEADER_BYTES) + 1]
            try:
                header = header_of(line)
            except SpoolError as error:
                raise _not_ours(path, error.message) from error
            file = SpoolFile(path, -1, header, len(line), _identity(status))
            with memoryview(content) as view:
                found = scan(view, len(line))
    if found.is_damaged:
        raise SpoolError(
            f"the spool file {path} is damaged at byte {found.end}",
            hint="nothing in the spool was changed or uploaded; see docs/operations.org",
        )
    file.adopt(found)
    return file, found.torn_bytes


def _not_ours(path: str, reason: str) -> SpoolError:
    return SpoolError(
        f"{path} is not a spool file, or it is damaged: {reason}",
        hint="nothing in the spool was changed or uploaded; move it away if it is not one",
    )


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _content(path: str) -> bytes | None:
    """What is in a regular file; None of anything else."""
    with _opened(path, os.O_RDONLY) as fd:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return None
        with open(fd, "rb", closefd=False) as stream:
            return stream.read()


@contextmanager
def _opened(path: str, flags: int) -> Iterator[int]:
    """A descriptor of a file in the spool, which may be anything. SpoolError."""
    with _reading(path):
        fd = os.open(path, flags | _SAFELY)
    try:
        yield fd
    finally:
        os.close(fd)


@contextmanager
def _reading(path: str) -> Iterator[None]:
    """SpoolError where the system fails what is done inside to a file of an earlier process."""
    try:
        yield
    except OSError as error:
        raise _failed(f"cannot recover {path}", error) from error


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _sync_directory(path: str) -> None:
    """Make the names in a directory survive a power failure."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _failed(what: str, error: OSError) -> SpoolError:
    reason = os_reason(error)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return SpoolFullError(f"{what}: {reason}", hint="free some space, or lower --spool-limit")
    return SpoolError(f"{what}: {reason}")


def _unreadable(path: str, error: OSError) -> SourceError:
    return SourceError(f"cannot read the spool file {path}: {os_reason(error)}")
