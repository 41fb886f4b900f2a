"""The processes of `--dask local:N`, seen from within: one that loads everything once, and forks.

Run by `LocalProcesses`. Loading Dask and botocore takes longer than most files take to store, so
it begins while the client still looks at the destination, and is paid once, not N times.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import select
import shutil
import signal
import sys
from typing import Any

__all__ = ["main"]

_LOOK_S = 0.2
_OBJECTS = 150_000  # as in `__main__`: collections would cost more than there is to collect


def main() -> None:
    """Load, read from standard input what to do, do it until that ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it reaches the whole terminal
    gc.set_threshold(_OBJECTS)
    _load()
    gc.freeze()
    line = sys.stdin.readline()
    if not line.endswith("\n"):
        return
    order = json.loads(line)
    if _is_worker(order["processes"]):
        os.dup2(os.open(os.devnull, os.O_RDONLY), sys.stdin.fileno())
        asyncio.run(_work(order))
    elif order["directory"] is not None:  # a client that was killed cannot remove it
        shutil.rmtree(order["directory"], ignore_errors=True)


def _is_worker(count: int) -> bool:
    """Fork so many workers; True in each. Kills them when standard input ends, and returns False.

    One that dies is replaced. One that ends in peace has lost its scheduler, and is not.
    """
    workers: set[int] = set()
    missing = count
    while True:
        for _ in range(missing):
            pid = os.fork()
            if not pid:
                return True
            workers.add(pid)
        if not workers or select.select([sys.stdin], [], [], _LOOK_S)[0]:
            break
        missing = sum(status != 0 for status in _reap(workers))
    for pid in workers:
        os.kill(pid, signal.SIGKILL)
    for pid in workers:
        os.waitpid(pid, 0)
    return False


def _reap(workers: set[int]) -> list[int]:
    """The statuses of those that have ended, which are taken out of `workers`."""
    ended = [found for found in (os.waitpid(pid, os.WNOHANG) for pid in workers) if found[0]]
    workers.difference_update(pid for pid, _ in ended)
    return [status for _, status in ended]


def _load() -> None:
    """What workers need, before there is one; no thread is started by that."""
    from ..s3.clients import load_libraries
    from . import dispatch, operation  # noqa: F401
    from .connection import load_dask

    load_dask()
    load_libraries()
    _ask_versions()
    if not select.select([sys.stdin], [], [], 0)[0]:  # there is time for what only one needs
        from . import publish  # noqa: F401


def _ask_versions() -> None:
    """Those that each worker tells its scheduler, which Python and Dask then remember."""
    from distributed.versions import get_versions

    get_versions()


async def _work(order: dict[str, Any]) -> None:
    """One worker, until its scheduler is gone."""
    import dask
    import distributed

    for name in order["quiet"]:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    dask.config.set(order["config"])
    worker = distributed.Worker(
        order["scheduler"],
        nthreads=order["threads"],
        memory_limit=0,
        dashboard=False,
        local_directory=order["directory"],
        security=distributed.Security(require_encryption=True, **order["tls"]),
    )
    async with worker:
        await worker.finished()
