"""A Dask cluster of real processes on this machine, any of which a test may kill.

A scheduler and its workers as a user starts them by `dask scheduler` and `dask worker`, without a
nanny: a worker that is killed stays dead until the test starts another one.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType

import distributed

__all__ = ["DaskCluster"]

_START_S = 60.0
_QUIET = {"DASK_LOGGING__DISTRIBUTED": "info", "PYTHONDONTWRITEBYTECODE": "1"}


class DaskCluster:
    """A scheduler, and workers with the AWS keys that are given; ends with the `with` block.

    `directory` gets the scheduler file, the logs, and what Dask itself writes.
    """

    def __init__(
        self,
        directory: Path,
        workers: int,
        *,
        keys: tuple[str, str] | None = ("key", "secret"),
        scheduler_arguments: Sequence[str] = (),
    ) -> None:
        self.scheduler_file = directory / "scheduler.json"
        self._directory = directory
        self._count = workers
        self._keys = keys
        self._scheduler_arguments = scheduler_arguments
        self.scheduler: subprocess.Popen[bytes]
        self.workers: list[subprocess.Popen[bytes]] = []
        self._started = 0

    def __enter__(self) -> DaskCluster:
        try:
            self.scheduler = self._start(
                "dask_scheduler",
                "scheduler",
                *("--host", "127.0.0.1", "--port", "0", "--no-dashboard"),
                *("--scheduler-file", str(self.scheduler_file)),
                *self._scheduler_arguments,
            )
            self._wait_for(lambda: self.scheduler_file.is_file())
            for _ in range(self._count):
                self.start_worker()
            if self._count:
                self.wait_for_workers(self._count)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def address(self) -> str:
        """The scheduler's URL."""
        return str(json.loads(self.scheduler_file.read_text())["address"])

    @property
    def logs(self) -> str:
        """All that scheduler and workers have logged."""
        return "".join(path.read_text() for path in sorted(self._directory.glob("*.log")))

    def start_worker(
        self, *arguments: str, env: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """One worker more, of two threads; it joins when it is ready."""
        worker = self._start(
            "dask_worker",
            f"worker-{self._started}",
            *("--scheduler-file", str(self.scheduler_file), "--no-nanny", "--no-dashboard"),
            *("--nthreads", "2", "--host", "127.0.0.1", "--memory-limit", "0"),
            *("--local-directory", str(self._directory)),
            *arguments,
            env=env,
        )
        self.workers.append(worker)
        return worker

    def kill(self, worker: subprocess.Popen[bytes]) -> None:
        """`kill -9`, and no replacement."""
        worker.kill()
        worker.wait()
        self.workers.remove(worker)

    def wait_for_workers(self, count: int) -> None:
        """Return when the scheduler knows so many."""
        with distributed.Client(
            scheduler_file=str(self.scheduler_file), set_as_default=False
        ) as client:
            client.wait_for_workers(count, timeout=_START_S)

    def stop(self) -> None:
        """End all that was started."""
        processes = [*self.workers, *([self.scheduler] if hasattr(self, "scheduler") else [])]
        for each in processes:
            with contextlib.suppress(ProcessLookupError):
                each.send_signal(signal.SIGCONT)
                each.kill()
        for each in processes:
            each.wait()

    def _start(
        self, module: str, name: str, *arguments: str, env: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        self._started += 1
        keys = self._keys
        environment = {**os.environ, **_QUIET}
        if keys is not None:
            environment |= {"AWS_ACCESS_KEY_ID": keys[0], "AWS_SECRET_ACCESS_KEY": keys[1]}
        else:
            environment = {n: v for n, v in environment.items() if not n.startswith("AWS_ACCESS")}
            environment.pop("AWS_SECRET_ACCESS_KEY", None)
            environment.pop("AWS_SESSION_TOKEN", None)
        with open(self._directory / f"{name}-{self._started}.log", "wb") as log:
            return subprocess.Popen(
                [sys.executable, "-m", f"distributed.cli.{module}", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**environment, **(env or {})},
            )

    def _wait_for(self, ready: Callable[[], bool]) -> None:
        deadline_s = time.monotonic() + _START_S
        while not ready():
            if self.scheduler.poll() is not None or time.monotonic() > deadline_s:
                raise RuntimeError(f"the scheduler did not start: {self.logs}")
            time.sleep(0.02)
