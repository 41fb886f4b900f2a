"""What an acquisition leaves for those who ask later: its log, and the receipt as an object."""

from __future__ import annotations

import hashlib
import json
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.rig.command import Outcome, account, anonymous, assert_refused, invoke, run
from tests.rig.fake_s3 import FakeS3, Quirks
from tests.rig.process import Running, wait_until
from tests.rig.proxy import Fault, FaultProxy
from tests.rig.support import unless_root

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from tests.rig.seaweed import SeaweedFS

DATA = b"all that was on the disk"
SHA256 = hashlib.sha256(DATA).hexdigest()
MD5 = hashlib.md5(DATA).hexdigest()
STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ ")
CASE = ("--case", "42/7", "--evidence", "E-1", "--examiner", "Zoë Ångström", "--notes", "sealed")


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeS3]:
    with FakeS3(Quirks(min_part_bytes=1), buckets=["bucket"]) as fake:
        for name, value in anonymous(fake.endpoint_url).items():
            monkeypatch.setenv(name, value)
        yield fake


@pytest.fixture
def infile(tmp_path: Path) -> str:
    path = tmp_path / "disk.img"
    path.write_bytes(DATA)
    return str(path)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "acquisition.log"


def lines_of(log: Path) -> list[str]:
    """The lines without their times, each of which must have one."""
    lines = log.read_text(encoding="utf-8").splitlines()
    assert all(STAMP.match(line) for line in lines), lines
    return [line[len("2026-11-21T10:00:00Z ") :] for line in lines]


# The log


def test_the_log_of_a_success_says_who_what_and_the_verdict(
    fake: FakeS3, infile: str, log: Path
) -> None:
    outcome = invoke("--log", log, *CASE, "--digest", "sha256", "--digest", "md5", infile,
                     "s3://bucket/sda")  # fmt: skip
    assert outcome.status == 0, outcome
    lines = lines_of(log)
    assert lines[0].startswith("streamtos3 ")
    assert lines[0].endswith(": acquisition begins")
    assert lines[1:5] == [
        "  case: 42/7",
        "  evidence: E-1",
        "  examiner: Zoë Ångström",
        "  notes: sealed",
    ]
    assert lines[5].startswith("  host: ")
    assert lines[6:8] == [f"  source: {infile}", "  destination: s3://bucket/sda"]
    assert lines[8].startswith("  command: streamtos3 --log ")
    assert lines[9].startswith("warning: metadata is not ASCII and is stored encoded")
    assert lines[10].startswith("reading begins: 24 B")
    assert lines[11:] == [
        "end of input: 24 bytes (24 B) read, 0 retries",
        f"  sha256: {SHA256}",
        f"  md5: {MD5}",
        f"  object: ETag {MD5}",
        "verdict: stored and proved by md5-etag",
    ]


def test_a_second_acquisition_is_appended(fake: FakeS3, infile: str, log: Path) -> None:
    for key in ("a", "b"):
        assert invoke("--log", log, infile, f"s3://bucket/{key}").status == 0
    verdicts = [line for line in lines_of(log) if line.startswith("verdict")]
    assert verdicts == ["verdict: stored and proved by md5-etag"] * 2


def test_every_retry_has_a_line(fake: FakeS3, infile: str, log: Path) -> None:
    with FaultProxy(fake.endpoint_url) as proxy:
        proxy.faults = [Fault("put-object", "503", times=2)]
        outcome = invoke(
            *("--log", log, "-s", "1ms", "--endpoint-url", proxy.endpoint_url),
            *("--notes", "in two words", infile, "s3://bucket/k"),
        )
    assert outcome.status == 0, outcome
    lines = lines_of(log)
    assert len([line for line in lines if line.startswith("retry: ")]) == 2
    assert any("SlowDown" in line for line in lines)
    assert any("--notes 'in two words'" in line for line in lines)
    assert "end of input: 24 bytes (24 B) read, 2 retries" in lines


def test_the_log_of_a_failure_says_so_and_what_is_left(
    fake: FakeS3, infile: str, log: Path
) -> None:
    outcome = invoke("--log", log, "--expect-size", "25", infile, "s3://bucket/k")
    assert outcome.status == 7
    (error,) = outcome.said("error")
    assert lines_of(log)[-2:] == [f"verdict: FAILED: {error}", "  left behind: nothing"]
    assert fake.objects == {}


def test_the_log_of_an_unproved_object_has_its_digests(infile: str, log: Path) -> None:
    with FakeS3(Quirks(etag="opaque"), buckets=["bucket"]) as fake:
        words = ("--verify", "etag", "--log", log, infile, "s3://bucket/k")
        outcome = invoke(*words, env=anonymous(fake.endpoint_url))
    assert outcome.status == 10
    lines = lines_of(log)
    assert f"  sha256: {SHA256}" in lines
    assert lines[-2].startswith("verdict: FAILED: s3://bucket/k is stored, but")
    assert lines[-1] == "  left behind: s3://bucket/k, unproved"


def test_the_log_of_an_interrupted_acquisition_says_by_what(fake: FakeS3, log: Path) -> None:
    env = anonymous(fake.endpoint_url)
    with Running("--log", log, "s3://bucket/k", env=env) as program:
        program.write(b"the beginning")
        wait_until(lambda: log.exists() and "reading begins" in log.read_text(), log.read_text)
        program.send(signal.SIGTERM)
        assert program.wait() == 128 + signal.SIGTERM
    assert lines_of(log)[-2:] == [
        "verdict: FAILED: interrupted by SIGTERM",
        "  left behind: nothing",
    ]
    assert (fake.objects, fake.uploads) == ({}, {})


def test_the_log_names_the_command_that_was_run(fake: FakeS3, log: Path) -> None:
    outcome = run("run", "--log", log, "s3://bucket/k", "--", "echo", "hello")
    assert outcome.status == 0, outcome
    assert any(line.startswith("  source: ") and "echo" in line for line in lines_of(log))


def test_passwords_and_control_characters_stay_out_of_the_log(
    fake: FakeS3, infile: str, log: Path
) -> None:
    outcome = invoke(
        *("--log", log, "--proxy", f"http://me:sesame@{fake.endpoint_url[7:]}"),
        *("--case", "a\x1b[2Jb", infile, "s3://bucket/k"),
    )
    assert outcome.status == 2  # metadata cannot hold it either
    outcome = invoke(
        *("--log", log, "--proxy", f"http://me:sesame@{fake.endpoint_url[7:]}"),
        *(infile, "s3://bucket/k"),
    )
    assert outcome.status == 0, outcome
    text = log.read_text()
    assert "sesame" not in text
    assert "\x1b" not in text


@pytest.mark.parametrize("where", [".", "missing/log"])
def test_a_log_that_cannot_be_opened_is_status_2_before_the_first_byte(
    fake: FakeS3, tmp_path: Path, where: str
) -> None:
    outcome = invoke("--log", tmp_path / where, "/dev/zero", "s3://bucket/k")
    assert_refused(outcome, 2, "cannot write the log")
    assert fake.requests == []


@unless_root
def test_a_log_without_the_right_to_write_is_status_2(fake: FakeS3, log: Path) -> None:
    log.touch(0o400)
    assert_refused(invoke("--log", log, "/dev/zero", "s3://bucket/k"), 2, "permission denied")


def test_a_full_disk_under_the_log_is_status_11_and_the_object_is_there(
    fake: FakeS3, infile: str
) -> None:
    outcome = run("--log", "/dev/full", infile, "s3://bucket/k")
    assert_refused(outcome, 11, "cannot write the log /dev/full: no space left on device")
    assert outcome.said("left behind") == ["s3://bucket/k, stored and proved"]
    assert fake.objects["bucket", "k"].body == DATA


def test_a_full_disk_under_the_log_does_not_hide_why_the_upload_failed(
    fake: FakeS3, infile: str
) -> None:
    outcome = run("--log", "/dev/full", "--expect-size", "25", infile, "s3://bucket/k")
    assert_refused(outcome, 7, "25")
    assert fake.objects == {}


def test_the_log_may_be_a_pipe(fake: FakeS3, infile: str) -> None:
    """Which cannot be synced to a disk."""
    outcome = run("--log", "/dev/stdout", infile, "s3://bucket/k")
    assert outcome.status == 0, outcome
    assert outcome.stdout.endswith("verdict: stored and proved by md5-etag\n")


# Forensic fields


@pytest.mark.slow
def test_the_case_is_in_receipt_and_metadata(
    seaweed: SeaweedFS, s3: S3Client, bucket: str, infile: str
) -> None:
    outcome = invoke("--json", *CASE, infile, f"s3://{bucket}/k", env=account(seaweed))
    assert outcome.status == 0, outcome
    assert json.loads(outcome.stdout)["case"] == {
        "case": "42/7",
        "evidence": "E-1",
        "examiner": "Zoë Ångström",
        "notes": "sealed",
    }
    metadata = s3.head_object(Bucket=bucket, Key="k")["Metadata"]
    assert (metadata["case"], metadata["evidence"]) == ("42/7", "E-1")
    assert metadata["examiner"] == "=?utf-8?b?Wm/DqyDDhW5nc3Ryw7Zt?="


def test_long_remarks_in_any_script_are_one_line_of_metadata(fake: FakeS3, infile: str) -> None:
    outcome = invoke("--notes", "封印 " * 60, infile, "s3://bucket/k")
    assert outcome.status == 0, outcome
    assert fake.objects["bucket", "k"].metadata["notes"].startswith("=?utf-8?b?")


def test_several_digests_are_made_in_one_pass(fake: FakeS3, infile: str) -> None:
    options = ["--digest", "md5", "--digest", "sha1", "--digest", "sha512"]
    outcome = invoke("--json", *options, infile, "s3://bucket/k")
    expected = {name: hashlib.new(name, DATA).hexdigest() for name in ("md5", "sha1", "sha512")}
    assert expected == json.loads(outcome.stdout)["digests"]


# The receipt as an object


def with_receipt_object(infile: str, *more: str) -> Outcome:
    return invoke("--receipt-object", "--json", *more, infile, "s3://bucket/k")


def test_the_receipt_is_stored_beside_the_object(fake: FakeS3, infile: str) -> None:
    about = ("--metadata", "a=1", "--content-encoding", "zstd", "--content-language", "de")
    outcome = with_receipt_object(infile, *about)
    assert outcome.status == 0, outcome
    stored = fake.objects["bucket", "k.receipt.json"]
    assert json.loads(outcome.stdout) == json.loads(stored.body)
    assert stored.metadata["a"] == "1"
    asked = fake.requests[-1]
    assert (asked.verb, asked.key) == ("put-object", "k.receipt.json")
    assert asked.headers["content-type"] == "application/json"
    assert "zstd" not in asked.headers.get("content-encoding", "")
    assert "content-language" not in asked.headers
    assert asked.headers["if-none-match"] == "*"


def test_the_receipt_is_not_held_against_the_size_of_the_stream(fake: FakeS3, infile: str) -> None:
    outcome = with_receipt_object(
        infile, "--expect-size", "24", "--expect-sha256", SHA256, "--resume"
    )
    assert outcome.status == 0, outcome
    assert ("bucket", "k.receipt.json") in fake.objects


def test_an_old_receipt_is_not_replaced_and_that_is_status_11(fake: FakeS3, infile: str) -> None:
    assert invoke(infile, "s3://bucket/k.receipt.json").status == 0
    outcome = invoke("--receipt-object", infile, "s3://bucket/k")
    assert_refused(
        outcome, 11, "cannot store the receipt: s3://bucket/k.receipt.json already exists"
    )
    assert outcome.said("left behind") == ["s3://bucket/k, stored and proved"]
    assert fake.objects["bucket", "k.receipt.json"].body == DATA == fake.objects["bucket", "k"].body


def test_overwrite_replaces_the_old_receipt_too(fake: FakeS3, infile: str) -> None:
    assert with_receipt_object(infile).status == 0
    outcome = with_receipt_object(infile, "--overwrite")
    assert outcome.status == 0, outcome
    stored = fake.objects["bucket", "k.receipt.json"]
    assert json.loads(outcome.stdout) == json.loads(stored.body)


def test_a_receipt_that_arrives_damaged_is_status_11(fake: FakeS3, infile: str) -> None:
    with FaultProxy(fake.endpoint_url) as proxy:
        proxy.faults = [Fault("put-object", "flip-request-no-md5", key="receipt", times=-1)]
        outcome = invoke(
            *("--receipt-object", "-r", "1", "--endpoint-url", proxy.endpoint_url),
            *(infile, "s3://bucket/k"),
        )
    assert_refused(outcome, 11, "cannot store the receipt: ")


def test_no_object_no_receipt(fake: FakeS3, infile: str) -> None:
    assert with_receipt_object(infile, "--expect-size", "25").status == 7
    assert fake.objects == {}


def test_a_key_too_long_for_its_receipt_is_status_2_at_once(fake: FakeS3, infile: str) -> None:
    key = "k" * 1012
    outcome = invoke("--receipt-object", infile, f"s3://bucket/{key}")
    assert_refused(outcome, 2, "the key has 1025 bytes")
    assert fake.requests == []
    assert invoke("--receipt-object", infile, f"s3://bucket/{key[1:]}").status == 0
