"""What can prove an object that is being read, and does, piece by piece (pure).

A receipt is the best: it knows the MD5 of every part before the bytes are let go. The object's
ETag is known beforehand too, but only the whole object shows whether it is right.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from ..errors import IntegrityError, TransientError
from ..integrity.digests import PartDigests, StreamDigests, composite_etag, part_md5
from ..integrity.etag import is_md5
from ..results import Receipt
from ..s3.responses import ObjectInfo

__all__ = ["EtagEvidence", "Evidence", "NoEvidence", "Piece", "ReceiptEvidence", "cut_pieces"]


@dataclass(frozen=True)
class Piece:
    """What one request reads, and what of it is wanted.

    `part` is the number of the part that the piece is the whole of, or None.
    """

    offset_bytes: int
    size_bytes: int
    part: int | None = None
    skip_bytes: int = 0
    take_bytes: int = 0


def cut_pieces(
    first: int, end: int, chunk_bytes: int, sizes: Sequence[int] | None
) -> Iterator[Piece]:
    """The pieces in which bytes `first` to `end` (excluded) are read: parts or chunks."""
    if sizes is None:
        for offset in range(first, end, chunk_bytes):
            size = min(chunk_bytes, end - offset)
            yield Piece(offset, size, take_bytes=size)
        return
    offset = 0
    for number, size in enumerate(sizes, 1):
        skip = max(0, first - offset)
        take = min(size, end - offset) - skip
        if take > 0:
            yield Piece(offset, size, number, skip, take)
        offset += size


class Evidence(Protocol):
    """Sees every piece twice: alone, before it is let go, and in order.

    `compared` says what the verdict rests on.
    """

    compared: tuple[str, ...]

    def examine(self, piece: Piece, data: memoryview) -> bytes | None:
        """A piece has arrived, in any order: its MD5 if that is needed.

        Raises TransientError if it is surely not what was stored.
        """

    def take(self, piece: Piece, data: memoryview, md5: bytes | None) -> None:
        """Take in the piece in order, with what `examine` said of it."""

    def verdict(self) -> str | None:
        """What proves the bytes, all of them seen; None if nothing does. IntegrityError."""

    def digests(self) -> dict[str, str]:
        """Digests of all bytes, where they were computed."""


class NoEvidence:
    """For a range without a receipt, and where an ETag says nothing."""

    compared: tuple[str, ...] = ()

    def examine(self, piece: Piece, data: memoryview) -> bytes | None:
        """See Evidence."""
        return None

    def take(self, piece: Piece, data: memoryview, md5: bytes | None) -> None:
        """See Evidence."""

    def verdict(self) -> str | None:
        """See Evidence."""
        return None

    def digests(self) -> dict[str, str]:
        """See Evidence."""
        return {}


class EtagEvidence:
    """The ETag, computed again; `sizes` are the object's parts.

    `whole_parts`: every piece is one part, and can be digested on its own.
    """

    compared: tuple[str, ...] = ("etag",)

    def __init__(
        self, what: str, info: ObjectInfo, sizes: Sequence[int], *, whole_parts: bool
    ) -> None:
        self._what = what
        self._etag = info.etag or ""
        self._whole_parts = whole_parts
        self._in_order = PartDigests(sizes)
        self._md5s = {number: part_md5(b"") for number, size in enumerate(sizes, 1) if not size}

    def examine(self, piece: Piece, data: memoryview) -> bytes | None:
        """See Evidence."""
        return part_md5(data) if self._whole_parts else None

    def take(self, piece: Piece, data: memoryview, md5: bytes | None) -> None:
        """See Evidence."""
        if md5 is None:
            self._in_order.update(data)
        elif piece.part is not None:
            self._md5s[piece.part] = md5

    def verdict(self) -> str | None:
        """See Evidence."""
        md5s = self._in_order.md5s()
        if self._whole_parts:
            md5s = [self._md5s[number] for number in sorted(self._md5s)]
        plain = is_md5(self._etag)
        found = md5s[0].hex() if plain else composite_etag(md5s)
        if found != self._etag:
            raise IntegrityError(
                f"{self._what} is not what was stored: the bytes that came have the ETag {found}, "
                f"the object {self._etag}"
            )
        return "md5-etag" if plain else "composite-etag"

    def digests(self) -> dict[str, str]:
        """See Evidence."""
        return {"md5": self._etag} if is_md5(self._etag) else {}


class ReceiptEvidence:
    """The receipt of the upload: every part's MD5, and the digests of the whole.

    `whole`: all of the object is read, so that its digests can be compared.
    """

    def __init__(self, what: str, receipt: Receipt, *, whole: bool) -> None:
        self._what = what
        self._parts = receipt.parts
        self._expected = receipt.digests if whole else {}
        self._digests = StreamDigests(self._expected)
        self.compared = ("part MD5s", *self._expected)

    def examine(self, piece: Piece, data: memoryview) -> bytes | None:
        """See Evidence."""
        assert piece.part is not None
        md5, expected = part_md5(data), self._parts[piece.part - 1].md5
        if md5.hex() != expected:
            raise TransientError(
                f"part {piece.part} of {self._what} has the MD5 {md5.hex()}, "
                f"the receipt says {expected}",
                damaged=True,
            )
        return md5

    def take(self, piece: Piece, data: memoryview, md5: bytes | None) -> None:
        """See Evidence."""
        self._digests.update(data)

    def verdict(self) -> str | None:
        """See Evidence."""
        for name, found in self._digests.hexdigests().items():
            if found != self._expected[name]:
                raise IntegrityError(
                    f"{self._what} is not what was stored: its {name} is {found}, "
                    f"the receipt says {self._expected[name]}"
                )
        return "receipt"

    def digests(self) -> dict[str, str]:
        """See Evidence."""
        return self._digests.hexdigests()
