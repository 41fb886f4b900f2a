"""The window that moves over an object: pieces read in parallel, let go in order.

A dispatcher asks for the pieces as buffers get free, a workers reads them, a writer hands them on.
The calling thread only waits, so that neither a silent service nor a reader who does not read
can hold the program.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from ..errors import ConditionError, IntegrityError, RefusedError, TransientError
from ..model.events import Event, RangeRead
from ..runtime.buffers import Buffer, BufferPool
from ..runtime.cancel import CancelScope
from ..runtime.retry import Retrier
from ..runtime.workers import Task, WorkerPool
from ..s3.bodies import Landing
from ..s3.bucket import Bucket
from ..s3.responses import ObjectInfo
from .output import Writer
from .proofs import Evidence, Piece

__all__ = ["Target", "Window"]

_SETTLE_S = 2.0


@dataclass(frozen=True)
class Target:
    """The one object that all requests are pinned to, by version (where known) and ETag."""

    bucket: Bucket
    key: str
    version_id: str | None
    info: ObjectInfo

    def __str__(self) -> str:
        return self.bucket.url(self.key)

    def read(self, piece: Piece, landing: Landing) -> None:
        """One request for what is missing of `piece`. TransientError if it was cut short.

        IntegrityError when the object is not the same any more.
        """
        try:
            self.bucket.get_range(
                self.key,
                piece.offset_bytes,
                landing,
                etag=self.info.etag,
                version_id=self.version_id,
            )
        except ConditionError as error:
            raise IntegrityError(
                f"{self} was replaced while it was being read: {error.message}",
                hint="what came before this is of the object that was there first",
            ) from error
        except RefusedError as error:
            raise self._archived(error) if error.code == "InvalidObjectState" else error from error

    def _archived(self, error: RefusedError) -> RefusedError:
        """The refusal in clearer words."""
        under_way = "true" in (self.info.restore or "")
        state = "its restore is still under way" if under_way else "must be restored first"
        return RefusedError(
            f"{self} is archived ({self.info.storage_class or 'not at hand'}) and {state}",
            hint="try again later" if under_way else "see aws s3api restore-object",
            code=error.code,
            http_status=error.http_status,
            request_id=error.request_id,
        )


class Window:
    """Reads the pieces of one object. `run` is called once."""

    def __init__(
        self, workers: WorkerPool, pool: BufferPool, retrier: Retrier, scope: CancelScope
    ) -> None:
        self._workers = workers
        self._pool = pool
        self._retrier = retrier
        self._scope = scope
        self._flow = WorkerPool(2, scope)  # the dispatcher and the writer
        self._asked: deque[tuple[Piece, Buffer, Task[bytes | None]]] = deque()
        self._all_asked = False

    def run(
        self,
        target: Target,
        pieces: Iterator[Piece],
        evidence: Evidence,
        writer: Writer,
        emit: Callable[[Event], None],
    ) -> None:
        """Hand all pieces to `writer`, in order. Raises Cancelled when the scope has an error."""
        try:
            self._flow.submit(partial(self._ask_for, pieces, target, evidence))
            self._flow.submit(partial(self._deliver, evidence, writer, emit)).result()
        finally:
            self._flow.shutdown()

    def wait_idle(self) -> None:
        """Wait until nothing is written any more.

        A writer that hangs in a pipe which nobody empties is left to itself after a while.
        """
        self._flow.wait_idle(_SETTLE_S, _SETTLE_S)

    def _ask_for(self, pieces: Iterator[Piece], target: Target, evidence: Evidence) -> None:
        for piece in pieces:
            buffer = self._pool.acquire(piece.size_bytes)
            task = self._workers.submit(partial(self._read, piece, buffer, target, evidence))
            with self._scope.condition:
                self._asked.append((piece, buffer, task))
                self._scope.condition.notify_all()
        with self._scope.condition:
            self._all_asked = True
            self._scope.condition.notify_all()

    def _read(
        self, piece: Piece, buffer: Buffer, target: Target, evidence: Evidence
    ) -> bytes | None:
        """In the workers: read one piece until it is whole and, as far as can be known, right."""
        landing = Landing(buffer.view[: piece.size_bytes], self._scope.check)

        def attempt() -> bytes | None:
            target.read(piece, landing)
            try:
                return evidence.examine(piece, landing.data)
            except TransientError:
                landing.clear()
                raise

        last = piece.offset_bytes + piece.size_bytes - 1
        return self._retrier.call(f"bytes {piece.offset_bytes}-{last}", attempt).value

    def _deliver(self, evidence: Evidence, writer: Writer, emit: Callable[[Event], None]) -> None:
        while (entry := self._next()) is not None:
            piece, buffer, task = entry
            md5 = task.result()
            data = buffer.view[: piece.size_bytes]
            evidence.take(piece, data, md5)
            writer.deliver(data[piece.skip_bytes :][: piece.take_bytes], self._scope)
            self._pool.release(buffer)
            emit(RangeRead(piece.take_bytes, in_flight=len(self._asked)))

    def _next(self) -> tuple[Piece, Buffer, Task[bytes | None]] | None:
        """The oldest piece that was asked for; None after the last."""
        with self._scope.condition:
            self._scope.wait_for(lambda: bool(self._asked) or self._all_asked)
            return self._asked.popleft() if self._asked else None
