"""Collects records from many senders at a time: one append makes them all durable.

What arrives while the store syncs to the disk waits and is then appended together, so that the
rate of syncs does not limit the number of senders. What may wait is bounded by `ByteBudget`.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from enum import Enum, auto
from types import TracebackType
from typing import Protocol

from ..errors import SpoolFullError, SpoolTooSmallError
from ..results import SinkFigures
from ..runtime.cancel import Cancelled

__all__ = ["ByteShare", "Batcher", "ReceiverLimits", "Outcome", "RecordStore", "ByteBudget"]

_GROUP_BYTES = 4 * 1024**2
_LARGE_BYTES = 64 * 1024
"""From here on, the records of one request are appended alone."""


class RecordStore(Protocol):
    """What makes records durable. All of it may be used from any thread."""

    @property
    def refused_bytes(self) -> int | None:
        """The size of the smallest append that is known to find no room.

        None if none was refused since room last became free. Never waits.
        """

    def append(self, records: Sequence[bytes], *, wait: bool = True) -> None:
        """Take whole records, each ending in a newline; return when all of them are durable.

        With `wait=False`, SpoolFullError when there is no room for all of them now, and
        SpoolTooSmallError when there never will be; none was taken then. Any other
        StreamToS3Error, or Cancelled, when the sink is ending.
        """

    def figures(self) -> SinkFigures:
        """What has been done so far; never waits for an append that is under way."""


@dataclass(frozen=True)
class ReceiverLimits:
    """How much senders may use at a time, and for how long.

    max_group_bytes: the records of one request, as they are stored; None: no limit.
    max_connections: connections that are served; some more are answered with 503.
    backlog: connections that the kernel has accepted and the receiver has not.
    head_timeout_s: for the head of a request, for the TLS handshake before it, and for the client
        to read some of an answer.
    body_timeout_s: for a whole body, of which at least `least_body_bytes` must arrive in each
        `body_window_s`.
    """

    max_record_bytes: int = 1024**2
    max_request_bytes: int = 8 * 1024**2
    max_group_bytes: int | None = None
    max_pending_bytes: int = 64 * 1024**2
    max_connections: int = 512
    backlog: int = 256
    head_timeout_s: float = 10.0
    body_timeout_s: float = 60.0
    body_window_s: float = 5.0
    least_body_bytes: int = 5 * 1024
    linger_s: float = 2.0
    keep_alive_s: int = 30
    grace_s: int = 10
    retry_after_s: int = 1

    @property
    def accepted_connections(self) -> int:
        """How many there may be, those included that are only told to come again."""
        return min(2 * self.max_connections, self.max_connections + 128)


class Outcome(Enum):
    """What became of the records of one sender."""

    DURABLE = auto()
    FULL = auto()
    TOO_LARGE = auto()
    ENDING = auto()


class ByteBudget:
    """Bytes that may be held at a time. For one thread, the event loop's."""

    def __init__(self, capacity_bytes: int) -> None:
        self._capacity_bytes = capacity_bytes
        self.held_bytes = 0

    def share(self) -> ByteShare:
        """A share of 0 bytes, which may grow; given back at the end of its `with`."""
        return ByteShare(self)

    def reserve(self, size_bytes: int) -> bool:
        """Reserve `size_bytes` more. False where they exceed the capacity."""
        if self.held_bytes + size_bytes > self._capacity_bytes:
            return False
        self.held_bytes += size_bytes
        return True


class ByteShare:
    """What one request holds of a ByteBudget."""

    def __init__(self, budget: ByteBudget) -> None:
        self._budget = budget
        self.size_bytes = 0

    def __enter__(self) -> ByteShare:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._budget.held_bytes -= self.size_bytes
        self.size_bytes = 0

    def grow(self, size_bytes: int) -> bool:
        """Reserve more, up to `size_bytes` in all. False where the budget does not allow it."""
        more_bytes = max(0, size_bytes - self.size_bytes)
        if not self._budget.reserve(more_bytes):
            return False
        self.size_bytes += more_bytes
        return True


class _Waiting:
    """The records of one sender, and the future that tells what became of them."""

    def __init__(self, records: Sequence[bytes]) -> None:
        self.records = records
        self.size_bytes = sum(map(len, records))
        self.future: Future[Outcome] = Future()


class Batcher:
    """Appends what is submitted to `store`, in groups, from a thread of its own.

    on_error: called with the error of the store that ends the batcher; `error` keeps it.
    group_bytes: a group ends with the records that reach this size. If the spool has no room for
        a group, each request in it is tried alone.

    Large requests are appended one at a time, and between two of them the small ones that wait, so
    that a small one never waits for more than one large append.
    """

    def __init__(
        self,
        store: RecordStore,
        on_error: Callable[[BaseException], None] = lambda _: None,
        group_bytes: int = _GROUP_BYTES,
    ) -> None:
        self._store = store
        self._on_error = on_error
        self._group_bytes = group_bytes
        self._condition = threading.Condition()
        self._small: deque[_Waiting] = deque()
        self._large: deque[_Waiting] = deque()
        self._last_was_large = False
        self._ended = False
        self.error: BaseException | None = None
        self.appends = 0
        self._thread = threading.Thread(target=self._run, name="streamtos3-batcher", daemon=True)
        self._thread.start()

    @property
    def has_ended(self) -> bool:
        """Whether no more records are accepted."""
        return self._ended

    @property
    def refused_bytes(self) -> int | None:
        """See RecordStore."""
        return self._store.refused_bytes

    def submit(self, records: Sequence[bytes]) -> Future[Outcome]:
        """Have `records` appended together with those of others; the result is their outcome."""
        entry = _Waiting(records)
        with self._condition:
            if not self._ended:
                is_large = entry.size_bytes >= _LARGE_BYTES
                (self._large if is_large else self._small).append(entry)
                self._condition.notify()
                return entry.future
        entry.future.set_result(Outcome.ENDING)
        return entry.future

    def close(self, timeout_s: float | None = None) -> None:
        """Accept nothing more; wait until what was submitted has its outcome."""
        with self._condition:
            self._ended = True
            self._condition.notify()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._small or self._large or self._ended)
                taken = list(self._next_group())
            if not taken:
                return
            group = [each for each in taken if each.future.set_running_or_notify_cancel()]
            outcome = self._append([record for each in group for record in each.records])
            alone = len(group) > 1 and outcome in (Outcome.FULL, Outcome.TOO_LARGE)
            for each in group:
                each.future.set_result(self._append(each.records) if alone else outcome)

    def _next_group(self) -> Iterator[_Waiting]:
        """A large one, or small ones, those that waited longest; none if none waits."""
        self._last_was_large = bool(self._large) and not (self._last_was_large and self._small)
        if self._last_was_large:
            yield self._large.popleft()
            return
        size_bytes = 0
        while self._small and size_bytes < self._group_bytes:
            size_bytes += self._small[0].size_bytes
            yield self._small.popleft()

    def _append(self, records: Sequence[bytes]) -> Outcome:
        try:
            self._store.append(records, wait=False)
        except SpoolFullError:
            return Outcome.FULL
        except SpoolTooSmallError:
            return Outcome.TOO_LARGE
        except BaseException as error:  # noqa: BLE001 - the thread's top: reported below
            with self._condition:
                self._ended = True
            if self.error is None and not isinstance(error, Cancelled):
                self.error = error
                self._on_error(error)
            return Outcome.ENDING
        self.appends += 1
        return Outcome.DURABLE
