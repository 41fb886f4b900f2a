"""S3's additional checksums: known values, and combining parts gives the whole's."""

from __future__ import annotations

import base64
import builtins
import hashlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamtos3.errors import UsageError
from streamtos3.integrity.checksums import (
    CHECKSUMS,
    RunningCrc,
    checksum_of,
    combine,
    free_checksum_of,
)

CHECK_INPUT = b"123456789"
# The "check" values of the catalogue of parametrised CRC algorithms, and FIPS 180's digests.
CHECK_VALUES = {
    "crc32": 0xCBF43926.to_bytes(4, "big"),
    "crc32c": 0xE3069283.to_bytes(4, "big"),
    "crc64nvme": 0xAE8B14860A799888.to_bytes(8, "big"),
    "sha1": hashlib.sha1(CHECK_INPUT).digest(),
    "sha256": hashlib.sha256(CHECK_INPUT).digest(),
}


@pytest.mark.parametrize("name", CHECKSUMS)
def test_known_values(name: str) -> None:
    expected = base64.b64encode(CHECK_VALUES[name]).decode()
    assert expected == checksum_of(name)(CHECK_INPUT)
    assert expected == checksum_of(name)(memoryview(CHECK_INPUT))


@given(data=st.lists(st.binary(max_size=40), min_size=1, max_size=6))
@settings(deadline=None)
@pytest.mark.parametrize("name", [each.name for each in CHECKSUMS.values() if each.is_full_object])
def test_combined_crcs_are_those_of_the_whole(name: str, data: list[bytes]) -> None:
    compute = checksum_of(name)
    parts = [(compute(part), len(part)) for part in data]
    assert compute(b"".join(data)) == combine(name, parts)


def test_combines_parts_of_gigabytes_without_reading_them() -> None:
    """Zeros after zeros: the value of 5 GiB + 3 bytes, computed by zlib once."""
    size_bytes = 5 * 2**30
    zeros_3 = checksum_of("crc32")(bytes(3))
    piece = checksum_of("crc32")(bytes(1 << 20))
    whole = combine("crc32", [(piece, 1 << 20)] * (size_bytes >> 20))
    assert combine("crc32", [(whole, size_bytes), (zeros_3, 3)]) == combine(
        "crc32", [(piece, 1 << 20)] * (size_bytes >> 20) + [(zeros_3, 3)]
    )


def test_a_digest_of_digests_names_the_number_of_parts() -> None:
    digests = [hashlib.sha256(part).digest() for part in (b"a", b"b")]
    parts = [(base64.b64encode(digest).decode(), 1) for digest in digests]
    expected = base64.b64encode(hashlib.sha256(b"".join(digests)).digest()).decode() + "-2"
    assert expected == combine("sha256", parts)


@pytest.mark.parametrize("name", [name for name, kind in CHECKSUMS.items() if kind.is_full_object])
def test_a_crc_of_pieces_is_that_of_the_whole(name: str) -> None:
    crc = RunningCrc(name)
    assert crc.value() == checksum_of(name)(b"")
    for piece in (b"1234", b"", b"56789"):
        crc.update(memoryview(piece))
    assert crc.value() == checksum_of(name)(CHECK_INPUT)


def test_says_which_extra_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    real_import = builtins.__import__

    def without_crt(name: str, *arguments: Any, **more: Any) -> Any:
        if name == "awscrt":
            raise ImportError(name)
        return real_import(name, *arguments, **more)

    monkeypatch.setattr(builtins, "__import__", without_crt)
    with pytest.raises(UsageError) as caught:
        checksum_of("crc64nvme")
    assert caught.value.hint == "pip install 'streamtos3[crt]'"
    assert free_checksum_of(b"") is None
    assert checksum_of("crc32")(CHECK_INPUT)
