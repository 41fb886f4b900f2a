"""The program as a process of its own: real pipes, signals, process groups and terminals.

Each runs in a session without a terminal, unless it is given one, so that nothing depends on
where the tests were started; what is left of its session when the block ends is killed.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import signal
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from tests.rig.support import assert_nothing_left, object_exists, open_uploads

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

    from tests.rig.proxy import FaultProxy
    from tests.rig.seaweed import SeaweedFS

PROGRAM = (sys.executable, "-m", "streamtos3")
_WAIT_S = 60.0
_NEXT_SIGNAL_S = 0.1


class Running:
    """`with Running("s3://b/k", env=...) as program: program.stdin.write(...)`.

    stdin: a descriptor, or None for a pipe whose end is `stdin`. on_terminal: standard error and
    the controlling terminal are a new one, whose other side is `terminal`.
    """

    def __init__(
        self,
        *words: object,
        env: Mapping[str, str],
        stdin: int | None = None,
        stdout: int | None = None,
        on_terminal: bool = False,
        prepare: Callable[[], object] | None = None,
    ) -> None:
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed by __exit__
        self._prepare = prepare
        self._was_signalled = False
        self.terminal = -1
        slave = -1
        if on_terminal:
            self.terminal, slave = pty.openpty()
        self._process = subprocess.Popen(
            [*PROGRAM, *(str(word) for word in words)],
            env={**os.environ, **env},
            stdin=subprocess.PIPE if stdin is None else stdin,
            stdout=subprocess.PIPE if stdout is None else stdout,
            stderr=slave if on_terminal else self._stderr,
            start_new_session=True,
            preexec_fn=lambda: self._in_child(slave),
            pass_fds=[slave] if on_terminal else (),
        )
        if on_terminal:
            os.close(slave)

    def __enter__(self) -> Running:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for pid in members(self.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(BrokenPipeError):
                if pipe is not None:
                    pipe.close()
        self._process.wait()
        self._stderr.close()
        self.hang_up()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.poll()

    @property
    def stderr(self) -> str:
        """What was said so far, where no terminal hears it."""
        size_bytes = os.fstat(self._stderr.fileno()).st_size
        return os.pread(self._stderr.fileno(), size_bytes, 0).decode(errors="replace")

    def write(self, data: bytes) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(data)
        self._process.stdin.flush()

    def end_input(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()

    def send(self, signum: int) -> float:
        """Send a signal to this process alone; the time when that was.

        A second one never sooner than a person could who has read what the first one did: the
        program takes the same signal at once again for one.
        """
        if self._was_signalled:
            time.sleep(_NEXT_SIGNAL_S)
        self._was_signalled = True
        os.kill(self.pid, signum)
        return time.monotonic()

    def type(self, keys: bytes) -> None:
        os.write(self.terminal, keys)

    def read_terminal(self) -> str:
        """All that the terminal shows until the last program has let go of it."""
        shown = b""
        with contextlib.suppress(OSError):
            while piece := os.read(self.terminal, 1 << 16):
                shown += piece
        return shown.decode(errors="replace")

    def hang_up(self) -> None:
        """Take the terminal away."""
        if self.terminal >= 0:
            os.close(self.terminal)
            self.terminal = -1

    def wait_until_said(self, text: str) -> None:
        wait_until(lambda: text in self.stderr, lambda: f"{text!r} in {self.stderr!r}")

    def wait(self, timeout_s: float = _WAIT_S) -> int:
        """The exit status, as `subprocess` gives it."""
        return self._process.wait(timeout_s)

    def read_stdout(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.read().decode()

    def _in_child(self, slave: int) -> None:
        # Whoever runs the tests may have ignored them (nohup, a shell's background job).
        for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(each, signal.SIG_DFL)
        if slave >= 0:
            fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
        if self._prepare is not None:
            self._prepare()


class Store:
    """One SeaweedFS bucket with one key in it, and the program pointed at it."""

    def __init__(self, seaweed: SeaweedFS, s3: S3Client, bucket: str) -> None:
        self.key = "dump"
        self._seaweed = seaweed
        self.s3 = s3
        self.bucket = bucket

    def run(
        self,
        script: str,
        *options: object,
        stdin: int | None = subprocess.DEVNULL,
        proxy: FaultProxy | None = None,
        **more: object,
    ) -> Running:
        """`streamtos3 run ... -- sh -c script`."""
        return self.start("run", *self._words(options), "--", "sh", "-c", script, proxy=proxy,
                          stdin=stdin, **more)  # fmt: skip

    def put(self, *options: object, proxy: FaultProxy | None = None, **more: object) -> Running:
        """`streamtos3 ... s3://b/k`, reading a pipe."""
        return self.start(*self._words(options), proxy=proxy, **more)

    def start(self, *words: object, proxy: FaultProxy | None = None, **more: object) -> Running:
        env = account(self._seaweed, proxy.endpoint_url if proxy else None)
        return Running(*words, env=env, **more)  # type: ignore[arg-type]

    def _words(self, options: tuple[object, ...]) -> list[object]:
        return ["-c", "5MiB", *options, f"s3://{self.bucket}/{self.key}"]

    def body(self) -> bytes:
        return self.s3.get_object(Bucket=self.bucket, Key=self.key)["Body"].read()

    def exists(self) -> bool:
        return object_exists(self.s3, self.bucket, self.key)

    def uploads(self) -> list[str]:
        """The ids of the uploads that are open."""
        return [upload_id for _, upload_id in open_uploads(self.s3, self.bucket)]

    def parts(self) -> int:
        """How many parts the first of them holds."""
        for upload_id in self.uploads():
            listed = self.s3.list_parts(Bucket=self.bucket, Key=self.key, UploadId=upload_id)
            return len(listed.get("Parts", []))
        return 0

    def assert_nothing_left(self) -> None:
        assert_nothing_left(self.s3, self.bucket, self.key)

    def assert_failed(self, program: Running, status: int, *said: str) -> None:
        """It ended with `status`, said so, and nothing is in the bucket."""
        assert program.wait() == status, program.stderr
        for text in said:
            assert text in program.stderr
        assert "Traceback" not in program.stderr
        self.assert_nothing_left()


def wait_until(
    condition: Callable[[], object], what: Callable[[], str], timeout_s: float = _WAIT_S
) -> None:
    """Return when `condition` holds; fail with `what` was waited for if it never does."""
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, f"waited in vain for {what()}"
        time.sleep(0.01)


def is_alive(pid: int) -> bool:
    """Whether there is such a process; a zombie that nobody has buried is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def is_zombie(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] == "Z"


def members(session: int) -> list[int]:
    """The living processes of a session."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and is_alive(int(entry.name)):
            with contextlib.suppress(ProcessLookupError):
                if os.getsid(int(entry.name)) == session:
                    found.append(int(entry.name))
    return found


def account(server: SeaweedFS, endpoint_url: str | None = None) -> dict[str, str]:
    """The environment in which boto3's chain finds the server, or a proxy in front of it."""
    return {
        "AWS_ENDPOINT_URL": endpoint_url or server.endpoint_url,
        "AWS_ACCESS_KEY_ID": server.access_key,
        "AWS_SECRET_ACCESS_KEY": server.secret_key,
        "AWS_DEFAULT_REGION": "us-east-1",
    }
