"""A worker pool: a bounded set of daemon threads that run requests.

Own threads and not `concurrent.futures`, because that joins its threads when the interpreter
exits, and a thread stuck in a dead connection would then hold the program long after it has
told the user that it failed (docs/design.org, invariant 9).
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from .cancel import Cancelled, CancelScope

__all__ = ["WorkerPool", "Task"]

T = TypeVar("T")


class Task(Generic[T]):
    """A call that a worker runs; `result()` waits for it."""

    def __init__(
        self, call: Callable[[], T], scope: CancelScope, *, even_if_cancelled: bool
    ) -> None:
        self._call = call
        self._scope = scope
        self._even_if_cancelled = even_if_cancelled
        self._done = False
        self._value: list[T] = []

    def run(self) -> None:
        """Run the call; its error goes to the scope."""
        try:
            if not self._even_if_cancelled:
                self._scope.check()
            self._value.append(self._call())
        except Cancelled:
            pass
        except BaseException as error:  # noqa: BLE001 - the scope raises it in the main thread
            self._scope.fail(error)

    def finish(self) -> None:
        """Mark as done; called with the scope's lock held."""
        self._done = True

    def result(self) -> T:
        """Wait for the value. Raises `Cancelled` when this task, or anything else, failed."""
        if not self.has_value:
            self._scope.wait_for(lambda: self._done)
        return self._value[0]

    @property
    def has_value(self) -> bool:
        """Whether the call has succeeded."""
        return bool(self._value)


class WorkerPool:
    """Runs tasks on up to `size` daemon threads, started when first needed."""

    def __init__(self, size: int, scope: CancelScope) -> None:
        self._size = size
        self._scope = scope
        self._tasks: queue.SimpleQueue[Task[object] | None] = queue.SimpleQueue()
        self._threads = 0
        self._unfinished = 0

    @property
    def unfinished(self) -> int:
        """Tasks that are queued or running."""
        return self._unfinished

    def submit(self, call: Callable[[], T], *, even_if_cancelled: bool = False) -> Task[T]:
        """Run `call` on a free thread; a new one is started if all are busy.

        After the scope has an error, only a task with `even_if_cancelled` still runs.
        RuntimeError if not even one thread can be started.
        """
        task = Task(call, self._scope, even_if_cancelled=even_if_cancelled)
        with self._scope.condition:
            if self._unfinished >= self._threads and self._threads < self._size:
                self._start_thread()
            self._unfinished += 1
        self._tasks.put(task)  # type: ignore[arg-type]  # a Task[T] is only ever run here
        return task

    def _start_thread(self) -> None:
        """Start another thread; if the system refuses, keep to those that there are."""
        name = f"streamtos3-{self._threads + 1}"
        try:
            threading.Thread(target=self._work, name=name, daemon=True).start()
        except RuntimeError:
            if not self._threads:
                raise
            self._size = self._threads
        else:
            self._threads += 1

    def wait_idle(self, timeout_s: float, interrupted_timeout_s: float) -> bool:
        """Wait until no task is left; False if some remain at the deadline.

        The deadline is `timeout_s` from now, or `interrupted_timeout_s` after a signal.
        """
        deadline_s = time.monotonic() + timeout_s
        with self._scope.condition:
            while self._unfinished:
                interrupted_s = self._scope.interrupted_at_s
                if interrupted_s is not None:
                    deadline_s = min(deadline_s, interrupted_s + interrupted_timeout_s)
                remaining_s = deadline_s - time.monotonic()
                if remaining_s <= 0:
                    return False
                self._scope.condition.wait(remaining_s)
            return True

    def shutdown(self) -> None:
        """Let the threads end once the queue is empty."""
        with self._scope.condition:
            for _ in range(self._threads):
                self._tasks.put(None)

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            task.run()
            with self._scope.condition:
                self._unfinished -= 1
                task.finish()
                self._scope.condition.notify_all()
            del task  # or the last part's buffer stays referenced while the thread idles
