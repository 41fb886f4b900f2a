"""Senders who hold connections leave descriptors for the spool and the uploads."""

from __future__ import annotations

import resource
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from streamtos3.runtime.host import Descriptors, raise_limit
from tests.rig.receiver_rig import WAIT_S, received

# Serves, and on each line of its standard input opens 200 files, and says whether it could.
PROGRAM = """
import os, resource, sys, threading
resource.setrlimit(resource.RLIMIT_NOFILE, (SOFT, HARD))
from streamtos3.receiver.batcher import IntakeLimits
from streamtos3.runtime.cancel import CancelScope
from streamtos3.receiver.server import Address, serve
from tests.rig.receiver_rig import ListRecipient
scope = CancelScope()
def told():
    for line in sys.stdin:
        try:
            files = [os.open(os.devnull, os.O_RDONLY) for _ in range(200)]
        except OSError as error:
            print(error, flush=True)
        else:
            list(map(os.close, files))
            print("room", flush=True)
    scope.fail(RuntimeError("end"))
def listening(url):
    print(url, *resource.getrlimit(resource.RLIMIT_NOFILE), flush=True)
    threading.Thread(target=told, daemon=True).start()
serve(ListRecipient(), address=Address("127.0.0.1", 0), scope=scope,
      limits=IntakeLimits(head_timeout_s=60, grace_s=1), on_listening=listening)
"""


class Server:
    """The program above."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        url, soft, hard = self._line().split()
        self.port = int(url.rpartition(":")[2])
        self.limits = int(soft), int(hard)

    def opens_files(self) -> str:
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return self._line().strip()

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=WAIT_S)

    def health(self) -> bytes:
        with self.connect() as connection:
            connection.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
            try:
                return received(connection)
            except ConnectionResetError:
                return b""

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()


@contextmanager
def server(soft: int, hard: int) -> Iterator[Server]:
    program = PROGRAM.replace("SOFT", str(soft)).replace("HARD", str(hard))
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield Server(process)
            process.communicate(timeout=WAIT_S)
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("soft", "hard", "asked", "found"),
    [
        (1024, 4096, 4096, 4096),
        (1024, resource.RLIM_INFINITY, 65536, 65536),
        (1024, 1 << 20, 65536, 65536),
        (1 << 20, 1 << 20, None, 1 << 20),
        (resource.RLIM_INFINITY, resource.RLIM_INFINITY, None, 65536),
    ],
)
def test_a_limit_is_never_lowered(
    soft: int, hard: int, asked: int | None, found: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_to: list[int] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda _, both: set_to.append(both[0]))
    assert raise_limit() == Descriptors(found)
    assert set_to == ([] if asked is None else [asked])


def test_a_limit_that_may_not_be_raised_is_kept_to(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbid(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(resource, "getrlimit", lambda _: (100, 200))
    monkeypatch.setattr(resource, "setrlimit", forbid)
    assert (raise_limit(), raise_limit().for_senders) == (Descriptors(100), 50)
