"""The plug-in that runs in the scheduler: it sends secrets to each worker once, and forgets them.

Loaded only where Dask is. The scheduler needs streamtos3 for it, too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any

from distributed import SchedulerPlugin
from distributed.protocol.pickle import dumps

from .secrets import Secrets
from .session import accept, begin_end, drop

__all__ = ["SecretsPlugin", "forget", "send_anew"]


class SecretsPlugin(SchedulerPlugin):  # type: ignore[misc]  # Dask is not checked for types
    """Sends the secrets of one operation to every worker that is there or joins.

    When the client goes, so do the secrets, and the operation ends on the workers: a client that
    was killed cannot do that itself.
    """

    def __init__(self, operation_id: str, client_id: str, secrets: Secrets) -> None:
        self.name = _name(operation_id)
        self._operation_id = operation_id
        self._client_id = client_id
        self._secrets: Secrets | None = secrets
        self._scheduler: Any = None
        self._sending: set[asyncio.Task[None]] = set()

    async def start(self, scheduler: Any) -> None:
        """Send them to the workers that are there."""
        self._scheduler = scheduler
        await self._send(list(scheduler.workers))

    def add_worker(self, scheduler: Any, worker: str) -> None:
        """Send them to one that joins; its tasks wait for them."""
        self._soon([worker])

    def remove_client(self, scheduler: Any, client: str) -> None:
        """The client has gone."""
        if client == self._client_id and self._secrets is not None:
            self.forget()
            self._run_soon(_end_on_worker, (self._operation_id,), list(scheduler.workers))

    def renew(self, secrets: Secrets) -> None:
        """Send these from now on, and to all workers at once."""
        self._secrets = secrets
        self._soon(list(self._scheduler.workers))

    def forget(self) -> None:
        """Keep and send nothing any more."""
        self._secrets = None
        self._scheduler.plugins.pop(self.name, None)

    def _soon(self, workers: Collection[str]) -> None:
        self._keep(asyncio.get_running_loop().create_task(self._send(workers)))

    def _run_soon(self, function: Any, arguments: tuple[Any, ...], workers: list[str]) -> None:
        loop = asyncio.get_running_loop()
        self._keep(loop.create_task(self._run(function, arguments, workers)))

    def _keep(self, task: asyncio.Task[None]) -> None:
        """The event loop itself keeps no task alive."""
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def _send(self, workers: Collection[str]) -> None:
        if self._secrets is not None:
            await self._run(accept, (self._operation_id, self._secrets), workers)

    async def _run(
        self, function: Any, arguments: tuple[Any, ...], workers: Collection[str]
    ) -> None:
        """Call `function` on `workers`, whatever becomes of it; never through the log of events."""
        message = {"op": "run", "function": dumps(function), "args": dumps(arguments)}
        await self._scheduler.broadcast(msg=message, workers=workers, on_error="ignore")


def send_anew(operation_id: str, secrets: Secrets, dask_scheduler: Any = None) -> None:
    """In the scheduler: credentials were renewed."""
    plugin = dask_scheduler.plugins.get(_name(operation_id))
    if plugin is not None:
        plugin.renew(secrets)


def forget(operation_id: str, dask_scheduler: Any = None) -> None:
    """In the scheduler: the operation is over."""
    plugin = dask_scheduler.plugins.get(_name(operation_id))
    if plugin is not None:
        plugin.forget()


def _end_on_worker(operation_id: str) -> None:
    begin_end(operation_id)
    drop(operation_id)


def _name(operation_id: str) -> str:
    return f"streamtos3-{operation_id}"
