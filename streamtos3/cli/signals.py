"""Signals: the first one ends the work in order, the second one at once.

A Python signal handler runs in the middle of whatever the main thread does, perhaps while it
holds the very lock that ending the work needs. So the handlers do nothing, and a thread of our
own reads the signal numbers from the interpreter's wake-up descriptor.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["on_signals"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def on_signals(act: Callable[[int], None]) -> Iterator[None]:
    """Call `act(signum)`, in a thread, for each SIGINT, SIGTERM and SIGHUP inside the block.

    A signal that was ignored when the program began (`nohup`, a shell's background job) stays
    ignored. Outside the main thread nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    read_fd, write_fd = os.pipe()
    os.set_blocking(write_fd, False)
    watched = [each for each in _SIGNALS if signal.getsignal(each) is not signal.SIG_IGN]

    def watch() -> None:
        while (number := os.read(read_fd, 1)) != b"\0":
            if number[0] in watched:
                act(number[0])
        os.close(read_fd)

    threading.Thread(target=watch, name="streamtos3-signals", daemon=True).start()
    previous_fd = signal.set_wakeup_fd(write_fd)
    previous = {each: signal.signal(each, lambda *_: None) for each in watched}
    try:
        yield
    finally:
        for each, handler in previous.items():
            signal.signal(each, handler)
        signal.set_wakeup_fd(previous_fd)
        os.write(write_fd, b"\0")
        os.close(write_fd)
