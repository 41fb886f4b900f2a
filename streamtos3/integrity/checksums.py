"""S3's additional checksums: of one part, and of the object that S3 makes of the parts (pure).

The CRCs are of the full object, so the server itself can compare them with what was read; SHA-1
and SHA-256 exist for multipart objects only as a digest of the parts' digests (S3 user guide,
"Checking object integrity"). `crc32c` and `crc64nvme` need the package awscrt.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import UsageError

__all__ = [
    "CHECKSUMS",
    "FREE_CHECKSUM",
    "Checksum",
    "RunningCrc",
    "checksum_of",
    "combine",
    "combine_values",
    "free_checksum_of",
    "whole_checksums",
]


@dataclass(frozen=True)
class Checksum:
    """One of S3's algorithms.

    `member` is its name in S3's requests and answers; `polynomial` (reflected, of `bits` bits)
    is None where the object's value is a digest of digests.
    """

    name: str
    member: str
    bits: int
    polynomial: int | None = None
    needs_crt: bool = False

    @property
    def algorithm(self) -> str:
        """Its name in the request that begins an upload."""
        return self.member.removeprefix("Checksum")

    @property
    def is_full_object(self) -> bool:
        """Whether the object's checksum is computed over all of its bytes."""
        return self.polynomial is not None


CHECKSUMS = {
    each.name: each
    for each in (
        Checksum("crc32", "ChecksumCRC32", 32, 0xEDB88320),
        Checksum("crc32c", "ChecksumCRC32C", 32, 0x82F63B78, needs_crt=True),
        Checksum("crc64nvme", "ChecksumCRC64NVME", 64, 0x9A6C9329AC4BC9B5, needs_crt=True),
        Checksum("sha1", "ChecksumSHA1", 160),
        Checksum("sha256", "ChecksumSHA256", 256),
    )
}


def checksum_of(name: str) -> Callable[[bytes | memoryview], str]:
    """A function from bytes to their checksum in base64, as S3 writes it.

    UsageError where the algorithm needs awscrt and that is not installed.
    """
    kind = CHECKSUMS[name]
    if not kind.is_full_object:
        return lambda data: _base64(hashlib.new(name, data, usedforsecurity=False).digest())
    compute = _crc_of(name)
    return lambda data: _encoded(name, compute(data, 0))


class RunningCrc:
    """A CRC of bytes that come in pieces. UsageError as for `checksum_of`."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._compute = _crc_of(name)
        self._value = 0

    def update(self, data: memoryview) -> None:
        """Take in the next bytes."""
        self._value = self._compute(data, self._value)

    def value(self) -> str:
        """The CRC of all so far, as `checksum_of` gives it."""
        return _encoded(self._name, self._value)


FREE_CHECKSUM = "crc64nvme"
"""The checksum that AWS computes for every object, unasked."""


def free_checksum_of(data: bytes | memoryview) -> str | None:
    """`FREE_CHECKSUM` of `data`, None where awscrt is not installed."""
    try:
        return checksum_of(FREE_CHECKSUM)(data)
    except UsageError:
        return None


def _crc_of(name: str) -> Callable[[bytes | memoryview, int], int]:
    """A function from bytes, and the CRC of those before them, to the CRC of all."""
    if name == "crc32":
        return zlib.crc32
    try:
        from awscrt import checksums
    except ImportError as error:
        raise UsageError(
            f"--checksum {name} needs the package awscrt", hint="pip install 'streamtos3[crt]'"
        ) from error
    function: Any = getattr(checksums, name)
    return lambda data, before: int(function(data, before))


def combine(name: str, parts: Sequence[tuple[str, int]]) -> str:
    """The object's checksum from its parts' (base64 value, size in bytes), in order.

    The CRC of the whole object; for SHA-1 and SHA-256 what `combine_values` returns.
    """
    kind = CHECKSUMS[name]
    if kind.polynomial is None:
        return combine_values(name, parts)
    values = [base64.b64decode(value) for value, _ in parts]
    total = 0
    for value, (_, size_bytes) in zip(values, parts, strict=True):
        shift = _power_of_x(8 * size_bytes, kind.polynomial, kind.bits)
        total = _multiply(shift, total, kind.polynomial, kind.bits) ^ int.from_bytes(value, "big")
    return _encoded(name, total)


def combine_values(name: str, parts: Sequence[tuple[str, int]]) -> str:
    """The checksum of the parts' checksums, a dash, and the number of parts.

    S3's only form for SHA-1 and SHA-256; some compatible services answer it for a CRC as well.
    """
    values = b"".join(base64.b64decode(value) for value, _ in parts)
    return f"{checksum_of(name)(values)}-{len(parts)}"


def whole_checksums(name: str | None, parts: Sequence[tuple[str | None, int]]) -> tuple[str, ...]:
    """The object's checksum in S3's form, then in the other form; None means `FREE_CHECKSUM`.

    Empty unless every part has a value.
    """
    known = [(value, size_bytes) for value, size_bytes in parts if value is not None]
    if len(known) < len(parts):
        return ()
    name = name or FREE_CHECKSUM
    return combine(name, known), combine_values(name, known)


def _multiply(a: int, b: int, polynomial: int, bits: int) -> int:
    """a × b modulo the polynomial, all reflected: bit `bits - 1` is the coefficient of x⁰.

    Appending n bytes to a message multiplies its CRC by x⁸ⁿ; that is how zlib's own
    `crc32_combine` works, which Python does not offer.
    """
    product = 0
    for index in range(bits - 1, -1, -1):
        if a >> index & 1:
            product ^= b
        b = (b >> 1) ^ (polynomial if b & 1 else 0)
    return product


@functools.lru_cache(maxsize=64)  # nearly all parts have the same size
def _power_of_x(exponent: int, polynomial: int, bits: int) -> int:
    """x to this power modulo the polynomial, reflected."""
    power, square = 1 << (bits - 1), 1 << (bits - 2)
    while exponent:
        if exponent & 1:
            power = _multiply(power, square, polynomial, bits)
        square = _multiply(square, square, polynomial, bits)
        exponent >>= 1
    return power


def _encoded(name: str, crc: int) -> str:
    """A CRC of this name as S3 writes it."""
    return _base64(crc.to_bytes(CHECKSUMS[name].bits // 8, "big"))


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
