"""The skeleton of a command at work: a scope that signals end, and progress until it is over."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .interrupts import Interrupts
from .reporting import Reporter
from .signals import on_signals

if TYPE_CHECKING:
    from ..runtime.cancel import CancelScope
    from .options.common import OutputArgs

__all__ = ["Run", "running"]


@dataclass(frozen=True)
class Run:
    """What an operation of the library is given, and what signals need to know of it."""

    scope: CancelScope
    reporter: Reporter
    interrupts: Interrupts


@contextmanager
def running(output: OutputArgs, verb: str, *, finish: bool = False) -> Iterator[Run]:
    """Do one operation, which a signal ends by failing the scope.

    `verb` is what happens to the bytes, for the progress. `finish`: a first SIGINT or SIGTERM
    only ends the producer (`--on-interrupt finish`). The progress is gone when this returns.
    """
    from ..runtime.cancel import CancelScope

    with CancelScope() as scope:
        reporter = Reporter(output, verb)
        interrupts = Interrupts(scope, reporter, finish=finish)
        try:
            with on_signals(interrupts), closing(interrupts):
                yield Run(scope, reporter, interrupts)
        finally:
            reporter.close()
