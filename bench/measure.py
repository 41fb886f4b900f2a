"""Run one program with a stream through a pipe, and say what it cost.

The kernel counts: `wait4` gives the processor time and the largest memory of the program and of
all its descendants. This process must stay small, because a child's peak includes its parent's
size at the fork; so nothing large is imported here.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

__all__ = ["Figures", "ProgramFailed", "drain", "feed"]

_PRODUCER = Path(__file__).with_name("producer.py")
_DRAINER = """
import os
null, total = os.open(os.devnull, os.O_WRONLY), 0
while count := os.splice(0, null, 1 << 20):
    total += count
print(total)
"""
_TIMEOUT_S = 900
_SMALL_BYTES = 4096


class ProgramFailed(Exception):
    """A measured program did not do what it was asked."""


@dataclass(frozen=True)
class Figures:
    """What one run cost.

    `after_end_s`: from the end of the input to the exit; None where there was no input.
    """

    wall_s: float
    cpu_s: float
    peak_bytes: int
    after_end_s: float | None = None


def feed(
    command: Sequence[str],
    environment: Mapping[str, str],
    size_bytes: int,
    mib_per_s: float = 0.0,
) -> Figures:
    """Run `command` with a stream of `size_bytes` as its standard input.

    Raises ProgramFailed when it fails or does not end.
    """
    read_fd, write_fd = os.pipe()
    if size_bytes <= _SMALL_BYTES:  # fits the pipe: no producer whose start would be measured too
        os.write(write_fd, b"x" * size_bytes)
        os.close(write_fd)
        try:
            figures = _run(command, environment, read_fd, subprocess.DEVNULL)
            return replace(figures, after_end_s=figures.wall_s)
        finally:
            os.close(read_fd)
    producer = _start(_PRODUCER, str(size_bytes), str(mib_per_s), stdout=write_fd)
    os.close(write_fd)
    try:
        figures = _run(command, environment, read_fd, subprocess.DEVNULL)
        ended_s = time.monotonic()
    finally:
        os.close(read_fd)  # a producer that still writes is told so
        _, said = producer.communicate()
    if producer.returncode:
        raise ProgramFailed(f"{command[0]} ended before its input did")
    return replace(figures, after_end_s=ended_s - float(said))


def drain(command: Sequence[str], environment: Mapping[str, str], size_bytes: int) -> Figures:
    """Run `command`, discarding its output, which must be of `size_bytes`."""
    read_fd, write_fd = os.pipe()
    drainer = _start("-c", _DRAINER, stdin=read_fd)
    os.close(read_fd)
    try:
        figures = _run(command, environment, subprocess.DEVNULL, write_fd)
    finally:
        os.close(write_fd)
        output, _ = drainer.communicate()
    if int(output) != size_bytes:
        raise ProgramFailed(f"{command[0]} wrote {int(output)} bytes instead of {size_bytes}")
    return figures


def _start(
    *arguments: str | Path, stdin: int = subprocess.DEVNULL, stdout: int = subprocess.PIPE
) -> subprocess.Popen[bytes]:
    """Start one of our own ends of the pipe."""
    return subprocess.Popen(
        [sys.executable, "-I", "-S", *arguments],
        stdin=stdin,
        stdout=stdout,
        stderr=subprocess.PIPE,
    )


def _run(
    command: Sequence[str],
    environment: Mapping[str, str],
    stdin: int,
    stdout: int,
) -> Figures:
    """Run and count."""
    began_s = time.monotonic()
    process = subprocess.Popen(
        command,
        env=dict(environment),
        stdin=stdin,
        stdout=stdout,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    timer = threading.Timer(_TIMEOUT_S, os.killpg, (process.pid, signal.SIGKILL))
    timer.daemon = True
    timer.start()
    assert process.stderr is not None
    try:
        said = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    finally:
        timer.cancel()
        process.stderr.close()
    ended_s = time.monotonic()
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        text = said.decode(errors="replace").strip()[-800:]
        raise ProgramFailed(f"{' '.join(command)}: status {process.returncode}: {text}")
    return Figures(
        wall_s=ended_s - began_s,
        cpu_s=usage.ru_utime + usage.ru_stime,
        peak_bytes=usage.ru_maxrss * 1024,
    )
