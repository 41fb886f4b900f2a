"""Ranges of one object, read in parallel and written in order; or one stream, without ranges.

One thread requests the pieces as buffers become free, the workers read them, another thread
writes them. The calling thread only waits, so that neither a silent service nor an output that
nobody reads can keep the program from ending.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial

from ..errors import (
    ConditionError,
    IntegrityError,
    RangeIgnoredError,
    RefusedError,
    TransientError,
)
from ..model.events import Event, RangeRead
from ..runtime.buffers import Buffer, BufferPool
from ..runtime.cancel import CancelScope
from ..runtime.retry import Retrier
from ..runtime.workers import Task, WorkerPool
from ..s3.bodies import Landing, ObjectStream
from ..s3.bucket import Bucket
from ..s3.responses import ObjectInfo
from .output import Writer
from .proofs import DownloadProof, Piece

__all__ = ["RangeReader", "Target"]

_SETTLE_S = 2.0


@dataclass(frozen=True)
class Target:
    """The one object that all requests are for, pinned by version (where known) and ETag."""

    bucket: Bucket
    key: str
    version_id: str | None
    info: ObjectInfo

    def __str__(self) -> str:
        return self.bucket.url(self.key)

    def read(self, piece: Piece, landing: Landing) -> None:
        """Request once what `landing` still lacks of `piece`.

        Raises TransientError if the answer was cut short, IntegrityError if the object was
        replaced, RangeIgnoredError if the service sends only whole objects.
        """
        with self._explained_errors():
            self.bucket.get_range(
                self.key,
                piece.offset_bytes,
                landing,
                etag=self.info.etag,
                version_id=self.version_id,
            )

    def open_whole(self) -> ObjectStream:
        """The whole object as one stream; raises likewise."""
        with self._explained_errors():
            return self.bucket.open_whole(self.key, etag=self.info.etag, version_id=self.version_id)

    @contextmanager
    def _explained_errors(self) -> Iterator[None]:
        try:
            yield
        except ConditionError as error:
            raise IntegrityError(
                f"{self} was replaced while it was being read: {error.message}",
                hint="what was written so far is from the object before it was replaced",
            ) from error
        except RefusedError as error:
            raise self._archived(error) if error.code == "InvalidObjectState" else error from error

    def _archived(self, error: RefusedError) -> RefusedError:
        """The refusal of an object in cold storage, with what to do."""
        under_way = "true" in (self.info.restore or "")
        state = "its restore is still under way" if under_way else "must be restored first"
        kind = self.info.storage_class or "storage class unknown"
        return RefusedError(
            f"{self} is archived ({kind}) and {state}",
            hint="try again later" if under_way else "see aws s3api restore-object",
            code=error.code,
            http_status=error.http_status,
            request_id=error.request_id,
        )


class _WholeReader:
    """Reads pieces from one stream of the whole object, where the service knows no ranges.

    Each worker that reads a piece waits for its turn, so that the stream is read in order. It is
    begun anew after an error, and what was read before is thrown away.
    """

    def __init__(self, target: Target, scope: CancelScope) -> None:
        self._target = target
        self._scope = scope
        self._stream: ObjectStream | None = None

    def read(self, piece: Piece, landing: Landing, is_next: Callable[[Piece], bool]) -> None:
        """Fill `landing`, once `is_next` says that no earlier piece is still to be read."""
        self._scope.wait_for(lambda: is_next(piece))
        wanted_at = piece.offset_bytes + landing.filled_bytes
        if self._stream is not None and self._stream.position_bytes > wanted_at:
            self.close()
        if self._stream is None:
            self._stream = self._target.open_whole()
        try:
            self._stream.fill(piece.offset_bytes, landing)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the stream."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None


class RangeReader:
    """Reads the pieces of one object. `run` is called once.

    `announced`: entered while a piece is being read that will be examined right after.
    """

    def __init__(
        self,
        workers: WorkerPool,
        pool: BufferPool,
        retrier: Retrier,
        scope: CancelScope,
        announced: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self._workers = workers
        self._pool = pool
        self._retrier = retrier
        self._scope = scope
        self._announced = announced
        self._flow = WorkerPool(2, scope)  # the dispatcher and the writer
        self._requested: deque[tuple[Piece, Buffer, Task[bytes | None]]] = deque()
        self._all_requested = False
        self._unread: list[Piece] = []
        self._whole: _WholeReader | None = None

    def run(
        self,
        target: Target,
        pieces: Iterator[Piece],
        proof: DownloadProof,
        writer: Writer,
        emit: Callable[[Event], None],
    ) -> None:
        """Read all pieces and write them in order. Raises Cancelled when the scope has an error."""
        try:
            self._flow.submit(partial(self._request_all, pieces, target, proof))
            self._flow.submit(partial(self._write_all, proof, writer, emit)).result()
        finally:
            self._flow.shutdown()
            if self._whole is not None and not self._unread:
                self._whole.close()

    def wait_idle(self) -> None:
        """Wait until nothing is written any more, 2 s at most.

        A write into a pipe that nobody reads never ends; its thread is abandoned.
        """
        self._flow.wait_idle(_SETTLE_S, _SETTLE_S)

    def _request_all(self, pieces: Iterator[Piece], target: Target, proof: DownloadProof) -> None:
        for piece in pieces:
            buffer = self._pool.acquire(piece.size_bytes)
            with self._scope.condition:
                self._unread.append(piece)
            task = self._workers.submit(partial(self._read, piece, buffer, target, proof))
            with self._scope.condition:
                self._requested.append((piece, buffer, task))
                self._scope.condition.notify_all()
        with self._scope.condition:
            self._all_requested = True
            self._scope.condition.notify_all()

    def _read(
        self, piece: Piece, buffer: Buffer, target: Target, proof: DownloadProof
    ) -> bytes | None:
        """In a worker: read one piece until it is complete and not known to be wrong."""
        landing = Landing(buffer.view[: piece.size_bytes], self._scope.check)

        def attempt() -> bytes | None:
            self._fill(piece, landing, target)
            try:
                return proof.examine(piece, landing.data)
            except TransientError:
                landing.clear()
                raise

        last = piece.offset_bytes + piece.size_bytes - 1
        md5 = self._retrier.call(f"read bytes {piece.offset_bytes}-{last}", attempt).value
        with self._scope.condition:
            self._unread.remove(piece)
            self._scope.condition.notify_all()
        return md5

    def _fill(self, piece: Piece, landing: Landing, target: Target) -> None:
        """Request once what `landing` lacks, as a range or where that is ignored, in its turn."""
        if self._whole is None:
            try:
                with self._announced():
                    target.read(piece, landing)
                return
            except RangeIgnoredError:
                with self._scope.condition:
                    self._whole = self._whole or _WholeReader(target, self._scope)
        self._whole.read(piece, landing, lambda piece: self._unread[0] is piece)

    def _write_all(
        self, proof: DownloadProof, writer: Writer, emit: Callable[[Event], None]
    ) -> None:
        while (entry := self._next()) is not None:
            piece, buffer, task = entry
            md5 = task.result()
            data = buffer.view[: piece.size_bytes]
            proof.take(piece, data, md5)
            writer.deliver(data[piece.skip_bytes :][: piece.take_bytes], self._scope)
            self._pool.release(buffer)
            emit(RangeRead(piece.take_bytes, in_flight=len(self._requested)))

    def _next(self) -> tuple[Piece, Buffer, Task[bytes | None]] | None:
        """The piece that is written next, and the task that reads it; None after the last."""
        with self._scope.condition:
            self._scope.wait_for(lambda: bool(self._requested) or self._all_requested)
            return self._requested.popleft() if self._requested else None
