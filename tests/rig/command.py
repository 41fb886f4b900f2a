"""The program as people run it: by click's runner in this process, or as a process of its own.

In this process is quicker; descriptors, signals, terminals and the exit need a real one.
"""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from click.testing import CliRunner

from streamtos3.cli import program

if TYPE_CHECKING:
    from tests.rig.seaweed import SeaweedFS

PROGRAM = [sys.executable, "-m", "streamtos3"]
# click 8.1 mixes both outputs unless told otherwise; 8.2 knows no such word.
_SEPARATE: dict[str, Any] = (
    {"mix_stderr": False} if "mix_stderr" in inspect.signature(CliRunner).parameters else {}
)


@dataclass(frozen=True)
class Outcome:
    """How the program ended, and what it said."""

    status: int
    stdout: str
    stderr: str

    @property
    def lines(self) -> list[str]:
        return self.stderr.splitlines()

    def said(self, kind: str) -> list[str]:
        """The texts of the lines `streamtos3: KIND: TEXT`."""
        prefix = f"streamtos3: {kind}: "
        return [line.removeprefix(prefix) for line in self.lines if line.startswith(prefix)]


def invoke(*words: object, env: Mapping[str, str] | None = None) -> Outcome:
    """Run in this process; standard input must not be needed."""
    arguments = [str(word) for word in words]
    runner = CliRunner(**_SEPARATE)
    result = runner.invoke(program, arguments, env=env, prog_name="streamtos3")
    return Outcome(result.exit_code, result.stdout, result.stderr)


def run(*words: object, env: Mapping[str, str] | None = None, stdin: bytes = b"") -> Outcome:
    """Run as a process that reads `stdin` from a pipe."""
    command = [*PROGRAM, *(str(word) for word in words)]
    done = subprocess.run(
        command, input=stdin, env={**os.environ, **(env or {})}, capture_output=True, timeout=60
    )
    return Outcome(done.returncode, done.stdout.decode(), done.stderr.decode())


def shell(line: str, *words: object, env: Mapping[str, str] | None = None) -> Outcome:
    """Run a shell line in which `"$@"` is the program with `words`."""
    command = ["sh", "-c", line, "sh", *PROGRAM, *(str(word) for word in words)]
    done = subprocess.run(
        command, env={**os.environ, **(env or {})}, capture_output=True, text=True, timeout=60
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


def account(server: SeaweedFS, who: str = "admin") -> dict[str, str]:
    """The environment in which boto3's chain finds the server and one of its accounts."""
    prefix = "" if who == "admin" else f"{who}_"
    return {
        "AWS_ENDPOINT_URL": server.endpoint_url,
        "AWS_ACCESS_KEY_ID": getattr(server, f"{prefix}access_key"),
        "AWS_SECRET_ACCESS_KEY": getattr(server, f"{prefix}secret_key"),
        "AWS_DEFAULT_REGION": "us-east-1",
    }


def anonymous(endpoint_url: str) -> dict[str, str]:
    """The environment for a server that takes any keys."""
    return {
        "AWS_ENDPOINT_URL": endpoint_url,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }


def assert_refused(outcome: Outcome, status: int, error: str, hint: str | None = None) -> None:
    """It ended with `status`, one line that says `error`, at most one hint, and nothing else.

    With --json the error is on standard output, too.
    """
    assert outcome.status == status, outcome
    assert not outcome.stdout or list(json.loads(outcome.stdout)) == ["error"], outcome
    errors, hints = outcome.said("error"), outcome.said("hint")
    assert len(errors) == 1, outcome
    assert error in errors[0], outcome
    assert not errors[0].endswith("."), outcome
    assert errors[0][:1].upper() != errors[0][:1] or not errors[0][:1].isalpha(), outcome
    assert len(hints) <= 1, outcome
    assert hint is None or hint in "".join(hints), outcome
    assert all(line.startswith("streamtos3: ") for line in outcome.lines), outcome
