"""A directory as one tar stream, made while it is read: no archive ever exists on the disk.

The headers are tarfile's (the POSIX form of 2001, `pax`), the order is that of `tree`. Each
member is as long as its header says, so that the members after it stay readable: a file that
grows meanwhile is cut off, one that shrinks is padded with zeros, and both are named.
"""

from __future__ import annotations

import functools
import grp
import os
import pwd
import stat
import tarfile
from collections.abc import Generator
from contextlib import closing

from ..errors import SourceError, UsageError, os_reason
from ..runtime.cancel import CancelScope
from ..sources.compressed import COMPRESSION_SUFFIXES
from ..sources.regular_file import WatchedFile
from .tree import Tree, TreeEntry, Unreadable

__all__ = ["ArchiveSource", "archive_key"]

_Pieces = Generator[bytes | memoryview, None, None]
_BUFFER_BYTES = 1 << 18
_ZEROS = memoryview(bytes(_BUFFER_BYTES))
_SHORT_SUFFIXES = {"gzip": ".tgz", "zstd": ".tzst"}


class ArchiveSource:
    """What `tree` lists, as a tar stream.

    `changed` names the files that changed while they were read, `unreadable` those that could not
    be opened and were left out. Both are complete once everything was read.
    """

    length_bytes: int | None = None

    def __init__(self, tree: Tree) -> None:
        self.name = f"the archive of {tree.directory}"
        self.changed: list[str] = []
        self.unreadable: list[Unreadable] = []
        self._tree = tree
        self._scope: CancelScope
        self._buffer = memoryview(bytearray(_BUFFER_BYTES))
        self._pieces = self._all_pieces()
        self._piece = memoryview(b"")
        self._size_bytes = 0

    def start(self) -> None:
        """Nothing to prepare."""

    def readinto(self, view: memoryview, scope: CancelScope) -> int:
        """Read archive bytes. SourceError if reading a file fails part way."""
        scope.check()
        self._scope = scope
        while not self._piece:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._piece = memoryview(piece)
            self._size_bytes += len(piece)
        count = min(len(view), len(self._piece))
        view[:count] = self._piece[:count]
        self._piece = self._piece[count:]
        return count

    def finish(self, scope: CancelScope) -> None:
        """Nothing to check beyond the end of the archive."""

    def stop(self) -> None:
        """Close the file that is being read, if one is."""
        self.close()

    def close(self) -> None:
        """Close the file that is being read, if one is."""
        self._pieces.close()

    def _all_pieces(self) -> _Pieces:
        for each in self._tree.entries:
            yield from self._member(each)
        yield bytes(2 * tarfile.BLOCKSIZE)
        yield bytes(-self._size_bytes % tarfile.RECORDSIZE)

    def _member(self, entry: TreeEntry) -> _Pieces:
        path = os.path.join(self._tree.directory, entry.path)
        try:
            if entry.kind != "file":
                yield _header(entry, *_without_content(entry, path, self._tree.follows_links))
                return
            file = WatchedFile(path, follow_links=self._tree.follows_links)
        except SourceError as error:
            self.unreadable.append(Unreadable(entry.path, error.message))
            return
        with closing(file):
            yield _header(entry, file.status)
            yield from self._content(entry.path, file)

    def _content(self, path: str, file: WatchedFile) -> _Pieces:
        """As many bytes as the header says, and the padding of the last block."""
        left_bytes = file.status.st_size
        while left_bytes:
            count = file.readinto(self._buffer[:left_bytes], self._scope)
            if not count:
                break
            yield self._buffer[:count]
            left_bytes -= count
        # Some files say that they are empty and are not: those of /proc, and what has grown.
        holds_more = not left_bytes and file.readinto(self._buffer[:1], self._scope)
        file.finish(self._scope)
        if file.changed or left_bytes or holds_more:
            self.changed.append(path)
        left_bytes += -file.status.st_size % tarfile.BLOCKSIZE
        while left_bytes:
            self._scope.check()
            zeros = _ZEROS[:left_bytes]
            yield zeros
            left_bytes -= len(zeros)


def archive_key(key: str, directory: str, codec: str | None) -> str:
    """The key of the archive: the directory's name if `key` is a prefix, with the right suffix."""
    if not key or key.endswith("/"):
        name = os.path.basename(os.path.abspath(directory))
        if not name:
            raise UsageError(
                f"{directory} has no name that the archive could have", hint="give it a key"
            )
        key += name
    packed = COMPRESSION_SUFFIXES[codec] if codec else ""
    if key.endswith((".tar" + packed, _SHORT_SUFFIXES.get(codec or "", ".tar"))):
        return key
    return key + packed if key.endswith(".tar") else f"{key}.tar{packed}"


def _without_content(
    entry: TreeEntry, path: str, follows_links: bool
) -> tuple[os.stat_result, str]:
    """The status of a directory or link, and the link's target. SourceError if it is gone."""
    try:
        status = os.stat(path, follow_symlinks=follows_links)
        return status, os.readlink(path) if entry.kind == "link" else ""
    except OSError as error:
        reason = os_reason(error)
        raise SourceError(f"cannot read {path}: {reason}") from error


def _header(entry: TreeEntry, status: os.stat_result, target: str = "") -> bytes:
    info = tarfile.TarInfo(entry.path)
    kinds = {"file": tarfile.REGTYPE, "directory": tarfile.DIRTYPE, "link": tarfile.SYMTYPE}
    info.type = kinds[entry.kind]
    info.linkname = target
    info.size = status.st_size if entry.kind == "file" else 0
    info.mode = stat.S_IMODE(status.st_mode)
    info.mtime, info.pax_headers = _modified(status.st_mtime_ns)
    info.uid, info.gid = status.st_uid, status.st_gid
    info.uname, info.gname = _user(status.st_uid), _group(status.st_gid)
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def _modified(time_ns: int) -> tuple[int, dict[str, str]]:
    """The time for the header, and what the pax header says of it where seconds do not suffice.

    tarfile would take a float, which is off by up to 120 ns in our days, upward too.
    """
    seconds, rest_ns = divmod(abs(time_ns), 10**9)
    exact = f"{'-' * (time_ns < 0)}{seconds}.{rest_ns:09}".rstrip("0")
    return time_ns // 10**9, {"mtime": exact} if rest_ns else {}


@functools.cache
def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return ""


@functools.cache
def _group(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return ""
