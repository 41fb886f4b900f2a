"""How the bytes of a download are proved, piece by piece (pure).

A receipt proves most: it has the MD5 of every part, so that a part is compared before any of its
bytes is written. The object's ETag is known beforehand too, but can only be compared when all
bytes were read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from ..errors import IntegrityError, TransientError
from ..integrity.digests import PartDigests, StreamDigests, composite_etag, part_md5
from ..integrity.etag import is_md5
from ..results import Receipt
from ..s3.responses import ObjectInfo

__all__ = [
    "DownloadProof",
    "EtagProof",
    "NoProof",
    "PartMd5",
    "Piece",
    "ReceiptProof",
    "cut_pieces",
]

PartMd5 = Callable[[memoryview], bytes]
"""Computes the binary MD5 of a part; called by several threads."""


@dataclass(frozen=True)
class Piece:
    """What one request reads: `size_bytes` from `offset_bytes` of the object on.

    Of these, `take_bytes` after the first `skip_bytes` are written. `part` is the number of the
    part that the piece is exactly, or None.
    """

    offset_bytes: int
    size_bytes: int
    part: int | None = None
    skip_bytes: int = 0
    take_bytes: int = 0


def cut_pieces(
    first: int, end: int, chunk_bytes: int, sizes: Sequence[int] | None
) -> Iterator[Piece]:
    """The pieces in which bytes `first` to `end` (excluded) are read.

    Whole parts of these `sizes`, so that each can be compared, or chunks where `sizes` is None.
    """
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


class DownloadProof(Protocol):
    """Sees every piece twice: alone and in any order when it has arrived, then in order.

    `compared` names what `judge` compares, as it stands in the report.
    """

    compared: tuple[str, ...]

    def examine(self, piece: Piece, data: memoryview) -> bytes | None:
        """Check a piece that has arrived; called by the workers, in any order.

        Returns its MD5 where `take` needs that. Raises TransientError if the piece cannot be
        what was stored, so that it is read again.
        """

    def take(self, piece: Piece, data: memoryview, md5: bytes | None) -> None:
        """Add a piece, in order; `md5` is what `examine` returned for it."""

    def judge(self) -> str | None:
        """The name of the proof, after the last piece; None if nothing proves the bytes.

        Raises IntegrityError if they are disproved.
        """

    def digests(self) -> dict[str, str]:
        """Hex digests of all bytes, by name, where they were computed."""


class NoProof:
    """For a range without a receipt, and for an object whose ETag proves nothing."""

    compared: tuple[str, ...] = ()

    def examine(self, piece: Piece, data: memoryview) -> bytes | None:
        """See DownloadProof."""
        return None

    def take(self, piece: Piece, data: memoryview, md5: bytes | None) -> None:
        """See DownloadProof."""

    def judge(self) -> str | None:
        """See DownloadProof."""
        return None

    def digests(self) -> dict[str, str]:
        """See DownloadProof."""
        return {}


class EtagProof:
    """Computes the ETag anew; `sizes` are those of the object's parts in bytes.

    `whole_parts`: every piece is one part, so the workers can compute its MD5, by `md5`.
    """

    compared: tuple[str, ...] = ("etag",)

    def __init__(
        self,
        url: str,
        info: ObjectInfo,
        sizes: Sequence[int],
        *,
        whole_parts: bool,
        md5: PartMd5 = part_md5,
    ) -> None:
        self._url = url
        self._md5 = md5
        self._etag = (info.etag or "").lower()
        self._whole_parts = whole_parts
        self._in_order = PartDigests(sizes)
        self._md5s = {number: part_md5(b"") for number, size in enumerate(sizes, 1) if not size}

    def examine(self, piece: Piece, data: memoryview) -> bytes | None:
        """See DownloadProof."""
        return self._md5(data) if self._whole_parts else None

    def take(self, piece: Piece, data: memoryview, md5: bytes | None) -> None:
        """See DownloadProof."""
        if md5 is None:
            self._in_order.update(data)
        elif piece.part is not None:
            self._md5s[piece.part] = md5

    def judge(self) -> str | None:
        """See DownloadProof."""
        md5s = self._in_order.md5s()
        if self._whole_parts:
            md5s = [self._md5s[number] for number in sorted(self._md5s)]
        plain = is_md5(self._etag)
        found = md5s[0].hex() if plain else composite_etag(md5s)
        if found != self._etag:
            raise IntegrityError(
                f"{self._url} is not what was stored: the bytes read have the ETag {found}, "
                f"the object {self._etag}"
            )
        return "md5-etag" if plain else "composite-etag"

    def digests(self) -> dict[str, str]:
        """See DownloadProof."""
        return {"md5": self._etag} if is_md5(self._etag) else {}


class ReceiptProof:
    """Compares with the receipt of the upload: every part's MD5, and the digests of the whole.

    `whole`: all of the object is read, so that its digests can be compared too. `md5` computes the
    MD5 of a part.
    """

    def __init__(self, url: str, receipt: Receipt, *, whole: bool, md5: PartMd5 = part_md5) -> None:
        self._url = url
        self._md5 = md5
        self._parts = receipt.parts
        self._expected = receipt.digests if whole else {}
        self._digests = StreamDigests(self._expected)
        self.compared = ("part MD5s", *self._expected)

    def examine(self, piece: Piece, data: memoryview) -> bytes | None:
        """See DownloadProof."""
        assert piece.part is not None
        md5, expected = self._md5(data), self._parts[piece.part - 1].md5
        if md5.hex() != expected:
            raise TransientError(
                f"part {piece.part} of {self._url} has the MD5 {md5.hex()}, "
                f"the receipt says {expected}",
                damaged=True,
            )
        return md5

    def take(self, piece: Piece, data: memoryview, md5: bytes | None) -> None:
        """See DownloadProof."""
        self._digests.update(data)

    def judge(self) -> str | None:
        """See DownloadProof."""
        for name, found in self._digests.hexdigests().items():
            if found != self._expected[name]:
                raise IntegrityError(
                    f"{self._url} is not what was stored: its {name} is {found}, "
                    f"the receipt says {self._expected[name]}"
                )
        return "receipt"

    def digests(self) -> dict[str, str]:
        """See DownloadProof."""
        return self._digests.hexdigests()
