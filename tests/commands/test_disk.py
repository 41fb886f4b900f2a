"""Invariant 2: nothing is written to the local disk but what the user named."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.rig.command import PROGRAM, anonymous
from tests.rig.fake_s3 import FakeS3
from tests.rig.support import MIB, payload
from tests.rig.terminal import Terminal

STRACE = shutil.which("strace")
# Of a line like: 123 openat(AT_FDCWD, "/tmp/x", O_WRONLY|O_CREAT|O_CLOEXEC, 0600) = 3
_OPENED = re.compile(r'open(?:at)?\((?:[^"]*)"([^"]*)", ([A-Z_|]+)')
_CHANGED = re.compile(
    r"\b(creat|mkdir|mkdirat|mknod|mknodat|link|linkat|symlink|symlinkat|rename"
    r"|renameat|renameat2|unlink|unlinkat|truncate)\((.*)"
)
_WRITES = ("O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC", "O_TMPFILE")
_CALLS = (
    "trace=open,openat,creat,mkdir,mkdirat,mknod,mknodat,link,linkat,symlink,symlinkat"
    ",rename,renameat,renameat2,unlink,unlinkat,truncate"
)


def can_trace() -> bool:
    """strace may be there and yet not be allowed to trace, as in many containers."""
    if STRACE is None:
        return False
    return subprocess.run([STRACE, "-o", os.devnull, "true"], capture_output=True).returncode == 0


pytestmark = pytest.mark.skipif(not can_trace(), reason="strace is missing or may not trace")


@pytest.fixture
def fake() -> Iterator[FakeS3]:
    with FakeS3(buckets=["bucket"]) as fake:
        yield fake


def traced(log: Path, *words: object) -> list[str]:
    """The program under strace, with all its threads and children."""
    assert STRACE
    command = [*PROGRAM, *(str(word) for word in words)]
    return [STRACE, "-f", "-qq", "-e", _CALLS, "-e", "signal=none", "-o", str(log), *command]


def written(log: Path) -> list[str]:
    """What was opened for writing, created, renamed or removed; devices do not count."""
    found = []
    for line in log.read_text().splitlines():
        opened, changed = _OPENED.search(line), _CHANGED.search(line)
        if opened and any(flag in opened[2] for flag in _WRITES):
            found.append(opened[1])
        elif changed:
            found.append(f"{changed[1]}({changed[2]}")
    devices = ("/dev/null", "/dev/tty", "/dev/pts/")
    return [each for each in found if not each.startswith(devices)]


def bare(fake: FakeS3) -> dict[str, str]:
    """The environment, without the switch that would keep any Python from leaving byte code."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, **anonymous(fake.endpoint_url)}


@pytest.fixture(scope="module", autouse=True)
def byte_code() -> None:
    """In a fresh checkout, that of the modules which are imported before `main`."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    subprocess.run([*PROGRAM, "--version"], env=kept, check=True, capture_output=True)


def test_put_from_a_pipe_writes_nothing(fake: FakeS3, tmp_path: Path) -> None:
    """From a fresh copy: only what is imported before `main` may leave byte code, at first.

    An installed package has all of its own from the installation.
    """
    package = shutil.copytree(
        Path(__file__).parents[2] / "streamtos3",
        tmp_path / "code" / "streamtos3",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    env = bare(fake) | {"PYTHONPATH": str(package.parent)}
    subprocess.run([*PROGRAM, "--version"], env=env, cwd=tmp_path, check=True, capture_output=True)
    compiled = {path.name.partition(".")[0] for path in package.rglob("*.pyc")}
    assert "__main__" in compiled
    assert not compiled & {"engine", "put", "store", "progress"}
    done = subprocess.run(
        traced(tmp_path / "log", "s3://bucket/k", "-c", "5MiB", "--json"),
        env=env,
        cwd=tmp_path,
        input=payload(11 * MIB),
        capture_output=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert fake.objects["bucket", "k"].body == payload(11 * MIB)
    assert written(tmp_path / "log") == []
    assert sorted(os.listdir(tmp_path)) == ["code", "log"]


@pytest.mark.slow
def test_put_with_a_bar_writes_nothing(fake: FakeS3, tmp_path: Path) -> None:
    """tqdm's own lock would make a semaphore file."""
    command = traced(tmp_path / "log", "s3://bucket/k", "-c", "5MiB")
    with Terminal() as terminal, terminal.start(command, anonymous(fake.endpoint_url)) as process:
        process.communicate(payload(6 * MIB), timeout=60)
        assert "\r" in terminal.painted()
    assert process.returncode == 0
    assert written(tmp_path / "log") == []


def test_put_with_a_receipt_writes_that_and_nothing_else(fake: FakeS3, tmp_path: Path) -> None:
    (tmp_path / "input").write_bytes(b"few bytes")
    receipt = tmp_path / "receipt.json"
    words = traced(tmp_path / "log", tmp_path / "input", "s3://bucket/k", "--receipt", receipt)
    done = subprocess.run(words, env=bare(fake), capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    opened, renamed = written(tmp_path / "log")
    assert re.fullmatch(re.escape(f"{tmp_path}/.streamtos3-") + r"\w+", opened)
    assert renamed.startswith(f'rename("{opened}", "{receipt}")')


@pytest.mark.slow
def test_a_failed_put_does_not_touch_the_receipt(fake: FakeS3, tmp_path: Path) -> None:
    words = traced(tmp_path / "log", "s3://bucket/k", "--min-size", "1", "--receipt", "receipt")
    done = subprocess.run(words, env=bare(fake), input=b"", capture_output=True, timeout=60)
    assert done.returncode == 7, done.stderr
    assert written(tmp_path / "log") == []
