"""Runs uvicorn without its signal handlers, with limits for slow senders, until a scope ends it.

uvicorn itself waits without limit for a TLS handshake, for a connection's first request, for the
rest of a head, and for the client to read an answer. `app` limits the time for bodies, this
module the time for all of these.
"""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import sys
from asyncio import sslproto
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from ..runtime.cancel import CancelScope
from .app import Application
from .batcher import ReceiverLimits
from .metrics import SinkMetrics

__all__ = ["run_server"]

_TLS_BUFFER_BYTES = 16 * 1024
_MALFORMED = "this is not HTTP that a server could answer"


def _protocol_class(limits: ReceiverLimits, metrics: SinkMetrics) -> type[H11Protocol]:
    closed: Counter[str] = metrics.closed

    class Connection(H11Protocol):
        """A connection whose sender sends a head, and takes an answer, within `head_timeout_s`."""

        _head_timer: asyncio.TimerHandle | None = None
        _write_timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            transport.set_write_buffer_limits(high=1)  # to hear of any answer that is not taken
            self._await_head()

        def data_received(self, data: bytes) -> None:
            if not self._is_busy():
                self._await_head()
            super().data_received(data)
            if self._is_busy():
                self._stop_waiting()

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop_waiting()
            self._answer_taken()
            super().connection_lost(exc)
            # uvicorn leaves it where the sender broke off, and with it all that was the connection.
            self._unset_keepalive_if_required()

        def eof_received(self) -> bool | None:  # type: ignore[override]
            """A sender that has said all there is to say still waits for its answer."""
            waits = self._is_busy() and not self.cycle.more_body
            if not waits or self.scheme == "https":  # TLS has no half-closed connections
                return None
            self.cycle.keep_alive = False
            return True

        def pause_writing(self) -> None:
            super().pause_writing()
            self._answer_taken()
            self._write_timer = self._in_time("answer_not_taken")

        def resume_writing(self) -> None:
            self._answer_taken()
            super().resume_writing()

        def send_400_response(self, msg: str) -> None:
            """What the parser cannot make sense of, counted and said like any other refusal."""
            metrics.rejected["malformed"] += 1
            body = json.dumps({"error": _MALFORMED}).encode()
            head = (
                "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\n"
                f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
            )
            self.transport.write(head.encode() + body)
            self.transport.close()

        def _is_busy(self) -> bool:
            return self.cycle is not None and not self.cycle.response_complete

        def _await_head(self) -> None:
            if self._head_timer is None:
                self._head_timer = self._in_time("no_request")

        def _in_time(self, reason: str) -> asyncio.TimerHandle:
            return self.loop.call_later(limits.head_timeout_s, self._give_up, reason)

        def _give_up(self, reason: str) -> None:
            closed[reason] += 1
            self.transport.abort()

        def _stop_waiting(self) -> None:
            if self._head_timer is not None:
                self._head_timer.cancel()
                self._head_timer = None

        def _answer_taken(self) -> None:
            if self._write_timer is not None:
                self._write_timer.cancel()
                self._write_timer = None

    return Connection


class _Server(uvicorn.Server):
    """A server without signal handlers that calls `on_started` once it listens."""

    def __init__(
        self, config: uvicorn.Config, limits: ReceiverLimits, on_started: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self._limits = limits
        self._on_started = on_started

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's, for the one socket, with limits for TLS that it has no words for."""
        config, limits = self.config, self._limits
        timeouts: dict[str, Any] = {}
        if config.ssl is not None:
            timeouts["ssl_handshake_timeout"] = limits.head_timeout_s
            if sys.version_info >= (3, 11):
                timeouts["ssl_shutdown_timeout"] = limits.linger_s
        await self.lifespan.startup()
        self.servers = [
            await asyncio.get_running_loop().create_server(
                self._new_connection,
                sock=each,
                ssl=config.ssl,
                backlog=config.backlog,
                **timeouts,
            )
            for each in sockets or []
        ]
        self.started = True
        self._on_started()

    def _new_connection(self) -> asyncio.Protocol:
        made: Any = self.config.http_protocol_class
        connection: asyncio.Protocol = made(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return connection


def run_server(
    application: Application,
    listener: socket.socket,
    tls: ssl.SSLContext | None,
    limits: ReceiverLimits,
    metrics: SinkMetrics,
    scope: CancelScope,
    *,
    on_started: Callable[[], None],
    on_ending: Callable[[], None],
    close: Callable[[], Awaitable[None]],
) -> None:
    """Serve on `listener` until the scope fails; what is under way then has `grace_s`.

    `close` is awaited at the very end, on the event loop.
    """
    config = uvicorn.Config(
        application,
        loop="asyncio",
        http=_protocol_class(limits, metrics),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=limits.backlog,
        timeout_keep_alive=limits.keep_alive_s,
        timeout_graceful_shutdown=limits.grace_s,
    )
    config.load()
    config.ssl = tls
    server = _Server(config, limits, on_started)
    loop = asyncio.new_event_loop()

    def end() -> None:
        loop.remove_reader(scope.wake_fd)
        on_ending()
        server.should_exit = True

    loop.add_reader(scope.wake_fd, end)
    with _small_tls_buffers():
        try:
            loop.run_until_complete(server.serve(sockets=[listener]))
            loop.run_until_complete(_let_go())
            loop.run_until_complete(close())
        finally:
            loop.close()


@contextmanager
def _small_tls_buffers() -> Iterator[None]:
    """Have asyncio give each connection a buffer of one TLS record instead of sixteen.

    It allocates it when the connection is accepted, so silent ones cost 256 KiB each.
    """
    usual = getattr(sslproto.SSLProtocol, "max_size", None)
    if usual is None:  # before Python 3.11 there is no such buffer
        yield
        return
    sslproto.SSLProtocol.max_size = _TLS_BUFFER_BYTES  # type: ignore[attr-defined]
    try:
        yield
    finally:
        sslproto.SSLProtocol.max_size = usual  # type: ignore[attr-defined]


async def _let_go() -> None:
    """Cancel requests that were not finished in time."""
    rest = asyncio.all_tasks() - {asyncio.current_task()}
    for task in rest:
        task.cancel()
    await asyncio.gather(*rest, return_exceptions=True)
    await asyncio.get_running_loop().shutdown_default_executor()
