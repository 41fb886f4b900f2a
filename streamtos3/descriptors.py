"""File descriptors: senders who only hold connections must not take those that storing needs.

The spool's files and the uploads' connections are opened while senders come and go. So the limit
is raised as far as it may be, and the last descriptors below it are never a sender's.
"""

from __future__ import annotations

import resource
import socket
from dataclasses import dataclass
from typing import Any

__all__ = ["Descriptors", "SparingListener", "raise_limit"]

_WANTED = 65536
_KEPT = 256


@dataclass(frozen=True)
class Descriptors:
    """How many this process may have open, and how many of them are for storing."""

    limit: int

    @property
    def kept(self) -> int:
        """Those that no sender gets; half, where there are very few."""
        return min(_KEPT, self.limit // 2)

    @property
    def for_senders(self) -> int:
        """How many senders there can be at most."""
        return self.limit - self.kept


def raise_limit() -> Descriptors:
    """Let this process have more open files where its hard limit allows; what it has then."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _WANTED if hard == resource.RLIM_INFINITY else min(_WANTED, hard)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return Descriptors(_WANTED if soft == resource.RLIM_INFINITY else soft)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError):  # a sandbox may forbid it: the lower one is kept to
        return Descriptors(soft)
    return Descriptors(wanted)


class SparingListener(socket.socket):
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
