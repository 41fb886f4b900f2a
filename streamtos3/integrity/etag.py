"""How an endpoint's answers can prove what it stored (pure decisions).

The rule for the object: an ETag equal to what was computed here proves it; an ETag of the very
form that S3 computes, with another value, disproves it; any other form proves nothing. Capitals do
not matter: Aliyun OSS writes its MD5s in them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from ..errors import IntegrityError, TransientError
from .checksums import Checksum

__all__ = ["Expected", "is_md5", "judge_checksum", "judge_object", "part_is_proved", "parts_in"]

_COMPOSITE = re.compile(r"[0-9a-f]{32}-([1-9]\d{0,4})", re.IGNORECASE)
_MD5_HEX = re.compile(r"[0-9a-f]{32}", re.IGNORECASE)


def is_md5(etag: str | None) -> bool:
    """Whether an ETag has the form of an MD5."""
    return _MD5_HEX.fullmatch(etag or "") is not None


def parts_in(etag: str | None) -> int | None:
    """The number of parts N in an ETag of the form `hex-N`; None for any other form."""
    match = _COMPOSITE.fullmatch(etag or "")
    return int(match[1]) if match else None


def part_is_proved(
    what: str,
    md5_hex: str,
    etag: str | None,
    *,
    etags_are_md5: bool,
    etag_is_md5: bool = True,
    earlier_etag: str | None = None,
) -> bool:
    """Whether the ETag in the answer to one part (or one-request upload) proves its bytes.

    False where the ETag cannot be an MD5: the upload (`etags_are_md5`) or this answer
    (`etag_is_md5`) names an encryption, or it has another form twice in a row (`earlier_etag`
    is that of the try before; a single one may be an answer that was cut short). Raises
    TransientError for a missing ETag or a different MD5: damage that another try may repair.
    """
    if etag is None:
        raise TransientError(f"{what}: the answer carries no ETag", damaged=True)
    if etag.lower() == md5_hex:
        return True
    if not etags_are_md5 or not etag_is_md5:
        return False
    if not _MD5_HEX.fullmatch(etag) and len(earlier_etag or "") == len(etag):
        return False
    raise TransientError(
        f"{what}: the service stored other bytes than were sent "
        f"(ETag {etag}, MD5 computed here {md5_hex})",
        damaged=True,
    )


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What the object must be: its size, and the ETag that S3 computes for it.

    `etag`: the composite of a multipart upload, or the MD5 of a one-request upload.
    `etags_are_md5`: whether all part ETags turned out to be MD5s. `whole_md5`: the MD5 of the
    whole stream, if it was computed. `checksums`: the forms that S3's additional checksum of
    the object may have, in base64; empty if unknown.
    """

    size_bytes: int
    etag: str
    etags_are_md5: bool
    whole_md5: str | None = None
    checksums: tuple[str, ...] = ()

    def is_contradicted_by(self, etag: str) -> bool:
        """Whether `etag` has the form of what was expected, but not its value."""
        if not self.etags_are_md5 or etag.lower() in (self.etag, self.whole_md5):
            return False
        _, dash, count = self.etag.partition("-")
        form = _MD5_HEX.pattern + re.escape(dash + count)
        return re.fullmatch(form, etag, re.IGNORECASE) is not None


def judge_checksum(
    what: str, checksum: Checksum, values: tuple[str, ...], found: Mapping[str, str]
) -> str | None:
    """The name of the proof by S3's additional checksum; None if the service answered none.

    `values` were computed here, `found` maps S3's member names to the values it answered.
    Raises IntegrityError if the two differ.
    """
    theirs = found.get(checksum.member)
    if theirs is None:
        return None
    # moto leaves out the number of parts.
    if theirs.partition("-")[0] not in [value.partition("-")[0] for value in values]:
        raise IntegrityError(
            f"{what} is not what was read: its {checksum.algorithm} is {theirs}, "
            f"the one computed here {values[0]}"
        )
    return f"{checksum.name}-checksum"


def judge_object(what: str, expected: Expected, etags: list[str | None]) -> str | None:
    """Which of the found ETags proves the object: the proof's name, or None.

    Raises IntegrityError when one of them disproves it.
    """
    found = [etag.lower() for etag in etags if etag]
    for etag in found:
        if expected.is_contradicted_by(etag):
            raise IntegrityError(
                f"{what} is not what was read: its ETag is {etag}, "
                f"the one computed here {expected.etag}"
            )
    if expected.etag in found:
        return "composite-etag" if "-" in expected.etag else "md5-etag"
    if expected.whole_md5 is not None and expected.whole_md5 in found:
        return "whole-md5-etag"
    return None
