"""Data on standard output: every command that prints some says so when it cannot."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.rig.client import plain_client
from tests.rig.command import PROGRAM, Outcome, anonymous, shell
from tests.rig.fake_s3 import FakeS3

DESTINATION = '[destination.vault]\nbucket = "vault"\n'


@pytest.fixture
def fake() -> Iterator[FakeS3]:
    with FakeS3() as server:
        server.buckets.add("bkt")
        yield server


@pytest.fixture
def printed(fake: FakeS3, tmp_path: Path) -> Iterator[dict[str, str]]:
    """An environment in which each of the commands below has something to print."""
    client = plain_client(fake.endpoint_url)
    for number in range(3):
        client.create_multipart_upload(Bucket="bkt", Key=f"k{number}")
    client.close()
    config = tmp_path / "config.toml"
    config.write_text(DESTINATION)
    (tmp_path / "file").write_bytes(b"abc")
    yield {**anonymous(fake.endpoint_url), "STREAMTOS3_CONFIG": str(config)}


COMMANDS = {
    "the list": ["uploads", "list", "s3://bkt/"],
    "the list of destinations": ["destinations"],
    "the ETag": ["etag", "{file}"],
    "the help": ["help", "put"],
}
HELP = [["-h"], ["put", "-h"], ["uploads", "--help"], ["receipt", "show", "--help"]]


def run(line: str, what: str, tmp_path: Path, env: dict[str, str]) -> Outcome:
    words = [each.format(file=tmp_path / "file") for each in COMMANDS[what]]
    return shell(line, *words, env=env)


@pytest.mark.parametrize("what", COMMANDS)
@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('"$@" >/dev/full', "no space left on device"),
        ('"$@" >&-', "standard output is closed"),
    ],
)
def test_what_cannot_be_printed_is_status_11(
    what: str, line: str, reason: str, tmp_path: Path, printed: dict[str, str]
) -> None:
    """`destinations` once called a full disk a bug of ours, with status 1."""
    outcome = run(line, what, tmp_path, printed)
    assert (outcome.status, outcome.said("error")) == (11, [f"cannot print {what}: {reason}"])


@pytest.mark.parametrize("words", HELP, ids=" ".join)
def test_a_help_that_cannot_be_printed_is_status_11(words: list[str]) -> None:
    """By click alone a full disk was called a bug of ours, and a closed output was status 0."""
    outcome = shell('"$@" >/dev/full', *words)
    said = ["cannot print the help: no space left on device"]
    assert (outcome.status, outcome.said("error")) == (11, said)


@pytest.mark.parametrize("what", ["the list", "the list of destinations", "the help"])
def test_a_list_ends_quietly_where_its_reader_has_seen_enough(
    what: str, tmp_path: Path, printed: dict[str, str]
) -> None:
    read_fd, write_fd = os.pipe()
    os.close(read_fd)
    words = [*PROGRAM, *COMMANDS[what]]
    env = {**os.environ, **printed}
    done = subprocess.run(words, env=env, stdout=write_fd, stderr=subprocess.PIPE, timeout=60)
    os.close(write_fd)
    assert (done.returncode, done.stderr) == (141, b"")
