"""The sink: endless records in, many objects out, each a verified upload.

Without a spool an object's upload begins
with its first record, and records go straight into it; with one they are on the disk before
they count as received, and an object is uploaded once it is complete.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING

from ..errors import Interrupted, SpoolError, SpoolFullError, leave_behind
from ..model.events import Event, Warned
from ..model.options import Options
from ..results import Receipt, SinkFigures
from ..runtime.cancel import CancelScope
from ..sources.base import Source
from ..sources.compressed import COMPRESSION_SUFFIXES, CompressedSource, check_codec
from ..sources.pipe import PipeSource
from .rotation import (
    Clock,
    ObjectNames,
    SinkOptions,
    partition_end,
    records_that_fit,
    records_within,
)
from .spool import ObjectHeader, Spool, SpoolFile
from .upload_queue import StreamedRecords, UploadQueue

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

__all__ = ["Sink"]


@dataclass(frozen=True)
class _CurrentObject:
    """The object that records are added to, and when it must end."""

    held: StreamedRecords | SpoolFile
    until_s: float
    partition_end: datetime | None


class Sink:
    """Takes records and stores them. Thread-safe; `finish` is called once, at the end.

    options: of each upload; `memory_bytes` bounds all of them together, and without
        `retry_for_s` and `tries` a service that is away is waited for without end.
    on_stored: called with each object's receipt, one call at a time. What it raises ends the
        sink, as an upload's error does.
    on_event: as for `upload`, for all uploads.

    `reading` is the scope by which whoever reads hears that the sink is ending.
    """

    def __init__(
        self,
        sink_options: SinkOptions,
        options: Options | None = None,
        *,
        spool: Spool | None = None,
        client: S3Client | None = None,
        on_stored: Callable[[Receipt], None] = lambda _: None,
        on_event: Callable[[Event], None] = lambda _: None,
        clock: Clock | None = None,
    ) -> None:
        if sink_options.compress:
            check_codec(sink_options.compress)  # before anything is received
        self.reading = CancelScope()
        self._sink = sink_options
        self._rules = sink_options.rules
        self._names = ObjectNames(
            sink_options.bucket,
            sink_options.prefix,
            name=sink_options.name,
            suffix=sink_options.suffix + COMPRESSION_SUFFIXES.get(sink_options.compress or "", ""),
            partition=self._rules.partition,
        )
        self._spool = spool
        self._uploads = UploadQueue(
            options or Options(),
            sink_options.objects_at_once,
            client,
            self.reading,
            on_stored,
            on_event,
        )
        self._changed = self._uploads.changed
        self._clock = clock or Clock()
        self._current: _CurrentObject | None = None
        self._read_records = self._received_records = self._received_bytes = 0
        self._ended = False
        self._stopped: Interrupted | None = None

    def __enter__(self) -> Sink:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._uploads.close()
        self.reading.close()

    def check(self) -> None:
        """Raise what would make the first object fail, as far as that can be known now."""
        _, key = self._names.next(self._clock.now())
        self._uploads.check_key(self._sink.bucket, key)

    def recover_spool(self) -> None:
        """Begin to upload what an earlier process left in the spool, before anything else."""
        if self._spool is None:
            return
        with self._changed:
            for file in self._spool.recover():
                self._uploads.add_pending(file.header.key, file.begun_at)
                self._read_records += file.records
                self._count_received(file.records, file.payload_bytes)
                self._uploads.enqueue_file(self._spool, file, recovered=True)

    def append(self, records: Sequence[bytes], *, wait: bool = True) -> None:
        """Take records, each with its newline; with a spool they are durable on return.

        Waits while the service, or a full spool, holds the stream back. With `wait` false a full
        spool is a SpoolFullError, and none of the records was taken. Raises SpoolError when the
        disk failed, and Cancelled when the sink is ending.
        """
        with self._changed:
            if wait:  # they cannot be had again, whatever becomes of them here
                self._read_records += len(records)
            else:
                self._check_room(records)
            at = 0
            while at < len(records):
                try:
                    taken = self._append_some(records[at : at + self._rules.max_records])
                except SpoolFullError:  # the disk, and not our own limit
                    if not wait and not at:
                        raise
                    taken = 0  # all or nothing: who is told "full" sends again what is durable
                except SpoolError as error:
                    self._uploads.fail(error)
                    raise
                at += taken
                if not taken:
                    self._wait_for_room()
            if not wait:
                self._read_records += len(records)

    def append_unfinished(self, data: bytes) -> None:
        """Take what was read of a record whose end will not come, as a record of its own."""
        self.append([data])
        self._uploads.emit(Warned(f"the last record was cut short after {len(data)} bytes"))

    def rotate_if_due(self) -> None:
        """End the current object if its interval or its partition is over."""
        with self._changed:
            if self._current is not None and self._remaining_s(self._current) <= 0:
                self._rotate()

    @contextmanager
    def ticking(self) -> Iterator[None]:
        """Rotate by time inside the block, also while nothing arrives."""
        threading.Thread(target=self._tick, name="streamtos3-sink", daemon=True).start()
        try:
            yield
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def stop(self, signum: int) -> None:
        """Nothing more is to be read; what was received will be stored."""
        self._stopped = Interrupted(signum)
        self.reading.fail(self._stopped)

    def abort(self, signum: int) -> None:
        """Nothing more is to be stored either: end all uploads and undo them."""
        self._uploads.abort(signum)

    def finish(self) -> None:
        """Store everything received, then raise the first error, if there was one.

        Its `left_behind` says how many records are not stored, and where they are.
        """
        with self._changed:
            if self._current is not None:
                self._rotate()
            self._changed.wait_for(lambda: not self._uploads.unfinished)
        error = self._uploads.error or self.reading.error
        if error is None or error is self._stopped:
            error = self._uploads.unproved
        if error is not None:
            left_behind = self._left_behind()
            if left_behind:
                leave_behind(error, left_behind)
            raise error

    def responds(self, timeout_s: float) -> bool:
        """Whether nobody keeps the state to himself for so long: False means a deadlock."""
        if not self._changed.acquire(timeout=timeout_s):
            return False
        self._changed.release()
        return True

    def figures(self) -> SinkFigures:
        """What was done so far, and what is still held; never waits for a disk or a service."""
        return replace(
            self._uploads.figures(),
            received_records=self._received_records,
            received_bytes=self._received_bytes,
            spool_bytes=self._spool.size_bytes if self._spool else 0,
        )

    def _append_some(self, records: Sequence[bytes]) -> int:
        """Add as many as the object and the spool take; end the object when it is full."""
        self._uploads.check()
        self.rotate_if_due()
        if self._spool is not None:
            records = records_within(records, self._spool.room_bytes())
            if not records:
                return 0
        held = (self._current or self._begin()).held
        fits = records_that_fit(records, self._rules, held.records, held.payload_bytes)
        data = b"".join(records[:fits])
        held.append(data, fits)
        self._count_received(fits, len(data))
        rules = self._rules
        if held.records >= rules.max_records or held.payload_bytes >= rules.max_bytes:
            self._rotate()
        return fits

    def _begin(self) -> _CurrentObject:
        if self._spool is None:
            self._changed.wait_for(lambda: self._current is not None or not self._uploads.is_busy)
            self._uploads.check()
            if self._current is not None:  # another thread was quicker
                return self._current
        at, key = self._names.next(self._clock.now())
        held = self._begin_stream(key) if self._spool is None else self._begin_file(at, key)
        self._uploads.add_pending(key, at)
        until_s = self._clock.monotonic() + self._rules.interval_s
        self._current = _CurrentObject(held, until_s, partition_end(self._rules.partition, at))
        self._changed.notify_all()
        return self._current

    def _begin_stream(self, key: str) -> StreamedRecords:
        scope = self._uploads.new_scope()
        pipe = PipeSource(f"the records of {key}", scope)
        source: Source = pipe
        if self._sink.compress:
            source = CompressedSource(pipe, self._sink.compress)
        held = StreamedRecords(pipe)
        self._uploads.enqueue_stream(self._sink.bucket, key, source, scope, held)
        return held

    def _begin_file(self, at: datetime, key: str) -> SpoolFile:
        assert self._spool is not None
        sink = self._sink
        return self._spool.create(ObjectHeader(sink.bucket, key, at.isoformat(), sink.compress))

    def _rotate(self) -> None:
        assert self._current is not None
        held, self._current = self._current.held, None
        if not isinstance(held, SpoolFile):
            held.end()
        elif self._spool is not None:
            self._spool.end(held)
            if held.records:
                self._uploads.enqueue_file(self._spool, held)
            else:  # the disk was full before its first record
                self._uploads.remove_pending(held.header.key)
                self._spool.remove(held)

    def _remaining_s(self, current: _CurrentObject) -> float:
        remaining_s = current.until_s - self._clock.monotonic()
        if current.partition_end is not None:
            remaining_s = min(
                remaining_s, (current.partition_end - self._clock.now()).total_seconds()
            )
        return remaining_s

    def _tick(self) -> None:
        with self._changed:
            while not self._ended:
                remaining_s = (
                    None if self._current is None else max(0.0, self._remaining_s(self._current))
                )
                self._changed.wait(remaining_s)
                try:
                    self.rotate_if_due()
                except BaseException as error:  # noqa: BLE001 - raised by `finish`
                    self._uploads.fail(error)

    def _check_room(self, records: Sequence[bytes]) -> None:
        """SpoolFullError where the spool has no room for all of `records` now."""
        if self._spool is None:
            return
        size_bytes = sum(map(len, records))
        objects = 2 + len(records) // self._rules.max_records + size_bytes // self._rules.max_bytes
        if size_bytes > self._spool.room_bytes(objects):
            if self._current is not None:
                self._rotate()  # or there would never be room again
            raise SpoolFullError(f"the spool {self._spool.directory} is full")

    def _wait_for_room(self) -> None:
        """Wait until an object is stored; SpoolFullError where none is under way."""
        assert self._spool is not None
        if self._current is not None:
            self._rotate()
        uploads = self._uploads
        before = uploads.stored_objects
        if not uploads.unfinished:
            uploads.check()
            raise SpoolFullError(
                f"the spool {self._spool.directory} has no room, even with nothing in it",
                hint="raise --spool-limit, or free some space",
            )
        self._changed.wait_for(lambda: uploads.stored_objects > before or not uploads.unfinished)
        uploads.check()

    def _count_received(self, records: int, size_bytes: int) -> None:
        self._received_records += records
        self._received_bytes += size_bytes

    def _left_behind(self) -> str | None:
        held = self._received_records - self._uploads.figures().stored_records
        lost = self._read_records - self._received_records
        said = []
        if self._spool is None:
            lost, held = lost + held, 0
        elif held:
            said.append(f"{_records(held)} in the spool {self._spool.directory}, for the next run")
        if lost:
            said.append(f"{lost:,} of the {_records(self._read_records)} read are not stored")
        return "; ".join(said) or None


def _records(count: int) -> str:
    return "1 record" if count == 1 else f"{count:,} records"
