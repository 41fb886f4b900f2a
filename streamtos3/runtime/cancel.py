"""A cancel scope: it keeps the first error, and wakes everybody who waits.

One upload has one scope. Its condition guards the upload's shared state (buffers, running
tasks, stored parts), because at part granularity a single lock is never contended and cannot
be taken in the wrong order. Its descriptor wakes a reader that is blocked on a silent producer.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from types import TracebackType

from ..errors import Interrupted

__all__ = ["CancelScope", "Cancelled"]


class Cancelled(BaseException):
    """The upload has failed elsewhere, so this thread's work is no longer needed.

    A BaseException, because botocore wraps every `Exception` raised while it sends a body and
    would report a stopped request as a broken connection.
    """


class CancelScope:
    """Keeps the first error of an upload; later ones are dropped.

    Safe to `fail` from any thread. Not from inside a signal handler, which may run while
    this very thread holds the lock: hand the signal to a thread first (see cli.signals).
    """

    def __init__(self) -> None:
        self.condition = threading.Condition()
        self._error: BaseException | None = None
        self._interrupted_at_s: float | None = None
        self._parent: CancelScope | None = None
        self._children: list[CancelScope] = []
        self._wake_read = self._wake_write = -1
        self._is_closed = False

    def __enter__(self) -> CancelScope:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def error(self) -> BaseException | None:
        """The first error; None until there is one."""
        return self._error

    @property
    def interrupted_at_s(self) -> float | None:
        """When a signal asked for a quick end (`time.monotonic`), even after another error."""
        return self._interrupted_at_s

    @property
    def wake_fd(self) -> int:
        """A descriptor that becomes readable, and stays so, once there is an error.

        -1 after `close`. Made when it is first asked for: what never blocks needs none.
        """
        with self.condition:
            if self._wake_read < 0 and not self._is_closed:
                self._wake_read, self._wake_write = os.pipe()
                if self._error is not None:
                    os.write(self._wake_write, b"!")
            return self._wake_read

    def fail(self, error: BaseException) -> None:
        """Keep `error` if it is the first, and wake everybody who waits."""
        with self.condition:
            if isinstance(error, Interrupted) and self._interrupted_at_s is None:
                self._interrupted_at_s = time.monotonic()
            if self._error is None:
                self._error = error
                if self._wake_write >= 0:
                    os.write(self._wake_write, b"!")
            self.condition.notify_all()
            children = list(self._children)
        for child in children:
            child.fail(error)

    def child(self) -> CancelScope:
        """A scope that fails whenever this one does, and not the other way round.

        For one upload among many: what ends them all ends it, its own error ends it alone.
        """
        child = CancelScope()
        child._parent = self
        with self.condition:
            self._children.append(child)
            error = self._error
        if error is not None:
            child.fail(error)
        return child

    def fail_with(self, error: BaseException) -> BaseException:
        """Fail with `error`, and return the scope's first error.

        That is `error` itself, or the earlier one of which `Cancelled` is only the consequence.
        """
        if not isinstance(error, Cancelled):
            self.fail(error)
        first = self._error
        assert first is not None and not isinstance(first, Cancelled)
        return first

    def check(self) -> None:
        """Raise `Cancelled` once there is an error."""
        if self._error is not None:
            raise Cancelled

    def sleep(self, seconds: float) -> None:
        """Sleep, but raise `Cancelled` the moment the upload fails or is interrupted."""
        self.wait_for(lambda: False, seconds)

    def wait_for(self, predicate: Callable[[], bool], timeout_s: float | None = None) -> bool:
        """Wait until `predicate` (called with the lock held) is true; False after `timeout_s`.

        Raises `Cancelled` at once when there is an error.
        """
        with self.condition:
            result = self.condition.wait_for(
                lambda: self._error is not None or predicate(), timeout_s
            )
            self.check()
            return result

    def close(self) -> None:
        """Close the wake descriptors and leave the parent; `fail` may still be called."""
        if self._parent is not None:
            with self._parent.condition:
                self._parent._children.remove(self)
            self._parent = None
        with self.condition:
            for descriptor in (self._wake_read, self._wake_write):
                if descriptor >= 0:
                    os.close(descriptor)
            self._wake_read = self._wake_write = -1
            self._is_closed = True
