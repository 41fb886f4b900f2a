"""File descriptors: senders who only hold connections must not take those that storing needs.

The spool's files and the uploads' connections are opened while senders come and go. So the limit
is raised as far as it may be, and the last descriptors below it are never a sender's.
"""

from __future__ import annotations

import socket
from typing import Any

from ..runtime.host import Descriptors

__all__ = ["ReservingListener"]


class ReservingListener(socket.socket):
    """A listening socket, made of another, that closes whom it has no descriptor to spare for.

    The kernel gives the lowest number that is free, so one near the limit tells that all below
    are in use. Counting connections is not enough: a burst is accepted before any is counted.
    """

    def __init__(self, listener: socket.socket, descriptors: Descriptors) -> None:
        super().__init__(fileno=listener.detach())
        self._end = descriptors.for_senders

    def accept(self) -> tuple[socket.socket, Any]:
        """As of any socket; ConnectionAbortedError, which a server passes over, for the others."""
        connection, address = super().accept()
        if connection.fileno() >= self._end:
            connection.close()
            raise ConnectionAbortedError
        return connection, address
