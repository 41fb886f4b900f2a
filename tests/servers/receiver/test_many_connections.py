"""Ten thousand connections that want nothing: what they cost, with TLS and without."""

from __future__ import annotations

import resource
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.rig.receiver_rig import WAIT_S
from tests.rig.tls import new_certificate

CONNECTIONS = 10_000
LIMIT_KIB = 150 * 1024
HEAD = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n"
# The beginning of a ClientHello that says that it has 512 bytes.
HELLO = bytes.fromhex("160301020001000200fc0303")

# Serves until its standard input ends.
PROGRAM = """
import sys, threading
from streamtos3.receiver.batcher import ReceiverLimits
from streamtos3.runtime.cancel import CancelScope
from streamtos3.receiver.server import Address, TlsFiles, serve
from tests.rig.receiver_rig import ListStore
scope = CancelScope()
def told():
    sys.stdin.read()
    scope.fail(RuntimeError("end"))
threading.Thread(target=told, daemon=True).start()
tls = TlsFiles(sys.argv[1]) if sys.argv[1:] else None
serve(ListStore(), address=Address("127.0.0.1", 0), scope=scope, tls=tls,
      limits=ReceiverLimits(grace_s=1), on_listening=lambda url: print(url, flush=True))
"""


class Server:
    """The program above."""

    def __init__(self, process: subprocess.Popen[str], certificate: Path | None) -> None:
        self._process = process
        assert process.stdout is not None
        self._port = int(process.stdout.readline().rpartition(":")[2])
        self._certificate = certificate
        self.held: list[socket.socket] = []

    @property
    def peak_kib(self) -> int:
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0])

    def connect(self) -> socket.socket:
        self.held.append(socket.create_connection(("127.0.0.1", self._port), timeout=WAIT_S))
        return self.held[-1]

    def secured(self) -> socket.socket:
        """A connection on which requests can be sent."""
        if self._certificate is None:
            return self.connect()
        context = ssl.create_default_context(cafile=str(self._certificate))
        self.held.append(context.wrap_socket(self.connect(), server_hostname="127.0.0.1"))
        return self.held[-1]

    def is_healthy(self) -> bool:
        with suppress(OSError), self.secured() as connection:
            connection.sendall(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
            return connection.recv(4096).startswith(b"HTTP/1.1 200")
        return False


@contextmanager
def server(certificate: Path | None) -> Iterator[Server]:
    words = [sys.executable, "-c", PROGRAM, *([str(certificate)] if certificate else [])]
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield Server(process, certificate)
            process.communicate(timeout=WAIT_S)
        finally:
            process.kill()


def silent(serving: Server) -> socket.socket:
    return serving.connect()


def half_open(serving: Server) -> socket.socket:
    connection = serving.connect()
    connection.sendall(HELLO if serving._certificate else b"POST / HT")
    return connection


def slow(serving: Server) -> socket.socket:
    """A head without end, as long as one may be."""
    connection = serving.secured()
    connection.sendall(HEAD + b"x: " + b"y" * 15_000)
    return connection


def idle(serving: Server) -> socket.socket:
    """One request, its answer, and nothing more."""
    connection = serving.secured()
    connection.sendall(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
    connection.recv(4096)
    return connection


@pytest.fixture
def _many_descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < CONNECTIONS + 500:
        pytest.skip(f"a process may have {hard} files open, and no more")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, CONNECTIONS + 500), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.slow
@pytest.mark.usefixtures("_many_descriptors")
@pytest.mark.parametrize("kinds", [[silent, half_open, slow, idle], [idle]], ids=["mixed", "idle"])
@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
def test_ten_thousand_connections_cost_little(
    secure: bool, kinds: list[Callable[[Server], socket.socket]], tmp_path: Path
) -> None:
    certificate = new_certificate(tmp_path) if secure else None
    with server(certificate) as serving:
        assert serving.is_healthy()
        try:
            for number in range(CONNECTIONS):
                with suppress(OSError):  # those that are too many are closed at once
                    kinds[number % len(kinds)](serving)
            peak_kib = serving.peak_kib
        finally:
            for connection in serving.held:
                connection.close()
        print(f"{peak_kib / 1024:.0f} MiB at most")
        assert peak_kib < LIMIT_KIB
        while not serving.is_healthy():
            pass
