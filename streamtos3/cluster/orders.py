"""What workers are asked to do, and what they answer: one frozen value for each kind of task.

An order says all that a worker needs but secrets, and performs itself in the session of its
operation. Errors travel as values (`Failure`), so that no worker logs them as a crash and Dask
does not run the task again: what is worth another try was tried again where it failed.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

from ..downloader.local_etag import LocalParts
from ..downloader.proofs import NoProof, cut_pieces
from ..downloader.ranges import RangeReader, Target
from ..errors import OutputError, RetriesUsedUpError, StreamToS3Error, TransientError, os_reason
from ..integrity.checksums import RunningCrc
from ..integrity.digests import PartDigests, StreamDigests
from ..integrity.md5 import md5_method, md5s
from ..model.events import Event, PartsStored, Retrying, Warned
from ..model.unfinished_upload import UnfinishedUpload
from ..results import StoredPart
from ..runtime.buffers import Buffer
from ..runtime.cancel import Cancelled, CancelScope
from ..runtime.retry import Retrier
from ..s3.responses import ObjectInfo
from ..uploader.multipart import MultipartUpload
from .runs import PartSpan
from .session import (
    LARGEST_BATCH,
    Operation,
    OperationEnded,
    Session,
    session_of,
    worker_name,
)
from .shared_file import FileIdentity, SharedFile

__all__ = [
    "DigestOrder",
    "DigestReport",
    "Failure",
    "HashOrder",
    "HashReport",
    "Order",
    "ReadOrder",
    "StoreOrder",
    "StoreReport",
    "describe",
    "perform",
    "topic_of",
]

_READ_BYTES = 1 << 20


@dataclass(frozen=True)
class Failure:
    """An order that failed for good, on this worker."""

    error: StreamToS3Error
    worker: str


class Order(Protocol):
    """A task. `operation` is what it belongs to."""

    @property
    def operation(self) -> Operation:
        """What it belongs to."""

    def perform(self, session: Session, worker: str) -> Any:
        """Do it, in a worker process named `worker`; returns the report."""


def topic_of(operation_id: str) -> str:
    """The topic of Dask's events under which an operation's workers report."""
    return f"streamtos3-{operation_id}"


def perform(order: Order) -> Any:
    """The function that Dask runs: the order's report, or the Failure that ended it."""
    from distributed import get_worker

    dask_worker = get_worker()
    worker = worker_name(dask_worker.address)
    emit = _emitter(dask_worker.log_event, topic_of(order.operation.id), worker)
    return _perform_as(order, worker, emit)


def _perform_as(order: Order, worker: str, emit: Callable[[Event], None]) -> Any:
    """`perform` without Dask; `emit` is told what should be known before the report."""
    try:
        with session_of(order.operation, emit) as session:
            try:
                return order.perform(session, worker)
            except Cancelled:
                error = session.context.scope.error
                if isinstance(error, StreamToS3Error):
                    return Failure(error, worker)
                raise
    except StreamToS3Error as error:
        return Failure(error, worker)
    except (OperationEnded, Cancelled):
        return Failure(RetriesUsedUpError("the operation has ended"), worker)


def describe(event: Event, worker: str) -> dict[str, Any] | None:
    """An event of a worker as Dask carries it; None where the report tells it anyway."""
    if isinstance(event, Retrying):
        return {
            "action": event.action,
            "tries": event.tries,
            "wait_s": event.wait_s,
            "reason": event.reason,
            "worker": worker,
        }
    if isinstance(event, Warned):
        return {"message": event.message, "worker": worker}
    if isinstance(event, PartsStored):
        return {"parts": pickle.dumps(event.parts)}  # as reports travel; to the scheduler, bytes
    return None


def _emitter(
    log_event: Callable[[str, Any], None], topic: str, worker: str
) -> Callable[[Event], None]:
    def emit(event: Event) -> None:
        told = describe(event, worker)
        if told is not None:
            log_event(topic, told)

    return emit


@dataclass(frozen=True)
class StoreReport:
    """Parts that are stored, in order, each compared. `crcs` are theirs, in base64."""

    worker: str
    parts: tuple[StoredPart, ...]
    crcs: tuple[str, ...]
    retries: int


@dataclass(frozen=True)
class StoreOrder:
    """Read a run of consecutive parts of a file and send them into an upload that has begun.

    `tell_every_s`: how often it tells, before its report, what it has stored. `unfinished`: where
    the upload is resumed, with the listed parts that this run may skip.
    """

    operation: Operation
    path: str
    identity: FileIdentity
    key: str
    upload_id: str
    etags_are_md5: bool
    spans: tuple[PartSpan, ...]
    crc: str
    tell_every_s: float
    unfinished: UnfinishedUpload | None = None

    def perform(self, session: Session, worker: str) -> StoreReport:
        """See Order."""
        context = session.context
        meanwhile = _Meanwhile(context.emit, len(self.spans), self.tell_every_s)
        with _counting(session) as (retrier, count):
            multipart = MultipartUpload(
                context.bucket, retrier, self.key, self.operation.options.checksum
            )
            if self.unfinished is not None:
                multipart.resume(self.unfinished)
            multipart.join(self.upload_id, etags_are_md5=self.etags_are_md5)
            with session.open_file(self.path, self.identity) as file:
                tasks = []
                for batch in self._batches(session, file):
                    for part, md5 in zip(batch, md5s([each.data for each in batch]), strict=True):
                        store = partial(_store, session, multipart, part, md5, worker, meanwhile)
                        tasks.append(context.workers.submit(store))
                stored = [task.result() for task in tasks]
            parts = tuple(part for part, _ in stored)
            return StoreReport(worker, parts, tuple(crc for _, crc in stored), count())

    def _batches(self, session: Session, file: SharedFile) -> Iterator[list[_ReadPart]]:
        """The parts as read, so many at once as are worth hashing together."""
        most = min(LARGEST_BATCH, md5_method().lanes)
        largest = max(span.size_bytes for span in self.spans)
        rest = self.spans
        while rest:
            buffers = session.pool.acquire_together(largest, min(most, len(rest)))
            batch = [_ReadPart(*each, self.crc) for each in zip(rest, buffers, strict=False)]
            rest = rest[len(batch) :]
            for part in batch:
                part.read(file)
            yield batch


class _ReadPart:
    """A part in memory, with the digests that are computed while it is read."""

    def __init__(self, span: PartSpan, buffer: Buffer, crc: str) -> None:
        self.span = span
        self.buffer = buffer
        self.sha256 = hashlib.sha256()
        self.crc = RunningCrc(crc)

    @property
    def data(self) -> memoryview:
        """Its bytes."""
        return self.buffer.view[: self.span.size_bytes]

    def read(self, file: SharedFile) -> None:
        """Read and digest it."""
        file.read_into(self.data, self.span.offset_bytes, self._note)

    def _note(self, piece: memoryview) -> None:
        self.sha256.update(piece)
        self.crc.update(piece)


class _Meanwhile:
    """Tells now and then what a run of so many parts has stored, until its last part is.

    That one the report tells at once. For the progress alone: nobody waits for what is told here.
    """

    def __init__(
        self,
        emit: Callable[[Event], None],
        parts: int,
        every_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._emit = emit
        self._left = parts
        self._every_s = every_s
        self._clock = clock
        self._told_at_s = clock()
        self._untold: list[StoredPart] = []
        self._lock = threading.Lock()

    def note(self, part: StoredPart) -> None:
        """`part` is stored; called by any thread."""
        with self._lock:
            self._left -= 1
            self._untold.append(part)
            now_s = self._clock()
            if not self._left or now_s - self._told_at_s < self._every_s:
                return
            told, self._untold, self._told_at_s = tuple(self._untold), [], now_s
        self._emit(PartsStored(told))


def _store(
    session: Session,
    multipart: MultipartUpload,
    part: _ReadPart,
    md5: bytes,
    worker: str,
    meanwhile: _Meanwhile,
) -> tuple[StoredPart, str]:
    """In a thread of the session: send one part, then release its buffer."""
    span, data = part.span, part.data
    try:
        check = session.context.scope.check
        stored = multipart.store_part(span.number, span.offset_bytes, data, check, md5)
        stored = replace(stored, worker=worker, sha256=part.sha256.hexdigest())
        meanwhile.note(stored)
        return stored, part.crc.value()
    finally:
        del data
        session.pool.release(part.buffer)


@dataclass(frozen=True)
class HashReport:
    """MD5s (hex) of parts, in order, by this worker."""

    worker: str
    md5s: tuple[str, ...]
    retries: int = 0


@dataclass(frozen=True)
class HashOrder:
    """Read parts of a file again, and answer their MD5s. Nothing is sent anywhere."""

    operation: Operation
    path: str
    identity: FileIdentity
    spans: tuple[PartSpan, ...]

    def perform(self, session: Session, worker: str) -> HashReport:
        """See Order."""
        parts = LocalParts(span.size_bytes for span in self.spans)
        with session.open_file(self.path, self.identity) as file:
            for span in self.spans:
                end = span.offset_bytes + span.size_bytes
                offset = span.offset_bytes
                while offset < end:
                    session.context.scope.check()
                    room = parts.room()
                    file.read_into(room, offset)
                    parts.note(len(room))
                    offset += len(room)
        return HashReport(worker, tuple(md5.hex() for md5 in parts.md5s()))


@dataclass(frozen=True)
class DigestReport:
    """Digests (hex) of a whole file, by name."""

    worker: str
    digests: dict[str, str]


@dataclass(frozen=True)
class DigestOrder:
    """Read a whole file in order, for the digests that cannot be computed in pieces."""

    operation: Operation
    path: str
    identity: FileIdentity
    names: tuple[str, ...]

    def perform(self, session: Session, worker: str) -> DigestReport:
        """See Order."""
        digests = StreamDigests(self.names)
        buffer = memoryview(bytearray(_READ_BYTES))
        with session.open_file(self.path, self.identity) as file:
            for piece in _pieces(session, file, PartSpan(1, 0, self.identity.size_bytes), buffer):
                digests.update(piece)
        return DigestReport(worker, digests.hexdigests())


@dataclass(frozen=True)
class ReadOrder:
    """Read parts of an object that is pinned by its ETag, and answer their MD5s.

    `into`: the file that they are written into as well, and its inode.
    """

    operation: Operation
    key: str
    version_id: str | None
    info: ObjectInfo
    spans: tuple[PartSpan, ...]
    into: tuple[str, int] | None = None

    def perform(self, session: Session, worker: str) -> HashReport:
        """See Order."""
        context = session.context
        first = self.spans[0].offset_bytes
        end = self.spans[-1].offset_bytes + self.spans[-1].size_bytes
        pieces = cut_pieces(first, end, context.options.chunk_bytes, None)
        target = Target(context.bucket, self.key, self.version_id, self.info)
        with _counting(session) as (retrier, count):
            writer = _RunWriter(self.spans, self.into)
            reader = RangeReader(context.workers, session.pool, retrier, context.scope)
            try:
                reader.run(target, pieces, NoProof(), writer, lambda _: None)
                writer.sync()
            finally:
                writer.close()
            found = tuple(md5.hex() for md5 in writer.digests.md5s())
            return HashReport(worker, found, count())


class _RunWriter:
    """A Writer that digests parts, and writes them into a file at their offset if there is one."""

    def __init__(self, spans: Sequence[PartSpan], into: tuple[str, int] | None) -> None:
        self.digests = PartDigests(span.size_bytes for span in spans)
        self._offset = spans[0].offset_bytes
        self._path, inode = into or ("", 0)
        self._fd = _open_for_writing(self._path, inode) if into else -1

    def deliver(self, data: memoryview, scope: CancelScope) -> None:
        """See Writer."""
        self.digests.update(data)
        while self._fd >= 0 and data:
            scope.check()
            try:
                count = os.pwrite(self._fd, data[:_READ_BYTES], self._offset)
            except OSError as error:
                raise self._error(error) from error
            data = data[count:]
            self._offset += count

    def sync(self) -> None:
        """Have all that was written reach the storage, where the other machines see it."""
        if self._fd >= 0:
            try:
                os.fsync(self._fd)
            except OSError as error:
                raise self._error(error) from error

    def close(self) -> None:
        """See Writer."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _error(self, error: OSError) -> OutputError:
        return OutputError(f"cannot write {self._path} at byte {self._offset}: {os_reason(error)}")


def _open_for_writing(path: str, inode: int) -> int:
    """The file that the client has made, and not one of the same name on a disk of our own."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {os_reason(error)}") from error
    if os.fstat(fd).st_ino != inode:
        os.close(fd)
        raise OutputError(f"cannot write {path}: it is not the same file there")
    return fd


@contextmanager
def _counting(session: Session) -> Iterator[tuple[Retrier, Callable[[], int]]]:
    """A retrier for one order, and how often it has tried something again."""
    retries = 0

    def note(event: Retrying, error: TransientError) -> None:
        nonlocal retries
        retries += 1
        if error.throttled:
            session.pool.hold_back()
        session.context.emit(event)

    yield Retrier(session.options.retries, session.context.scope, note), lambda: retries


def _pieces(
    session: Session, file: SharedFile, span: PartSpan, buffer: memoryview
) -> Iterator[memoryview]:
    """The bytes of `span` in order, each piece in `buffer` and gone with the next."""
    end = span.offset_bytes + span.size_bytes
    for offset in range(span.offset_bytes, end, len(buffer)):
        session.context.scope.check()
        piece = buffer[: end - offset]
        file.read_into(piece, offset)
        yield piece
