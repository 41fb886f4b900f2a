"""What a service manager is told while a sink runs: sd_notify(3), spoken where it is listened to.

A datagram to the socket that NOTIFY_SOCKET names, and nothing where there is none. The variables
are taken away, so that no other program that we start speaks in our name.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager

__all__ = ["ServiceNotifier"]


class ServiceNotifier:
    """The manager that started this process, if any did."""

    def __init__(self, environ: MutableMapping[str, str] = os.environ) -> None:
        self._address = environ.pop("NOTIFY_SOCKET", "")
        usec = environ.pop("WATCHDOG_USEC", "")
        pid = environ.pop("WATCHDOG_PID", "") or str(os.getpid())
        watches = self._address and usec.isdecimal() and pid == str(os.getpid())
        self._watchdog_s = int(usec) / 1e6 if watches else 0.0

    def ready(self, status: str) -> None:
        """Work has begun; `status` is what `systemctl status` shows."""
        self._tell("READY=1", f"STATUS={status}")

    def stopping(self) -> None:
        """The end has begun, and may take a while."""
        self._tell("STOPPING=1", "STATUS=storing what was read")

    @contextmanager
    def watched(self, responds: Callable[[float], bool]) -> Iterator[None]:
        """Say inside the block, twice in the time that a watchdog allows, that all is well.

        `responds` is asked each time, with the seconds it may take. Where it gives False nothing
        is said, and the manager ends the process and begins a new one.
        """
        if not self._watchdog_s:
            yield
            return
        ended = threading.Event()

        def watch() -> None:
            while not ended.is_set():
                if responds(self._watchdog_s / 4):
                    self._tell("WATCHDOG=1")
                ended.wait(self._watchdog_s / 2)

        threading.Thread(target=watch, name="streamtos3-watchdog", daemon=True).start()
        try:
            yield
        finally:
            ended.set()

    def _tell(self, *lines: str) -> None:
        if not self._address:
            return
        address = self._address
        if address.startswith("@"):  # a name without a file
            address = "\0" + address[1:]
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as to_manager:
                to_manager.connect(address)
                to_manager.send("\n".join(lines).encode())
        except OSError:  # a manager that is gone must not end the sink
            return
