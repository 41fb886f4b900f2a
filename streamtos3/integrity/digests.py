"""Digests (pure): of one part, of the object S3 makes of the parts, of the whole stream."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Iterator

from ..errors import UsageError

__all__ = [
    "STREAM_DIGESTS",
    "PartDigests",
    "StreamDigests",
    "composite_etag",
    "content_md5",
    "part_md5",
]

STREAM_DIGESTS = ("sha256", "md5", "sha1", "sha512", "blake2b")
"""Names accepted for a whole-stream digest; `hashlib`'s own, all of a fixed length."""


def part_md5(data: bytes | bytearray | memoryview) -> bytes:
    """Binary MD5 of one part. MD5 guards against accidents here, not against an attacker."""
    return hashlib.md5(data, usedforsecurity=False).digest()


def content_md5(md5: bytes) -> str:
    """The value of the Content-MD5 header for a binary MD5 (RFC 1864)."""
    return base64.b64encode(md5).decode("ascii")


def composite_etag(part_md5s: Iterable[bytes]) -> str:
    """The ETag of a multipart object: hex MD5 of the parts' binary MD5s, dash, their number."""
    md5s = list(part_md5s)
    return f"{hashlib.md5(b''.join(md5s), usedforsecurity=False).hexdigest()}-{len(md5s)}"


class StreamDigests:
    """Digests of everything that was read, in order. UsageError for a name that is not known."""

    def __init__(self, names: Iterable[str]) -> None:
        wanted = list(names)
        for name in wanted:
            if name not in STREAM_DIGESTS:
                known = ", ".join(STREAM_DIGESTS)
                raise UsageError(f"unknown digest {name!r}: one of {known}")
        self._hashes = {name: hashlib.new(name, usedforsecurity=False) for name in wanted}

    def update(self, data: bytes | memoryview) -> None:
        """Take in the next bytes of the stream."""
        for each in self._hashes.values():
            each.update(data)

    def hexdigests(self) -> dict[str, str]:
        """Name to lower-case hex digest of all bytes so far."""
        return {name: each.hexdigest() for name, each in self._hashes.items()}


class PartDigests:
    """The MD5s of a stream's parts, computed while the stream passes in order.

    `sizes` are the parts' sizes in bytes, all but the last greater than 0. A stream that ends
    early has fewer parts; bytes after the last part are only counted, in `surplus_bytes`.
    """

    def __init__(self, sizes: Iterable[int]) -> None:
        self._sizes: Iterator[int] = iter(sizes)
        self._left_bytes = next(self._sizes, 0)
        self._part = hashlib.md5(usedforsecurity=False)
        self._part_bytes = 0
        self._md5s: list[bytes] = []
        self.surplus_bytes = 0

    def update(self, data: memoryview) -> None:
        """Take in the next bytes of the stream."""
        while data:
            if not self._left_bytes and not self._open_next():
                self.surplus_bytes += len(data)
                return
            piece = data[: self._left_bytes]
            self._part.update(piece)
            self._part_bytes += len(piece)
            self._left_bytes -= len(piece)
            data = data[len(piece) :]

    def md5s(self) -> list[bytes]:
        """Binary MD5 of each part so far; of one part without bytes for an empty stream."""
        begun = self._part_bytes or not self._md5s
        return [*self._md5s, self._part.digest()] if begun else list(self._md5s)

    def _open_next(self) -> bool:
        size_bytes = next(self._sizes, None)
        if size_bytes is None:
            return False
        self._md5s.append(self._part.digest())
        self._part = hashlib.md5(usedforsecurity=False)
        self._part_bytes, self._left_bytes = 0, size_bytes
        return True
