"""What each signal means for an upload: the first ends it in order, the second at once."""

from __future__ import annotations

import os

from ..errors import Interrupted
from ..latch import Latch
from .report import Show
from .talk import say

__all__ = ["Interrupts"]


class Interrupts:
    """Called with each signal's number, in a thread of its own."""

    def __init__(self, latch: Latch, show: Show) -> None:
        self._latch = latch
        self._show = show

    def __call__(self, signum: int) -> None:
        if self._latch.hurried_at_s is None:
            self._latch.fail(Interrupted(signum))
            return
        upload_id = self._show.upload_id
        say(
            "left at once on a second signal"
            + (f"; upload {upload_id} may be left" if upload_id else "")
        )
        os._exit(128 + signum)
