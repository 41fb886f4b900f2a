"""One multipart upload: begun, fed with proved parts, aborted with nothing left.

Completing it is the commit's business. What is special here is what happens when answers are
lost: a part is simply sent again, a begun upload whose id was never heard must be found.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from functools import partial

from ..errors import AbsentError, StoreError, StreamToS3Error, TransientError
from ..integrity.checksums import checksum_of, free_checksum_of
from ..integrity.digests import part_md5
from ..integrity.etag import part_is_proved
from ..model.options import Retries
from ..results import StoredPart
from ..runtime.cancel import CancelScope
from ..runtime.retry import Retrier
from ..s3.bodies import PartBody
from ..s3.bucket import Bucket
from ..s3.responses import Answer
from .unfinished import Leftover, abort_until_gone

__all__ = ["MultipartUpload"]

_ABORT_RETRIES = Retries(first_wait_s=0.5, longest_wait_s=4.0, retry_for_s=20.0)


class MultipartUpload:
    """The upload of one key. Thread-safe once created."""

    def __init__(
        self, bucket: Bucket, retrier: Retrier, key: str, checksum: str | None = None
    ) -> None:
        self.upload_id = ""
        self._compute = checksum_of(checksum) if checksum else None
        self._bucket = bucket
        self._retrier = retrier
        self._key = key
        self._etags_are_md5 = True
        self._unheard_since: datetime | None = None
        self._created_at: datetime | None = None
        self._leftover: Leftover | None = None

    def adopt(self, leftover: Leftover) -> None:
        """Go on with an upload that an earlier run began; `create` is not called then."""
        self.upload_id = leftover.upload_id
        self._leftover = leftover

    def create(self, metadata: Mapping[str, str]) -> None:
        """Begin the upload."""
        before = self._bucket.server_time or datetime.now(timezone.utc)
        lost = False

        def attempt() -> tuple[str, bool]:
            nonlocal lost
            # Set before it is sent: a signal may end the upload while the answer is awaited.
            self._unheard_since = before
            try:
                answer = self._bucket.create(self._key, metadata)
            except TransientError:
                lost = True
                raise
            except StoreError:
                self._unheard_since = before if lost else None
                raise
            self._unheard_since = before if lost else None
            return answer

        what = f"begin the upload of {self._bucket.url(self._key)}"
        self.upload_id, self._etags_are_md5 = self._retrier.call(what, attempt).value
        self._created_at = self._bucket.server_time

    def store_part(
        self, number: int, offset_bytes: int, data: memoryview, check: Callable[[], None]
    ) -> StoredPart:
        """Send one part until its ETag is the MD5 of `data`; `check` is called while sending.

        The comparison is inside the retried call: a part whose ETag differs is not stored.
        """
        md5 = part_md5(data)
        if self._leftover is not None and self._leftover.holds(number, len(data), md5.hex()):
            return StoredPart(
                number,
                offset_bytes,
                len(data),
                md5.hex(),
                md5.hex(),
                tries=0,
                resumed=True,
                checksum=self._compute(data) if self._compute else None,
            )
        what = f"part {number}"
        earlier_etag: str | None = None
        checksum = self._compute(data) if self._compute else None

        def attempt() -> tuple[Answer, bool]:
            nonlocal earlier_etag
            body = PartBody(data, check)
            answer = self._bucket.put_part(
                self._key, self.upload_id, number, body, md5, checksum=checksum
            )
            before, earlier_etag = earlier_etag, answer.etag
            proved = part_is_proved(
                what,
                md5.hex(),
                answer.etag,
                etags_are_md5=self._etags_are_md5,
                etag_is_md5=answer.etag_is_md5,
                earlier_etag=before,
            )
            return answer, proved

        outcome = self._retrier.call(what, attempt)
        answer, proved = outcome.value
        return StoredPart(
            number=number,
            offset_bytes=offset_bytes,
            size_bytes=len(data),
            md5=md5.hex(),
            etag=answer.etag or "",
            tries=outcome.tries,
            etag_is_md5=proved,
            # Not sent, but perhaps answered unasked: AWS does so for every object.
            checksum=checksum if proved or checksum else free_checksum_of(data),
        )

    def abort(self) -> None:
        """Drop the upload and make sure that it is gone. Only after all workers have settled."""
        try:
            if self.upload_id:
                with _fresh_retrier() as retrier:
                    what = f"abort the upload of {self._bucket.url(self._key)}"
                    gone = partial(abort_until_gone, self._bucket, self._key, self.upload_id)
                    retrier.call(what, gone)
        finally:
            self.sweep()

    def sweep(self) -> None:
        """Abort what a `create` began whose answer never came.

        Such an upload has no part, belongs to this key, and began, by the service's own clock,
        while our `create` went unanswered. Another writer's live upload has parts by the time
        this runs, at the end of ours. Never fails: an empty upload costs nothing.
        """
        if self._unheard_since is None:
            return
        what = f"drop what was begun unheard for {self._bucket.url(self._key)}"
        try:
            with _fresh_retrier() as retrier:
                for upload_id in retrier.call(what, self._unheard).value:
                    retrier.call(what, partial(self._abort_if_empty, upload_id))
        except StreamToS3Error:  # no right to list, or the service is gone
            return

    def _unheard(self) -> list[str]:
        assert self._unheard_since is not None
        # The service's dates have a resolution of one second.
        since = self._unheard_since - timedelta(seconds=1)
        until = (self._created_at or self._bucket.server_time or since) + timedelta(seconds=1)
        return [
            upload.upload_id
            for upload in self._bucket.list_uploads(self._key)
            if upload.key == self._key
            and since <= upload.initiated <= until
            and upload.upload_id != self.upload_id
        ]

    def _abort_if_empty(self, upload_id: str) -> None:
        try:
            if not list(self._bucket.list_parts(self._key, upload_id)):
                self._bucket.abort(self._key, upload_id)
        except AbsentError:  # somebody was faster
            return


@contextmanager
def _fresh_retrier() -> Iterator[Retrier]:
    """Patience of its own: the upload's retrier stops at once when the upload has failed."""
    with CancelScope() as scope:
        yield Retrier(_ABORT_RETRIES, scope, lambda *_: None, sleep=time.sleep)
