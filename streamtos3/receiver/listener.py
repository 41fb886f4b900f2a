"""A listening socket that keeps some file descriptors free for storing.

What is received is stored through files and connections that are opened while senders come and
go. Senders who only hold connections must not use up the descriptors, so the last ones below the
limit are never given to a sender.
"""

from __future__ import annotations

import socket
from typing import Any

from ..runtime.host import Descriptors

__all__ = ["ReservingListener"]


class ReservingListener(socket.socket):
    """A listening socket, made of another, that closes connections it can spare no descriptor for.

    The kernel gives the lowest number that is free, so one near the limit tells that all below
    are in use. Counting connections is not enough: a burst is accepted before any is counted.
    """

    def __init__(self, listener: socket.socket, descriptors: Descriptors) -> None:
        super().__init__(fileno=listener.detach())
        self._end = descriptors.for_senders

    def accept(self) -> tuple[socket.socket, Any]:
        """As `socket.accept`; ConnectionAbortedError, which servers ignore, if it was closed."""
        connection, address = super().accept()
        if connection.fileno() >= self._end:
            connection.close()
            raise ConnectionAbortedError
        return connection, address
