"""The peak memory of a program, alone.

What `wait4` says of a child is at least what its parent held when it was started, as exec does not
forget that (`setmax_mm_hiwater_rss` in Linux' fs/exec.c), and a worker of these tests may hold
hundreds of MiB. So a small process is put in between.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import IO

_BETWEEN = """
import resource, subprocess, sys
status = subprocess.call(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)
sys.exit(status)
"""


def peak_bytes(
    command: Sequence[object],
    env: Mapping[str, str],
    stdout: int | IO[bytes] = subprocess.DEVNULL,
) -> int:
    """Run the command, which must succeed; the most memory that it held, or a child of it."""
    done = subprocess.run(
        [sys.executable, "-c", _BETWEEN, *map(str, command)],
        env=env,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return int(done.stderr.splitlines()[-1]) * 1024
