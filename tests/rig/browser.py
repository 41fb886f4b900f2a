"""A headless Chromium, told what to do through its debugging pipe; no driver is needed."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["CHROMIUM", "Browser", "browser"]

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
_TO_BROWSER, _FROM_BROWSER = 3, 4  # the descriptors that --remote-debugging-pipe means


class Browser:
    """One page of it. `evaluate` gives what an expression is there."""

    def __init__(self, to_browser: int, from_browser: int) -> None:
        self._to = to_browser
        self._from = os.fdopen(from_browser, "rb", closefd=False)
        self._numbers = itertools.count(1)
        self._session: str | None = None
        self._unread = b""
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        attached = self._call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]

    def go(self, url: str) -> None:
        """Begin to load a page."""
        self._call("Page.navigate", url=url)

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page; None where there is none."""
        answer = self._call("Runtime.evaluate", expression=expression, returnByValue=True)
        return answer.get("result", {}).get("value")

    def cookies(self) -> list[dict[str, Any]]:
        """The cookies that it would send to this page, HttpOnly ones too."""
        found: list[dict[str, Any]] = self._call("Network.getCookies")["cookies"]
        return found

    def _call(self, method: str, **params: Any) -> dict[str, Any]:
        number = next(self._numbers)
        message: dict[str, Any] = {"id": number, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = json.loads(self._next())
            if answer.get("id") == number:
                assert "error" not in answer, answer
                result: dict[str, Any] = answer["result"]
                return result

    def _next(self) -> bytes:
        while b"\0" not in self._unread:
            piece = self._from.read1(1 << 16)
            assert piece, "the browser has gone"
            self._unread += piece
        message, _, self._unread = self._unread.partition(b"\0")
        return message


@contextmanager
def browser(directory: Path) -> Iterator[Browser]:
    """A browser whose profile is in `directory`; ended at the end."""
    read_commands, write_commands = os.pipe()
    read_answers, write_answers = os.pipe()

    def arrange() -> None:
        high = [os.dup(read_commands), os.dup(write_answers)]
        os.dup2(high[0], _TO_BROWSER)
        os.dup2(high[1], _FROM_BROWSER)

    process = subprocess.Popen(
        [
            *(str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu"),
            *("--remote-debugging-pipe", f"--user-data-dir={directory}", "about:blank"),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        close_fds=False,
        preexec_fn=arrange,
    )
    try:
        yield Browser(write_commands, read_answers)
    finally:
        process.kill()
        process.wait()
        for fd in (read_commands, write_commands, read_answers, write_answers):
            with contextlib.suppress(OSError):
                os.close(fd)
