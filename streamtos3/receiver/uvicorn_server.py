"""Runs uvicorn without its signal handlers, with limits for slow senders, until a scope ends it.

uvicorn itself waits without limit for a connection's first request and for the rest of a request
that has begun. `app` limits the time for bodies, this module the time for heads.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.h11_impl import H11Protocol

from ..runtime.cancel import CancelScope
from .batcher import ReceiverLimits

__all__ = ["run_server"]


def _protocol_class(limits: ReceiverLimits) -> type[H11Protocol]:
    class Connection(H11Protocol):
        """A connection whose request must have its head within `head_timeout_s`."""

        _head_timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            if len(self.connections) > 2 * limits.max_connections:
                transport.abort()  # those up to the double are still answered with 503
            else:
                self._await_head()

        def data_received(self, data: bytes) -> None:
            if not self._is_busy():
                self._await_head()
            super().data_received(data)
            if self._is_busy():
                self._stop_waiting()

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop_waiting()
            super().connection_lost(exc)

        def _is_busy(self) -> bool:
            return self.cycle is not None and not self.cycle.response_complete

        def _await_head(self) -> None:
            if self._head_timer is None:
                self._head_timer = self.loop.call_later(limits.head_timeout_s, self.transport.abort)

        def _stop_waiting(self) -> None:
            if self._head_timer is not None:
                self._head_timer.cancel()
                self._head_timer = None

    return Connection


class _Server(uvicorn.Server):
    """A server without signal handlers that calls `on_started` once it listens."""

    def __init__(self, config: uvicorn.Config, on_started: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_started = on_started

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self._on_started()


def run_server(
    application: Starlette,
    listener: socket.socket,
    tls: ssl.SSLContext | None,
    limits: ReceiverLimits,
    scope: CancelScope,
    *,
    on_started: Callable[[], None],
    on_ending: Callable[[], None],
) -> None:
    """Serve on `listener` until the scope fails; what is under way then has `grace_s`."""
    config = uvicorn.Config(
        application,
        loop="asyncio",
        http=_protocol_class(limits),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=limits.backlog,
        limit_concurrency=limits.max_connections,
        timeout_keep_alive=limits.keep_alive_s,
        timeout_graceful_shutdown=limits.grace_s,
    )
    config.load()
    config.ssl = tls
    server = _Server(config, on_started)
    loop = asyncio.new_event_loop()

    def end() -> None:
        loop.remove_reader(scope.wake_fd)
        on_ending()
        server.should_exit = True

    loop.add_reader(scope.wake_fd, end)
    try:
        loop.run_until_complete(server.serve(sockets=[listener]))
        loop.run_until_complete(_let_go())
    finally:
        loop.close()


async def _let_go() -> None:
    """Cancel requests that were not finished in time."""
    rest = asyncio.all_tasks() - {asyncio.current_task()}
    for task in rest:
        task.cancel()
    await asyncio.gather(*rest, return_exceptions=True)
    await asyncio.get_running_loop().shutdown_default_executor()
