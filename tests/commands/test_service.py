"""As a service: what systemd is told, the journal's priorities, and the units in contrib/."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from streamtos3.cli.service import ServiceNotifier
from tests.rig.command import account
from tests.rig.process import Running
from tests.rig.seaweed import SeaweedFS

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

UNITS = Path(__file__).parents[2] / "contrib" / "systemd"


class Manager:
    """A socket that is told what a service manager is told."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.settimeout(60)
        self._socket.bind(str(path))

    def hear(self, wanted: str) -> str:
        """The first message that begins so; others before it are left out."""
        while True:
            said = self._socket.recv(4096).decode()
            if said.startswith(wanted):
                return said

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    manager = Manager(tmp_path / "notify")
    yield manager
    manager.close()


def test_a_sink_that_reads_says_when_it_is_ready_alive_and_ending(
    seaweed: SeaweedFS, s3: S3Client, bucket: str, manager: Manager
) -> None:
    env = {**account(seaweed), "NOTIFY_SOCKET": str(manager.path), "WATCHDOG_USEC": "400000"}
    with Running("sink", f"s3://{bucket}/p", env=env) as program:
        assert manager.hear("READY=1") == "READY=1\nSTATUS=reading standard input"
        program.write(b"one\n")
        for _ in range(3):
            manager.hear("WATCHDOG=1")
        program.send(signal.SIGTERM)
        assert "storing" in manager.hear("STOPPING=1")
        assert program.wait() == 0
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 1


def test_a_sink_that_listens_is_ready_when_it_does(
    seaweed: SeaweedFS, bucket: str, manager: Manager, tmp_path: Path
) -> None:
    words = ("sink", "--listen", "127.0.0.1:0", "--spool", tmp_path / "spool", f"s3://{bucket}/p")
    env = {**account(seaweed), "NOTIFY_SOCKET": str(manager.path)}
    with Running(*words, env=env) as program:
        said = manager.hear("READY=1")
        assert re.search(r"^STATUS=listening on http://127\.0\.0\.1:\d+$", said, re.MULTILINE)
        program.send(signal.SIGTERM)
        assert program.wait() == 0


def test_the_variables_are_not_handed_on_and_another_process_is_not_watched() -> None:
    environ = {"NOTIFY_SOCKET": "/nowhere", "WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"}
    manager = ServiceNotifier(environ)
    assert environ == {}
    manager.ready("to nobody")  # a manager that is gone changes nothing
    with manager.watched(lambda _: pytest.fail("watched")):
        pass


def test_a_sink_that_does_not_respond_says_nothing(manager: Manager) -> None:
    environ = {"NOTIFY_SOCKET": str(manager.path), "WATCHDOG_USEC": "20000"}
    answers = iter([True, False, False, True])
    with ServiceNotifier(environ).watched(lambda _: next(answers, True)):
        manager.hear("WATCHDOG=1")
        manager.hear("WATCHDOG=1")
    assert next(answers, None) is None  # so the two that failed lie between them


@pytest.mark.parametrize("is_journal", [True, False])
def test_lines_have_priorities_where_the_journal_hears_them(
    is_journal: bool, tmp_path: Path
) -> None:
    heard = tmp_path / "journal"
    with heard.open("wb") as stream:
        found = os.fstat(stream.fileno())
        named = f"{found.st_dev}:{found.st_ino + (not is_journal)}"
        subprocess.run(
            [sys.executable, "-m", "streamtos3", "nowhere"],
            stdin=subprocess.DEVNULL,
            stderr=stream,
            env={**os.environ, "JOURNAL_STREAM": named},
            timeout=60,
        )
    error, hint = heard.read_text().splitlines()
    assert error.startswith("<3>streamtos3: error: " if is_journal else "streamtos3: error: ")
    assert hint.startswith("<5>streamtos3: hint: " if is_journal else "streamtos3: hint: ")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze")
def test_systemd_finds_nothing_wrong_with_the_units(tmp_path: Path) -> None:
    for path in UNITS.iterdir():
        text = path.read_text(encoding="utf-8")
        # It looks whether the program is there, and the tests do not install one.
        (tmp_path / path.name).write_text(text.replace("/usr/local/bin/streamtos3", "/bin/true"))
    units = sorted(str(path) for path in tmp_path.iterdir())
    assert len(units) == 6
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *units],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
    )
    wrong = [line for line in done.stdout.splitlines() if str(tmp_path) in line]
    assert (wrong, done.returncode) == ([], 0), done.stdout


def test_a_call_that_a_unit_forbids_is_refused_and_kills_nobody() -> None:
    """Libraries try some that they can do without, as libnuma does set_mempolicy."""
    filtered = [
        text for each in UNITS.iterdir() if "SystemCallFilter=" in (text := each.read_text())
    ]
    assert len(filtered) == 2
    assert all("\nSystemCallErrorNumber=EPERM\n" in text for text in filtered)


def test_the_commands_of_the_units_are_ours() -> None:
    """Each option is one of the command's, as `--help` lists them."""
    from tests.project.commands_page import commands

    known = dict(commands())
    seen = 0
    for path in UNITS.glob("*.service"):
        joined = path.read_text(encoding="utf-8").replace("\\\n", " ")
        for line in re.findall(r"^ExecStart=/usr/local/bin/streamtos3 (.*)", joined, re.MULTILINE):
            words = line.partition(" -- ")[0].split()
            name = ("uploads", "abort") if words[0] == "uploads" else (words[0],)
            options = {each for param in known[name].params for each in param.opts}
            assert {word for word in words if word.startswith("--")} <= options
            seen += 1
    assert seen == 3
