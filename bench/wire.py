"""The endpoint's side of one connection: bytes in, bytes out, TLS or not, at a limited pace.

Written for the least processor time per byte, because the endpoint shares the machine with the
program that is measured: one buffer that is reused, and nothing done with what is discarded.
(TLS between memory buffers spares system calls and was measured to cost a third more.)
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator

__all__ = ["Closed", "Wire"]

_READ_BYTES = 256 << 10
# A limited link sleeps only when it is so far ahead. Sleeping after each TLS record cost four
# times the processor time of receiving it, on the machine that is measured.
_STEP_S = 0.006
# What its own delays cost is made up for, for they are not the link's: up to here, and never what
# the client did not send in time, which no link saves up.
_MAKES_UP_S = 0.1
_CLIENT_IS_LATE_S = 0.002


class Closed(Exception):
    """The client has closed the connection."""


class Wire:
    """One accepted connection. `bytes_per_s` limits each direction; None does not."""

    def __init__(
        self, connection: socket.socket, tls: ssl.SSLContext | None, bytes_per_s: float | None
    ) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            self._socket = tls.wrap_socket(connection, server_side=True) if tls else connection
        except (ssl.SSLError, ConnectionError) as error:
            raise Closed from error
        self._bytes_per_s = bytes_per_s
        self._due_s = time.monotonic()
        self._buffer = memoryview(bytearray(_READ_BYTES))
        self._start = self._end = 0

    def read_line(self) -> bytes:
        """The next line, without its end."""
        line = b""
        while True:
            piece = bytes(self._buffer[self._start : self._end])
            line_end = piece.find(b"\n")
            if line_end >= 0:
                self._start += line_end + 1
                return (line + piece[:line_end]).removesuffix(b"\r")
            line += piece
            self._fill()

    def pieces(self, size_bytes: int) -> Iterator[memoryview]:
        """The next `size_bytes` bytes, in pieces that are valid until the next one."""
        while size_bytes:
            if self._start == self._end:
                self._fill()
            piece = self._buffer[self._start : min(self._end, self._start + size_bytes)]
            self._start += len(piece)
            size_bytes -= len(piece)
            yield piece

    def send(self, data: bytes | memoryview) -> None:
        """Send all of `data`."""
        asked_s = time.monotonic()
        self._socket.sendall(data)
        self._keep_pace(len(data), asked_s)

    def pause(self, seconds: float) -> None:
        """Let all that was transferred arrive, and then so much time pass without any more."""
        time.sleep(max(0.0, self._due_s - time.monotonic()) + seconds)
        self._due_s = time.monotonic()

    def _fill(self) -> None:
        """Receive more. `Closed` when there is no more."""
        asked_s = time.monotonic()
        try:
            self._start, self._end = 0, self._socket.recv_into(self._buffer)
        except (ssl.SSLError, ConnectionError) as error:
            raise Closed from error
        if not self._end:
            raise Closed
        self._keep_pace(self._end, asked_s)

    def _keep_pace(self, size_bytes: int, asked_s: float) -> None:
        if self._bytes_per_s is None:
            return
        now_s = time.monotonic()
        makes_up_s = 0.0 if now_s - asked_s > _CLIENT_IS_LATE_S else _MAKES_UP_S
        self._due_s = max(self._due_s, now_s - makes_up_s) + size_bytes / self._bytes_per_s
        if self._due_s - now_s > _STEP_S:
            time.sleep(self._due_s - now_s)
