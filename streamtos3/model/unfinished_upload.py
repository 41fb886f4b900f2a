"""An unfinished multipart upload, as a value."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from .parts import ListedPart

__all__ = ["UnfinishedUpload"]

# Both of the service's dates, the upload's and that of now, have a resolution of one second.
_RESOLUTION_S = 1.0


@dataclass(frozen=True)
class UnfinishedUpload:
    """An upload that was begun and neither completed nor aborted; its parts are billed.

    `age_s` is None where the service does not tell the time. `parts` is the number of parts and
    `size_bytes` their total; both are None until the parts were listed. `listed` are the parts
    themselves, kept only for an upload that is to be resumed. Some servers list a part twice
    after it was sent again with other bytes (SeaweedFS); either may be named at the end.
    """

    key: str
    upload_id: str
    initiated: datetime
    age_s: float | None = None
    parts: int | None = None
    size_bytes: int | None = None
    listed: tuple[ListedPart, ...] = ()

    def is_older_than(self, older_than_s: float) -> bool:
        """Whether it surely began `older_than_s` ago or earlier."""
        if older_than_s == 0:
            return True
        return self.age_s is not None and self.age_s - _RESOLUTION_S >= older_than_s

    def measured(self, parts: tuple[ListedPart, ...]) -> UnfinishedUpload:
        """This upload with the number and the total size of its listed `parts`."""
        sizes = {part.number: part.size_bytes for part in parts}
        return replace(self, parts=len(sizes), size_bytes=sum(sizes.values()))

    def find_part(self, number: int, size_bytes: int, md5_hex: str) -> ListedPart | None:
        """The part of this number, size and MD5, if it is `listed`."""
        wanted = (number, size_bytes, md5_hex)
        for part in self.listed:
            if (part.number, part.size_bytes, part.etag.lower()) == wanted:
                return part
        return None
