"""The ETag and the digests of a local stream, computed without a request.

An upload's reader is not used, because nothing is stored: there are no buffers and no limits.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

from ..integrity.digests import PartDigests, StreamDigests, composite_etag
from ..model.parts import DEFAULT_CHUNK_BYTES, S3_LIMITS, Limits, plan_parts
from ..runtime.cancel import CancelScope
from ..sources.base import Source

__all__ = ["etag_as_stored", "read_through"]

_READ_BYTES = 1 << 20


def read_through(
    source: Source,
    parts: PartDigests,
    digests: StreamDigests,
    scope: CancelScope,
    on_bytes: Callable[[int], None],
) -> int:
    """Read `source` to its end into both digests; returns its length in bytes.

    `on_bytes` is called with the bytes of each read. Raises SourceError, Cancelled.
    """
    view = memoryview(bytearray(_READ_BYTES))
    size_bytes = 0
    source.start()
    while read_bytes := source.readinto(view, scope):
        parts.update(view[:read_bytes])
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
    parts = PartDigests(plan.size_bytes(number) for number in count(1))
    read_through(source, parts, StreamDigests(()), scope, lambda _: None)
    md5s = parts.md5s()
    return md5s[0].hex() if len(md5s) == 1 else composite_etag(md5s)
