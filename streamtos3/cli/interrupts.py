"""What each signal means: for one operation, and for a sink.

Whatever hangs, the program exits within 15 s of being told to; a sink, which first stores what
it has read, of the second signal.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from ..errors import Interrupted
from ..runtime.cancel import CancelScope
from ..sources.base import Source
from ..sources.command import CommandSource
from .console import say
from .reporting import Reporter
from .signals import LEAVE_AFTER_S

if TYPE_CHECKING:
    from ..sink.sink import Sink

__all__ = ["Interrupts", "SinkInterrupts"]

_SAY_WITHIN_S = 1.0


class Interrupts:
    """Called with each signal's number, in a thread of its own.

    Set `source` when it is open, and `stored` to the address once the object is proved: from
    then on signals only matter where the report hangs.
    """

    def __init__(self, scope: CancelScope, reporter: Reporter, *, finish: bool) -> None:
        self.source: Source | None = None
        self.stored: str | None = None
        self._scope = scope
        self._reporter = reporter
        self._may_finish = finish
        self._ends_anyway: threading.Timer | None = None

    def __call__(self, signum: int) -> None:
        if self._reads_on(signum):
            self._may_finish = False
        elif self._ends_anyway is None:
            self._scope.fail(Interrupted(signum))
            self._ends_anyway = threading.Timer(
                LEAVE_AFTER_S, self._leave, (signum, "left without waiting any longer")
            )
            self._ends_anyway.daemon = True
            self._ends_anyway.start()
        else:
            self._leave(signum, "left at once on a second signal")

    def close(self) -> None:
        """The operation is over: cancel the exit after a signal."""
        if self._ends_anyway is not None:
            self._ends_anyway.cancel()

    def _reads_on(self, signum: int) -> bool:
        """Whether this signal only means that the producer was told to stop."""
        is_over = self.stored is not None or self._scope.error is not None
        if not self._may_finish or signum == signal.SIGHUP or is_over:
            return False
        if isinstance(self.source, CommandSource) and not self.source.tell(signum):
            return False  # nothing has begun that could be read to its end
        self._reporter.write(
            f"{signal.Signals(signum).name}: reading to the end of the input, to store all of it; "
            "a second signal stores nothing"
        )
        return True

    def _leave(self, signum: int, why: str) -> None:
        """Say what may be left, if anybody listens, and end the process."""
        status = 128 + signum if self.stored is None else 11
        at_last = threading.Timer(_SAY_WITHIN_S, os._exit, (status,))
        at_last.daemon = True
        at_last.start()
        if isinstance(self.source, CommandSource):
            self.source.kill()
        if self.stored is not None:
            why += f" before all was reported; {self.stored} is stored and proved"
        elif self._reporter.upload_id is not None:
            why += f"; upload {self._reporter.upload_id} may be left"
        self._reporter.write(why)
        os._exit(status)


class SinkInterrupts:
    """What signals mean for a sink.

    First: store what was read. Second: store nothing more. Third: leave at once.

    Nothing here waits for a standard error that nobody reads, or for a disk: the next signal must
    be noticed.
    """

    def __init__(
        self, running: Sink, *, quiet: bool, on_stopping: Callable[[], None] = lambda: None
    ) -> None:
        self._sink = running
        self._on_stopping = on_stopping
        self._quiet = quiet
        self._signals = 0

    def __call__(self, signum: int) -> None:
        self._signals += 1
        if self._signals == 1:
            self._sink.stop(signum)
            _in_background(partial(self._announce, signum))
        elif self._signals == 2:
            _in_background(partial(self._sink.abort, signum))
            at_last = threading.Timer(LEAVE_AFTER_S, os._exit, (128 + signum,))
            at_last.daemon = True
            at_last.start()
        else:
            os._exit(128 + signum)

    def _announce(self, signum: int) -> None:
        self._on_stopping()
        if not self._quiet:
            name = signal.Signals(signum).name
            say(f"{name}: storing what was read; a second signal stores nothing more")


def _in_background(call: Callable[[], None]) -> None:
    threading.Thread(target=call, daemon=True).start()
