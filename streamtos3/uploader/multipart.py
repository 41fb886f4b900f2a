"""One multipart upload: begin it, store its parts, abort it without leaving anything.

`commit` completes it. Answers may be lost: a part is then sent again, and an upload that was begun
but whose id never arrived is looked for at the end.
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
from ..model.unfinished_upload import UnfinishedUpload
from ..results import StoredPart
from ..runtime.cancel import CancelScope
from ..runtime.retry import Outcome, Retrier
from ..s3.bodies import PartBody
from ..s3.bucket import Bucket
from ..s3.responses import Answer
from .unfinished import abort_until_gone

__all__ = ["MultipartUpload"]

_ABORT_RETRIES = Retries(first_wait_s=0.5, longest_wait_s=4.0, retry_for_s=20.0)


class MultipartUpload:
    """The upload of one key. Thread-safe once created.

    `etags_are_md5`: whether the answer to `create` allows that part ETags are MD5s.
    """

    def __init__(
        self, bucket: Bucket, retrier: Retrier, key: str, checksum: str | None = None
    ) -> None:
        self.upload_id = ""
        self._compute = checksum_of(checksum) if checksum else None
        self._bucket = bucket
        self._retrier = retrier
        self._key = key
        self.etags_are_md5 = True
        self._unanswered_since: datetime | None = None
        self._created_at: datetime | None = None
        self._resumed: UnfinishedUpload | None = None

    def resume(self, unfinished: UnfinishedUpload) -> None:
        """Continue an upload that an earlier run began; `create` is not called then."""
        self.upload_id = unfinished.upload_id
        self._resumed = unfinished

    def join(self, upload_id: str, *, etags_are_md5: bool) -> None:
        """Send parts into an upload that another process began, and will end."""
        self.upload_id = upload_id
        self.etags_are_md5 = etags_are_md5

    def create(self, metadata: Mapping[str, str]) -> None:
        """Begin the upload, and learn its id. Raises as the retrier does."""
        before = self._bucket.server_time or datetime.now(timezone.utc)
        lost = False

        def attempt() -> tuple[str, bool]:
            nonlocal lost
            # Set before it is sent: a signal may end the upload while the answer is awaited.
            self._unanswered_since = before
            try:
                answer = self._bucket.create(self._key, metadata)
            except TransientError:
                lost = True
                raise
            except StoreError:
                self._unanswered_since = before if lost else None
                raise
            self._unanswered_since = before if lost else None
            return answer

        action = f"begin the upload of {self._bucket.url(self._key)}"
        self.upload_id, self.etags_are_md5 = self._retrier.call(action, attempt).value
        self._created_at = self._bucket.server_time

    def store_part(
        self,
        number: int,
        offset_bytes: int,
        data: memoryview,
        check: Callable[[], None],
        md5: bytes | None = None,
    ) -> StoredPart:
        """Send one part until its ETag is the MD5 of `data`; `check` is called while sending.

        `md5` is that MD5, where it has been computed. A part that the resumed upload holds already
        is not sent.
        """
        md5 = part_md5(data) if md5 is None else md5
        checksum = self._compute(data) if self._compute else None
        resumed = self._resumed
        kept = resumed.find_part(number, len(data), md5.hex()) if resumed else None
        if kept is not None:
            return StoredPart(
                number=number,
                offset_bytes=offset_bytes,
                size_bytes=len(data),
                md5=md5.hex(),
                etag=md5.hex(),
                tries=0,
                resumed=True,
                checksum=checksum,
                stored_at=kept.stored_at,
            )
        sent = self._send_part(number, partial(PartBody, data, check), md5, checksum)
        answer, is_proved = sent.value
        return StoredPart(
            number=number,
            offset_bytes=offset_bytes,
            size_bytes=len(data),
            md5=md5.hex(),
            etag=answer.etag or "",
            tries=sent.tries,
            etag_is_md5=is_proved,
            # Not sent, but perhaps answered: AWS computes one of its own for every object.
            checksum=checksum if is_proved or checksum else free_checksum_of(data),
            stored_at=datetime.now(timezone.utc),
        )

    def _send_part(
        self, number: int, new_body: Callable[[], PartBody], md5: bytes, checksum: str | None
    ) -> Outcome[tuple[Answer, bool]]:
        """The answer to the part, and whether its ETag proves it.

        The comparison is inside the retried call: a part whose ETag differs is not stored.
        """
        part = f"part {number}"
        earlier_etag: str | None = None

        def attempt() -> tuple[Answer, bool]:
            nonlocal earlier_etag
            answer = self._bucket.put_part(
                self._key, self.upload_id, number, new_body(), md5, checksum=checksum
            )
            before, earlier_etag = earlier_etag, answer.etag
            is_proved = part_is_proved(
                part,
                md5.hex(),
                answer.etag,
                etags_are_md5=self.etags_are_md5,
                etag_is_md5=answer.etag_is_md5,
                earlier_etag=before,
            )
            return answer, is_proved

        return self._retrier.call(f"store {part}", attempt)

    def abort(self) -> None:
        """Abort the upload until it is gone, and `sweep`. Only after all workers are idle."""
        try:
            if self.upload_id:
                with _fresh_retrier() as retrier:
                    action = f"abort the upload of {self._bucket.url(self._key)}"
                    abort = partial(abort_until_gone, self._bucket, self._key, self.upload_id)
                    retrier.call(action, abort)
        finally:
            self.sweep()

    def sweep(self) -> None:
        """Abort the uploads that our `create` began without its answer ever arriving.

        Such an upload has no part, belongs to this key, and began, by the service's own clock,
        while our `create` was unanswered. Another writer's live upload has parts by the time this
        runs, at the end of ours. Never raises a StreamToS3Error: an empty upload costs nothing.
        """
        if self._unanswered_since is None:
            return
        action = f"abort unanswered uploads of {self._bucket.url(self._key)}"
        try:
            with _fresh_retrier() as retrier:
                for upload_id in retrier.call(action, self._list_unanswered).value:
                    retrier.call(action, partial(self._abort_if_empty, upload_id))
        except StreamToS3Error:  # no right to list, or the service is gone
            return

    def _list_unanswered(self) -> list[str]:
        assert self._unanswered_since is not None
        # The service's dates have a resolution of one second.
        since = self._unanswered_since - timedelta(seconds=1)
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
        except AbsentError:  # aborted by someone else, or completed
            return


@contextmanager
def _fresh_retrier() -> Iterator[Retrier]:
    """A retrier for cleaning up: the upload's own stops at once when the upload has failed."""
    with CancelScope() as scope:
        yield Retrier(_ABORT_RETRIES, scope, lambda *_: None, sleep=time.sleep)
