"""The frames of a spool file: what was synced together, and whether all of it is there (pure).

A head says how long the payload is, how many records it holds and its CRC-32, and has a CRC-32
of its own, so that a torn write is told from a whole frame at any byte.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

__all__ = ["HEAD_BYTES", "MAGIC", "Frame", "head_of", "intact_frame"]

MAGIC = b"\xf5S3\xf5"  # 0xF5 is in no UTF-8 text
_HEAD = struct.Struct(">4sIII")
_CHECK = struct.Struct(">I")
HEAD_BYTES = _HEAD.size + _CHECK.size


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
        head = _HEAD.pack(MAGIC, self.payload_bytes, self.records, self.crc)
        return head + _CHECK.pack(zlib.crc32(head))


def head_of(head: bytes, offset: int) -> Frame | None:
    """The frame with this head, None if it is not a head; the payload is not read."""
    if len(head) < HEAD_BYTES:
        return None
    magic, payload_bytes, records, crc = _HEAD.unpack_from(head)
    frame = Frame(offset, payload_bytes, records, crc)
    return frame if magic == MAGIC and head == frame.head else None


def intact_frame(view: memoryview, offset: int) -> Frame | None:
    """The frame at `offset`, if all of it is there and as it was written."""
    frame = head_of(bytes(view[offset : offset + HEAD_BYTES]), offset)
    if frame is None or frame.end > len(view):
        return None
    payload = view[offset + HEAD_BYTES : frame.end]
    return frame if zlib.crc32(payload) == frame.crc else None
