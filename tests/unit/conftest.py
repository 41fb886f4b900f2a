"""What makes a test a unit test: it starts no server and no process."""

from __future__ import annotations

import socket
import subprocess
from typing import Any, NoReturn

import pytest


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail a test that listens or starts a program: it belongs into servers/ or commands/."""

    def refuse(*_: Any, **__: Any) -> NoReturn:
        raise AssertionError("a unit test starts no server and no process")

    monkeypatch.setattr(subprocess.Popen, "__init__", refuse)
    monkeypatch.setattr(socket.socket, "listen", refuse)
