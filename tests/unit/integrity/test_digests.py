"""Digests agree with independent computations, however the bytes were cut."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamtos3.errors import UsageError
from streamtos3.integrity.digests import (
    STREAM_DIGESTS,
    PartDigests,
    StreamDigests,
    composite_etag,
    content_md5,
    part_md5,
)

bodies = st.binary(max_size=200)


@given(parts=st.lists(bodies, min_size=1, max_size=20))
def test_the_composite_is_the_md5_of_the_parts_md5s_and_their_number(parts: list[bytes]) -> None:
    outer = hashlib.md5()
    for part in parts:
        outer.update(bytes.fromhex(hashlib.md5(part).hexdigest()))
    expected = f"{outer.hexdigest()}-{len(parts)}"
    assert expected == composite_etag(part_md5(part) for part in parts)


def test_the_composite_of_one_empty_part_is_what_servers_answer() -> None:
    """Measured on moto, rclone and SeaweedFS."""
    assert composite_etag([part_md5(b"")]) == "59adb24ef3cdbe0297f05b395827453f-1"


@given(parts=st.lists(bodies, min_size=2, max_size=5, unique=True))
def test_the_order_of_the_parts_matters(parts: list[bytes]) -> None:
    md5s = [part_md5(part) for part in parts]
    assert composite_etag(md5s) != composite_etag(md5s[::-1])


def test_content_md5_is_the_base64_of_the_binary_digest() -> None:
    """The value that RFC 1864 shows in its section 2 stands for the 16 bytes of its text."""
    assert content_md5(b"Check Integrity!") == "Q2hlY2sgSW50ZWdyaXR5IQ=="
    assert content_md5(part_md5(b"")) == "1B2M2Y8AsgTpgAmY7PhCfg=="


@given(data=bodies)
def test_a_view_has_the_md5_of_its_bytes(data: bytes) -> None:
    assert part_md5(memoryview(bytearray(data))) == hashlib.md5(data).digest()


@given(data=st.binary(max_size=500), cuts=st.lists(st.integers(0, 500)))
def test_stream_digests_do_not_depend_on_how_the_stream_was_cut(
    data: bytes, cuts: list[int]
) -> None:
    digests = StreamDigests(STREAM_DIGESTS)
    edges = [0, *sorted(cuts), len(data)]
    for start, end in zip(edges, edges[1:], strict=False):
        digests.update(memoryview(data)[start:end])
    expected = {name: hashlib.new(name, data).hexdigest() for name in STREAM_DIGESTS}
    assert expected == digests.hexdigests()


def test_the_digests_can_be_asked_for_in_mid_stream() -> None:
    digests = StreamDigests(["md5"])
    digests.update(b"a")
    assert digests.hexdigests() == {"md5": hashlib.md5(b"a").hexdigest()}
    digests.update(b"b")
    assert digests.hexdigests() == {"md5": hashlib.md5(b"ab").hexdigest()}


def test_no_digest_is_asked_for() -> None:
    digests = StreamDigests([])
    digests.update(b"data")
    assert digests.hexdigests() == {}


@pytest.mark.parametrize("name", ["crc32", "SHA256", "shake_128", ""])
def test_a_digest_that_is_not_ours_is_refused_before_anything_is_read(name: str) -> None:
    """hashlib's own shake_128 would fail only at the end, for want of a length."""
    with pytest.raises(UsageError) as caught:
        StreamDigests(["sha256", name])
    expected = f"unknown digest {name!r}: one of sha256, md5, sha1, sha512, blake2b"
    assert expected == caught.value.message


@given(data=st.binary(max_size=300), sizes=st.lists(st.integers(1, 90)), step=st.integers(1, 99))
def test_parts_are_digested_however_the_stream_comes(
    data: bytes, sizes: list[int], step: int
) -> None:
    parts = PartDigests(sizes)
    for at in range(0, len(data), step):
        parts.update(memoryview(data[at : at + step]))
    expected, offset = [], 0
    for size in sizes:
        expected += [part_md5(data[offset : offset + size])] if data[offset:] else []
        offset += size
    assert parts.md5s() == (expected or [part_md5(b"")])
    assert parts.surplus_bytes == max(0, len(data) - offset)
