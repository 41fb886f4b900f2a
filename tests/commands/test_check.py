"""`check` as an operator calls it: lines, JSON, and the status of the worst."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.rig.command import account, assert_refused, invoke
from tests.rig.seaweed import SeaweedFS
from tests.rig.support import open_uploads

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


def is_empty(s3: S3Client, bucket: str) -> bool:
    return not s3.list_objects_v2(Bucket=bucket).get("Contents") and not open_uploads(s3, bucket)


def test_a_line_for_each_finding(seaweed: SeaweedFS, s3: S3Client, bucket: str) -> None:
    done = invoke("check", "--write", f"s3://{bucket}/nightly/", env=account(seaweed))
    assert done.status == 0, done
    lines = done.stdout.splitlines()
    assert len(lines) == 15
    assert [line for line in lines if not line.startswith("ok  ")] == [
        "warning  lifecycle         no rule aborts what a killed program leaves unfinished, "
        "and is billed (contrib/lifecycle.json is one)"
    ]
    assert done.lines == [f"streamtos3: s3://{bucket}/nightly/: 14 ok, 1 warning, 0 failed"]
    assert is_empty(s3, bucket)


def test_as_json(seaweed: SeaweedFS, s3: S3Client, bucket: str) -> None:
    done = invoke("check", "--json", "-q", f"s3://{bucket}", env=account(seaweed))
    found = json.loads(done.stdout)
    assert (done.status, found["status"], found["url"]) == (0, 0, f"s3://{bucket}/")
    assert [each["about"] for each in found["findings"]][:2] == ["credentials", "bucket"]
    assert done.stderr == ""
    assert is_empty(s3, bucket)


def test_quietly_only_what_is_not_ok(seaweed: SeaweedFS, bucket: str) -> None:
    done = invoke("check", "-q", f"s3://{bucket}/", env=account(seaweed))
    assert [line.split()[:2] for line in done.stdout.splitlines()] == [["warning", "lifecycle"]]


def test_the_status_is_that_of_the_worst(seaweed: SeaweedFS, s3: S3Client, bucket: str) -> None:
    done = invoke("check", f"s3://{bucket}/", env=account(seaweed, "reader"))
    assert done.status == 5, done
    failed = [line for line in done.stdout.splitlines() if line.startswith("failed")]
    assert [line.split()[1] for line in failed] == ["begin"]
    assert is_empty(s3, bucket)


def test_no_address() -> None:
    assert_refused(invoke("check"), 2, "no address in S3")


def test_a_password_in_the_endpoint_is_not_shown(bucket: str) -> None:
    env = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}
    words = ("--endpoint-url", "http://user:password@127.0.0.1:1", "--region", "us-east-1")
    done = invoke("check", *words, f"s3://{bucket}/", env=env)
    assert done.status == 2
    assert "password@" not in done.stdout + done.stderr
