"""The processes of `--dask local:N`, seen from the client; `worker_processes` is what they run."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from ..errors import SourceError, os_reason

__all__ = ["LocalProcesses"]

# With the client's own search path: not what lies in the current directory, nor another version.
_BOOT = (
    "import sys; sys.path[:] = sys.argv[1].split('\\n');"
    " from streamtos3.cluster.worker_processes import main; main()"
)


class LocalProcesses:
    """One process that gets ready at once, and becomes many workers when it is told to.

    They end with `close`, and when this process ends, however that is.
    """

    def __init__(self) -> None:
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
        with suppress(BrokenPipeError):  # it has ended, which whoever waits for a worker notices
            self._process.stdin.write(json.dumps(order).encode() + b"\n")
            self._process.stdin.flush()

    def close(self, timeout: float) -> None:
        """End all of them."""
        assert self._process.stdin is not None
        with suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
