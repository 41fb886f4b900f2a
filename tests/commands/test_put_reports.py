"""What the program tells: receipts, the last line, progress, and nothing that is secret."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.rig.command import PROGRAM, Outcome, account, anonymous, invoke, run, shell
from tests.rig.fake_s3 import FakeS3, Quirks
from tests.rig.proxy import Fault, FaultProxy
from tests.rig.support import MIB, assert_nothing_left, object_exists, payload
from tests.rig.terminal import Terminal, screen

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from tests.rig.seaweed import SeaweedFS

FEW = b"few bytes"


@pytest.fixture
def admin(seaweed: SeaweedFS) -> dict[str, str]:
    return account(seaweed)


@pytest.fixture
def infile(tmp_path: Path) -> Path:
    path = tmp_path / "input"
    path.write_bytes(FEW)
    return path


# The last line


def test_the_last_line_says_what_where_how_fast_and_what_proved_it(
    infile: Path, bucket: str, admin: dict[str, str]
) -> None:
    outcome = invoke(infile, f"s3://{bucket}/k", env=admin)
    assert outcome.stdout == ""
    assert re.fullmatch(
        rf"streamtos3: stored 9 B as s3://{bucket}/k in \d+\.\d s \(\d+ B/s\), "
        rf"proved by md5-etag {hashlib.md5(FEW).hexdigest()}, "
        rf"sha256 {hashlib.sha256(FEW).hexdigest()}\n",
        outcome.stderr,
    )


def test_the_last_line_of_several_parts(tmp_path: Path, bucket: str, admin: dict[str, str]) -> None:
    (tmp_path / "input").write_bytes(payload(6 * MIB))
    outcome = invoke(tmp_path / "input", f"s3://{bucket}/k", "-c", "5MiB", env=admin)
    assert re.search(rf"stored 6 MiB as s3://{bucket}/k in 2 parts in ", outcome.stderr)
    assert re.search(r"proved by composite-etag [0-9a-f]{32}-2, sha256 ", outcome.stderr)


def test_quiet_says_nothing(infile: Path, bucket: str, admin: dict[str, str]) -> None:
    outcome = invoke("-q", infile, f"s3://{bucket}/k", env=admin)
    assert outcome == Outcome(0, "", "")


def test_quiet_still_says_errors(infile: Path) -> None:
    with FakeS3() as fake:
        outcome = invoke("-q", infile, "s3://bkt/k", env=anonymous(fake.endpoint_url))
    assert len(outcome.said("error")) == 1


def test_a_retry_is_said_in_one_line(infile: Path, bucket: str, seaweed: SeaweedFS) -> None:
    with FaultProxy(seaweed.endpoint_url) as proxy:
        proxy.faults = [Fault("put-object", "503")]
        env = account(seaweed) | {"AWS_ENDPOINT_URL": proxy.endpoint_url}
        loud = invoke(infile, f"s3://{bucket}/loud", "-s", "0.1", env=env)
        proxy.faults = [Fault("put-object", "503")]
        quiet = invoke(infile, f"s3://{bucket}/quiet", "-s", "0.1", "-q", env=env)
    assert loud.lines[0] == (
        f"streamtos3: cannot store s3://{bucket}/loud: by the proxy "
        "(SlowDown, HTTP 503); trying again in 0.1 s"
    )
    assert len(loud.lines) == 2
    assert quiet == Outcome(0, "", "")


# Receipts


def test_json_is_one_line_and_alone_on_standard_output(
    infile: Path, bucket: str, admin: dict[str, str]
) -> None:
    outcome = invoke(infile, f"s3://{bucket}/k", "--json", env=admin)
    assert outcome.stdout.endswith("}\n")
    assert outcome.stdout.count("\n") == 1
    assert json.loads(outcome.stdout)["digests"] == {"sha256": hashlib.sha256(FEW).hexdigest()}


def test_the_receipt_file_is_complete_and_readable_like_any_new_file(
    infile: Path, tmp_path: Path, bucket: str, admin: dict[str, str]
) -> None:
    before = set(os.listdir(tmp_path))
    words = (infile, f"s3://{bucket}/k", "--receipt", tmp_path / "receipt.json", "--json")
    outcome = run(*words, env=admin)
    receipt = json.loads((tmp_path / "receipt.json").read_text())
    assert receipt == json.loads(outcome.stdout)
    assert receipt["size_bytes"] == len(FEW)
    assert set(os.listdir(tmp_path)) - before == {"receipt.json"}
    umask = os.umask(0)
    os.umask(umask)
    assert (tmp_path / "receipt.json").stat().st_mode & 0o777 == 0o666 & ~umask


def test_a_receipt_behind_a_symbolic_link_is_written_where_the_link_points(
    infile: Path, tmp_path: Path, bucket: str, admin: dict[str, str]
) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "latest").symlink_to("far/receipt.json")
    invoke(infile, f"s3://{bucket}/k", "--receipt", tmp_path / "latest", env=admin)
    assert (tmp_path / "latest").is_symlink()
    assert json.loads((tmp_path / "far" / "receipt.json").read_text())["key"] == "k"


def test_a_failed_upload_leaves_an_older_receipt_alone(
    infile: Path, tmp_path: Path, s3: S3Client, bucket: str, admin: dict[str, str]
) -> None:
    (tmp_path / "receipt.json").write_text("older")
    words = ("--receipt", tmp_path / "receipt.json", "--min-size", "1k")
    outcome = invoke(infile, f"s3://{bucket}/k", *words, env=admin)
    assert outcome.status == 7
    assert (tmp_path / "receipt.json").read_text() == "older"
    assert sorted(os.listdir(tmp_path)) == ["input", "receipt.json"]
    assert_nothing_left(s3, bucket, "k")


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ('"$@" --json >&-', "cannot print the receipt: standard output is closed"),
        ('"$@" --json >/dev/full', "cannot print the receipt: no space left on device"),
    ],
)
def test_a_receipt_that_cannot_be_printed_is_status_11_and_the_object_stays(
    line: str, error: str, infile: Path, s3: S3Client, bucket: str, admin: dict[str, str]
) -> None:
    outcome = shell(line, infile, f"s3://{bucket}/k", env=admin)
    assert (outcome.status, outcome.said("error")) == (11, [error])
    assert outcome.said("left behind") == [f"s3://{bucket}/k, stored and proved"]
    assert object_exists(s3, bucket, "k")


def test_a_receipt_directory_that_vanishes_is_status_11_and_the_receipt_is_still_printed(
    infile: Path, tmp_path: Path, bucket: str, seaweed: SeaweedFS
) -> None:
    directory = tmp_path / "receipts"
    directory.mkdir()
    with FaultProxy(seaweed.endpoint_url) as proxy:
        proxy.faults = [Fault("put-object", "callback", callback=lambda _: directory.rmdir())]
        env = account(seaweed) | {"AWS_ENDPOINT_URL": proxy.endpoint_url}
        words = ("--receipt", directory / "r.json", "--json")
        outcome = invoke(infile, f"s3://{bucket}/k", *words, env=env)
    assert outcome.status == 11
    (error,) = outcome.said("error")
    assert error == f"cannot write the receipt to {directory}/r.json: no such file or directory"
    assert json.loads(outcome.stdout.splitlines()[0])["key"] == "k"


def test_closed_output_and_error_do_not_change_the_status(
    infile: Path, s3: S3Client, bucket: str, admin: dict[str, str]
) -> None:
    outcome = shell('"$@" >&- 2>&-', infile, f"s3://{bucket}/k", env=admin)
    assert outcome.status == 0
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == FEW


# No proof


@pytest.mark.parametrize("size_bytes", [9, 6 * MIB])
def test_no_proof_is_status_10_with_receipt_on_standard_output_only(
    size_bytes: int, tmp_path: Path
) -> None:
    (tmp_path / "input").write_bytes(payload(size_bytes))
    with FakeS3(Quirks(etag="opaque"), buckets=["bkt"]) as fake:
        words = ("-c", "5MiB", "--json", "--receipt", tmp_path / "receipt.json", "--verify", "etag")
        env = anonymous(fake.endpoint_url)
        outcome = invoke(tmp_path / "input", "s3://bkt/k", *words, env=env)
    assert outcome.status == 10
    (error,) = outcome.said("error")
    assert error.startswith(
        "s3://bkt/k is stored, but nothing that this endpoint answers proves it (ETag "
    )
    assert "mismatch" not in outcome.stderr
    assert outcome.said("left behind") == ["s3://bkt/k, unproved"]
    assert json.loads(outcome.stdout.splitlines()[0])["proof"] == {"parts": None, "object": None}
    assert os.listdir(tmp_path) == ["input"]


def test_no_proof_stays_status_10_where_the_receipt_cannot_be_printed(infile: Path) -> None:
    with FakeS3(Quirks(etag="opaque"), buckets=["bkt"]) as fake:
        words = (infile, "s3://bkt/k", "--json", "--verify", "etag")
        outcome = shell('"$@" >/dev/full', *words, env=anonymous(fake.endpoint_url))
    assert outcome.status == 10
    assert outcome.said("warning") == ["cannot print the receipt: no space left on device"]


# Secrets


SECRET = "hunter2SecretKey/AndMore+Of=It"
TOKEN = "hunter3SessionToken//Long=="
PASSWORD = "hunter4ProxyPassword"


@pytest.mark.parametrize("fault", [None, "access-denied", "503"])
def test_no_secret_is_ever_shown(fault: str | None, tmp_path: Path) -> None:
    """Not in the debug log, which botocore fills with all that it sends; not in the receipt."""
    keyfile = tmp_path / "keyfile"
    keyfile.write_text(f"AKEY:{SECRET}:{TOKEN}\n")
    keyfile.chmod(0o600)
    (tmp_path / "input").write_bytes(payload(6 * MIB))
    with FakeS3(buckets=["bkt"]) as fake, FaultProxy(fake.endpoint_url) as proxy:
        proxy.faults = [Fault("put-part", fault, part=2)] if fault else []
        host = proxy.endpoint_url.removeprefix("http://")
        words = ("-k", keyfile, "-d", "-c", "5MiB", "-s", "0.1", "-r", "1", "--json")
        with_proxy = ("--proxy", f"http://user:{PASSWORD}@{host}")
        outcome = run(
            tmp_path / "input",
            "s3://bkt/k",
            *words,
            *with_proxy,
            env={"AWS_ENDPOINT_URL": "http://s3.invalid", "AWS_DEFAULT_REGION": "us-east-1"},
        )
        sent = [seen.headers for seen in proxy.seen]
    assert outcome.status == {None: 0, "access-denied": 5, "503": 8}[fault], outcome
    assert "botocore" in outcome.stderr
    assert ("Traceback" in outcome.stderr) == (fault is not None)
    basic = base64.b64encode(f"user:{PASSWORD}".encode()).decode()
    assert any(headers.get("proxy-authorization") == f"Basic {basic}" for headers in sent)
    signatures = {headers["authorization"].rpartition("Signature=")[2] for headers in sent}
    assert {headers["x-amz-security-token"] for headers in sent} == {TOKEN}
    for secret in (SECRET, TOKEN, PASSWORD, basic, *signatures):
        assert secret not in outcome.stderr + outcome.stdout


def test_the_command_line_of_the_receipt_shows_no_password(infile: Path) -> None:
    with FakeS3(buckets=["bkt"]) as fake:
        host = fake.endpoint_url.removeprefix("http://")
        proxy = f"http://user:{PASSWORD}@{host}"
        words = (infile, "s3://bkt/k", "--proxy", proxy, f"--proxy=user:{PASSWORD}@{host}")
        outcome = invoke(*words, "--json", env=anonymous("http://s3.invalid"))
    assert outcome.status == 0, outcome
    assert json.loads(outcome.stdout)["command_line"][3:6] == [
        "--proxy",
        f"http://***@{host}",
        f"--proxy=***@{host}",
    ]


# Progress


def test_a_bar_shows_what_is_stored_and_is_gone_at_the_end(
    bucket: str, admin: dict[str, str]
) -> None:
    command = [*PROGRAM, f"s3://{bucket}/k", "-c", "5MiB", "--expect-size", "10MiB"]
    with Terminal() as terminal, terminal.start(command, admin) as process:
        assert process.stdin
        process.stdin.write(payload(5 * MIB + 1))
        process.stdin.flush()
        painted = terminal.wait_for("50%")
        assert "5.00M/10.0M" in painted
        assert "in flight" in painted
        process.stdin.write(bytes(5 * MIB - 1))
        process.stdin.close()
        painted += terminal.wait_for("sha256")
        assert process.wait(30) == 0
        painted += terminal.painted()
    lines = [line for line in screen(painted) if line]
    assert len(lines) == 1, lines
    assert lines[0].startswith(f"streamtos3: stored 10 MiB as s3://{bucket}/k in 2 parts")


def test_a_line_about_a_retry_is_written_above_the_bar(bucket: str, seaweed: SeaweedFS) -> None:
    with FaultProxy(seaweed.endpoint_url) as proxy:
        proxy.faults = [Fault("put-object", "503")]
        env = account(seaweed) | {"AWS_ENDPOINT_URL": proxy.endpoint_url}
        command = [*PROGRAM, f"s3://{bucket}/k", "-s", "0.1"]
        with Terminal() as terminal, terminal.start(command, env) as process:
            process.communicate(FEW, timeout=30)
            painted = terminal.painted()
    assert process.returncode == 0
    first, last = [line for line in screen(painted) if line]
    assert first.startswith("streamtos3: cannot store ")
    assert last.startswith("streamtos3: stored 9 B")


def test_an_error_is_all_that_is_left_of_the_bar(bucket: str, admin: dict[str, str]) -> None:
    command = [*PROGRAM, f"s3://{bucket}/k", "--min-size", "1k"]
    with Terminal() as terminal, terminal.start(command, admin) as process:
        process.communicate(FEW, timeout=30)
        painted = terminal.painted()
    assert process.returncode == 7
    lines = [line for line in screen(painted) if line]
    assert lines == [
        "streamtos3: error: the input ended after 9 bytes; at least 1024 were expected"
    ]


def test_a_terminal_that_goes_away_does_not_change_the_status(
    s3: S3Client, bucket: str, admin: dict[str, str]
) -> None:
    command = ["sh", "-c", 'trap "" HUP; exec "$@"', "sh", *PROGRAM, f"s3://{bucket}/k", "-c5MiB"]
    with Terminal() as terminal:
        process = terminal.start(command, admin)
        assert process.stdin
        process.stdin.write(payload(5 * MIB + 1))
        process.stdin.flush()
        terminal.wait_for("stored")
    with process:
        process.stdin.write(b"the rest")
        process.stdin.close()
        assert process.wait(30) == 0
    assert object_exists(s3, bucket, "k")


@pytest.mark.parametrize("words", [["-q"], ["--no-progress"]])
def test_no_bar_where_it_is_not_wanted(
    words: list[str], bucket: str, admin: dict[str, str]
) -> None:
    command = [*PROGRAM, f"s3://{bucket}/k", *words]
    with Terminal() as terminal, terminal.start(command, admin) as process:
        process.communicate(FEW, timeout=30)
        painted = terminal.painted()
    assert process.returncode == 0
    assert "\r" not in painted.replace("\r\n", "\n")
    assert painted.count("\n") == (0 if words == ["-q"] else 1)


def test_no_progress_where_standard_error_is_no_terminal(
    bucket: str, admin: dict[str, str], tmp_path: Path
) -> None:
    for word in ("--progress", "--no-progress"):
        outcome = run(f"s3://{bucket}/{word}", word, env=admin, stdin=FEW)
        assert (outcome.status, len(outcome.lines)) == (0, 1)
        assert "\r" not in outcome.stderr


def test_a_listener_at_the_other_end_that_hangs_up_changes_nothing(
    bucket: str, admin: dict[str, str]
) -> None:
    """Standard error is a pipe that nobody reads any more."""
    with subprocess.Popen(
        [*PROGRAM, f"s3://{bucket}/k", "--progress", "--equal-parts"],
        env=os.environ | admin,
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stderr
        process.stderr.close()
        process.communicate(FEW, timeout=30)
    assert process.returncode == 0
