"""The S3 verbs that read an object's bytes and its parts; the others are in `store`.

A range lands in memory that the caller owns. One that was cut off goes on where it stopped.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import ConditionError, RefusedError, TransientError
from .bodies import Landing
from .bucket import Store
from .responses import unquoted_etag

__all__ = ["ReadStore"]


class ReadStore(Store):
    """A store that can also read. Thread-safe."""

    def head_part(
        self, key: str, number: int, version_id: str | None = None
    ) -> tuple[int, int] | None:
        """Size of one part, and how many there are; None where the server does not tell."""
        what = f"look at part {number} of {self._url(key)}"
        extra = self._of_version(version_id)
        answer = self._request(what, "head_object", Key=key, PartNumber=number, **extra)
        count = answer.get("PartsCount")
        return None if count is None else (answer.get("ContentLength", 0), count)

    def get_range(
        self,
        key: str,
        offset_bytes: int,
        landing: Landing,
        *,
        etag: str | None,
        version_id: str | None = None,
    ) -> None:
        """Read the object from `offset_bytes` on into `landing`, until that is full.

        Goes on where an earlier call on the same landing was cut off. ConditionError where the
        object is not, or not any more, the one with this `etag`.
        """
        first, end = offset_bytes + landing.filled_bytes, offset_bytes + landing.size_bytes
        what = f"read {self._url(key)}"
        answer = self._request(
            what,
            "get_object",
            "parts",
            Key=key,
            Range=f"bytes={first}-{end - 1}",
            **({"IfMatch": f'"{etag}"'} if etag else {}),
            **self._of_version(version_id),
        )
        body = answer["Body"]
        try:
            _check_range(what, answer, first, etag)
            with self._border(what):
                landing.fill(body.readinto)
        finally:
            body.close()
        if not landing.is_full:
            missing_bytes = landing.size_bytes - landing.filled_bytes
            raise TransientError(f"cannot {what}: the answer was cut {missing_bytes} bytes short")

    def _of_version(self, version_id: str | None) -> dict[str, Any]:
        version = {"VersionId": version_id} if version_id else {}
        return {**self.settings.for_the_bytes(), **version}


def _check_range(what: str, answer: Mapping[str, Any], first: int, etag: str | None) -> None:
    """Is this answer what was asked for? Some servers ignore If-Match, or Range."""
    if unquoted_etag(answer) is None:  # not S3: the page of some proxy on the way
        raise TransientError(f"cannot {what}: the answer carries no ETag")
    if etag and unquoted_etag(answer) != etag:
        raise ConditionError(f"cannot {what}: its ETag is no longer {etag}")
    begins = str(answer.get("ContentRange", "bytes 0-")).removeprefix("bytes ").partition("-")[0]
    if begins != str(first):
        raise RefusedError(
            f"cannot {what} from byte {first}: the answer begins with byte {begins}",
            hint="this service, or a proxy before it, does not heed Range",
        )
