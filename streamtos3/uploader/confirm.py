"""Whether the object is there, ours, and proved to be what was read.

The commit asks this after an answer that was lost, and after one that said success. Nothing here
decides about requests; it knows how far the answer to a HEAD can be believed.
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
from ..integrity.etag import Expected, judge_checksum
from ..model.options import Options
from ..results import Receipt
from ..runtime.cancel import Cancelled
from ..runtime.retry import Retrier
from ..s3.bucket import Bucket
from ..s3.responses import ObjectInfo

__all__ = ["Committed", "Inspection", "NotOurs", "check_verdict", "chosen_proof", "contradicts"]


@dataclass(frozen=True)
class Committed:
    """The object is stored. `proof` is None where its ETag proves nothing; `tries` of the request.

    `checksums` are all that S3 answered, by its member names; `lock_problem` says what of the
    lock that was asked for did not take.
    """

    etag: str | None
    version_id: str | None
    proof: str | None
    tries: int
    checksums: Mapping[str, str] = field(default_factory=dict)
    lock_problem: str | None = None


class NotOurs(Enum):
    """What a look found where it did not find our object."""

    ABSENT = "nothing"
    FOREIGN = "another writer's object"
    UNKNOWN = "we may not look, or cannot tell whose object it is"


class Inspection:
    """Looks at one key. `token` is None where an earlier run began the upload."""

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
        self._what = bucket.url(key)
        self.sees_ours = False  # as of the last look that saw anything

    def find(self, expected: Expected) -> ObjectInfo | NotOurs:
        """Our object, if it is there. One look; raises TransientError when that fails."""
        try:
            info = self._head()
        except AbsentError:
            return NotOurs.ABSENT
        except RefusedError:
            return NotOurs.UNKNOWN
        is_ours = self._is_ours(info, expected)
        if is_ours is None:
            return NotOurs.UNKNOWN
        return info if is_ours else NotOurs.FOREIGN

    def confirm(self, version_id: str | None, expected: Expected) -> ObjectInfo | None:
        """The object that was just stored, which must be ours; None where we may not look.

        What is not as it should be is looked at again, because an answer can be damaged on its
        way and some servers show a new object late. Raises IntegrityError if it stays so.
        """
        wrong: TransientError | None = None
        self.sees_ours = True
        at_once = True

        def look() -> ObjectInfo:
            nonlocal wrong, at_once
            wrong = None
            is_first, at_once = at_once, False  # what fails may have been the connection
            try:
                info = self._head(version_id, at_once=is_first)
            except AbsentError as error:
                self.sees_ours = False
                reason = f"{self._what} is not there after it was stored: {error.message}"
                wrong = TransientError(reason, damaged=True)
                raise wrong from error
            wrong = self._mismatch(info, expected)
            if wrong is not None:
                raise wrong
            return info

        try:
            return self._retrier.call(f"look at {self._what}", look).value
        except IntegrityError:
            raise
        except (StreamToS3Error, Cancelled) as error:
            if wrong is not None:
                raise IntegrityError(wrong.message, hint=wrong.hint) from error
            if isinstance(error, StreamToS3Error):
                self._warn(f"the stored object could not be looked at: {error.message}")
            # After a signal, what the service has answered has to do.
        return None

    def _head(self, version_id: str | None = None, *, at_once: bool = False) -> ObjectInfo:
        try:
            return self._bucket.head(self._key, version_id, at_once=at_once)
        except AbsentError:
            raise
        except RefusedError:
            # A HEAD's answer has no body and so no code: an expired token would look like a
            # right that is missing. Asked by a GET, the service says which it is.
            self._bucket.peek(self._key)
            raise

    def _is_ours(self, info: ObjectInfo, expected: Expected) -> bool | None:
        """Whether this run made the object; None where nothing tells."""
        if info.token is not None and self._token is not None:
            return info.token == self._token
        if info.size_bytes != expected.size_bytes or contradicts(info, expected):
            return False
        return True if info.etag == expected.etag else None

    def _mismatch(self, info: ObjectInfo, expected: Expected) -> TransientError | None:
        self.sees_ours = None in (info.token, self._token) or info.token == self._token
        if not self.sees_ours:
            return TransientError(
                f"{self._what} was replaced by another writer right after it was stored",
                hint="turn on the bucket's versioning, and let only one program write this key",
                damaged=True,
            )
        found = f"{self._what} is not what was read:"
        if info.size_bytes != expected.size_bytes:
            reason = f"it has {info.size_bytes} bytes, but {expected.size_bytes} were read"
        elif contradicts(info, expected):
            reason = f"its ETag is {info.etag}, the one computed here {expected.etag}"
        else:
            return None
        return TransientError(f"{found} {reason}", damaged=True)


def contradicts(info: ObjectInfo, expected: Expected) -> bool:
    """Whether the object's ETag shows that it is not what was read."""
    return info.etag_is_md5 and expected.is_contradicted_by(info.etag or "")


def chosen_proof(
    url: str, options: Options, committed: Committed, expected: Expected
) -> str | None:
    """The first proof of those that the user accepts, by name; None where there is none.

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


def check_verdict(receipt: Receipt, options: Options, lock_problem: str | None) -> None:
    """UnprovedError where nothing proves the object, IntegrityError where its lock did not take."""
    url = f"s3://{receipt.bucket}/{receipt.key}"
    if lock_problem:
        locked = IntegrityError(
            f"the object is stored, but the lock that was asked for cannot be confirmed: "
            f"{lock_problem}",
            hint="the bucket needs Object Lock, and you the right to see it: "
            "s3:GetObjectRetention, s3:GetObjectLegalHold",
        )
        locked.left_behind = f"{url} is there"
        raise locked
    if receipt.proof.object is None and options.verify != "readback":
        raise _unproved(url, receipt, options)


def _unproved(url: str, receipt: Receipt, options: Options) -> UnprovedError:
    if options.verify == "none":
        message, hint = f"{url} is stored, and no proof was asked for", None
    else:
        message = (
            f"{url} is stored, but nothing that this endpoint answers proves it "
            f"(ETag {receipt.etag_found or 'missing'})"
        )
        hint = "--verify readback proves it by reading it back"
        if options.checksum is None:
            hint = "--checksum crc32 may prove it here, and --verify readback does"
    error = UnprovedError(message, hint=hint, receipt=receipt)
    error.left_behind = f"{url}, unproved"
    return error
