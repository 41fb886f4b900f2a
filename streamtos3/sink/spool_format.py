"""The frames of a spool file: what was synced together, and whether all of it is there (pure).

A frame is a head and a payload. The head holds the payload's length, its number of records and
its CRC-32, and then a CRC-32 of itself; so a length can be trusted before the payload is read.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

__all__ = ["HEAD_BYTES", "Frame", "Scan", "head_of", "scan"]

_MAGIC = b"\xf5S3\xf5"  # 0xF5 is in no UTF-8 text
_HEAD = struct.Struct(">4sIII")
_CHECK = struct.Struct(">I")
HEAD_BYTES = _HEAD.size + _CHECK.size
_STEP_BYTES = 1 << 20


@dataclass(frozen=True)
class Frame:
    """A frame at `offset` of its file; `crc` is that of the payload."""

    offset: int
    payload_bytes: int
    records: int
    crc: int

    @property
    def end(self) -> int:
        """Where the next frame begins."""
        return self.offset + HEAD_BYTES + self.payload_bytes

    @property
    def head(self) -> bytes:
        """What stands before the payload."""
        head = _HEAD.pack(_MAGIC, self.payload_bytes, self.records, self.crc)
        return head + _CHECK.pack(zlib.crc32(head))


@dataclass(frozen=True)
class Scan:
    """The whole frames at the beginning of a file, which end at `end`, and what follows them.

    `torn_bytes` follow that a write left unfinished: no acknowledgement was given for them.
    With `is_damaged`, a frame follows that was written in full and is not what was written.
    """

    end: int
    records: int = 0
    payload_bytes: int = 0
    torn_bytes: int = 0
    is_damaged: bool = False


def head_of(head: bytes, offset: int) -> Frame | None:
    """The frame with this head, None if it is not a head; the payload is not read."""
    if len(head) < HEAD_BYTES:
        return None
    magic, payload_bytes, records, crc = _HEAD.unpack_from(head)
    frame = Frame(offset, payload_bytes, records, crc)
    return frame if magic == _MAGIC and head == frame.head else None


def scan(view: memoryview, start: int) -> Scan:
    """Check all frames from `start` to the end of the file.

    A frame is acknowledged once all of it is on the disk. So a file that ends inside a frame
    ends in a write that was cut off, and a frame that is there in its whole length and has
    another checksum was damaged later. Zeros up to the end are a write as well: some file
    systems have the length on the disk before the bytes.
    """
    end, records, payload_bytes = start, 0, 0
    while end < len(view):
        frame = head_of(bytes(view[end : end + HEAD_BYTES]), end)
        if frame is None:
            is_torn = len(view) - end < HEAD_BYTES or _is_zero(view[end:])
        else:
            is_torn = frame.end > len(view)
        if is_torn:
            return Scan(end, records, payload_bytes, torn_bytes=len(view) - end)
        if frame is None or zlib.crc32(view[end + HEAD_BYTES : frame.end]) != frame.crc:
            return Scan(end, records, payload_bytes, is_damaged=True)
        end = frame.end
        records += frame.records
        payload_bytes += frame.payload_bytes
    return Scan(end, records, payload_bytes)


def _is_zero(view: memoryview) -> bool:
    """Whether nothing but zeros is in it."""
    pieces = (bytes(view[at : at + _STEP_BYTES]) for at in range(0, len(view), _STEP_BYTES))
    return all(piece.count(0) == len(piece) for piece in pieces)
