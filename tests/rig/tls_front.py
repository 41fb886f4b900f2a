"""A TLS front for a plain server, which can answer a request before it has read it and hang up."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from pathlib import Path

_EARLY = b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class TlsFront:
    """`with TlsFront(port, certificate) as front: front.endpoint_url`.

    `answer_early` is how many connections whose first request is a PUT are still to be answered
    503 and closed, with the body unread.
    """

    def __init__(self, port: int, certificate: Path) -> None:
        self.answer_early = 0
        self._upstream = ("127.0.0.1", port)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate)
        self._sockets: list[socket.socket] = []

    def __enter__(self) -> TlsFront:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint_url = f"https://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        for each in [self._listener, *self._sockets]:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                raw, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(raw,), daemon=True).start()

    def _serve(self, raw: socket.socket) -> None:
        self._sockets.append(raw)
        with contextlib.suppress(OSError, ValueError):
            client = self._context.wrap_socket(raw, server_side=True)
            self._sockets.append(client)
            first = client.recv(65536)
            if first.startswith(b"PUT") and self.answer_early > 0:
                self.answer_early -= 1
                client.sendall(_EARLY)
                client.close()
                return
            with socket.create_connection(self._upstream) as upstream:
                self._sockets.append(upstream)
                upstream.sendall(first)
                back = threading.Thread(target=_pump, args=(upstream, client), daemon=True)
                back.start()
                _pump(client, upstream)
                back.join()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError, ValueError):
        while piece := source.recv(65536):
            sink.sendall(piece)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
