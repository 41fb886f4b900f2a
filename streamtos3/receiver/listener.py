"""Connections, counted from the moment that they are accepted, and those that are too many closed.

Senders who only hold connections must not take the descriptors that storing needs: the spool's
files and the uploads' connections are opened while senders come and go. So the limit is raised
as far as it may be, and the last descriptors below it are never a sender's.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from ..runtime.host import Descriptors

__all__ = ["CountingListener"]


class CountingListener(socket.socket):
    """A listening socket, made of another, that closes at once whom it has no place for.

    Those are whom there is no descriptor to spare for, and whoever comes while `limit` are
    open. A server counts a connection only once its TLS handshake is done, and until then it
    costs as much. The kernel gives the lowest descriptor that is free, so one near the limit
    tells that all below are in use.

    on_closed: called with the reason, a word, for each that is closed here.
    """

    def __init__(
        self,
        listener: socket.socket,
        descriptors: Descriptors,
        limit: int,
        on_closed: Callable[[str], None] = lambda _: None,
    ) -> None:
        super().__init__(fileno=listener.detach())
        self._end = descriptors.for_senders
        self._limit = limit
        self._on_closed = on_closed
        self._open = 0

    @property
    def connections(self) -> int:
        """How many are open."""
        return self._open

    def accept(self) -> tuple[socket.socket, Any]:
        """As of any socket; ConnectionAbortedError, which a server passes over, for the others."""
        accepted, address = super().accept()
        too_many = self._open >= self._limit
        if too_many or accepted.fileno() >= self._end:
            accepted.close()
            self._on_closed("limit" if too_many else "descriptors")
            raise ConnectionAbortedError
        self._open += 1
        return _Connection(accepted, self._count_closed), address

    def _count_closed(self) -> None:
        self._open -= 1


class _Connection(socket.socket):
    """A connection, made of another, that tells when it is closed."""

    def __init__(self, accepted: socket.socket, on_closed: Callable[[], None]) -> None:
        kind = accepted.family, accepted.type, accepted.proto
        super().__init__(*kind, fileno=accepted.detach())
        self._told = on_closed

    def close(self) -> None:
        """As of any socket."""
        is_open = self.fileno() >= 0
        super().close()
        if is_open and self.fileno() < 0:
            self._told()
