"""A file that several machines read: is it the same one everywhere, and does it stay as it is?

Size, modification time and the content of the first and last part are compared across machines;
size, modification time, device and inode between the processes of one machine, and before and after
each reading. Neither number is compared across machines, where a device has another number on each.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass

from ..errors import SourceError, os_reason

__all__ = ["FileIdentity", "SharedFile"]

_READ_BYTES = 1 << 20


@dataclass(frozen=True)
class FileIdentity:
    """What tells one file from another, the same for all that see it.

    `mtime_ns` is None for a block device. `edge_bytes`: how much the two MD5s (hex) cover, of its
    beginning and of its end. `device_and_inode`: where all that see it are processes of one
    machine; None across machines.
    """

    size_bytes: int
    mtime_ns: int | None
    edge_bytes: int
    first_md5: str
    last_md5: str
    device_and_inode: tuple[int, int] | None = None

    def difference(self, other: FileIdentity) -> str | None:
        """How `other` differs, as it follows "there"; None where it does not."""
        if other.size_bytes != self.size_bytes:
            return f"it has {other.size_bytes} bytes instead of {self.size_bytes}"
        if other.device_and_inode != self.device_and_inode:
            return "it is another file of this name"
        if other.first_md5 != self.first_md5:
            return "its first part is another one"
        if other.last_md5 != self.last_md5:
            return "its last part is another one"
        if other.mtime_ns != self.mtime_ns:
            return "it was modified at another time"
        return None


class SharedFile:
    """The regular file or block device at `path`, open for reading at any offset.

    Raises SourceError where it cannot be opened or is neither. Thread-safe.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        try:
            # Non-blocking, because the path may be that of a named pipe here.
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except (OSError, ValueError) as error:
            raise SourceError(f"cannot read {path}: {os_reason(error)}") from error
        try:
            self._status = os.fstat(self._fd)
            if not stat.S_ISREG(self._status.st_mode) and not stat.S_ISBLK(self._status.st_mode):
                raise SourceError(f"cannot read {path}: it is neither a file nor a block device")
            self.size_bytes = os.lseek(self._fd, 0, os.SEEK_END)
        except BaseException:
            os.close(self._fd)
            raise

    @property
    def device_and_inode(self) -> tuple[int, int]:
        """What tells it from every other file of this machine, as long as it is there."""
        return self._status.st_dev, self._status.st_ino

    def __enter__(self) -> SharedFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def read_into(
        self,
        view: memoryview,
        offset_bytes: int,
        note: Callable[[memoryview], object] = lambda piece: None,
    ) -> None:
        """Fill `view` from `offset_bytes` on. SourceError where the file ends before.

        `note` is called with each piece as it was read, while it is in the processor's cache.
        """
        while view:
            try:
                count = os.preadv(self._fd, [view[:_READ_BYTES]], offset_bytes)
            except OSError as error:
                raise SourceError(
                    f"cannot read {self.path} at byte {offset_bytes}: {os_reason(error)}"
                ) from error
            if not count:
                raise SourceError(f"{self.path} changed while it was read: it is shorter now")
            note(view[:count])
            view = view[count:]
            offset_bytes += count

    def identify(self, edge_bytes: int | None) -> FileIdentity:
        """Its identity, for which up to `edge_bytes` are read at either end.

        None: nothing is read, because only processes of this machine will compare it.
        """
        device_and_inode = self.device_and_inode if edge_bytes is None else None
        edge_bytes = min(edge_bytes or 0, self.size_bytes)
        return FileIdentity(
            size_bytes=self.size_bytes,
            mtime_ns=self._status.st_mtime_ns if stat.S_ISREG(self._status.st_mode) else None,
            edge_bytes=edge_bytes,
            first_md5=self._md5(0, edge_bytes),
            last_md5=self._md5(self.size_bytes - edge_bytes, edge_bytes),
            device_and_inode=device_and_inode,
        )

    def check_same(self, identity: FileIdentity) -> None:
        """SourceError where the file is another one than `identity` says, its content included."""
        edge_bytes = identity.edge_bytes if identity.device_and_inode is None else None
        difference = identity.difference(self.identify(edge_bytes))
        if difference is not None:
            raise SourceError(f"{self.path} is not the same file there: {difference}")

    def check_unchanged(self, identity: FileIdentity) -> None:
        """SourceError where it changed since it was opened, or since `identity` was taken."""
        try:
            now, there = os.fstat(self._fd), os.stat(self.path)
        except OSError:  # removed or renamed
            raise SourceError(f"{self.path} changed while it was read") from None
        states = {_state(self._status), _state(now), _state(there)}
        is_file = identity.mtime_ns is not None
        if len(states) > 1 or (is_file and now.st_mtime_ns != identity.mtime_ns):
            raise SourceError(f"{self.path} changed while it was read")
        if self.size_bytes != identity.size_bytes:
            raise SourceError(f"{self.path} changed while it was read")

    def close(self) -> None:
        """Close the descriptor."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _md5(self, offset_bytes: int, size_bytes: int) -> str:
        md5 = hashlib.md5(usedforsecurity=False)
        buffer = memoryview(bytearray(min(_READ_BYTES, size_bytes)))
        end = offset_bytes + size_bytes
        while offset_bytes < end:
            piece = buffer[: end - offset_bytes]
            self.read_into(piece, offset_bytes)
            md5.update(piece)
            offset_bytes += len(piece)
        return md5.hexdigest()


def _state(status: os.stat_result) -> tuple[int, ...]:
    if stat.S_ISBLK(status.st_mode):
        return status.st_ino, status.st_dev, status.st_rdev
    return status.st_size, status.st_mtime_ns, status.st_ino, status.st_dev
