"""The border to Dask: a cluster that is joined, or made of processes of this machine.

Everything that may wait for a scheduler is called from a thread of its own or has a time limit, so
that a scheduler that hangs never keeps the program from ending.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import threading
import time
import uuid
import warnings
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import CancelledError
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import Any

from ..errors import RetriesUsedUpError, UnreachableError, UsageError, os_reason
from ..runtime import host
from ..runtime.cancel import CancelScope
from ..runtime.workers import WorkerPool
from .address import ClusterAddress
from .certificate import MemoryFile, new_certificate
from .processes import LocalProcesses
from .run_directory import RunDirectory

__all__ = ["Cluster", "TaskLost", "load_dask", "open_cluster"]

_log = logging.getLogger("streamtos3")

_CONNECT_S = 30.0
_CLOSE_S = 5.0
_LOOK_S = 0.005
_THREADS = 2  # of a local process: one reads the next run while the last parts of another are sent
_TLS_OF_WORKERS = ("tls_worker_cert", "tls_worker_key")
_LOGGERS = ("distributed", "tornado", "asyncio", "bokeh")
_EXTRA = "pip install 'streamtos3[dask]', the same version on every machine"

# What would write to a disk, or costs time that nobody asked for (docs/cluster.org, This machine).
_LOCAL_CONFIG = {
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.terminate": False,
    "distributed.worker.profile.enabled": False,
    "distributed.admin.tick.interval": "1s",
    "distributed.admin.system-monitor.gil.enabled": False,
    "distributed.admin.system-monitor.interval": "10s",
    "distributed.scheduler.active-memory-manager.start": False,
}


class TaskLost(Exception):
    """Workers died while they ran a task, more often than the scheduler allows."""


class Cluster:
    """A connected client of Dask's. All methods may be called by any thread."""

    def __init__(self, client: Any, address: str) -> None:
        self._client = client
        self.address = address
        self._loop: asyncio.AbstractEventLoop = client.loop.asyncio_loop

    @property
    def client_id(self) -> str:
        """What the scheduler calls this client."""
        return str(self._client.id)

    @property
    def is_connected(self) -> bool:
        """Whether the scheduler still answers, as far as the client has noticed."""
        return bool(self._client.status == "running")

    def workers(self, timeout_s: float = _CONNECT_S) -> dict[str, int]:
        """The address of each worker, and how many tasks it runs at a time.

        RetriesUsedUpError where the scheduler does not answer in time.
        """

        async def ask() -> dict[str, int]:
            return dict(await self._client.nthreads())

        workers: dict[str, int] = self._wait(ask(), timeout_s)
        return workers

    def submit(
        self,
        function: Callable[..., Any],
        argument: Any,
        deliver: Callable[[Any], None],
        *,
        prefer: Collection[str] = (),
        urgent: bool = False,
    ) -> Callable[[], None]:
        """Have a worker call `function(argument)`, and `deliver` what it returns or raises.

        `deliver` is called once, in the thread of Dask's event loop: a value, a TaskLost, or
        another exception. `prefer`: by one of these workers, as long as one is there. Returns a
        function that gives the task up; nothing is delivered after that.
        """
        future = self._client.submit(
            function,
            argument,
            key=f"{function.__name__}-{uuid.uuid4().hex}",
            pure=False,
            priority=1 if urgent else 0,
            workers=list(prefer) or None,
            allow_other_workers=bool(prefer),
        )

        async def collect() -> None:
            from distributed import KilledWorker
            from distributed.comm import CommClosedError

            try:
                (value,) = await self._client.gather([future], asynchronous=True)
            # Dask's own CancelledError, not asyncio's, which comes when we give up. The other one
            # where the scheduler dies while it is being asked for the value.
            except (CancelledError, CommClosedError):
                value = self._lost()
            except KilledWorker as error:
                value = TaskLost(str(error))
            except Exception as error:  # noqa: BLE001 - delivered, and judged there
                value = error
            deliver(value)

        waiting = asyncio.run_coroutine_threadsafe(collect(), self._loop)

        def give_up() -> None:
            waiting.cancel()
            with suppress(Exception):  # the scheduler may be gone
                future.release()

        return give_up

    def run_on_all(
        self,
        function: Callable[..., Any],
        *arguments: Any,
        timeout_s: float,
        workers: Collection[str] | None = None,
    ) -> dict[str, Any]:
        """What `function` returns, or raises, on each worker, beside its tasks; by address.

        RetriesUsedUpError where not all have answered in time. For a worker that is gone it is the
        OSError of its connection.
        """

        async def run() -> dict[str, Any]:
            chosen = None if workers is None else list(workers)
            return dict(
                await self._client.run(function, *arguments, workers=chosen, on_error="return")
            )

        answers: dict[str, Any] = self._wait(run(), timeout_s, "a worker of")
        return answers

    def run_on_scheduler(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """What `function` returns in the scheduler's process."""

        async def run() -> Any:
            return await self._client.run_on_scheduler(function, *arguments)

        return self._wait(run(), _CONNECT_S)

    def register_plugin(self, plugin: Any, name: str) -> None:
        """Give the scheduler a plug-in of this name."""

        async def register() -> None:
            await self._client.register_plugin(plugin, name=name)

        self._wait(register(), _CONNECT_S)

    def subscribe(self, topic: str, handle: Callable[[dict[str, Any]], None]) -> None:
        """Call `handle` with each message that workers log under `topic`."""
        self._client.subscribe_topic(topic, lambda event: handle(event[1]))

    def _wait(self, coroutine: Any, timeout_s: float, whom: str = "the Dask scheduler") -> Any:
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result(timeout_s)
        except (TimeoutError, asyncio.TimeoutError) as error:
            future.cancel()
            raise RetriesUsedUpError(f"{whom} {self.address} does not answer") from error
        except OSError as error:  # Dask's CommClosedError is one
            raise self._lost() from error

    def _lost(self) -> RetriesUsedUpError:
        return RetriesUsedUpError(f"the connection to the Dask scheduler {self.address} was lost")


def load_dask() -> None:
    """Load what takes longest to load, before it is needed; whoever needs it says what is wrong.

    Tornado reads the system's certificate authorities for the first connection that it accepts,
    although none of Dask's uses them: 40 ms.
    """
    with suppress(Exception):
        import distributed  # noqa: F401
        from tornado.netutil import _client_ssl_defaults

        _client_ssl_defaults()


@contextmanager
def open_cluster(
    address: ClusterAddress, processes: LocalProcesses | None, scope: CancelScope
) -> Iterator[Cluster]:
    """A client of the cluster at `address`; a local one, of these `processes`, ends with the block.

    Raises UsageError where Dask is not installed or the address makes no sense to it,
    UnreachableError where no scheduler answers, Cancelled when the scope fails meanwhile.
    """
    try:
        import dask
        import distributed
    except ImportError as error:
        raise UsageError("--dask needs the packages dask and distributed", hint=_EXTRA) from error
    with ExitStack() as stack:
        stack.enter_context(_quiet())
        opened: list[Any] = []
        stack.callback(_close, opened)
        opener = _open_remote
        if processes is not None:
            directory = RunDirectory()
            opened.append(directory)
            where = {"temporary-directory": directory.path}
            stack.enter_context(dask.config.set(_LOCAL_CONFIG | where))
            opener = partial(_open_local, processes, directory.path)
        workers = WorkerPool(1, scope)
        stack.callback(workers.shutdown)
        client = workers.submit(lambda: opener(distributed, address, opened)).result()
        yield Cluster(client, str(address))


def _open_remote(distributed: Any, address: ClusterAddress, opened: list[Any]) -> Any:
    where: dict[str, Any] = {"address": address.url}
    if address.scheduler_file is not None:
        if not os.path.isfile(address.scheduler_file):
            raise UsageError(
                f"--dask {address.scheduler_file!r} is neither an address nor a scheduler file",
                hint="local:N, tcp://HOST:PORT, tls://HOST:PORT or a scheduler file",
            )
        where = {"scheduler_file": address.scheduler_file}
    return _connect(distributed, opened, str(address), **where)


def _open_local(
    processes: LocalProcesses,
    directory_path: str | None,
    distributed: Any,
    address: ClusterAddress,
    opened: list[Any],
) -> Any:
    security = _private_security(distributed, opened)
    scheduler = distributed.LocalCluster(
        n_workers=0,
        dashboard_address=None,
        security=security,
        silence_logs=logging.CRITICAL,
    )
    opened.append(scheduler)
    opened.append(processes)
    count = address.processes or max(1, int(host.processors()))
    processes.begin(
        {
            "processes": count,
            "threads": _THREADS,
            "scheduler": scheduler.scheduler_address,
            "directory": directory_path,
            "tls": {name: getattr(security, name) for name in ("tls_ca_file", *_TLS_OF_WORKERS)},
            "config": _LOCAL_CONFIG,
            "quiet": [] if _log.isEnabledFor(logging.DEBUG) else _LOGGERS,
        }
    )
    client = _connect(distributed, opened, str(address), address=scheduler)
    deadline_s = time.monotonic() + _CONNECT_S
    while len(scheduler.scheduler.workers) < count:
        if processes.has_ended or time.monotonic() > deadline_s:
            raise UnreachableError(f"the processes of --dask {address} do not start")
        time.sleep(_LOOK_S)
    return client


def _connect(distributed: Any, opened: list[Any], name: str, **where: Any) -> Any:
    try:
        client = distributed.Client(
            **where, timeout=_CONNECT_S, set_as_default=False, name="streamtos3"
        )
    except (OSError, asyncio.TimeoutError) as error:
        reason = str(error).splitlines()[0] if str(error) else os_reason(error)
        raise UnreachableError(
            f"cannot reach the Dask scheduler {name}: {reason}", hint="check --dask"
        ) from error
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"cannot use the Dask scheduler {name}: {str(error).splitlines()[0]}",
            hint="tls:// needs Dask's settings distributed.comm.tls, see docs/cluster.org",
        ) from error
    opened.append(client)
    return client


def _close(opened: list[Any]) -> None:
    """Close the client, then its cluster; what hangs is abandoned."""
    with CancelScope() as scope:
        workers = WorkerPool(1, scope)
        for each in reversed(opened):
            workers.submit(partial(each.close, timeout=_CLOSE_S))
        workers.wait_idle(2 * _CLOSE_S, _CLOSE_S)
        workers.shutdown()


def _private_security(distributed: Any, opened: list[Any]) -> Any:
    """TLS with a certificate made for this run, which nobody else can connect with.

    Dask takes the text itself as well, but hands it to OpenSSL by a file on the disk.
    """
    certificate, key = new_certificate()
    if hasattr(os, "memfd_create"):
        files = [MemoryFile(certificate), MemoryFile(key)]
        opened += files
        certificate, key = (file.path for file in files)
    roles = ("client", "scheduler", "worker")
    return distributed.Security(
        require_encryption=True,
        tls_ca_file=certificate,
        **{f"tls_{role}_cert": certificate for role in roles},
        **{f"tls_{role}_key": key for role in roles},
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Nothing from Dask on standard error, but with --debug: what matters is said by us.

    Dask tells of an exception that nobody retrieved when it is collected, so that is done here,
    while it is silenced. Of blocks that overlap, the first one silences and the last one restores.
    """
    global _quiet_blocks, _restore
    with _quiet_lock:
        _quiet_blocks += 1
        if _quiet_blocks == 1:
            _restore = _silence()
    try:
        yield
    finally:
        gc.collect()
        with _quiet_lock:
            _quiet_blocks -= 1
            if not _quiet_blocks:
                _restore.close()


_quiet_lock = threading.Lock()
_quiet_blocks = 0
_restore = ExitStack()


def _silence() -> ExitStack:
    """What is entered until all may speak again."""
    level = logging.INFO if _log.isEnabledFor(logging.DEBUG) else logging.CRITICAL
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    stack = ExitStack()
    for each in loggers:
        stack.callback(each.setLevel, each.level)
        each.setLevel(level)
    stack.enter_context(warnings.catch_warnings())
    warnings.simplefilter("ignore")  # other versions on workers: we compare our own
    return stack
