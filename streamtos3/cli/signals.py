"""Signals: while work is done they are handed to it, at other times they end the program.

A Python signal handler runs in the middle of whatever the main thread does, perhaps while it
holds the very lock that ending the work needs. So during the work the handlers do nothing, and
a thread of our own reads the signal numbers from the interpreter's wake-up descriptor.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ..errors import Interrupted

__all__ = ["LEAVE_AFTER_S", "DefaultSignals", "default_signals", "on_signals"]

# Settling and aborting take ten seconds at most; what has not ended by then is stuck, such as a
# read from a dead network disk, or a standard error that nobody reads.
LEAVE_AFTER_S = 14.0
"""Seconds after which a program that was told to end exits, whatever hangs."""

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# GNU timeout signals its child, and then the process group that the child is in. That is one
# request to end, not the second signal after which the program exits and leaves parts behind.
_TWIN_WITHIN_S = 0.05
"""Seconds within which a repetition of a signal is ignored."""


class DefaultSignals:
    """What a signal does outside of `on_signals`: it raises Interrupted in the main thread.

    Once the outcome is decided it does not, or a stored object would be called interrupted: one
    signal is ignored while the outcome is being reported, and a second one ends the program. A
    report that hangs ends LEAVE_AFTER_S after the first.
    """

    def __init__(self) -> None:
        self._raised: int | None = None
        self._status: int | None = None
        self._ignores_one = True
        self._is_installed = False
        self._ends_anyway: threading.Timer | None = None

    def install(self) -> None:
        """Install the handlers, in a process that runs nothing but this program."""
        for each in _watched():
            signal.signal(each, self.on_signal)
        sys.unraisablehook = _report_unraisable
        self._is_installed = True

    def raise_what_was_swallowed(self) -> None:
        """Raise Interrupted again if a signal has raised it and the program goes on all the same.

        An exception in a finalizer or a weak reference's callback, such as importlib has for its
        locks, is printed or dropped by the interpreter: "Exception ignored in".
        """
        if self._raised is not None:
            raise Interrupted(self._raised)

    def decide(self, status: int, *, told: bool = False) -> None:
        """The program will end with this exit status, whatever signals come.

        `told`: a signal has told it to end before.
        """
        self._status = status
        if status > 128:  # a first signal was received and led to this status
            self._ignores_one = False
        if told or status > 128:
            self._end_anyway()

    def on_signal(self, signum: int, frame: object) -> None:
        """The handler."""
        if self._status is None:
            self._raised = signum
            raise Interrupted(signum)
        if not self._ignores_one:
            os._exit(self._status)
        self._ignores_one = False
        self._end_anyway()

    def _end_anyway(self) -> None:
        """Exit after a while, even if the report hangs."""
        if self._is_installed and self._ends_anyway is None:
            self._ends_anyway = threading.Timer(LEAVE_AFTER_S, lambda: os._exit(self._status or 0))
            self._ends_anyway.daemon = True
            self._ends_anyway.start()


def _report_unraisable(unraisable: sys.UnraisableHookArgs) -> None:
    """As Python does, but for an interruption, which is raised again."""
    if not isinstance(unraisable.exc_value, Interrupted):
        sys.__unraisablehook__(unraisable)


default_signals = DefaultSignals()


@contextmanager
def on_signals(act: Callable[[int], None]) -> Iterator[None]:
    """Call `act(signum)`, in a thread, for each SIGINT, SIGTERM and SIGHUP inside the block.

    A signal that is repeated within 50 ms counts once. One that was ignored when the program
    began (`nohup`, a shell's background job) stays ignored. The outcome is decided when the block
    is left. Outside the main thread nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    read_fd, write_fd = os.pipe()
    os.set_blocking(write_fd, False)
    watched = _watched()
    told = False

    def watch() -> None:
        nonlocal told
        last: tuple[int, float] | None = None
        while (number := os.read(read_fd, 1)) != b"\0":
            now_s = time.monotonic()
            is_twin = last is not None and last[0] == number[0] and now_s - last[1] < _TWIN_WITHIN_S
            if number[0] in watched and not is_twin:
                last = (number[0], now_s)
                told = True
                act(number[0])
        os.close(read_fd)

    threading.Thread(target=watch, name="streamtos3-signals", daemon=True).start()
    # In this order, a signal in between is both raised and handed over; in the other, lost.
    previous_fd = signal.set_wakeup_fd(write_fd)
    previous = {each: signal.signal(each, lambda *_: None) for each in watched}
    try:
        default_signals.raise_what_was_swallowed()
        yield
        default_signals.decide(0, told=told)
    except BaseException as error:
        default_signals.decide(getattr(error, "exit_status", 1), told=told)
        raise
    finally:
        signal.set_wakeup_fd(previous_fd)
        for each, handler in previous.items():
            signal.signal(each, handler)
        os.write(write_fd, b"\0")
        os.close(write_fd)


def _watched() -> list[signal.Signals]:
    return [each for each in _SIGNALS if signal.getsignal(each) is not signal.SIG_IGN]
