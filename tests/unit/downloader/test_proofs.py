"""The proofs of a download, piece by piece, without a server."""

from __future__ import annotations

import hashlib
from datetime import datetime, timezone

import pytest

from streamtos3.downloader.proofs import (
    DownloadProof,
    EtagProof,
    NoProof,
    Piece,
    ReceiptProof,
    cut_pieces,
)
from streamtos3.errors import IntegrityError, TransientError
from streamtos3.results import Proof, Receipt, StoredPart
from streamtos3.s3.responses import ObjectInfo

URL = "s3://bucket/key"
PARTS = (b"first ", b"second", b"end")
SIZES = tuple(len(part) for part in PARTS)
DATA = b"".join(PARTS)


def md5(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()


def composite(*parts: bytes) -> str:
    return f"{md5(b''.join(hashlib.md5(part).digest() for part in parts))}-{len(parts)}"


def info(etag: str) -> ObjectInfo:
    return ObjectInfo(len(DATA), etag, None, None, None, etag_is_md5=True)


def receipt() -> Receipt:
    parts = []
    for number, part in enumerate(PARTS, 1):
        offset = sum(SIZES[: number - 1])
        parts.append(StoredPart(number, offset, len(part), md5(part), md5(part), tries=1))
    now = datetime.now(timezone.utc)
    etag = composite(*PARTS)
    return Receipt(
        *("bucket", "key", "https://s3", None, None, len(DATA), etag, etag, tuple(parts), "6"),
        digests={"sha256": hashlib.sha256(DATA).hexdigest()},
        proof=Proof("md5-etag", "composite-etag"),
        retries=0,
        upload_id="id",
        token="token",
        started_at=now,
        first_byte_at=now,
        ended_at=now,
        host="host",
        user="user",
        command_line=None,
        program="streamtos3",
        libraries={},
    )


def feed(proof: DownloadProof, pieces: list[Piece], data: bytes = DATA) -> None:
    """Examine the pieces backwards, as workers may, and take them in order."""
    bodies = {
        piece: memoryview(data)[piece.offset_bytes : piece.offset_bytes + piece.size_bytes]
        for piece in pieces
    }
    examined = {piece: proof.examine(piece, bodies[piece]) for piece in reversed(pieces)}
    for piece in pieces:
        proof.take(piece, bodies[piece], examined[piece])


# Pieces


@pytest.mark.parametrize(
    ("first", "end", "sizes", "expected"),
    [
        (0, 6, None, [Piece(0, 4, take_bytes=4), Piece(4, 2, take_bytes=2)]),
        (3, 9, None, [Piece(3, 4, take_bytes=4), Piece(7, 2, take_bytes=2)]),
        (5, 5, None, []),
        (0, 10, (6, 4), [Piece(0, 6, 1, 0, 6), Piece(6, 4, 2, 0, 4)]),
        (2, 5, (6, 4), [Piece(0, 6, 1, 2, 3)]),
        (5, 7, (6, 4), [Piece(0, 6, 1, 5, 1), Piece(6, 4, 2, 0, 1)]),
        (6, 10, (6, 4), [Piece(6, 4, 2, 0, 4)]),
        (0, 6, (0, 6, 0), [Piece(0, 6, 2, 0, 6)]),
        (0, 0, (0,), []),
    ],
)  # fmt: skip
def test_pieces_are_whole_parts_or_chunks_of_what_is_wanted(
    first: int, end: int, sizes: tuple[int, ...] | None, expected: list[Piece]
) -> None:
    assert list(cut_pieces(first, end, 4, sizes)) == expected


# No proof


def test_without_a_proof_nothing_is_computed_and_nothing_is_claimed() -> None:
    proof = NoProof()
    feed(proof, list(cut_pieces(0, len(DATA), 4, None)))
    assert (proof.judge(), proof.digests(), proof.compared) == (None, {}, ())


# The ETag


@pytest.mark.parametrize("whole_parts", [True, False])
def test_a_composite_etag_is_computed_from_parts_and_from_chunks(whole_parts: bool) -> None:
    proof = EtagProof(URL, info(composite(*PARTS)), SIZES, whole_parts=whole_parts)
    feed(proof, list(cut_pieces(0, len(DATA), 4, SIZES if whole_parts else None)))
    assert (proof.judge(), proof.digests(), proof.compared) == ("composite-etag", {}, ("etag",))


def test_a_plain_etag_proves_and_is_a_digest_of_the_whole() -> None:
    proof = EtagProof(URL, info(md5(DATA)), (len(DATA),), whole_parts=False)
    feed(proof, list(cut_pieces(0, len(DATA), 4, None)))
    assert (proof.judge(), proof.digests()) == ("md5-etag", {"md5": md5(DATA)})


@pytest.mark.parametrize("etag", [md5(b""), composite(b"")])
def test_an_empty_object_is_proved_without_a_piece(etag: str) -> None:
    proof = EtagProof(URL, info(etag), (0,), whole_parts="-" in etag)
    assert proof.judge() == ("composite-etag" if "-" in etag else "md5-etag")


def test_empty_parts_count_where_parts_are_digested_whole() -> None:
    parts = (b"one", b"", b"two")
    proof = EtagProof(URL, info(composite(*parts)), (3, 0, 3), whole_parts=True)
    feed(proof, list(cut_pieces(0, 6, 4, (3, 0, 3))), b"onetwo")
    assert proof.judge() == "composite-etag"


@pytest.mark.parametrize("whole_parts", [True, False])
def test_other_bytes_are_disproved_and_both_etags_named(whole_parts: bool) -> None:
    proof = EtagProof(URL, info(composite(*PARTS)), SIZES, whole_parts=whole_parts)
    other = b"First secondend"
    feed(proof, list(cut_pieces(0, len(DATA), 4, SIZES if whole_parts else None)), other)
    with pytest.raises(IntegrityError) as caught:
        proof.judge()
    assert caught.value.message == (
        f"{URL} is not what was stored: the bytes read have the ETag "
        f"{composite(b'First ', *PARTS[1:])}, the object {composite(*PARTS)}"
    )


def test_parts_in_another_order_are_disproved() -> None:
    swapped = (PARTS[1], PARTS[0], PARTS[2])
    proof = EtagProof(URL, info(composite(*PARTS)), SIZES, whole_parts=True)
    feed(proof, list(cut_pieces(0, len(DATA), 4, SIZES)), b"".join(swapped))
    with pytest.raises(IntegrityError):
        proof.judge()


# The receipt


def test_a_receipt_proves_the_whole_by_every_part_and_every_digest() -> None:
    proof = ReceiptProof(URL, receipt(), whole=True)
    feed(proof, list(cut_pieces(0, len(DATA), 4, SIZES)))
    assert proof.judge() == "receipt"
    assert proof.compared == ("part MD5s", "sha256")
    assert proof.digests() == receipt().digests


def test_a_receipt_proves_a_range_by_the_parts_that_hold_it() -> None:
    proof = ReceiptProof(URL, receipt(), whole=False)
    feed(proof, list(cut_pieces(7, 9, 4, SIZES)))
    assert (proof.judge(), proof.compared, proof.digests()) == ("receipt", ("part MD5s",), {})


def test_a_part_that_the_receipt_does_not_know_is_read_again() -> None:
    proof = ReceiptProof(URL, receipt(), whole=True)
    (_, second, _) = cut_pieces(0, len(DATA), 4, SIZES)
    with pytest.raises(TransientError, match="part 2 of s3://bucket/key has the MD5") as caught:
        proof.examine(second, memoryview(b"Second"))
    assert caught.value.damaged
    assert md5(PARTS[1]) in caught.value.message


def test_a_digest_that_differs_disproves_though_every_part_is_right() -> None:
    """As where the receipt's digest and its parts are not of the same stream."""
    proof = ReceiptProof(URL, receipt(), whole=True)
    for piece in list(cut_pieces(0, len(DATA), 4, SIZES))[:2]:  # one piece is never taken
        proof.take(piece, memoryview(DATA)[piece.offset_bytes :][: piece.size_bytes], None)
    with pytest.raises(IntegrityError, match="its sha256 is .* the receipt says"):
        proof.judge()
