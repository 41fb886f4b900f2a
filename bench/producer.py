"""Write a stream to standard output: `python -I producer.py BYTES [MIB_PER_S]`.

A process of its own, so that what it costs is not counted for the program that reads it. It
leaves the pipe's size alone. When all is written it prints the time (`time.monotonic`, the
same for all processes of a machine) on standard error.
"""

from __future__ import annotations

import os
import random
import sys
import time

MIB = 1 << 20


def main() -> None:
    """Write so many bytes, as fast as they are taken or at so many MiB a second."""
    left_bytes = int(sys.argv[1])
    mib_per_s = float(sys.argv[2]) if len(sys.argv) > 2 else 0.0
    block = memoryview(random.Random(5).randbytes(MIB))
    step_bytes = MIB // 16 if mib_per_s else MIB
    due_s = time.monotonic()
    try:
        while left_bytes:
            left_bytes -= os.write(1, block[: min(step_bytes, left_bytes)])
            if mib_per_s:
                due_s += step_bytes / MIB / mib_per_s
                time.sleep(max(0.0, due_s - time.monotonic()))
    except BrokenPipeError:
        sys.exit(1)
    os.close(1)
    print(time.monotonic(), file=sys.stderr)


main()
