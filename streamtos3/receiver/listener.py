"""A listening socket that counts its connections and closes those that are too many.

What is received is stored through files and connections that are opened while senders come and
go. Senders who only hold connections must not use up the descriptors, so the last ones below the
limit are never given to a sender.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from ..runtime.host import Descriptors

__all__ = ["CountingListener"]


class CountingListener(socket.socket):
    """A listening socket, made of another, that closes at once the connections it has no room for.

    That is a connection accepted while `limit` are open, or for which there is no descriptor to
    spare. The server counts a connection only after its TLS handshake, but it uses memory before.
    The kernel gives the lowest free descriptor, so one near the limit shows that all below are
    in use.

    on_closed: called with the reason, one word, for each connection closed here.
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
        """As `socket.accept`; ConnectionAbortedError, which servers ignore, if it was closed."""
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
    """A connection, made of another, that reports when it is closed."""

    def __init__(self, accepted: socket.socket, on_closed: Callable[[], None]) -> None:
        kind = accepted.family, accepted.type, accepted.proto
        super().__init__(*kind, fileno=accepted.detach())
        self._report = on_closed

    def close(self) -> None:
        """As `socket.close`."""
        is_open = self.fileno() >= 0
        super().close()
        if is_open and self.fileno() < 0:
            self._report()
