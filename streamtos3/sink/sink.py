"""The sink: endless records in, many objects out, each a verified upload.

Without a spool an object's upload begins with its first record, and records go straight into it.
With one they are on the disk before they count as received, and an object is uploaded once it is
complete.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING

from ..errors import (
    Interrupted,
    SpoolError,
    SpoolFullError,
    SpoolTooSmallError,
    StreamToS3Error,
    leave_behind,
)
from ..model.events import Event, Warned
from ..model.options import Options
from ..results import Receipt, SinkFigures
from ..runtime.cancel import CancelScope
from ..sources.base import Source
from ..sources.compressed import COMPRESSION_SUFFIXES, CompressedSource, check_codec
from ..sources.pipe import PipeSource
from ..units import plural
from .rotation import (
    Clock,
    ObjectNames,
    SinkOptions,
    SteadyClock,
    cut,
    partition_end,
    records_that_fit,
    records_within,
)
from .spool import Spool, SpoolFile, SpoolMark
from .spool_header import BegunWith, ObjectHeader
from .upload_queue import StreamedRecords, UploadQueue

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

__all__ = ["Sink"]

_DISK_TRY_S = 1.0


@dataclass(frozen=True)
class _CurrentObject:
    """The object that records are added to, and when it must end."""

    held: StreamedRecords | SpoolFile
    until_s: float
    partition_end: datetime | None


@dataclass(frozen=True)
class _Refusal:
    """The smallest append that was refused since room last came free; why, where it was the disk.

    `stored_objects`: so many were stored by then. One more, and there is room again.
    """

    size_bytes: int
    stored_objects: int
    full_disk: SpoolFullError | None


class Sink:
    """Takes records and stores them. Thread-safe; `finish` is called once, at the end.

    options: of each upload; `memory_bytes` bounds all of them together, and without
        `retry_for_s` and `tries` an unavailable service is waited for without limit.
    on_stored: called with each object's receipt, one call at a time. An exception that it
        raises ends the sink, as an upload's error does.
    on_event: as for `upload`, for all uploads.

    `reading` is the scope of whoever reads the input; it fails when the sink is ending.
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
        self._clock = SteadyClock(clock or Clock())
        self._options = options or Options()
        self._uploads = UploadQueue(
            self._options,
            sink_options.objects_at_once,
            client,
            self.reading,
            on_stored,
            on_event,
            self._clock.monotonic,
        )
        self._changed = self._uploads.changed
        self._current: _CurrentObject | None = None
        self._read_records = self._received_records = self._received_bytes = 0
        self._refusal: _Refusal | None = None
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

    @property
    def refused_bytes(self) -> int | None:
        """The size of the smallest append that the spool has no room for, as far as is known.

        None where none was refused since room last came free.
        """
        refusal = self._refusal
        if refusal is None or self._uploads.stored_objects > refusal.stored_objects:
            return None
        return refusal.size_bytes

    def recover_spool(self) -> None:
        """Begin to upload what an earlier process left in the spool, before anything else.

        SpoolError, with nothing uploaded and nothing changed, where anything in it is damaged.
        """
        if self._spool is None:
            return
        with self._changed:
            for file in self._spool.recover(lambda text: self._uploads.emit(Warned(text))):
                age_s = (self._clock.now() - file.begun_at).total_seconds()
                self._uploads.add_pending(file.header.key, max(0.0, age_s))
                self._read_records += file.records
                self._count_received(file.records, file.payload_bytes)
                self._uploads.enqueue_file(self._spool, file, recovered=True)

    def append(self, records: Sequence[bytes], *, wait: bool = True) -> None:
        """Take records, each with its newline; with a spool they are durable on return.

        Waits while the service, a full spool or a full disk holds the stream back; with `wait`
        false that is a SpoolFullError, and none of the records was taken. SpoolTooSmallError
        where they, or with `wait` a single one of them, could never fit. SpoolError when the
        disk failed, and Cancelled when the sink is ending.
        """
        with self._changed:
            if wait:  # they were read, and cannot be read again
                self._read_records += len(records)
            try:
                if wait or self._spool is None:
                    self._append_waiting(records)
                else:
                    self._append_at_once(records)
            except (SpoolFullError, SpoolTooSmallError):
                raise
            except SpoolError as error:
                self._uploads.fail(error)
                raise
            if not wait:
                self._read_records += len(records)

    def append_unfinished(self, data: bytes) -> None:
        """Take the beginning of a record that was cut short, as a record of its own."""
        self.append([data])
        self._uploads.emit(Warned(f"the last record was cut short after {len(data)} bytes"))

    def count_unstored(self, records: int) -> None:
        """Note records that were read and will never be appended."""
        with self._changed:
            self._read_records += records

    def rotate_if_due(self) -> None:
        """End the current object if its interval or its partition is over."""
        with self._changed:
            if self._current is not None and self._remaining_s(self._current) <= 0:
                self._rotate()

    @contextmanager
    def ticking(self) -> Iterator[None]:
        """Rotate by time inside the block, even while nothing arrives."""
        threading.Thread(target=self._tick, name="streamtos3-sink", daemon=True).start()
        try:
            yield
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def stop(self, signum: int) -> None:
        """End the reading; what was received is still stored."""
        self._stopped = Interrupted(signum)
        self.reading.fail(self._stopped)

    def abort(self, signum: int) -> None:
        """Cancel and undo all uploads: nothing more is stored."""
        self._uploads.abort(signum)

    def finish(self, failed: StreamToS3Error | None = None) -> None:
        """Store everything received, then raise the first error, if there was one.

        `failed` is what ended the reading, where that was not this sink. The error's
        `left_behind` says how many records are not stored, and where they are.
        """
        with self._changed:
            if self._current is not None:
                self._rotate()
            self._changed.wait_for(lambda: not self._uploads.unfinished)
        error = self._uploads.error or self.reading.error
        if error is None or error is self._stopped:
            error = failed or self._uploads.unproved
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

    def _append_waiting(self, records: Sequence[bytes]) -> None:
        """Take all, waiting for room as long as there can be some."""
        full_disk: SpoolFullError | None = None
        at = 0
        while at < len(records):
            self._uploads.check()
            self.rotate_if_due()
            try:
                taken = self._append_some(records[at : at + self._rules.max_records])
                full_disk = None if taken else full_disk
            except SpoolFullError as error:
                if full_disk is None:
                    self._uploads.emit(Warned(f"{error.message}; waiting for room"))
                taken, full_disk = 0, error
            at += taken
            if not taken:
                self._wait_for_room(records[at], full_disk)

    def _append_at_once(self, records: Sequence[bytes]) -> None:
        """Take all or, where there is no room for all of them now, none."""
        self._uploads.check()
        self.rotate_if_due()
        size_bytes = sum(map(len, records))
        full_disk: SpoolFullError | None = None
        try:
            self._check_room(records, size_bytes)
            try:
                self._write_all_or_none(records)
            except SpoolFullError as error:
                full_disk = error
                raise
        except SpoolFullError:
            self._check_could_hold(records, size_bytes)
            self._note_refusal(size_bytes, full_disk)
            if self._current is not None:
                self._rotate()  # or there would never be room again
            raise
        if self._refusal is not None and size_bytes >= self._refusal.size_bytes:
            self._refusal = None

    def _write_all_or_none(self, records: Sequence[bytes]) -> None:
        """Write the records, to as many files as it takes, before any of these is uploaded.

        After a SpoolError the spool is as it was before, if the disk allows that.
        """
        assert self._spool is not None
        before = self._current
        mark = before.held.mark if before and isinstance(before.held, SpoolFile) else None
        held = before.held if before else None
        written: list[SpoolFile] = []
        filled: list[SpoolFile] = []
        pieces = cut(
            records, self._rules, held.records if held else 0, held.payload_bytes if held else 0
        )
        try:
            for piece, ends in pieces:
                file = (self._current or self._begin()).held
                assert isinstance(file, SpoolFile)
                written.append(file)
                file.append(b"".join(piece), len(piece))
                if ends:
                    self._current = None
                    filled.append(file)
                    if file is not held:  # its descriptor is of no more use
                        self._spool.end(file)
        except SpoolError:
            self._take_back(before, mark, written)
            raise
        for file in filled:
            self._end_file(file)
        self._count_received(len(records), sum(map(len, records)))

    def _take_back(
        self, before: _CurrentObject | None, mark: SpoolMark | None, written: list[SpoolFile]
    ) -> None:
        """Leave nothing of what was written since `before` was the current object."""
        assert self._spool is not None
        begun = self._current.held if self._current not in (None, before) else None
        if isinstance(begun, SpoolFile) and begun not in written:
            written = [*written, begun]
        self._current = before
        for file in written:
            if before is not None and file is before.held:
                assert mark is not None
                file.take_back(mark)
            else:
                self._uploads.remove_pending(file.header.key)
                self._spool.discard(file)

    def _note_refusal(self, size_bytes: int, full_disk: SpoolFullError | None) -> None:
        known = self.refused_bytes
        if known is not None and known <= size_bytes:
            return
        self._refusal = _Refusal(size_bytes, self._uploads.stored_objects, full_disk)
        self._changed.notify_all()  # the timer looks after the disk from here on

    def _append_some(self, records: Sequence[bytes]) -> int:
        """Add as many as the object and the spool take; end the object when it is full."""
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
        self._uploads.add_pending(key)
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
        sink, begun_with = self._sink, BegunWith.of(self._options)
        return self._spool.create(
            ObjectHeader(sink.bucket, key, at.isoformat(), sink.compress, begun_with)
        )

    def _rotate(self) -> None:
        assert self._current is not None
        held, self._current = self._current.held, None
        if isinstance(held, SpoolFile):
            self._end_file(held)
        else:
            held.end()

    def _end_file(self, file: SpoolFile) -> None:
        assert self._spool is not None
        self._spool.end(file)
        if file.records:
            self._uploads.enqueue_file(self._spool, file)
        else:  # the disk was full before its first record
            self._uploads.remove_pending(file.header.key)
            self._spool.remove(file)

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
                self._changed.wait(self._until_disk_try(remaining_s))
                try:
                    self.rotate_if_due()
                    self._try_full_disk()
                except BaseException as error:  # noqa: BLE001 - raised by `finish`
                    self._uploads.fail(error)

    def _until_disk_try(self, remaining_s: float | None) -> float | None:
        """When to wake up: at the end of an object, and again and again while the disk is full."""
        if self._refusal is None or self._refusal.full_disk is None:
            return remaining_s
        return _DISK_TRY_S if remaining_s is None else min(remaining_s, _DISK_TRY_S)

    def _try_full_disk(self) -> None:
        """Forget that the disk was full once it is not: others use it as well."""
        refusal, spool = self._refusal, self._spool
        if refusal is None or refusal.full_disk is None or spool is None:
            return
        if spool.has_disk_for(refusal.size_bytes):
            self._refusal = None

    def _check_room(self, records: Sequence[bytes], size_bytes: int) -> None:
        """SpoolFullError where the spool has no room for all of `records` now."""
        assert self._spool is not None
        held = self._current.held if self._current else None
        in_all = (held.records, held.payload_bytes) if held else (0, 0)
        objects = sum(1 for _ in cut(records, self._rules, *in_all))
        if size_bytes > self._spool.room_bytes(objects):
            raise SpoolFullError(f"the spool {self._spool.directory} is full")

    def _check_could_hold(self, records: Sequence[bytes], size_bytes: int) -> None:
        """SpoolTooSmallError where even an empty spool has no room for all of `records`."""
        assert self._spool is not None
        objects = sum(1 for _ in cut(records, self._rules, 0, 0))
        if not self._spool.could_hold(size_bytes, objects):
            raise self._too_small(f"{plural(len(records), 'record')} of {size_bytes:,} bytes")

    def _wait_for_room(self, record: bytes, full_disk: SpoolFullError | None) -> None:
        """Wait until an object is stored or, where the disk is full, for a second.

        SpoolTooSmallError where even an empty spool has no room for `record`. The `full_disk`
        where a signal has come, and nothing that is under way could make room.
        """
        assert self._spool is not None
        if not self._spool.could_hold(len(record), 1):
            raise self._too_small(f"a record of {len(record):,} bytes")
        if self._current is not None:
            self._rotate()
        uploads = self._uploads
        before = uploads.stored_objects
        if full_disk is not None and not uploads.unfinished and self._stopped is not None:
            raise full_disk
        self._changed.wait_for(
            lambda: uploads.stored_objects > before or not uploads.unfinished,
            None if full_disk is None else _DISK_TRY_S,
        )
        if full_disk is not None and not uploads.unfinished and uploads.stored_objects == before:
            self._changed.wait(_DISK_TRY_S)
        uploads.check()

    def _too_small(self, what: str) -> SpoolTooSmallError:
        assert self._spool is not None
        return SpoolTooSmallError(
            f"the spool {self._spool.directory} could never hold {what}",
            hint="raise --spool-limit, or put the spool on a larger disk",
        )

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
            said.append(
                f"{plural(held, 'record')} in the spool {self._spool.directory}, for the next run"
            )
        if lost:
            said.append(
                f"{lost:,} of the {plural(self._read_records, 'record')} read are not stored"
            )
        return "; ".join(said) or None
