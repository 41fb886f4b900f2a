"""A bounded set of threads whose first error ends everything, and that never holds the program."""

from __future__ import annotations

import subprocess
import sys

LONG_S = 60.0


def test_a_stuck_thread_does_not_hold_the_program() -> None:
    program = (
        "import threading\n"
        "from streamtos3.runtime.workers import WorkerPool\n"
        "from streamtos3.runtime.cancel import CancelScope\n"
        "started = threading.Event()\n"
        "WorkerPool(1, CancelScope()).submit(lambda: (started.set(), threading.Event().wait()))\n"
        "started.wait()\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=LONG_S)
