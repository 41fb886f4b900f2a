"""Senders who hold connections leave descriptors for the spool and the uploads."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from tests.rig.receiver_rig import WAIT_S, received

# Serves, and on each line of its standard input opens 200 files, and says whether it could.
PROGRAM = """
import os, resource, sys, threading
resource.setrlimit(resource.RLIMIT_NOFILE, (SOFT, HARD))
from streamtos3.receiver.batcher import ReceiverLimits
from streamtos3.runtime.cancel import CancelScope
from streamtos3.receiver.server import Address, serve
from tests.rig.receiver_rig import ListStore
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
serve(ListStore(), address=Address("127.0.0.1", 0), scope=scope,
      limits=ReceiverLimits(head_timeout_s=60, grace_s=1), on_listening=listening)
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


def test_silent_connections_leave_room_for_storing() -> None:
    with server(450, 450) as serving, ExitStack() as held:
        assert serving.limits == (450, 450)
        for _ in range(600):
            held.enter_context(serving.connect())
        assert serving.opens_files() == "room"
        assert b"200 OK" not in serving.health()
        held.close()
        while b"200 OK" not in serving.health():
            pass


def test_the_limit_is_raised_where_that_is_allowed() -> None:
    with server(300, 2000) as serving:
        assert serving.limits == (2000, 2000)
        assert b"200 OK" in serving.health()
