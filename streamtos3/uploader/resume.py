"""Resuming: the server is the journal.

What an earlier run left is an unfinished upload of the same key; its listed parts say how the
stream was cut. The input is read again from its start, and a part is skipped when one of the
same number, size and MD5 is there. Nothing is kept on the local disk.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from ..errors import AbsentError
from ..model.parts import ListedPart
from ..runtime.retry import Retrier
from ..s3.bucket import Store

__all__ = ["Leftover", "find_leftover"]


@dataclass(frozen=True)
class Leftover:
    """An unfinished upload and the parts it holds, by number.

    Some servers list a part twice after it was sent again with other bytes (SeaweedFS); either
    may be completed with, by naming its ETag.
    """

    upload_id: str
    initiated: datetime
    parts: tuple[ListedPart, ...]

    @property
    def size_bytes(self) -> int:
        """What the parts hold together."""
        return sum({part.number: part.size_bytes for part in self.parts}.values())

    def holds(self, number: int, size_bytes: int, md5_hex: str) -> bool:
        """Whether this very part is there already."""
        return any(
            (part.number, part.size_bytes, part.etag) == (number, size_bytes, md5_hex)
            for part in self.parts
        )


def find_leftover(store: Store, retrier: Retrier, key: str, check_for_s: float) -> Leftover | None:
    """The newest unfinished upload of `key` with its parts; None where there is none."""

    def find() -> Leftover | None:
        uploads = [each for each in store.list_uploads(key) if each.key == key]
        for upload in sorted(uploads, key=lambda each: each.initiated, reverse=True):
            try:
                parts = tuple(store.list_parts(key, upload.upload_id))
            except AbsentError:  # aborted by someone else a moment ago
                continue
            return Leftover(upload.upload_id, upload.initiated, parts)
        return None

    what = f"find the unfinished upload of s3://{store.bucket}/{key}"
    return retrier.call(what, find, check_for_s=check_for_s).value
