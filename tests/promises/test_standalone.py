"""The folder that `make standalone` builds, on a machine that has a C library and nothing else."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import pytest

from streamtos3._version import __version__
from streamtos3.receipts.file import write_receipt
from tests.commands.test_disk import STRACE, written
from tests.rig.made_receipts import receipt_of
from tests.rig.seaweed import SeaweedFS, free_ports
from tests.rig.support import MIB, payload, s3_client

ROOT = Path(__file__).parents[2]
LARGEST_BYTES = 60 * MIB
INSIDE = Path("/media/streamtos3")
DEVICES = ("null", "urandom")
# What a program may be linked to of the C library, as Debian's package libc6 has it.
C_LIBRARY = re.compile(r"lib(c|dl|m|pthread|rt|util|resolv)\.so\.\d+")
CALLS = (
    "trace=open,openat,creat,mkdir,mkdirat,mknod,mknodat,link,linkat,symlink,symlinkat"
    ",rename,renameat,renameat2,unlink,unlinkat,truncate"
)
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]  # the folder is built first

# A mount namespace of its own, so that nothing has to be unmounted afterwards.
ENTER = """
set -e
root=$1 folder=$2; shift 2
mount --bind "$root" "$root"
mount --bind "$folder" "$root/media/streamtos3"
for device in null urandom; do mount --bind "/dev/$device" "$root/dev/$device"; done
mount --bind /proc "$root/proc"
mount -o remount,bind,ro "$root/media/streamtos3"
mount -o remount,bind,ro "$root"
exec "$@"
"""


@dataclass(frozen=True)
class Machine:
    """A root directory, read-only while a program runs in it, and the folder mounted there."""

    root: Path
    folder: Path
    log: Path
    env: dict[str, str]

    def run(self, *words: object, data: bytes = b"") -> bytes:
        """What the program prints; nothing was opened for writing, and its status is 0."""
        assert STRACE
        done = subprocess.run(
            [
                *("unshare", "--mount", "sh", "-c", ENTER, "sh", self.root, self.folder),
                *(STRACE, "-f", "-qq", "-e", CALLS, "-e", "signal=none", "-o", self.log),
                *("chroot", self.root, INSIDE / "streamtos3"),
                *map(str, words),
            ],
            input=data,
            capture_output=True,
            env={"PATH": os.environ["PATH"], **self.env},
        )
        assert done.returncode == 0, done.stderr.decode()
        assert written(self.log) == []
        return done.stdout


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder, made anew by the first of the workers that needs it."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    with (shared / "standalone").open("a+") as made:
        fcntl.flock(made, fcntl.LOCK_EX)
        if made.tell() == 0:
            make = ["make", "standalone", f"PYTHON={sys.executable}"]
            done = subprocess.run(make, cwd=ROOT, capture_output=True, text=True)
            assert done.returncode == 0, done.stdout + done.stderr
            made.write("made")
    (found,) = (ROOT / "dist").glob(f"streamtos3-{__version__}-linux-*")
    return found


@pytest.fixture
def machine(folder: Path, tmp_path: Path, seaweed: SeaweedFS) -> Machine:
    can = subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False)
    if STRACE is None or can.returncode:
        pytest.skip("strace is missing, or there may be no mount namespace")
    root = tmp_path / "root"
    for name in ("media/streamtos3", "dev", "proc"):
        (root / name).mkdir(parents=True)
    for name in DEVICES:
        (root / "dev" / name).touch()
    for path in c_library(folder / "streamtos3"):
        copy = root / path.relative_to("/")
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    env = {
        "AWS_ACCESS_KEY_ID": seaweed.access_key,
        "AWS_SECRET_ACCESS_KEY": seaweed.secret_key,
        "AWS_ENDPOINT_URL": seaweed.endpoint_url,
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    return Machine(root, folder, tmp_path / "strace.log", env)


def c_library(program: Path) -> set[Path]:
    """The loader that `program` names, and the libraries beside its libc."""
    listed = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    libc = re.search(r"libc\.so\.\d+ => (\S+)", listed)
    loader = re.search(r"^\s*(/\S+) \(", listed, re.MULTILINE)
    assert libc
    assert loader
    beside = Path(libc[1]).parent.iterdir()
    return {Path(loader[1])} | {path for path in beside if C_LIBRARY.fullmatch(path.name)}


def test_the_folder_is_whole_and_small(folder: Path) -> None:
    """Each file is in its checksums, and what it says about itself is what is installed."""
    lines = (folder / "SHA256SUMS").read_text().splitlines()
    sums = {name: digest for digest, name in (line.split("  ", 1) for line in lines)}
    files = {path for path in folder.rglob("*") if path.is_file()}
    assert {str(path.relative_to(folder)) for path in files} == {*sums, "SHA256SUMS"}
    for name, expected in sums.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == expected
    assert sum(path.stat().st_size for path in files) <= LARGEST_BYTES


def test_it_needs_no_more_than_the_c_library_and_writes_nothing(
    machine: Machine, seaweed: SeaweedFS, bucket: str
) -> None:
    data = payload(20 * MIB)
    address = f"s3://{bucket}/image"
    machine.run(address, "--checksum", "crc64nvme", data=data)
    assert stored(seaweed, bucket, "image") == data
    assert machine.run("get", address, "-") == data
    machine.run("verify", address, "-", data=data)
    machine.run("run", f"s3://{bucket}/run", "--", INSIDE / "streamtos3", "--version")
    assert stored(seaweed, bucket, "run").startswith(b"streamtos3 ")
    machine.run("publish", "--archive", "--compress", "zstd", "/lib", f"s3://{bucket}/archive")
    machine.run("sink", f"s3://{bucket}/records/", data=b"one\ntwo\n")


def test_a_producer_has_its_own_environment(
    folder: Path, machine: Machine, seaweed: SeaweedFS, bucket: str
) -> None:
    """And not the search path of the libraries in the folder."""
    env = {"PATH": os.defpath, "LD_LIBRARY_PATH": "/its/own", **machine.env}
    program = folder / "streamtos3"
    subprocess.run([program, "run", f"s3://{bucket}/env", "--", "env"], env=env, check=True)
    seen = stored(seaweed, bucket, "env").decode()
    assert dict(line.split("=", 1) for line in seen.splitlines()) == env


def test_it_makes_a_report(folder: Path, tmp_path: Path) -> None:
    write_receipt(receipt_of([10, 3]), str(tmp_path / "r.json"))
    page = tmp_path / "page.html"
    words = ("receipt", "report", tmp_path / "r.json", "-o", page)
    subprocess.run([folder / "streamtos3", *map(str, words)], check=True)
    assert "Case 2026-117" in page.read_text(encoding="utf-8")
    assert (folder / "licenses" / "Jinja2-LICENSE.txt").exists()


def test_it_listens(folder: Path, machine: Machine, bucket: str, tmp_path: Path) -> None:
    (port,) = free_ports(1)
    words = ("--listen", f"127.0.0.1:{port}", "--spool", tmp_path / "spool")
    with subprocess.Popen(
        [folder / "streamtos3", "sink", *words, f"s3://{bucket}/events/"],
        env={"PATH": os.defpath, **machine.env},
        stdin=subprocess.DEVNULL,
    ) as program:
        try:
            deadline_s = time.monotonic() + 60
            while not answers(f"http://127.0.0.1:{port}/healthz"):
                assert program.poll() is None
                assert time.monotonic() < deadline_s
                time.sleep(0.05)
        finally:
            program.send_signal(signal.SIGTERM)
    assert program.returncode == 0


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, ConnectionError):
        return False


def stored(seaweed: SeaweedFS, bucket: str, key: str) -> bytes:
    client = s3_client(seaweed.endpoint_url, seaweed.access_key, seaweed.secret_key)
    return client.get_object(Bucket=bucket, Key=key)["Body"].read()
