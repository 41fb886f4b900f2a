"""Is the object there, is it ours, and is it proved to be what was read?

`commit` asks this by HEAD after an answer that was lost and after one that reported success; the
upload then chooses the proof for the receipt. Nothing here changes the bucket.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum

from ..errors import (
    AbsentError,
    IntegrityError,
    RefusedError,
    StreamToS3Error,
    TransientError,
    UnprovedError,
)
from ..integrity.checksums import CHECKSUMS, FREE_CHECKSUM
from ..integrity.etag import Expected, is_md5, judge_checksum
from ..model.options import READ_BACK_UNASKED_BYTES, Options
from ..results import Receipt
from ..runtime.cancel import Cancelled
from ..runtime.retry import Retrier
from ..s3.bucket import Bucket
from ..s3.responses import ObjectInfo

__all__ = [
    "Committed",
    "Inspection",
    "NotOurs",
    "choose_proof",
    "contradicts",
    "is_read_back_unasked",
    "require_proof",
]

_DIRECTORY_HINT = "this service makes a directory of a key that ends in /; leave that out"


@dataclass(frozen=True)
class Committed:
    """A stored object. `proof` by its ETag is None where that proves nothing.

    `tries`: how often the commit was sent. `checksums`: all that S3 answered, by its member
    names. `lock_problem`: which part of the requested lock is not in effect; None if nothing.
    """

    etag: str | None
    version_id: str | None
    proof: str | None
    tries: int
    checksums: Mapping[str, str] = field(default_factory=dict)
    lock_problem: str | None = None


class NotOurs(Enum):
    """What a look found instead of our object."""

    ABSENT = "nothing"
    FOREIGN = "another writer's object"
    UNKNOWN = "looking is not allowed, or nothing tells whose object it is"


class Inspection:
    """Looks at one key by HEAD. `token` is None where an earlier run began the upload.

    `sees_ours`: whether the last look that saw anything saw our object, or found no token.
    """

    def __init__(
        self,
        bucket: Bucket,
        retrier: Retrier,
        key: str,
        token: str | None,
        warn: Callable[[str], None],
    ) -> None:
        self._bucket = bucket
        self._retrier = retrier
        self._key = key
        self._token = token
        self._warn = warn
        self._url = bucket.url(key)
        self.sees_ours = False

    def find(self, expected: Expected) -> ObjectInfo | NotOurs:
        """Look once; returns our object, or what is there instead. TransientError if that fails."""
        try:
            info = self._bucket.head_explained(self._key)
        except AbsentError:
            return NotOurs.ABSENT
        except RefusedError:
            return NotOurs.UNKNOWN
        is_ours = self._is_ours(info, expected)
        if is_ours is None:
            return NotOurs.UNKNOWN
        return info if is_ours else NotOurs.FOREIGN

    def confirm(self, version_id: str | None, expected: Expected) -> ObjectInfo | None:
        """Look at the object that was just stored; None where looking is not allowed or fails.

        A look that disagrees is repeated, because an answer can be damaged on its way and some
        servers show a new object late. Raises IntegrityError if it still disagrees.
        """
        wrong: TransientError | None = None
        self.sees_ours = True
        at_once = True

        def look() -> ObjectInfo:
            nonlocal wrong, at_once
            wrong = None
            is_first, at_once = at_once, False  # what fails may have been the connection
            try:
                info = self._bucket.head_explained(self._key, version_id, at_once=is_first)
            except AbsentError as error:
                self.sees_ours = False
                reason = f"{self._url} is not there after it was stored: {error.message}"
                wrong = TransientError(reason, damaged=True)
                raise wrong from error
            wrong = self._compare(info, expected)
            if wrong is not None and _is_directory(info, self._key):
                raise IntegrityError(wrong.message, hint=_DIRECTORY_HINT)
            if wrong is not None:
                raise wrong
            return info

        try:
            return self._retrier.call(f"look at {self._url}", look).value
        except IntegrityError:
            raise
        except (StreamToS3Error, Cancelled) as error:
            if wrong is not None:
                raise IntegrityError(wrong.message, hint=wrong.hint) from error
            if isinstance(error, StreamToS3Error):
                self._warn(f"the stored object could not be inspected: {error.message}")
            # After a signal there is no time for more: the answer to the commit must suffice.
        return None

    def _is_ours(self, info: ObjectInfo, expected: Expected) -> bool | None:
        """Whether this upload made the object; None where nothing tells."""
        if info.token is not None and self._token is not None:
            return info.token == self._token
        if info.size_bytes != expected.size_bytes or contradicts(info, expected):
            return False
        etag = (info.etag or "").lower()
        return True if etag and etag in (expected.etag, expected.whole_md5) else None

    def _compare(self, info: ObjectInfo, expected: Expected) -> TransientError | None:
        """The error for an object that is not the one just stored, None where it is."""
        self.sees_ours = None in (info.token, self._token) or info.token == self._token
        if not self.sees_ours:
            return TransientError(
                f"{self._url} was replaced by another writer right after it was stored",
                hint="turn on the bucket's versioning, and let only one program write this key",
                damaged=True,
            )
        found = f"{self._url} is not what was read:"
        if info.size_bytes != expected.size_bytes:
            reason = f"it has {info.size_bytes} bytes, but {expected.size_bytes} were read"
        elif contradicts(info, expected):
            reason = f"its ETag is {info.etag}, the one computed here {expected.etag}"
        else:
            return None
        return TransientError(f"{found} {reason}", damaged=True)


def _is_directory(info: ObjectInfo, key: str) -> bool:
    """Whether the service has made a directory of a key that ends as one: that stays so."""
    return key.endswith("/") and not info.size_bytes


def contradicts(info: ObjectInfo, expected: Expected) -> bool:
    """Whether the object's ETag shows that it is not what was read."""
    return info.etag_is_md5 and expected.is_contradicted_by(info.etag or "")


def choose_proof(
    url: str, options: Options, committed: Committed, expected: Expected
) -> str | None:
    """The name of the first proof that `options.verify` accepts; None where there is none.

    Raises IntegrityError when an additional checksum disproves the object.
    """
    mode = options.verify
    if mode in ("none", "readback"):
        return None
    by_checksum = None
    if expected.checksums:
        kind = CHECKSUMS[options.checksum or FREE_CHECKSUM]
        try:
            by_checksum = judge_checksum(url, kind, expected.checksums, committed.checksums)
        except IntegrityError as error:
            error.left_behind = f"{url} is there and is not what was read"
            raise
    if mode == "checksum":
        return by_checksum
    return committed.proof if mode == "etag" else committed.proof or by_checksum


def require_proof(receipt: Receipt, options: Options, lock_problem: str | None) -> None:
    """Raise UnprovedError if nothing proves the object, IntegrityError if its lock is not there.

    A proof by reading back comes later, and is not required here.
    """
    url = f"s3://{receipt.bucket}/{receipt.key}"
    if lock_problem:
        locked = IntegrityError(
            f"the object is stored, but the requested lock cannot be confirmed: {lock_problem}",
            hint="the bucket needs Object Lock, and you need permission to read it: "
            "s3:GetObjectRetention, s3:GetObjectLegalHold",
        )
        locked.left_behind = f"{url} is there"
        raise locked
    if receipt.proof.object is None and options.verify != "readback":
        raise _unproved_error(url, receipt, options)


def is_read_back_unasked(receipt: Receipt, options: Options) -> bool:
    """Whether an object that nothing else proves is small enough to be read back for it."""
    return options.verify == "auto" and receipt.size_bytes <= READ_BACK_UNASKED_BYTES


def _what_would_prove(receipt: Receipt, options: Options) -> str:
    """The options that would have proved the object, the cheapest first."""
    if is_md5(receipt.etag_found) and len(receipt.parts) > 1 and "md5" not in options.digests:
        return (
            "this ETag may be the MD5 of the whole object, which --digest sha256 --digest md5 "
            "compares without a download; --verify readback reads the object back"
        )
    if options.checksum is None:
        return "--checksum crc32 may prove it here, and --verify readback does"
    return "--verify readback proves it by reading it back"


def _unproved_error(url: str, receipt: Receipt, options: Options) -> UnprovedError:
    message = f"{url} is stored, and no proof was asked for"
    hint = None
    if options.verify != "none":
        message = (
            f"{url} is stored, but nothing that this endpoint answers proves it "
            f"(ETag {receipt.etag_found or 'missing'})"
        )
        hint = _what_would_prove(receipt, options)
    error = UnprovedError(message, hint=hint, receipt=receipt)
    error.left_behind = f"{url}, unproved"
    return error
