"""What one operation on a bucket works with: an upload, a download or a verification.

The three share how requests are sent (by workers, with retries), how errors end them (a cancel
scope), and how they report. It is put together here, once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from datetime import datetime, timezone
from functools import partial
from typing import TYPE_CHECKING

from ..errors import AbsentError, IntegrityError, RefusedError, TransientError
from ..integrity.checksums import Checksum
from ..model.events import Event, Retrying, Warned, serialized
from ..model.options import Options
from ..model.printable import without_passwords
from ..results import RetriedRequest
from ..runtime.cancel import CancelScope
from ..runtime.retry import Retrier
from ..runtime.workers import WorkerPool
from .bucket import Bucket
from .clients import Clients
from .responses import ObjectInfo

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

__all__ = ["OperationContext", "find_object"]

_MOST_RETRIED = 10_000
_DIRECTORY_BUCKET = "--x-s3"  # ETags there are never MD5s (docs/s3-facts.org, ETag)


class OperationContext:
    """The bucket, the workers, the retries and the listener of one operation.

    `retries` counts the requests that were tried again, and `retried` says what of the first
    10,000: an outage of days must not fill the memory. `on_throttled` is called each time the
    service asks for less; the owner of the part memory sets it.
    """

    def __init__(
        self, bucket: Bucket, options: Options, scope: CancelScope, emit: Callable[[Event], None]
    ) -> None:
        self.bucket = bucket
        self.options = options
        self.scope = scope
        self.emit = emit
        self.workers = WorkerPool(options.jobs, scope)
        self.retries = 0
        self.retried: list[RetriedRequest] = []
        self.on_throttled: Callable[[], None] = lambda: None

    @classmethod
    @contextmanager
    def open(
        cls,
        bucket: str,
        options: Options,
        *,
        checksum: Checksum | None = None,
        client: S3Client | Clients | None = None,
        scope: CancelScope | None = None,
        on_event: Callable[[Event], None] | None = None,
    ) -> Iterator[OperationContext]:
        """A context for the bucket of this name, whose workers end with the `with` block.

        A `scope` that the caller gives stays open, because only the caller knows what else it
        serves; without one, a scope is made and closed here.
        """
        own: AbstractContextManager[CancelScope] = (
            CancelScope() if scope is None else nullcontext(scope)
        )
        with own as open_scope:
            s3_bucket = Bucket(
                bucket,
                options.connection,
                settings=options.settings,
                checksum=checksum,
                connections=options.jobs,
                client=client,
            )
            context = cls(s3_bucket, options, open_scope, serialized(on_event))
            try:
                yield context
            finally:
                context.workers.shutdown()

    @property
    def retrier(self) -> Retrier:
        """A new one: one that is kept would make a cycle, and stay in memory for a while."""
        # By this clock, because what the limit keeps waiting is not failing.
        clock = self.bucket.limit.clock
        return Retrier(self.options.retries, self.scope, self._note_retry, clock=clock)

    def find(self, key: str, version_id: str | None) -> ObjectInfo:
        """What is stored under `key`, looked up in a worker. Raises as `find_object` does."""
        check_for_s = self.options.retries.check_for_s

        def find() -> ObjectInfo:
            try:
                return find_object(self.bucket, self.retrier, key, version_id, check_for_s)
            finally:
                self.warn_of_endpoint()

        return self.workers.submit(find).result()

    def warn_of_endpoint(self) -> None:
        """Say what is odd about the endpoint; after the first request, before the first byte."""
        warning = self.bucket.endpoint_warning()
        if warning:
            self.emit(Warned(warning))

    def warn_of_encoding(self) -> None:
        """Say which metadata is not stored as it was given, once for all that share the clients."""
        names = self.bucket.settings.encoded_names
        text = (
            f"metadata is not ASCII and is stored encoded as S3 does, by RFC 2047: "
            f"{', '.join(names)}"
        )
        if names and self.bucket.is_news(text):
            self.emit(Warned(text))

    def ask_parts(
        self, key: str, version_id: str | None, numbers: Sequence[int]
    ) -> Sequence[tuple[int, int] | None]:
        """Size in bytes of each of these parts, and the number of all parts: one HEAD per part.

        None where the server does not tell. Several are asked at a time, by the workers.
        """

        def ask(number: int) -> tuple[int, int] | None:
            action = f"look at part {number} of {self.bucket.url(key)}"
            look = partial(self.bucket.head_part, key, number, version_id)
            try:
                return self.retrier.call(action, look).value
            except RefusedError:  # a server that does not support part numbers
                return None

        tasks = [self.workers.submit(partial(ask, number)) for number in numbers]
        return [task.result() for task in tasks]

    def _note_retry(self, event: Retrying, error: TransientError) -> None:
        with self.scope.condition:
            self.retries += 1
        if error.throttled:
            self.on_throttled()
        self.note(event)

    def note(self, event: Event) -> None:
        """Emit `event`, and list it if it is a retry, here or by another process."""
        if isinstance(event, Retrying):
            now = datetime.now(timezone.utc)
            reason = without_passwords(event.reason)
            retried = RetriedRequest(now, event.action, event.tries, event.wait_s, reason)
            with self.scope.condition:
                if len(self.retried) < _MOST_RETRIED:
                    self.retried.append(retried)
        self.emit(event)


def find_object(
    bucket: Bucket, retrier: Retrier, key: str, version_id: str | None, check_for_s: float
) -> ObjectInfo:
    """What is stored under `key`, before it is read.

    Raises AbsentError, RefusedError, CredentialsError, UnreachableError after `check_for_s`
    seconds of failing, or IntegrityError where the service answers with another version.
    """

    def look() -> ObjectInfo:
        try:
            info = bucket.head_explained(key, version_id)
        except AbsentError:
            bucket.peek(key, version_id)  # which says what is absent: the object or the bucket
            raise
        if info.etag is None:
            raise bucket.not_s3()
        _check_version(bucket.url(key), info, version_id)
        if bucket.name.endswith(_DIRECTORY_BUCKET):
            return replace(info, etag_is_md5=False)
        return info

    action = f"look at {bucket.url(key)}"
    return retrier.call(action, look, check_for_s=check_for_s).value


def _check_version(url: str, info: ObjectInfo, wanted: str | None) -> None:
    """IntegrityError where `info` is not of the version that was asked for.

    A service that keeps no versions ignores the question, and answers with what there is.
    """
    if wanted in (None, info.version_id) or (wanted == "null" and info.version_id is None):
        return
    if info.version_id is None:
        raise IntegrityError(
            f"the answer of {url} is not known to be version {wanted}: it names no version",
            hint="this service, or this bucket, keeps no versions; leave out --version-id",
        )
    raise IntegrityError(
        f"the answer of {url} is version {info.version_id} and not {wanted}, which was asked for"
    )
