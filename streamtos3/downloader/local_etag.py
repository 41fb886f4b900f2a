"""The ETag and the digests of a local stream, computed without a request.

An upload's reader is not used, because nothing is stored. Parts are held only until there are
enough of them to compute their MD5s side by side.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from itertools import count

from ..integrity.digests import StreamDigests, composite_etag
from ..integrity.md5 import md5_method, md5s
from ..model.parts import DEFAULT_CHUNK_BYTES, S3_LIMITS, Limits, plan_parts
from ..runtime.buffers import Buffer
from ..runtime.cancel import CancelScope
from ..sources.base import Source

__all__ = ["LocalParts", "etag_as_stored", "read_through"]

_READ_BYTES = 1 << 20
_LARGEST_BATCH = 8
_HELD_BYTES = _LARGEST_BATCH * DEFAULT_CHUNK_BYTES


class LocalParts:
    """The MD5s of a stream's parts; the stream is read into the memory that `room` gives.

    `sizes` are the parts' sizes in bytes, all but the last greater than 0. A stream that ends
    early has fewer parts; what comes after the last of them is not looked at. At most `held_bytes`
    of memory are used for parts that wait; parts of more than an eighth of that are hashed as they
    come, one after the other.
    """

    def __init__(self, sizes: Iterable[int], *, held_bytes: int = _HELD_BYTES) -> None:
        self._sizes = iter(sizes)
        self._held_bytes = held_bytes
        self._batch_size = min(_LARGEST_BATCH, md5_method().lanes)
        self._scratch = memoryview(bytearray(_READ_BYTES))
        self._buffers: list[Buffer] = []
        self._full: list[memoryview] = []
        self._md5s: list[bytes] = []
        self._is_surplus = False
        self._open(next(self._sizes, 0))

    def room(self) -> memoryview:
        """Where to read the next bytes to, 1 MiB at most; `note` says how many there were."""
        while not self._is_surplus and self._filled_bytes == self._size_bytes:
            self._close()
            size_bytes = next(self._sizes, None)
            self._is_surplus = size_bytes is None
            self._open(size_bytes or 0)
        if self._is_surplus:
            return self._scratch
        left_bytes = min(self._size_bytes - self._filled_bytes, _READ_BYTES)
        if self._held is None:
            return self._scratch[:left_bytes]
        return self._held[self._filled_bytes :][:left_bytes]

    def note(self, read_bytes: int) -> None:
        """So many bytes were read into what `room` gave last."""
        if self._is_surplus:
            return
        self._filled_bytes += read_bytes
        if self._held is None:
            self._hash.update(self._scratch[:read_bytes])

    def md5s(self) -> list[bytes]:
        """Binary MD5 of each part; of one without bytes for an empty stream. Ends the reading."""
        if not self._is_surplus:
            if self._filled_bytes or not (self._md5s or self._full):
                self._close()
            self._is_surplus = True
        self._hash_full()
        return self._md5s

    def _open(self, size_bytes: int) -> None:
        """Begin a part: in a buffer of its own, or hashed as it comes."""
        self._size_bytes = size_bytes
        self._filled_bytes = 0
        self._held: memoryview | None = None
        self._hash = hashlib.md5(usedforsecurity=False)
        if 0 < size_bytes <= self._held_bytes // _LARGEST_BATCH and self._batch_size > 1:
            self._held = self._buffer(size_bytes).view[:size_bytes]

    def _buffer(self, size_bytes: int) -> Buffer:
        """The buffer that comes after those of the full parts."""
        index = len(self._full)
        if index < len(self._buffers) and self._buffers[index].size_bytes >= size_bytes:
            return self._buffers[index]
        buffer = Buffer(size_bytes)
        self._buffers[index:] = [buffer]
        return buffer

    def _close(self) -> None:
        """Put a part that has ended to the full ones, or its MD5 to those that are known."""
        if self._held is not None:
            self._full.append(self._held[: self._filled_bytes])
            if len(self._full) == self._batch_size:
                self._hash_full()
        else:
            self._hash_full()
            self._md5s.append(self._hash.digest())

    def _hash_full(self) -> None:
        self._md5s += md5s(self._full)
        self._full.clear()


def read_through(
    source: Source,
    parts: LocalParts,
    digests: StreamDigests,
    scope: CancelScope,
    on_bytes: Callable[[int], None],
) -> int:
    """Read `source` to its end into both; returns its length in bytes.

    `on_bytes` is called with the bytes of each read. Raises SourceError, Cancelled.
    """
    size_bytes = 0
    source.start()
    while read_bytes := source.readinto(view := parts.room(), scope):
        parts.note(read_bytes)
        digests.update(view[:read_bytes])
        size_bytes += read_bytes
        on_bytes(read_bytes)
    source.finish(scope)
    return size_bytes


def etag_as_stored(
    source: Source,
    scope: CancelScope,
    *,
    chunk_bytes: int = DEFAULT_CHUNK_BYTES,
    limits: Limits = S3_LIMITS,
) -> str:
    """The ETag that `upload` would expect for this stream with this `chunk_bytes`.

    The plain MD5 of a stream that fits one part, else the composite. The parts follow the plan of
    an upload: they grow where the length is unknown, and are larger than `chunk_bytes` where a
    file would need too many. Raises SourceError, Cancelled.
    """
    plan = plan_parts(chunk_bytes, length_bytes=source.length_bytes, limits=limits)
    parts = LocalParts(plan.size_bytes(number) for number in count(1))
    read_through(source, parts, StreamDigests(()), scope, lambda _: None)
    found = parts.md5s()
    return found[0].hex() if len(found) == 1 else composite_etag(found)
