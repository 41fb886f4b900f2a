"""The uploads of a sink: side by side, counted, and with one first error.

An upload that fails ends the reading, but not the uploads beside it: what was received is
stored as far as it can be. `abort` ends them all.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Protocol

from ..downloader.verify import verify_object
from ..errors import ExistsError, Interrupted, UnprovedError, UnprovedReadError, leave_behind_of
from ..model.events import Event, Retrying, Warned
from ..model.options import Options
from ..results import Receipt, SinkFigures
from ..runtime.buffers import share_memory
from ..runtime.cancel import Cancelled, CancelScope
from ..runtime.retry import Retrier
from ..runtime.workers import WorkerPool
from ..s3.bucket import Bucket
from ..s3.clients import Clients
from ..sources.base import Source
from ..sources.compressed import CompressedSource
from ..uploader.preflight import check_destination
from ..uploader.upload import upload
from .spool import Spool, SpoolFile, SpoolSource

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

__all__ = ["Counted", "Shipping"]


class Counted(Protocol):
    """What knows how many records an object has."""

    records: int
    payload_bytes: int


class Shipping:
    """Runs up to `at_once` uploads; `changed` guards what is counted here and in the sink.

    options: as for `sink.Sink`; the memory is shared out among the uploads.
    reading: failed with the first error.
    on_stored, on_event: see `sink.Sink`.
    """

    def __init__(
        self,
        options: Options,
        at_once: int,
        client: S3Client | None,
        reading: CancelScope,
        on_stored: Callable[[Receipt], None],
        on_event: Callable[[Event], None],
    ) -> None:
        self.changed = threading.Condition()
        self.unfinished = 0
        self.stored_objects = 0
        self.error: BaseException | None = None
        self.unproved: UnprovedError | None = None
        self._check_for_s = options.retries.check_for_s
        self._at_once, self._options = _shares(options, at_once)
        self._client = client or Clients(options.connection, options.jobs * self._at_once)
        self._reading = reading
        self._on_stored = on_stored
        self._on_event = on_event
        self._scope = CancelScope()
        self._workers = WorkerPool(self._at_once, self._scope)
        self._stored_records = self._stored_bytes = 0
        self._pending: dict[str, datetime] = {}
        # Not `changed`: whoever holds that may be waiting for the very upload that reports.
        self._reports = threading.Lock()
        self._retries = 0

    @property
    def is_busy(self) -> bool:
        """Whether another upload would have to wait."""
        return self.unfinished >= self._at_once

    def check_place(self, bucket: str, key: str) -> None:
        """Raise what would make the upload of `key` fail, as far as that can be known now."""
        connection, settings = self._options.connection, self._options.settings
        store = Bucket(bucket, connection, settings=settings, client=self._client)
        retrier = Retrier(self._options.retries, self._reading, lambda event, _: self.note(event))
        workers = WorkerPool(
            1, self._reading
        )  # in a thread, so that a signal ends a hanging request
        try:
            workers.submit(
                lambda: check_destination(
                    store, retrier, key, overwrite=False, check_for_s=self._check_for_s
                )
            ).result()
        except Cancelled as stopped:
            first = self._reading.fail_with(stopped)
            raise first from first.__cause__
        finally:
            workers.shutdown()

    def new_latch(self) -> CancelScope:
        """The scope of one upload, which `abort` fails."""
        return self._scope.child()

    def expect(self, key: str, at: datetime) -> None:
        """The first record of the object `key` was received `at`."""
        self._pending[key] = at

    def forget(self, key: str) -> None:
        """Nothing will be stored as `key`."""
        self._pending.pop(key, None)

    def ship_stream(
        self, bucket: str, key: str, source: Source, scope: CancelScope, held: Counted
    ) -> None:
        """Begin to upload records that are still to come; `changed` is held."""
        self._submit(partial(self._store_stream, bucket, key, source, scope, held))

    def ship_file(self, spool: Spool, file: SpoolFile, *, left: bool = False) -> None:
        """Upload a file, which then goes; `changed` is held. After an error it just stays.

        `left`: by another process, which may have begun or even finished the upload.
        """
        self._submit(partial(self._store_file, spool, file, left=left))

    def fail(self, error: BaseException) -> None:
        """Keep the first error and end the reading; uploads under way come to their own end."""
        with self.changed:
            if self.error is None:
                self.error = error
            leave_behind_of(error, self.error)
            self.changed.notify_all()
        self._reading.fail(error)

    def abort(self, signum: int) -> None:
        """End all uploads and undo them."""
        self._scope.fail(Interrupted(signum))
        self.fail(Interrupted(signum))

    def check(self) -> None:
        """Cancelled once an upload has failed, or a second signal has come."""
        if self.error is not None:
            raise Cancelled

    def close(self) -> None:
        """Let the threads end."""
        self._workers.shutdown()
        self._scope.close()

    def figures(self) -> SinkFigures:
        """What is known here of the sink's figures."""
        return SinkFigures(
            stored_records=self._stored_records,
            stored_bytes=self._stored_bytes,
            stored_objects=self.stored_objects,
            retries=self._retries,
            oldest_at=min(list(self._pending.values()), default=None),
        )

    def note(self, event: Event) -> None:
        """Hand an event on."""
        with self._reports:
            self._retries += isinstance(event, Retrying)
            self._on_event(event)

    def _submit(self, store: Callable[[], None]) -> None:
        self.unfinished += 1
        # Regardless of a second signal, because each has to be counted as finished.
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
        self, bucket: str, key: str, source: Source, scope: CancelScope, held: Counted
    ) -> None:
        try:
            receipt = self._upload(source, bucket, key, self._options, scope)
        except UnprovedError as error:
            receipt = self._unproved(error)
        self._count(key, held)
        self._report(receipt)

    def _store_file(self, spool: Spool, file: SpoolFile, *, left: bool) -> None:
        if self.error is not None:
            return
        head = file.header
        receipt: Receipt | None = None
        # Only what a killed process left can have an unfinished upload to go on with, and only
        # if it was long; to look for one takes a right that nothing else here needs.
        resume = left and file.payload_bytes >= self._options.chunk_bytes // 2
        options = replace(self._options, resume=resume)
        try:
            receipt = self._upload(_content(file), head.bucket, head.key, options, self.new_latch())
        except UnprovedError as error:
            receipt = self._unproved(error)
        except ExistsError:
            if not left:
                raise
            self._recognise(file, options)
        spool.remove(file)
        self._count(head.key, file)
        if receipt is not None:
            self._report(receipt)

    def _upload(
        self, source: Source, bucket: str, key: str, options: Options, scope: CancelScope
    ) -> Receipt:
        with scope:
            return upload(
                source,
                bucket,
                key,
                options=options,
                client=self._client,
                on_event=self.note,
                scope=scope,
            )

    def _unproved(self, error: UnprovedError) -> Receipt:
        """What `--verify none` accepts, to be raised at the end; anything else ends the sink."""
        if self._options.verify != "none":
            raise error
        with self.changed:
            self.unproved = self.unproved or error
        return error.receipt

    def _recognise(self, file: SpoolFile, options: Options) -> None:
        """The object was stored before the crash; IntegrityError if it is not what we hold."""
        head = file.header
        try:
            with self.new_latch() as scope:
                verify_object(
                    head.bucket,
                    head.key,
                    source=_content(file),
                    options=options,
                    client=self._client,
                    on_event=self.note,
                    scope=scope,
                )
        except UnprovedReadError:
            if options.verify != "none":
                raise
        url = f"s3://{head.bucket}/{head.key}"
        self.note(Warned(f"{url} was stored before the restart; it equals what the spool holds"))

    def _count(self, key: str, held: Counted) -> None:
        with self.changed:
            self._stored_records += held.records
            self._stored_bytes += held.payload_bytes
            self.stored_objects += 1
            self.forget(key)
            self.changed.notify_all()

    def _report(self, receipt: Receipt) -> None:
        with self._reports:
            self._on_stored(receipt)


def _content(file: SpoolFile) -> Source:
    """What the object of a file consists of."""
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
        # A service that is away is waited for before an object as it is in the middle of one.
        retries=replace(retries, check_for_s=retries.retry_for_s or math.inf),
    )
