"""Receipts made by hand, whole and true to themselves, for the tests to bend."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

from streamtos3.integrity.digests import composite_etag
from streamtos3.results import Proof, Receipt, StoredPart

BEGAN = datetime(2026, 11, 30, 10, 0, 0, tzinfo=timezone.utc)


def part(number: int, offset_bytes: int, size_bytes: int, at_s: float) -> StoredPart:
    """A part that was stored so many seconds after the first byte."""
    md5 = hashlib.md5(b"%d" % number).hexdigest()
    stored_at = BEGAN + timedelta(seconds=at_s)
    return StoredPart(number, offset_bytes, size_bytes, md5, md5, 1, stored_at=stored_at)


def receipt_of(sizes: list[int], **changes: Any) -> Receipt:
    """A receipt of parts of these sizes, one stored each second."""
    offsets = [sum(sizes[:index]) for index in range(len(sizes))]
    rows = enumerate(zip(offsets, sizes, strict=True), 1)
    parts = tuple(part(number, *row, at_s=number) for number, row in rows)
    etag = composite_etag([bytes.fromhex(each.md5) for each in parts])
    if len(parts) == 1:
        etag = parts[0].md5
    made = Receipt(
        bucket="evidence",
        key="sda.img",
        endpoint="https://s3.example",
        region="eu-west-1",
        version_id=None,
        size_bytes=sum(sizes),
        etag_expected=etag,
        etag_found=etag,
        parts=parts,
        part_plan="10/2500/750",
        digests={"sha256": hashlib.sha256(b"").hexdigest()},
        proof=Proof("md5-etag", "composite-etag" if len(parts) > 1 else "md5-etag"),
        retries=0,
        upload_id="U1" if len(parts) > 1 else None,
        token="t",
        started_at=BEGAN - timedelta(seconds=1),
        first_byte_at=BEGAN,
        ended_at=BEGAN + timedelta(seconds=len(parts) + 1),
        host="ws17",
        user="examiner",
        command_line=("streamtos3", "s3://evidence/sda.img"),
        program="streamtos3 1",
        libraries={"python": "3.11"},
        case={"case": "2026-117", "evidence": "4"},
        source="standard input",
        utc_offset="+01:00",
        platform="Linux",
    )
    return replace(made, **changes)
