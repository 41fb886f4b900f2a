"""The processes of `--dask local:N`, seen from the client; `worker_processes` is what they run."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from ..errors import SourceError, os_reason
from .address import ClusterAddress

__all__ = ["ClusterOptions", "LocalProcesses", "processes_of"]

_CLOSE_S = 5.0

# With the client's own search path: not what lies in the current directory, nor another version.
# To take apart all that was loaded takes a while, for which the client would wait.
_BOOT = (
    "import os, sys; sys.path[:] = sys.argv[1].split('\\n');"
    " from streamtos3.cluster.worker_processes import main; main(); os._exit(0)"
)


class LocalProcesses:
    """One process that gets ready at once, and becomes many workers when it is told to.

    They end with `close`, and when this process ends, however that is.
    """

    def __init__(self) -> None:
        self.has_begun = False
        # What a thread blocks is blocked in the processes that it starts: Ctrl-C reaches all
        # processes of the terminal, and these are to end when we say so.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-B", "-c", _BOOT, "\n".join(sys.path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
            )
        except OSError as error:
            raise SourceError(f"cannot start {sys.executable}: {os_reason(error)}") from error
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    @property
    def has_ended(self) -> bool:
        """Whether it is gone, and with it all workers."""
        return self._process.poll() is not None

    def begin(self, order: Mapping[str, Any]) -> None:
        """Become the workers that `order` says; see `worker_processes`."""
        assert self._process.stdin is not None
        self.has_begun = True
        with suppress(BrokenPipeError):  # it has ended, which whoever waits for a worker notices
            self._process.stdin.write(json.dumps(order).encode() + b"\n")
            self._process.stdin.flush()

    def close(self, timeout: float) -> None:
        """End all of them."""
        assert self._process.stdin is not None
        if not self.has_begun:  # it has nothing to end, and may still be loading
            self._process.kill()
        with suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@dataclass(frozen=True)
class ClusterOptions:
    """How a cluster is used.

    `sends_credentials`: temporary credentials of the client's are sent to the workers.
    `cross_check`: which share of the parts a second worker reads again, 0 to 1.
    `processes`: of a local cluster, where they get ready already; for one operation.
    """

    address: ClusterAddress
    sends_credentials: bool = False
    cross_check: float = 0.0
    processes: LocalProcesses | None = None


@contextmanager
def processes_of(how: ClusterOptions) -> Iterator[LocalProcesses | None]:
    """The processes of a local cluster, which get ready from now on; None for any other one.

    Those that `how` has, as long as they wait for their first operation.
    """
    if how.processes is not None and not how.processes.has_begun:
        yield how.processes
    elif not how.address.is_local:
        yield None
    else:
        processes = LocalProcesses()
        try:
            yield processes
        finally:
            processes.close(_CLOSE_S)
