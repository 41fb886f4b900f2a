"""The parts of a local stream have the MD5s that hashlib computes, however they were gathered."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamtos3.downloader import local_etag
from streamtos3.downloader.local_etag import LocalParts, etag_as_stored, read_through
from streamtos3.integrity.digests import StreamDigests
from streamtos3.integrity.md5 import Md5Method, md5_method
from streamtos3.runtime.cancel import CancelScope
from streamtos3.sources.base import ObjectSource
from streamtos3.units import MIB


def expected(data: bytes, sizes: Iterable[int]) -> list[str]:
    """Part by part; one without bytes for an empty stream."""
    parts: list[bytes] = []
    offset = 0
    for size in sizes:
        if offset < len(data) or not parts:
            parts.append(data[offset : offset + size])
            offset += size
    return [hashlib.md5(part).hexdigest() for part in parts]


def found(data: bytes, sizes: Iterable[int], held_bytes: int) -> list[str]:
    parts = LocalParts(sizes, held_bytes=held_bytes)
    seen: list[int] = []
    digests = StreamDigests(["sha256"])
    with CancelScope() as scope:
        source = ObjectSource(io.BytesIO(data), "data")
        assert read_through(source, parts, digests, scope, seen.append) == len(data)
    assert sum(seen) == len(data)
    assert digests.hexdigests() == {"sha256": hashlib.sha256(data).hexdigest()}
    assert parts.md5s() == parts.md5s()
    return [md5.hex() for md5 in parts.md5s()]


@given(
    data=st.binary(max_size=600),
    sizes=st.lists(st.integers(1, 100), min_size=1, max_size=30),
    held_bytes=st.sampled_from([0, 8, 8 * 50, 8 * 100]),
)
@pytest.mark.parametrize("lanes", [1, 4, 16])
def test_parts_are_those_of_hashlib(
    lanes: int, data: bytes, sizes: list[int], held_bytes: int
) -> None:
    """Held or not, in batches that are full or not, of streams longer or shorter than the parts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(local_etag, "_READ_BYTES", 16)
        patch.setattr(local_etag, "md5_method", lambda: Md5Method("sse2", lanes))
        assert found(data, sizes, held_bytes) == expected(data, sizes)


@pytest.mark.parametrize("data", [b"", b"12345678"])
def test_a_last_part_without_bytes_counts(data: bytes) -> None:
    sizes = [len(data), 0] if data else [0]
    md5s = [hashlib.md5(part).hexdigest() for part in ([data, b""] if data else [b""])]
    assert found(data, sizes, 800) == md5s


def test_parts_wait_in_64_mib_at_most() -> None:
    parts = LocalParts([8 * MIB] * 20)
    for _ in range(20 * 8):
        parts.note(len(parts.room()))
    lanes = md5_method().lanes
    assert len(parts._buffers) == (0 if lanes == 1 else min(8, lanes))
    zeros = hashlib.md5(bytes(8 * MIB)).digest()
    assert parts.md5s() == [zeros] * 20


@pytest.mark.parametrize("size", [0, 1, 5 * MIB, 5 * MIB + 1, 51 * MIB])
def test_the_etag_of_a_stream(size: int) -> None:
    data = bytes(range(256)) * (size // 256) + bytes(size % 256)
    md5s = [hashlib.md5(data[at : at + 5 * MIB]) for at in range(0, size or 1, 5 * MIB)]
    whole = hashlib.md5(b"".join(md5.digest() for md5 in md5s)).hexdigest()
    with CancelScope() as scope:
        source = ObjectSource(io.BytesIO(data), "data")
        etag = etag_as_stored(source, scope, chunk_bytes=5 * MIB)
    assert etag == (md5s[0].hexdigest() if len(md5s) == 1 else f"{whole}-{len(md5s)}")
