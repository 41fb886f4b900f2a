"""What each signal means for one upload: end it in order, read on, or leave at once.

Whatever else hangs, the program has left a quarter of a minute after it was told to.
"""

from __future__ import annotations

import os
import signal
import threading

from ..errors import Interrupted
from ..runtime.cancel import CancelScope
from ..sources.base import Source
from ..sources.command import CommandSource
from .reporting import Show

__all__ = ["LEAVE_AFTER_S", "Interrupts"]

# Settling and aborting take ten seconds at most; what is left after that is stuck, such as a
# read from a dead network disk, or a standard error that nobody drains.
LEAVE_AFTER_S = 14.0
"""Seconds after which a program that was told to end has left, whatever hangs."""
_SAY_WITHIN_S = 1.0


class Interrupts:
    """Called with each signal's number, in a thread of its own.

    Set `source` when it is open, and `stored` to the address once the object is proved: from
    then on signals only matter where the report hangs.
    """

    def __init__(self, scope: CancelScope, show: Show, *, finish: bool) -> None:
        self.source: Source | None = None
        self.stored: str | None = None
        self._scope = scope
        self._show = show
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
        """The upload is over."""
        if self._ends_anyway is not None:
            self._ends_anyway.cancel()

    def _reads_on(self, signum: int) -> bool:
        """Whether this signal only means that the producer was told to stop."""
        is_over = self.stored is not None or self._scope.error is not None
        if not self._may_finish or signum == signal.SIGHUP or is_over:
            return False
        if isinstance(self.source, CommandSource) and not self.source.tell(signum):
            return False  # nothing has begun that could come to its end
        self._show.write(
            f"{signal.Signals(signum).name}: reading on to the end of the input, to store it all; "
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
        elif self._show.upload_id is not None:
            why += f"; upload {self._show.upload_id} may be left"
        self._show.write(why)
        os._exit(status)
