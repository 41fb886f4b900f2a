"""What a receipt says about itself: is it whole, and does one part of it follow from the other?

No receipt is believed for being consistent: a forger's may be, too. But what an accident has
changed shows here, and that the ETag follows from the parts is worked out, not taken on trust.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum

from ..integrity.digests import STREAM_DIGESTS, composite_etag
from ..results import Receipt
from ..units import plural
from .facts import utc

__all__ = ["Finding", "Verdict", "check_content", "examine"]

_MD5 = re.compile(r"[0-9a-f]{32}")
_DIGEST = re.compile(r"[0-9a-f]{32,128}")
_PROVING_ETAGS = ("composite-etag", "md5-etag")


class Verdict(Enum):
    """What one check came to; the later the worse."""

    OK = "ok"
    UNPROVED = "unproved"
    FAILED = "failed"


@dataclass(frozen=True)
class Finding:
    """One check of a receipt: of what, its verdict, and in a line what was found and means."""

    subject: str
    verdict: Verdict
    text: str


class _DoubtfulError(ValueError):
    """What is odd, but happens to honest receipts, too."""


def check_content(receipt: Receipt) -> None:
    """ValueError where what decides about bytes does not hold together: parts, digests, ETag."""
    for check in (_parts, _digests, _etag):
        check(receipt)


def examine(receipt: Receipt) -> Iterator[Finding]:
    """All that can be said of a receipt without its signature and its object."""
    checks: tuple[tuple[str, Callable[[Receipt], str]], ...] = (
        ("parts", _parts),
        ("digests", _digests),
        ("etag", _etag),
        ("retries", _retries),
        ("times", _times),
    )
    for subject, check in checks:
        try:
            yield Finding(subject, Verdict.OK, check(receipt))
        except _DoubtfulError as doubt:
            yield Finding(subject, Verdict.UNPROVED, str(doubt))
        except ValueError as problem:
            yield Finding(subject, Verdict.FAILED, str(problem))
    yield _proof(receipt)


def _parts(receipt: Receipt) -> str:
    offset_bytes = 0
    for number, part in enumerate(receipt.parts, 1):
        if (part.number, part.offset_bytes) != (number, offset_bytes):
            raise ValueError(f"part {number} does not begin where the one before it ends")
        if part.size_bytes < 0 or not _MD5.fullmatch(part.md5):
            raise ValueError(f"part {number} has no size or no MD5")
        offset_bytes += part.size_bytes
    if not receipt.parts or offset_bytes != receipt.size_bytes:
        raise ValueError(f"its parts have {offset_bytes} bytes, the whole {receipt.size_bytes}")
    for part in receipt.parts:
        if part.etag_is_md5 and part.etag.lower() != part.md5:
            raise ValueError(f"part {part.number} is said to be proved by its ETag, which differs")
    count = plural(len(receipt.parts), "part")
    return f"{count} without a gap, together {plural(receipt.size_bytes, 'byte')}, as the whole"


def _digests(receipt: Receipt) -> str:
    for name, value in receipt.digests.items():
        if name not in STREAM_DIGESTS or not _DIGEST.fullmatch(value):
            raise ValueError(f"{value!r} is not a {name} digest")
    md5 = receipt.digests.get("md5")
    if md5 is not None and len(receipt.parts) == 1 and md5 != receipt.parts[0].md5:
        raise ValueError(f"the MD5 of the whole is {md5}, that of its only part is another")
    found = ", ".join(f"{name} {value}" for name, value in receipt.digests.items())
    return f"of all bytes that were read: {found}" if found else "none was asked for"


def _etag(receipt: Receipt) -> str:
    expected = receipt.etag_expected
    if not expected:
        raise ValueError("it has no ETag")
    if not receipt.parts:
        raise ValueError("it has no parts that the ETag could follow from")
    md5s = [bytes.fromhex(part.md5) for part in receipt.parts]
    follows = composite_etag(md5s) if "-" in expected else md5s[0].hex()
    if follows != expected or ("-" not in expected and len(md5s) != 1):
        raise ValueError(f"the MD5s of the parts give the ETag {follows}, it says {expected}")
    found = (receipt.etag_found or "").lower()  # some services write MD5s in capitals
    # rclone proves by what it answers to the commit, and shows the MD5 of the whole after it.
    is_of_its_form = not found or found.partition("-")[2] == expected.partition("-")[2]
    if receipt.proof.object in _PROVING_ETAGS and found != expected and is_of_its_form:
        raise ValueError(f"the ETag that is said to prove the object is {receipt.etag_found}")
    answered = "" if found != expected else ", and the service answered with it"
    return f"{expected} follows from the MD5s of the parts{answered}"


def _retries(receipt: Receipt) -> str:
    listed = len(receipt.retried)
    if listed > receipt.retries:
        raise ValueError(f"it lists {listed} retries and counts {receipt.retries}")
    if not receipt.retries:
        return "no request had to be sent again"
    which = "each is listed" if listed == receipt.retries else f"{listed:,} are listed"
    return f"{plural(receipt.retries, 'request')} had to be sent again, {which}"


def _times(receipt: Receipt) -> str:
    known = [receipt.started_at, receipt.first_byte_at, receipt.ended_at]
    times = [each for each in known if each is not None]
    stored = [each.stored_at for each in receipt.parts if each.stored_at and not each.resumed]
    middle = [*stored, *(each.at for each in receipt.retried)]
    if times != sorted(times) or any(not times[0] <= each <= times[-1] for each in middle):
        raise _DoubtfulError("its times are not in order: perhaps the clock was set meanwhile")
    return f"in order, from {utc(times[0])} to {utc(times[-1])}, by the clock of {receipt.host}"


def _proof(receipt: Receipt) -> Finding:
    proof = receipt.proof.object
    if proof is None:
        text = "nothing proved the object when it was stored"
        return Finding("proof", Verdict.UNPROVED, text)
    text = f"when it was stored, {proof} proved that the object is what was read"
    return Finding("proof", Verdict.OK, text)
