"""A terminal of our own, and what a program paints on it."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence


class Terminal:
    """`with Terminal() as terminal:` its `slave` is what a program takes for a terminal."""

    def __enter__(self) -> Terminal:
        self.master, self.slave = pty.openpty()
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
        return self

    def __exit__(self, *exc_info: object) -> None:
        for descriptor in (self.master, self.slave):
            os.close(descriptor)

    def painted(self) -> str:
        """What was written since the last call."""
        text = b""
        while select.select([self.master], [], [], 0)[0]:
            text += os.read(self.master, 65536)
        return text.decode()

    def wait_for(self, text: str, timeout_s: float = 30) -> str:
        """What is written until `text` appears."""
        painted = ""
        deadline_s = time.monotonic() + timeout_s
        while text not in painted:
            ready = select.select([self.master], [], [], deadline_s - time.monotonic())[0]
            assert ready, f"{text!r} is not in {painted!r}"
            painted += os.read(self.master, 65536).decode()
        return painted

    def start(
        self, command: Sequence[str], env: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Run `command` with this terminal as its standard error, its input a pipe."""
        return subprocess.Popen(
            command,
            env={**os.environ, **(env or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.slave,
        )


def screen(painted: str) -> list[str]:
    """The lines that are left to see once carriage returns have overwritten what was there."""
    lines = []
    for line in painted.replace("\r\n", "\n").split("\n"):
        shown = ""
        for piece in line.split("\r"):
            shown = piece + shown[len(piece) :]
        lines.append(shown.rstrip())
    return lines
