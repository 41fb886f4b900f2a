"""What tests of the engine share: options with parts of a few bytes, and sources with tricks."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from streamtos3.errors import SourceError
from streamtos3.model.options import Options, Retries
from streamtos3.model.parts import Limits
from streamtos3.runtime.cancel import CancelScope

PART = 64


def tiny(*, part_bytes: int = PART, max_parts: int = 10_000, **changes: Any) -> Options:
    """Options for parts of a few bytes that never grow, and for failures that come soon."""
    limits = Limits(min_part_bytes=1, max_parts=max_parts, growth_after_parts=max_parts)
    changes.setdefault("retries", Retries(first_wait_s=0.001, tries=3))
    return Options(chunk_bytes=part_bytes, limits=limits, **changes)


class InSteps:
    """Yields `data`, at most `step_bytes` a read; then what `at_end` raises, or the end."""

    length_bytes: int | None = None

    def __init__(
        self,
        data: bytes,
        step_bytes: int = 1 << 20,
        at_end: Callable[[], object] = lambda: None,
        at_finish: Callable[[], object] = lambda: None,
    ) -> None:
        self.name = "steps"
        self.reads = 0
        self.closed = False
        self._data = memoryview(data)
        self._step_bytes = step_bytes
        self._at_end = at_end
        self._at_finish = at_finish

    def start(self) -> None:
        """Nothing to prepare."""

    def readinto(self, view: memoryview, scope: CancelScope) -> int:
        scope.check()
        self.reads += 1
        if not self._data:
            self._at_end()
        count = min(len(view), self._step_bytes, len(self._data))
        view[:count] = self._data[:count]
        self._data = self._data[count:]
        return count

    def finish(self, scope: CancelScope) -> None:
        self._at_finish()

    def stop(self) -> None:
        self.close()

    def close(self) -> None:
        self.closed = True


def broken_input() -> None:
    """A read error, for `InSteps(at_end=...)`."""
    raise SourceError("cannot read steps: input/output error")


@contextmanager
def silent_pipe(data: bytes) -> Iterator[int]:
    """The reading end of a pipe whose producer says `data` and then nothing, for ever."""
    read_fd, write_fd = os.pipe()
    os.write(write_fd, data)
    try:
        yield read_fd
    finally:
        for each in (read_fd, write_fd):
            os.close(each)


class Seen:
    """A listener that keeps all events and can be waited for."""

    def __init__(self) -> None:
        self.events: list[object] = []
        self._changed = threading.Condition()

    def __call__(self, event: object) -> None:
        with self._changed:
            self.events.append(event)
            self._changed.notify_all()

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    def wait_for(self, kind: type, count: int = 1) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.of(kind)) >= count, 30), self.events
