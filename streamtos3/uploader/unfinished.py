"""Unfinished uploads: found, resumed, listed and aborted.

The server is the journal: what an earlier run left is an unfinished upload of the same key, whose
listed parts say how the stream was cut. Nothing is kept on the local disk.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone

from ..errors import AbsentError, RefusedError, RetriesUsedUpError, StoreError, TransientError
from ..model.parts import ListedPart
from ..runtime.cancel import Cancelled, CancelScope
from ..runtime.retry import Retrier
from ..runtime.workers import WorkerPool
from ..s3.bucket import Bucket
from ..s3.responses import ListedUpload

__all__ = [
    "Leftover",
    "Listing",
    "UnfinishedUpload",
    "abort_each",
    "abort_until_gone",
    "find_leftover",
    "list_unfinished",
    "measured",
]

_JOBS = 8
_ABORT_ROUNDS = 5
# The service's dates have a resolution of one second, that of the upload and that of now.
_RESOLUTION_S = 1.0
# S3 repeats the key in the list of parts, which nobody can read then.
_NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")


@dataclass(frozen=True)
class UnfinishedUpload:
    """An upload that was begun and neither completed nor aborted; its parts are billed.

    `age_s` is None where the service does not tell the time; `parts` and `size_bytes` are None
    until they were `measured`, and where that is not allowed or not possible.
    """

    key: str
    upload_id: str
    initiated: datetime
    age_s: float | None
    parts: int | None = None
    size_bytes: int | None = None

    def is_older_than(self, older_than_s: float) -> bool:
        """Whether it surely began `older_than_s` ago or earlier."""
        if older_than_s == 0:
            return True
        return self.age_s is not None and self.age_s - _RESOLUTION_S >= older_than_s


@dataclass(frozen=True)
class Listing:
    """Unfinished uploads, oldest first. `clock_ahead_s`: how far ahead our own clock is."""

    uploads: tuple[UnfinishedUpload, ...]
    clock_ahead_s: float | None


def list_unfinished(
    bucket: Bucket,
    retrier: Retrier,
    prefix: str = "",
    *,
    check_for_s: float | None = None,
    clock: Callable[[], datetime] = lambda: datetime.now(timezone.utc),
) -> Listing:
    """The unfinished uploads whose key begins with `prefix`, not yet measured.

    `check_for_s`: how long an endpoint that does not answer is waited for; None: as `retrier`
    does. Raises AbsentError where there is no such bucket, and what else the listing meets.
    """

    def listed() -> list[ListedUpload]:
        return list(bucket.list_uploads(prefix))

    what = f"list the unfinished uploads of {bucket.url(prefix)}"
    found = retrier.call(what, listed, check_for_s=check_for_s).value
    now = bucket.server_time
    uploads = [
        UnfinishedUpload(
            key=each.key,
            upload_id=each.upload_id,
            initiated=each.initiated,
            age_s=(now - each.initiated).total_seconds() if now else None,
        )
        for each in found
    ]
    uploads.sort(key=lambda each: (each.initiated, each.key, each.upload_id))
    return Listing(tuple(uploads), (clock() - now).total_seconds() if now else None)


def measured(
    bucket: Bucket, retrier: Retrier, uploads: Sequence[UnfinishedUpload]
) -> list[UnfinishedUpload]:
    """`uploads` with what they hold, in the same order; those that are gone meanwhile left out."""
    with CancelScope() as scope:
        workers = WorkerPool(min(_JOBS, len(uploads)), scope)
        tasks = [
            workers.submit(lambda each=each: _measured_one(bucket, retrier, each))  # type: ignore[misc]
            for each in uploads
        ]
        try:
            results = [task.result() for task in tasks]
        except Cancelled:
            assert scope.error is not None
            raise scope.error from None
        finally:
            workers.shutdown()
    return [each for each in results if each is not None]


def _measured_one(
    bucket: Bucket, retrier: Retrier, upload: UnfinishedUpload
) -> UnfinishedUpload | None:
    what = f"list the parts of {bucket.url(upload.key)}"
    if _NOT_XML.search(upload.key):
        return upload
    try:
        parts = retrier.call(
            what, lambda: list(bucket.list_parts(upload.key, upload.upload_id))
        ).value
    except AbsentError:
        return None
    except RefusedError:  # listing uploads may be allowed where listing parts is not
        return upload
    # SeaweedFS lists a part twice after it was sent again.
    sizes = {part.number: part.size_bytes for part in parts}
    return replace(upload, parts=len(sizes), size_bytes=sum(sizes.values()))


def abort_each(
    bucket: Bucket, retrier: Retrier, uploads: Iterable[UnfinishedUpload]
) -> Iterator[tuple[UnfinishedUpload, StoreError | None]]:
    """Abort one after the other; each comes out with the error that kept it, or None.

    An upload that is gone meanwhile counts as aborted. What concerns all of them ends the loop
    and is raised: credentials that are not accepted, and an endpoint that is gone for good.
    """
    for upload in uploads:
        what = f"abort upload {upload.upload_id} of {bucket.url(upload.key)}"
        try:
            _abort(bucket, retrier, what, upload)
        except RefusedError as error:
            yield upload, error
        except RetriesUsedUpError as error:
            if error.code is None:
                raise
            yield upload, error
        else:
            yield upload, None


def _abort(bucket: Bucket, retrier: Retrier, what: str, upload: UnfinishedUpload) -> None:
    retrier.call(what, lambda: abort_until_gone(bucket, upload.key, upload.upload_id))


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


def find_leftover(
    bucket: Bucket, retrier: Retrier, key: str, check_for_s: float
) -> Leftover | None:
    """The newest unfinished upload of `key` with its parts; None where there is none."""

    def find() -> Leftover | None:
        uploads = [each for each in bucket.list_uploads(key) if each.key == key]
        for upload in sorted(uploads, key=lambda each: each.initiated, reverse=True):
            try:
                parts = tuple(bucket.list_parts(key, upload.upload_id))
            except AbsentError:  # aborted by someone else a moment ago
                continue
            return Leftover(upload.upload_id, upload.initiated, parts)
        return None

    what = f"find the unfinished upload of {bucket.url(key)}"
    return retrier.call(what, find, check_for_s=check_for_s).value


def abort_until_gone(bucket: Bucket, key: str, upload_id: str) -> None:
    """Abort an upload, again until its parts can no longer be listed. Fine if it is gone already.

    A part that was on its way may arrive after the first abort (AbortMultipartUpload's
    documentation asks for the repetition).
    """
    for _ in range(_ABORT_ROUNDS):
        try:
            bucket.abort(key, upload_id)
        except AbsentError:
            return
        try:
            if not list(bucket.list_parts(key, upload_id)):
                return
        except RefusedError:  # gone, or no right to look
            return
    raise TransientError(f"parts of upload {upload_id} keep arriving")
