"""The spool: records on the local disk, synced, until the object they belong to is stored.

One file for each object. Its first line names that object, fixed when the file is begun, so that
after a crash "is it stored already?" can be answered. Frames follow, one for each group of records
that was synced together. A frame that a crash left unfinished was never acknowledged and is cut
off; a frame that is damaged in any other way is an error, because records would be lost silently.
"""

from __future__ import annotations

import errno
import fcntl
import json
import mmap
import os
import secrets
import threading
import zlib
from dataclasses import asdict, dataclass
from datetime import datetime

from ..errors import SourceError, SpoolError, SpoolFullError, UsageError, os_reason
from ..runtime.cancel import CancelScope
from .spool_format import HEAD_BYTES, MAGIC, Frame, head_of, intact_frame

__all__ = ["ObjectHeader", "Spool", "SpoolFile", "SpoolSource"]

_FORMAT = 1
_ENDING = ".spool"
_USUAL_HEADER_BYTES = 512


@dataclass(frozen=True)
class ObjectHeader:
    """The object that a file's records will be. `begun_at` is ISO 8601, in UTC."""

    bucket: str
    key: str
    begun_at: str
    compress: str | None


class SpoolFile:
    """The records of one object. Written by one thread at a time.

    `first_frame` is where the frames begin, `file_bytes` where they end.
    """

    def __init__(self, path: str, fd: int, header: ObjectHeader, header_bytes: int) -> None:
        self.path = path
        self.header = header
        self.first_frame = header_bytes
        self.file_bytes = header_bytes
        self.records = 0
        self.payload_bytes = 0
        self._fd = fd

    @property
    def begun_at(self) -> datetime:
        """When its first record came."""
        return datetime.fromisoformat(self.header.begun_at)

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
        self.count(frame)

    def count(self, frame: Frame) -> None:
        """Count a frame that is in the file already."""
        self.file_bytes = frame.end
        self.records += frame.records
        self.payload_bytes += frame.payload_bytes

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
            os.ftruncate(self._fd, self.file_bytes)
            os.lseek(self._fd, 0, os.SEEK_END)
        except OSError:
            return SpoolError(f"{what}: {os_reason(error)}")
        return _failed(what, error)


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
            self._fd = os.open(self.name, os.O_RDONLY | os.O_CLOEXEC)
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
            count = os.preadv(self._fd, [view[: self._remaining_bytes]], offset)
        except OSError as error:
            raise _unreadable(self.name, error) from error
        self._crc = zlib.crc32(view[:count], self._crc)
        self._remaining_bytes -= count
        if not count or (not self._remaining_bytes and self._crc != frame.crc):
            raise SourceError(f"{self.name} is damaged at byte {frame.offset}")
        return count

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
                "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600, dir_fd=self._directory_fd
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

    def recover(self) -> list[SpoolFile]:
        """The files of an earlier process, oldest first. SpoolError where one is damaged.

        Cuts off what a crash left of a last frame, and removes files without a record.
        """
        names = sorted(name for name in os.listdir(self.directory) if name.endswith(_ENDING))
        found = [self._recover_file(os.path.join(self.directory, name)) for name in names]
        return [file for file in found if file is not None]

    def create(self, header: ObjectHeader) -> SpoolFile:
        """Create a file and sync its header. Raises SpoolError or SpoolFullError."""
        stamp = datetime.fromisoformat(header.begun_at).strftime("%Y%m%dT%H%M%S.%f")
        name = f"{stamp}-{secrets.token_hex(8)}{_ENDING}"
        path = os.path.join(self.directory, name)
        line = json.dumps({"format": _FORMAT, **asdict(header)}).encode() + b"\n"
        try:
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                _write_all(fd, line)
                os.fsync(fd)
                os.fsync(self._directory_fd)
            except OSError:
                os.close(fd)
                os.unlink(path)
                raise
        except OSError as error:
            raise _failed(f"cannot begin the spool file {path}", error) from error
        self._header_bytes = len(line)  # the next ones are about as long
        return self._hold(SpoolFile(path, fd, header, len(line)))

    def remove(self, file: SpoolFile) -> None:
        """Remove a file whose object is stored. If a power loss brings it back, that shows."""
        self.end(file)
        try:
            os.unlink(file.path)
        except OSError as error:
            raise _failed(f"cannot remove {file.path}, whose object is stored", error) from error
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

    def _recover_file(self, path: str) -> SpoolFile | None:
        """The file at `path` without its unfinished end; None where it has no record."""
        try:
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            raise _failed(f"cannot read the spool file {path}", error) from error
        with open(fd, "r+b") as stream:
            file = _file_of(path, stream.readline())
            if file is None:
                os.unlink(path)
                return None
            with mmap.mmap(fd, 0, access=mmap.ACCESS_READ) as content:
                _adopt_frames(file, content)
            stream.truncate(file.file_bytes)
            os.fsync(fd)
        if not file.records:
            os.unlink(path)
            return None
        self.end(self._hold(file))
        return file


def _file_of(path: str, line: bytes) -> SpoolFile | None:
    """The file whose first line this is; None where a crash came before it was written."""
    if not line.endswith(b"\n"):
        return None
    try:
        said = json.loads(line)
        if said.pop("format") != _FORMAT:
            raise SpoolError(f"the spool file {path} was written by another version")
        return SpoolFile(path, -1, ObjectHeader(**said), len(line))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise SpoolError(f"the spool file {path} is damaged at its first line") from error


def _adopt_frames(file: SpoolFile, content: mmap.mmap) -> None:
    """Count all frames up to the end, or to the one that a crash left unfinished.

    That can only be the last one, because each is synced before the next is begun.
    """
    with memoryview(content) as view:
        while (frame := intact_frame(view, file.file_bytes)) is not None:
            file.count(frame)
        offset = file.file_bytes
        while (offset := content.find(MAGIC, offset + 1)) >= 0:
            if intact_frame(view, offset) is not None:
                raise SpoolError(
                    f"the spool file {file.path} is damaged at byte {file.file_bytes}",
                    hint="records after that byte are intact; nothing of the file was uploaded",
                )


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
