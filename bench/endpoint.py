"""The discarding S3 endpoint as a program: `python -m bench.endpoint`, see `--help`.

One process for each connection, because threads that decrypt would fight for the interpreter's
lock; small files in a temporary directory are what the processes share.
"""

from __future__ import annotations

import argparse
import os
import resource
import signal
import socket
import ssl
import sys
import tempfile
import threading
from pathlib import Path
from types import FrameType

from .service import Service
from .wire import Closed, Wire

__all__ = ["main"]

MIB = 1 << 20


def _tls_context(certificate: str | None) -> ssl.SSLContext | None:
    if certificate is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


def _reap() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            pass
    except ChildProcessError:
        return


def _serve_for_ever(listener: socket.socket, root: Path, how: argparse.Namespace) -> None:
    tls = _tls_context(how.certificate)
    bytes_per_s = how.mib_per_s * MIB if how.mib_per_s else None
    if bytes_per_s:
        # A large receive buffer would take in half a part at once, which no far-away link does.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, MIB // 4)
    while True:
        connection, _ = listener.accept()
        _reap()
        if os.fork():
            connection.close()
            continue
        listener.close()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        status = 0
        try:
            wire = Wire(connection, tls, bytes_per_s)
            Service(wire, root, how.latency_ms / 1000, hashes=how.hash).serve()
        except (Closed, ConnectionError):
            pass
        except BaseException as error:  # noqa: BLE001 - a child must never return to the loop
            print(f"endpoint: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
            status = 1
        os._exit(status)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.endpoint", description=__doc__)
    parser.add_argument("--certificate", metavar="PEM", help="speak TLS; certificate and key")
    parser.add_argument("--latency-ms", type=float, default=0, help="before every answer")
    parser.add_argument("--mib-per-s", type=float, default=0, help="of every connection")
    parser.add_argument("--hash", action="store_true", help="check and compute all MD5s")
    return parser.parse_args()


def _stop(signum: int, frame: FrameType | None) -> None:
    raise SystemExit(0)


def _watch_parent() -> None:
    """Stop when standard input ends: whoever started this is gone."""
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGTERM)


def main() -> None:
    """Print the port, serve until SIGTERM or the end of standard input.

    The last line is the processor time that serving took, in seconds.
    """
    how = _parse()
    signal.signal(signal.SIGTERM, _stop)
    threading.Thread(target=_watch_parent, daemon=True).start()
    os.setpgid(0, 0)
    with (
        tempfile.TemporaryDirectory(prefix="streamtos3-endpoint.") as root,
        socket.create_server(("127.0.0.1", 0), backlog=256) as listener,
    ):
        for name in ("objects", "uploads"):
            (Path(root) / name).mkdir()
        print(listener.getsockname()[1], flush=True)
        try:
            _serve_for_ever(listener, Path(root), how)
        finally:
            if os.getpgrp() == os.getpid():
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
                os.killpg(0, signal.SIGTERM)
                while True:
                    try:
                        os.wait()
                    except ChildProcessError:
                        break
                usage = [
                    resource.getrusage(who)
                    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
                ]
                print(sum(each.ru_utime + each.ru_stime for each in usage), flush=True)


if __name__ == "__main__":
    main()
