"""Unfinished uploads: found for --resume, listed, measured and aborted.

Nothing is kept on the local disk: what an earlier run left is an unfinished upload of the same
key, whose listed parts tell how the stream was cut.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from functools import partial

from ..errors import (
    AbsentError,
    RefusedError,
    RetriesUsedUpError,
    StoreError,
    TransientError,
    UnsupportedError,
)
from ..model.unfinished_upload import UnfinishedUpload
from ..runtime.cancel import Cancelled, CancelScope
from ..runtime.retry import Retrier
from ..runtime.workers import WorkerPool
from ..s3.bucket import Bucket

__all__ = [
    "Listing",
    "abort_each",
    "abort_until_gone",
    "find_unfinished",
    "list_unfinished",
    "measure",
]

_JOBS = 8
_ABORT_ROUNDS = 5
# Characters that XML cannot carry. S3 repeats the key in the list of parts, which then cannot be
# parsed.
_NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")


@dataclass(frozen=True)
class Listing:
    """Unfinished uploads, oldest first. `clock_ahead_s`: how far ahead our own clock is."""

    uploads: tuple[UnfinishedUpload, ...]
    clock_ahead_s: float | None


def find_unfinished(
    bucket: Bucket, retrier: Retrier, key: str, check_for_s: float
) -> UnfinishedUpload | None:
    """The newest unfinished upload of exactly `key`, with its parts; None where there is none.

    UnsupportedError where the service cannot list them.
    """

    def find() -> UnfinishedUpload | None:
        uploads = [each for each in bucket.list_uploads(key) if each.key == key]
        for upload in sorted(uploads, key=lambda each: each.initiated, reverse=True):
            try:
                parts = tuple(bucket.list_parts(key, upload.upload_id))
            except AbsentError:  # aborted by someone else a moment ago
                continue
            return replace(upload.measured(parts), listed=parts)
        return None

    action = f"find the unfinished upload of {bucket.url(key)}"
    with _listing_may_be_unknown():
        return retrier.call(action, find, check_for_s=check_for_s).value


def list_unfinished(
    bucket: Bucket,
    retrier: Retrier,
    prefix: str = "",
    *,
    check_for_s: float | None = None,
    clock: Callable[[], datetime] = lambda: datetime.now(timezone.utc),
) -> Listing:
    """The unfinished uploads whose key begins with `prefix`, not measured yet.

    `check_for_s`: how long to wait for an endpoint that does not answer; None: as `retrier`
    does. Raises AbsentError where there is no such bucket, UnsupportedError where the service
    cannot list uploads, and any other error of the listing.
    """
    action = f"list the unfinished uploads of {bucket.url(prefix)}"
    with _listing_may_be_unknown():
        found = retrier.call(
            action, lambda: list(bucket.list_uploads(prefix)), check_for_s=check_for_s
        ).value
    now = bucket.server_time
    if now is not None:
        found = [replace(each, age_s=(now - each.initiated).total_seconds()) for each in found]
    found.sort(key=lambda each: (each.initiated, each.key, each.upload_id))
    return Listing(tuple(found), (clock() - now).total_seconds() if now else None)


@contextmanager
def _listing_may_be_unknown() -> Iterator[None]:
    """Raise UnsupportedError for a refusal that names none of S3's reasons but a plain 4xx."""
    try:
        yield
    except RefusedError as error:
        nameless = error.code == str(error.http_status) and error.http_status in (400, 404)
        if not (nameless or isinstance(error, UnsupportedError)):
            raise
        raise UnsupportedError(
            f"this endpoint cannot list unfinished uploads: {error.message}",
            hint="streamtos3 uploads abort s3://BUCKET/KEY --upload-id ID --older-than 0 needs "
            "no list",
            code=error.code,
            http_status=error.http_status,
            request_id=error.request_id,
        ) from error


def measure(
    bucket: Bucket, retrier: Retrier, uploads: Sequence[UnfinishedUpload]
) -> list[UnfinishedUpload]:
    """`uploads` with the number and size of their parts, in the same order.

    Those that have disappeared meanwhile are left out; those whose parts cannot be listed come
    back as they are. Raises the first error of any other kind.
    """
    with CancelScope() as scope:
        workers = WorkerPool(min(_JOBS, len(uploads)), scope)
        tasks = [workers.submit(partial(_measure_one, bucket, retrier, each)) for each in uploads]
        try:
            results = [task.result() for task in tasks]
        except Cancelled:
            assert scope.error is not None
            raise scope.error from None
        finally:
            workers.shutdown()
    return [each for each in results if each is not None]


def _measure_one(
    bucket: Bucket, retrier: Retrier, upload: UnfinishedUpload
) -> UnfinishedUpload | None:
    if _NOT_XML.search(upload.key):
        return upload
    action = f"list the parts of {bucket.url(upload.key)}"
    try:
        parts = retrier.call(
            action, lambda: tuple(bucket.list_parts(upload.key, upload.upload_id))
        ).value
    except AbsentError:
        return None
    except RefusedError:  # listing uploads may be allowed where listing parts is not
        return upload
    return upload.measured(parts)


def abort_each(
    bucket: Bucket, retrier: Retrier, uploads: Iterable[UnfinishedUpload]
) -> Iterator[tuple[UnfinishedUpload, StoreError | None]]:
    """Abort one after the other; yields each with the error that prevented it, or None.

    An upload that has disappeared meanwhile counts as aborted. An error that concerns all of
    them is raised: credentials that are not accepted, an endpoint that no longer answers.
    """
    for upload in uploads:
        action = f"abort upload {upload.upload_id} of {bucket.url(upload.key)}"
        try:
            retrier.call(action, partial(abort_until_gone, bucket, upload.key, upload.upload_id))
        except RefusedError as error:
            yield upload, error
        except RetriesUsedUpError as error:
            if error.code is None:
                raise
            yield upload, error
        else:
            yield upload, None


def abort_until_gone(bucket: Bucket, key: str, upload_id: str) -> None:
    """Abort an upload, again until its parts can no longer be listed.

    A part that was on its way may arrive after the first abort (AbortMultipartUpload's
    documentation asks for the repetition). Does nothing if the upload is gone already. Raises
    TransientError while parts keep arriving.
    """
    for _ in range(_ABORT_ROUNDS):
        try:
            bucket.abort(key, upload_id)
        except AbsentError:
            return
        try:
            if not list(bucket.list_parts(key, upload_id)):
                return
        except RefusedError:  # gone, or listing is not allowed
            return
    raise TransientError(f"parts of upload {upload_id} keep arriving")
