"""What the fake S3 and the fault proxy share: reading a request as an S3 verb, and ending cleanly.

Both stand on a threading server of the standard library. `Listener` adds what tests need of it: no
name look-ups, a port that can be closed and opened again, connections that can be broken from
outside with a reset, and a `close` that leaves no thread behind.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from socketserver import BaseRequestHandler, ThreadingTCPServer
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit
from xml.sax.saxutils import escape

_LOOPBACK = "127.0.0.1"
_JOIN_S = 10.0


@dataclass(frozen=True)
class S3Request:
    """A path-style request as S3 reads it."""

    verb: str
    bucket: str
    key: str
    query: dict[str, str]
    headers: dict[str, str] = field(default_factory=dict)  # names in lower case
    body: bytes = b""
    client_port: int = 0  # names the connection

    @property
    def part(self) -> int | None:
        number = self.query.get("partNumber", "")
        return int(number) if number.isdigit() else None

    @classmethod
    def parse(cls, client: BaseHTTPRequestHandler) -> S3Request:
        """Read the request line and the headers; the body is the caller's to read."""
        url = urlsplit(client.path)
        bucket, _, key = url.path.removeprefix("/").partition("/")
        query = dict(parse_qsl(url.query, keep_blank_values=True))
        headers = {name.lower(): value for name, value in client.headers.items()}
        verb = _verb(client.command, key, query)
        port = client.client_address[1]
        return cls(verb, unquote(bucket), unquote(key), query, headers, client_port=port)


def _verb(method: str, key: str, query: dict[str, str]) -> str:
    if not key:
        if method == "GET" and "uploads" in query:
            return "list-uploads"
        if method == "GET" and "list-type" in query:
            return "list-objects"
        return "head-bucket" if method == "HEAD" else "other"
    if "uploadId" in query:
        by_method = {"GET": "list-parts", "PUT": "put-part", "POST": "complete", "DELETE": "abort"}
    elif "uploads" in query:
        by_method = {"POST": "create"}
    else:
        by_method = {"HEAD": "head", "GET": "get", "PUT": "put-object", "DELETE": "delete"}
    return by_method.get(method, "other")


def error_xml(code: str, message: str) -> bytes:
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f"<Error><Code>{code}</Code><Message>{escape(message)}</Message>"
        "<RequestId>FA17</RequestId></Error>"
    ).encode()


class Connection(BaseHTTPRequestHandler):
    """One client connection: HTTP/1.1, silent, and breakable from another thread."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    doomed = False

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: the tests look at what was recorded, not at a log."""

    def reset_on_close(self) -> None:
        """Let the close of this connection be a RST instead of a FIN."""
        linger = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.close_connection = True

    def doom(self, how: int) -> None:
        """Wake the thread that serves this connection, and have it reset the connection."""
        self.doomed = True
        with contextlib.suppress(OSError):
            self.reset_on_close()
            self.connection.shutdown(how)

    def setup(self) -> None:
        super().setup()
        assert isinstance(self.server, Listener)
        self.server.connections.append(self)
        if self.server.closing:
            self.doom(socket.SHUT_RDWR)

    def finish(self) -> None:
        assert isinstance(self.server, Listener)
        self.server.connections.remove(self)
        with contextlib.suppress(OSError):
            super().finish()


class Listener(ThreadingTCPServer):
    """A threading server on a free loopback port that can be shut and opened again."""

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(
        self,
        handler: Callable[[Any, Any, Any], BaseRequestHandler],
        adopted: socket.socket | None = None,
    ) -> None:
        super().__init__((_LOOPBACK, 0), handler, bind_and_activate=False)
        self.connections: list[Connection] = []
        self.closing = False
        self._served: list[threading.Thread] = []
        if adopted is None:
            self.server_bind()
        else:
            self.socket.close()
            self.socket = adopted
        self.server_activate()
        self.port: int = self.socket.getsockname()[1]
        self._accepting = threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True)
        self._accepting.start()

    def process_request(self, request: Any, client_address: Any) -> None:
        thread = threading.Thread(
            target=self.process_request_thread, args=(request, client_address), daemon=True
        )
        self._served = [t for t in self._served if t.is_alive()] + [thread]
        thread.start()

    def shutdown_request(self, request: Any) -> None:
        """Close without the customary shutdown: it would send a FIN ahead of a RST."""
        self.close_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hung up is daily bread here, anything else a bug to be shown."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)

    def stop_accepting(self, how: int) -> None:
        """Refuse new connections and break those that are open, without waiting for their end."""
        self.closing = True
        self.shutdown()
        self.server_close()
        for connection in list(self.connections):
            connection.doom(how)

    def close(self) -> None:
        """End everything, and fail loudly if a thread does not end."""
        if not self.closing:
            self.stop_accepting(socket.SHUT_RDWR)
        for thread in [self._accepting, *self._served]:
            thread.join(_JOIN_S)
            assert not thread.is_alive(), f"{thread.name} did not end"


def reserved_port(port: int) -> socket.socket:
    """A socket bound to `port` that does not listen: refuses, and keeps others off the port."""
    reserved = socket.socket()
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reserved.bind((_LOOPBACK, port))
    return reserved
