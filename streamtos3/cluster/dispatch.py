"""Orders to workers, a bounded number at a time, until all have reported.

A worker that dies costs its tasks, which Dask runs again elsewhere; where it gives up, the order is
given anew. No worker for `--retry-for`, a scheduler that is gone, or a Failure ends it all.
"""

from __future__ import annotations

import pickle
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from ..errors import RetriesUsedUpError, StreamToS3Error, UsageError
from ..model.events import Event, PartStored, Retrying, Warned, WorkersCounted
from ..results import StoredPart
from ..runtime.cancel import CancelScope
from ..runtime.retry import DEFAULT_RETRY_FOR_S
from ..runtime.workers import WorkerPool
from ..units import format_duration
from .connection import Cluster, TaskLost
from .orders import Failure, Order, perform, topic_of
from .session import active_tasks, begin_end, drop

__all__ = ["Dispatcher"]

_LOOK_S = 1.0
_MOST_LOSSES = 10  # each after as many dead workers as the scheduler allows, four by default
_SETTLE_S = 60.0
_RESERVE = 2  # orders that wait for a thread; what is not given out yet goes to whoever is free
_INTERRUPTED_SETTLE_S = 5.0


@dataclass
class _Flight:
    """An order on its way."""

    order: Order
    avoid: Collection[str]
    losses: int = 0
    give_up: Callable[[], None] = field(default=lambda: None)


class Dispatcher:
    """Gives the orders of one operation to the workers of a cluster.

    `retry_for_s`: how long to wait while there is no worker. `workers` are those of now.
    """

    def __init__(
        self,
        cluster: Cluster,
        operation_id: str,
        scope: CancelScope,
        emit: Callable[[Event], None],
        retry_for_s: float | None,
    ) -> None:
        self._cluster = cluster
        self._operation_id = operation_id
        self._scope = scope
        self._emit = emit
        self._retry_for_s = DEFAULT_RETRY_FOR_S if retry_for_s is None else retry_for_s
        self._flights: dict[int, _Flight] = {}
        self._numbers = 0
        self._arrived: list[tuple[int, Any]] = []
        self._watch = WorkerPool(1, scope)
        self._is_over = False
        self._is_mute = False
        self._shown: set[int] = set()
        self._ending = threading.Lock()
        self._all_ended: bool | None = None
        self.workers: dict[str, int] = {}

    @property
    def threads(self) -> int:
        """How many tasks run at a time now; 1 where there is no worker."""
        return max(1, sum(self.workers.values()))

    def start(self) -> None:
        """Watch the cluster from now on, and wait for its first worker."""
        self._cluster.subscribe(topic_of(self._operation_id), self._hear)
        self._watch.submit(self._look_on)
        self._scope.wait_for(lambda: bool(self.workers))

    def run(
        self,
        orders: Iterator[Order],
        take: Callable[[Order, Any], None],
        *,
        avoid: Callable[[Order], Collection[str]] = lambda order: (),
    ) -> None:
        """Have all orders performed; `take` gets each with its report, in this thread, as it comes.

        `avoid`: the workers that should not get an order. Raises the first Failure's error, which
        names the worker, and Cancelled once the scope has failed. `take` may `add` orders.
        """
        more = True
        while True:
            while more and len(self._flights) < self.threads + max(_RESERVE, self.threads // 2):
                order = next(orders, None)
                more = order is not None
                if order is not None:
                    self.add(order, avoid(order))
            if not self._flights:
                return
            self._scope.wait_for(lambda: bool(self._arrived))
            with self._scope.condition:
                arrived, self._arrived = self._arrived, []
            for number, value in arrived:
                self._judge(number, value, take)

    def add(self, order: Order, avoid: Collection[str] = (), *, urgent: bool = False) -> None:
        """Give one order more."""
        self._numbers += 1
        self._flights[self._numbers] = _Flight(order, avoid)
        self._submit(self._numbers, urgent=urgent)

    def show(self, parts: Iterable[StoredPart]) -> None:
        """Emit PartStored for each, once for each number: a worker may have told it before.

        Only what is shown depends on that. Called by any thread.
        """
        with self._scope.condition:
            new = [part for part in parts if part.number not in self._shown]
            self._shown.update(part.number for part in new)
        for part in new:
            self._emit(PartStored(part))

    def end(self) -> bool:
        """Stop what is still running, and wait for that; whether all workers have stopped.

        Takes a minute at most, 5 s after a signal, and no time where the scheduler did not answer
        before. Must be called, whatever happened; a second call returns what the first did.
        """
        with self._ending:
            if self._all_ended is None:
                self._all_ended = self._end()
            return self._all_ended

    def _end(self) -> bool:
        with self._scope.condition:
            self._is_over = True
            self._scope.condition.notify_all()
        self._watch.wait_idle(1.0, 1.0)
        for flight in self._flights.values():
            flight.give_up()
        interrupted = self._scope.interrupted_at_s is not None
        settle_s = _INTERRUPTED_SETTLE_S if interrupted else _SETTLE_S
        try:
            if self._is_mute or not self._cluster.is_connected:
                return False
            ended = self._cluster.run_on_all(
                end_on_worker, self._operation_id, settle_s, timeout_s=settle_s
            )
        except StreamToS3Error:
            return False
        finally:
            self._watch.shutdown()
        return all(each is True for each in ended.values())

    def _submit(self, number: int, *, urgent: bool = False) -> None:
        flight = self._flights[number]
        deliver = partial(self._deliver, number)
        prefer = [each for each in self.workers if each not in flight.avoid] if flight.avoid else ()
        flight.give_up = self._cluster.submit(
            perform, flight.order, deliver, prefer=prefer, urgent=urgent
        )

    def _deliver(self, number: int, value: Any) -> None:
        """In Dask's thread."""
        with self._scope.condition:
            self._arrived.append((number, value))
            self._scope.condition.notify_all()

    def _judge(self, number: int, value: Any, take: Callable[[Order, Any], None]) -> None:
        flight = self._flights[number]
        if isinstance(value, TaskLost):
            flight.losses += 1
            if flight.losses > _MOST_LOSSES:
                raise RetriesUsedUpError(f"workers die again and again: {value}") from value
            self._emit(Warned("several workers died over the same parts; they are given out anew"))
            self._submit(number)
            return
        del self._flights[number]
        if isinstance(value, Failure):
            raise _named(value)
        if isinstance(value, ImportError):
            raise UsageError(
                f"a worker cannot load streamtos3: {value}",
                hint="install the same version of streamtos3 on every worker",
            ) from value
        if isinstance(value, BaseException):
            raise value
        flight.give_up()  # Dask forgets the task, and the worker its report
        take(flight.order, value)

    def _look_on(self) -> None:
        """In a thread: count the workers, and fail where there is none, or no scheduler."""
        alone_since_s: float | None = None
        while not self._is_over:
            try:
                workers = self._cluster.workers(self._retry_for_s)
            except Exception:
                if self._is_over:  # the client was closed meanwhile
                    return
                self._is_mute = True
                raise
            self._note_workers(workers)
            if workers:
                alone_since_s = None
            elif alone_since_s is None:
                alone_since_s = time.monotonic()
                self._emit(Warned(f"{self._cluster.address} has no worker; waiting for one"))
            elif time.monotonic() - alone_since_s >= self._retry_for_s:
                waited = format_duration(self._retry_for_s)
                raise RetriesUsedUpError(
                    f"{self._cluster.address} had no worker for {waited}",
                    hint="start one: dask worker SCHEDULER",
                )
            if not self._cluster.is_connected:
                raise RetriesUsedUpError(
                    f"the connection to the Dask scheduler {self._cluster.address} was lost"
                )
            self._scope.wait_for(lambda: self._is_over, _LOOK_S)

    def _note_workers(self, workers: dict[str, int]) -> None:
        with self._scope.condition:
            changed = len(workers) != len(self.workers)
            self.workers = workers
            self._scope.condition.notify_all()
        if changed:
            self._emit(WorkersCounted(len(workers)))

    def _hear(self, told: dict[str, Any]) -> None:
        """In Dask's thread: what a worker says before its report."""
        worker = told.get("worker", "")
        if "action" in told:
            reason = f"{told['reason']} (worker {worker})"
            self._emit(Retrying(told["action"], told["tries"], told["wait_s"], reason))
        elif "parts" in told:
            self.show(pickle.loads(told["parts"]))
        else:
            self._emit(Warned(f"{told.get('message')} (worker {worker})"))


async def end_on_worker(operation_id: str, settle_s: float) -> bool:
    """On a worker: end the operation and wait for its tasks; whether they have ended."""
    import asyncio

    begin_end(operation_id)
    deadline_s = time.monotonic() + settle_s - 1.0
    while active_tasks(operation_id):
        if time.monotonic() > deadline_s:
            return False
        await asyncio.sleep(0.02)
    drop(operation_id)
    return True


def _named(failure: Failure) -> StreamToS3Error:
    """The error, which says on which worker it happened."""
    error = failure.error
    error.message = f"{error.message} (worker {failure.worker})"
    error.args = (error.message,)
    return error
