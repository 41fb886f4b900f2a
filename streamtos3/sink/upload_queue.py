"""The uploads of a sink: several at a time, with their totals and the first error.

A failed upload stops the reading, but not the other uploads: what was received is stored as far
as possible. `abort` cancels them all.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timezone
from functools import partial
from typing import TYPE_CHECKING, Protocol

from ..downloader.verify import verify_object
from ..errors import ExistsError, Interrupted, UnprovedError, UnprovedReadError, leave_behind_of
from ..model.events import Event, Retrying, Warned
from ..model.options import Options
from ..results import Receipt, SinkFigures
from ..runtime.buffers import share_memory
from ..runtime.cancel import Cancelled, CancelScope
from ..runtime.retry import Retrier, get_ready
from ..runtime.workers import WorkerPool
from ..s3.bucket import Bucket
from ..s3.clients import Clients
from ..sources.base import Source
from ..sources.compressed import CompressedSource
from ..sources.pipe import PipeSource
from ..uploader.object_upload import OneOfMany
from ..uploader.preflight import check_destination
from ..uploader.upload import upload_one_of_many
from .spool import Spool, SpoolFile, SpoolSource

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

__all__ = ["RecordTotals", "StreamedRecords", "UploadQueue"]


class RecordTotals(Protocol):
    """How many records an object has so far, and their bytes before compression."""

    records: int
    payload_bytes: int


class StreamedRecords:
    """The records of an object that are uploaded as they come; see RecordTotals."""

    def __init__(self, pipe: PipeSource) -> None:
        self.records = 0
        self.payload_bytes = 0
        self._pipe = pipe

    def append(self, data: bytes, records: int) -> None:
        """Write them to the pipe; waits, and raises, as `PipeSource.write` does."""
        self._pipe.write(data)
        self.records += records
        self.payload_bytes += len(data)

    def end(self) -> None:
        """No more records for this object."""
        self._pipe.end()


class UploadQueue:
    """Runs up to `at_once` uploads; `changed` guards what is counted here and in the sink.

    options: as for `sink.Sink`; the memory is shared out among the uploads.
    reading: failed with the first error.
    on_stored, on_event: see `sink.Sink`. monotonic: seconds, for the age of what is pending.
    """

    def __init__(
        self,
        options: Options,
        at_once: int,
        client: S3Client | None,
        reading: CancelScope,
        on_stored: Callable[[Receipt], None],
        on_event: Callable[[Event], None],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.changed = threading.Condition()
        self.unfinished = 0
        self.stored_objects = 0
        self.error: BaseException | None = None
        self.unproved: UnprovedError | None = None
        get_ready()
        self._check_for_s = options.retries.check_for_s
        self._at_once, self._options = _shares(options, at_once)
        self._client = client or Clients(options.connection, options.jobs * self._at_once)
        self._reading = reading
        self._on_stored = on_stored
        self._on_event = on_event
        self._scope = CancelScope()
        self._workers = WorkerPool(self._at_once, self._scope)
        self._stored_records = self._stored_bytes = 0
        self._pending_since_s: dict[str, float] = {}
        self._monotonic = monotonic
        # Not `changed`: its holder may be waiting for the very upload that reports.
        self._reports = threading.Lock()
        self._known_buckets: set[str] = set()  # in which an object was stored: looked at no more
        self._retries = 0

    @property
    def is_busy(self) -> bool:
        """Whether another upload would have to wait."""
        return self.unfinished >= self._at_once

    def check_key(self, bucket: str, key: str) -> None:
        """Raise what would make the upload of `key` fail, as far as that can be known now."""
        connection, settings = self._options.connection, self._options.settings.from_now()
        settings.check()
        s3_bucket = Bucket(bucket, connection, settings=settings, client=self._client)
        retrier = Retrier(self._options.retries, self._reading, lambda event, _: self.emit(event))
        # In a thread, so that a signal ends a request that hangs.
        workers = WorkerPool(1, self._reading)
        try:
            workers.submit(
                lambda: check_destination(
                    s3_bucket, retrier, key, overwrite=False, check_for_s=self._check_for_s
                )
            ).result()
        except Cancelled as stopped:
            first = self._reading.fail_with(stopped)
            raise first from first.__cause__
        finally:
            workers.shutdown()

    def new_scope(self) -> CancelScope:
        """The scope of one upload, which `abort` fails."""
        return self._scope.child()

    def add_pending(self, key: str, age_s: float = 0.0) -> None:
        """Note that the first record of the object `key` was received `age_s` seconds ago."""
        self._pending_since_s[key] = self._monotonic() - age_s

    def remove_pending(self, key: str) -> None:
        """Note that `key` is stored, or never will be."""
        self._pending_since_s.pop(key, None)

    def enqueue_stream(
        self, bucket: str, key: str, source: Source, scope: CancelScope, totals: RecordTotals
    ) -> None:
        """Begin to upload records that are still to come; `changed` is held."""
        self._submit(partial(self._store_stream, bucket, key, source, scope, totals))

    def enqueue_file(self, spool: Spool, file: SpoolFile, *, recovered: bool = False) -> None:
        """Upload a file and remove it; `changed` is held. After an error it stays in the spool.

        `recovered`: an earlier process wrote it, and may have begun or even finished the upload.
        """
        self._submit(partial(self._store_file, spool, file, recovered=recovered))

    def fail(self, error: BaseException) -> None:
        """Keep the first error and end the reading; uploads under way still finish."""
        with self.changed:
            if self.error is None:
                self.error = error
            leave_behind_of(error, self.error)
            self.changed.notify_all()
        self._reading.fail(error)

    def abort(self, signum: int) -> None:
        """Cancel all uploads and undo them; `error` is then an Interrupted."""
        self._scope.fail(Interrupted(signum))
        self.fail(Interrupted(signum))

    def check(self) -> None:
        """Raise Cancelled once an upload has failed or a second signal has come."""
        if self.error is not None:
            raise Cancelled

    def close(self) -> None:
        """Let the threads end once the queue is empty, and close the uploads' scope."""
        self._workers.shutdown()
        self._scope.close()

    def figures(self) -> SinkFigures:
        """What is known here of the sink's figures."""
        since_s = min(list(self._pending_since_s.values()), default=None)
        return SinkFigures(
            stored_records=self._stored_records,
            stored_bytes=self._stored_bytes,
            stored_objects=self.stored_objects,
            retries=self._retries,
            oldest_age_s=None if since_s is None else self._monotonic() - since_s,
        )

    def emit(self, event: Event) -> None:
        """Pass an event to `on_event`; one call at a time."""
        with self._reports:
            if isinstance(event, Retrying):
                self._retries += 1
            self._on_event(event)

    def _submit(self, store: Callable[[], None]) -> None:
        self.unfinished += 1
        # Even after a second signal: each must be counted as finished.
        self._workers.submit(partial(self._run, store), even_if_cancelled=True)

    def _run(self, store: Callable[[], None]) -> None:
        try:
            store()
        except BaseException as error:  # noqa: BLE001 - raised by `Sink.finish`
            self.fail(error)
        finally:
            with self.changed:
                self.unfinished -= 1
                self.changed.notify_all()

    def _store_stream(
        self, bucket: str, key: str, source: Source, scope: CancelScope, totals: RecordTotals
    ) -> None:
        try:
            receipt = self._upload(
                source, bucket, key, self._options_from_now(), scope, is_new=True
            )
        except UnprovedError as error:
            receipt = self._accept_unproved(error)
        self._count_stored(key, totals)
        self._report(receipt)

    def _store_file(self, spool: Spool, file: SpoolFile, *, recovered: bool) -> None:
        if self.error is not None:
            return
        head = file.header
        receipt: Receipt | None = None
        options = self._options_of_recovered(file) if recovered else self._options_from_now()
        try:
            receipt = self._upload(
                *(_source_of(file), head.bucket, head.key, options, self.new_scope()),
                is_new=not recovered,
            )
        except UnprovedError as error:
            receipt = self._accept_unproved(error)
        except ExistsError:
            if not recovered:
                raise
            self._verify_existing(file, options)
        spool.remove(file)
        self._count_stored(head.key, file)
        if receipt is not None:
            self._report(receipt)

    def _options_from_now(self) -> Options:
        """Those of an object that begins now: a sink may run for longer than a lock lasts."""
        return replace(self._options, settings=self._options.settings.from_now())

    def _options_of_recovered(self, file: SpoolFile) -> Options:
        """Those that the object was begun with, whatever this process was told for new ones."""
        options, begun_with = self._options, file.header.begun_with
        if begun_with is not None:
            options = begun_with.apply(options)
        until = options.settings.lock_until
        if until is not None and until <= datetime.now(timezone.utc):  # S3 would refuse it
            url = f"s3://{file.header.bucket}/{file.header.key}"
            self.emit(
                Warned(f"{url} is stored without a lock: it would have ended {until:%Y-%m-%d}")
            )
            settings = replace(options.settings, lock_mode=None, lock_until=None)
            options = replace(options, settings=settings)
        # Only what a killed process left can have an unfinished upload to go on with, and only
        # if it was long; to look for one takes a right that nothing else here needs.
        return replace(options, resume=file.payload_bytes >= options.chunk_bytes // 2)

    def _upload(
        self,
        source: Source,
        bucket: str,
        key: str,
        options: Options,
        scope: CancelScope,
        *,
        is_new: bool,
    ) -> Receipt:
        """`is_new`: the key was made here, and nobody else knows it."""
        is_checked = is_new and bucket in self._known_buckets
        with scope:
            receipt = upload_one_of_many(
                source,
                bucket,
                key,
                among=OneOfMany(is_checked=is_checked, in_this_thread=False),
                options=options,
                client=self._client,
                on_event=self.emit,
                scope=scope,
            )

        self._known_buckets.add(bucket)
        return receipt

    def _accept_unproved(self, error: UnprovedError) -> Receipt:
        """Keep `error` for the end if `--verify none` accepts it; otherwise raise it."""
        if self._options.verify != "none":
            raise error
        with self.changed:
            self.unproved = self.unproved or error
        return error.receipt

    def _verify_existing(self, file: SpoolFile, options: Options) -> None:
        """Compare `file` with its object, stored before a crash. IntegrityError if they differ."""
        head = file.header
        try:
            with self.new_scope() as scope:
                verify_object(
                    head.bucket,
                    head.key,
                    source=_source_of(file),
                    options=options,
                    client=self._client,
                    on_event=self.emit,
                    scope=scope,
                )
        except UnprovedReadError:
            if options.verify != "none":
                raise
        url = f"s3://{head.bucket}/{head.key}"
        self.emit(Warned(f"{url} was stored before the restart; it equals what the spool holds"))

    def _count_stored(self, key: str, totals: RecordTotals) -> None:
        with self.changed:
            self._stored_records += totals.records
            self._stored_bytes += totals.payload_bytes
            self.stored_objects += 1
            self.remove_pending(key)
            self.changed.notify_all()

    def _report(self, receipt: Receipt) -> None:
        with self._reports:
            self._on_stored(receipt)


def _source_of(file: SpoolFile) -> Source:
    """The content of a file's object."""
    source = SpoolSource(file)
    return CompressedSource(source, file.header.compress) if file.header.compress else source


def _shares(options: Options, objects_at_once: int) -> tuple[int, Options]:
    """How many objects at a time, and the options of each."""
    at_once, share_bytes = share_memory(options.memory_bytes, options.chunk_bytes, objects_at_once)
    retries = options.retries
    if retries.retry_for_s is None and retries.tries is None:
        retries = replace(retries, retry_for_s=math.inf)
    return at_once, replace(
        options,
        memory_bytes=share_bytes,
        # An unavailable service is waited for before an object as it is in the middle of one.
        retries=replace(retries, check_for_s=retries.retry_for_s or math.inf),
    )
