"""With --json a failure is an object on standard output, too, the last line of it."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.rig.command import Outcome, account, anonymous, invoke, run
from tests.rig.fake_s3 import FakeS3, Quirks
from tests.rig.fault_rig import Bench
from tests.rig.process import Running, wait_until
from tests.rig.proxy import Fault
from tests.rig.seaweed import SeaweedFS
from tests.rig.support import MIB, open_uploads, payload

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


def told(outcome: Outcome) -> dict[str, Any]:
    """What the last line says of the error, which is what is said to people."""
    last = json.loads(outcome.stdout.splitlines()[-1])
    assert list(last) == ["error"]
    error: dict[str, Any] = last["error"]
    assert error["status"] == outcome.status
    assert [error["message"]] == outcome.said("error")
    assert ([error["hint"]] if error["hint"] else []) == outcome.said("hint")
    left = error["left_behind"]
    assert ([left["message"]] if left else []) == outcome.said("left behind")
    return error


@pytest.mark.parametrize(
    ("words", "kind", "message"),
    [
        (["--json", "--digest", "none", "nowhere"], "UsageError", "no destination"),
        (["get", "--json", "s3://bucket/k"], "UsageError", "--json needs OUTFILE"),
        (["--json", "--no-such"], "NoSuchOption", "no such option --no-such"),
        (["--json", "-c", "many", "s3://bucket/k"], "BadParameter", "'many' is not a size"),
        (["uploads", "list", "--json"], "UsageError", "no address in S3"),
        (["pubish", "--json", "s3://bucket/k"], "UsageError", "neither a command nor a file"),
    ],
)
def test_a_command_line_that_makes_no_sense(words: list[str], kind: str, message: str) -> None:
    error = told(invoke(*words))
    assert (error["status"], error["class"]) == (2, kind)
    assert message in error["message"]
    assert error["left_behind"] is None


def test_an_object_that_exists(seaweed: SeaweedFS, bucket: str) -> None:
    env, url = account(seaweed), f"s3://{bucket}/k"
    assert run(url, env=env, stdin=b"first").status == 0
    done = run(url, "--json", env=env, stdin=b"second")
    error = told(done)
    assert (error["status"], error["class"]) == (6, "ExistsError")
    assert len(done.stdout.splitlines()) == 1


def test_a_refusal_has_its_code(on_fake: Bench) -> None:
    on_fake.proxy.faults.append(Fault("put-object", "access-denied", times=-1))
    done = run("s3://bucket/k", "--json", env=anonymous(on_fake.proxy.endpoint_url), stdin=b"x")
    error = told(done)
    assert (error["status"], error["class"]) == (5, "RefusedError")
    assert (error["code"], error["http_status"]) == ("AccessDenied", 403)


def test_an_upload_that_cannot_be_aborted_is_named(on_seaweed: Bench, seaweed: SeaweedFS) -> None:
    on_seaweed.proxy.faults += [
        Fault("put-part", "access-denied", times=-1),
        Fault("abort", "access-denied", times=-1),
    ]
    env = {**account(seaweed), "AWS_ENDPOINT_URL": on_seaweed.proxy.endpoint_url}
    done = run(
        f"s3://{on_seaweed.bucket}/k", "--json", "-c", "5MiB", env=env, stdin=payload(6 * MIB)
    )
    ((_, upload_id),) = on_seaweed.open_uploads
    left = told(done)["left_behind"]
    assert left["upload_ids"] == [upload_id]
    assert upload_id in left["message"]


def test_what_nothing_proves_has_its_receipt_before(tmp_path: Path) -> None:
    (tmp_path / "input").write_bytes(b"few")
    with FakeS3(Quirks(etag="opaque"), buckets=["bkt"]) as fake:
        words = ("s3://bkt/k", "--json", "--verify", "etag")
        done = invoke(tmp_path / "input", *words, env=anonymous(fake.endpoint_url))
    receipt, _ = map(json.loads, done.stdout.splitlines())
    assert receipt["size_bytes"] == 3
    assert told(done)["class"] == "UnprovedError"


def test_a_signal(seaweed: SeaweedFS, s3: S3Client, bucket: str) -> None:
    words = ("--json", "-c", "5MiB", f"s3://{bucket}/k")
    with Running(*words, env=account(seaweed)) as program:
        program.write(payload(6 * MIB))
        wait_until(lambda: open_uploads(s3, bucket), lambda: "the upload")
        program.send(signal.SIGTERM)
        assert program.wait() == 143
        error = json.loads(program.read_stdout())["error"]
    assert (error["status"], error["class"]) == (143, "Interrupted")
    assert error["message"] == "interrupted by SIGTERM"


def test_asked_for_in_the_environment_or_by_the_destination(tmp_path: Path) -> None:
    asked = invoke("nowhere", env={"STREAMTOS3_JSON": "yes"})
    assert told(asked)["status"] == 2
    assert invoke("nowhere", env={"STREAMTOS3_JSON": "no"}).stdout == ""
    config = tmp_path / "config.toml"
    config.write_text('[destination.d]\nbucket = "bucket"\njson = true\n')
    named = invoke("get", "-D", "d", "--config", config, "k")
    assert told(named)["message"].startswith("--json needs OUTFILE")


def test_not_asked_for(tmp_path: Path) -> None:
    assert invoke("nowhere").stdout == ""
    # What stands behind -- belongs to the producer.
    ended = invoke("run", "s3://bucket/k", "-c", "many", "--", "jq", "--json")
    assert (ended.status, ended.stdout) == (2, "")


def test_a_standard_output_that_takes_nothing_does_not_change_the_status() -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        with Running("--json", "nowhere", env={}, stdout=full) as program:
            assert program.wait() == 2
            assert "no destination" in program.stderr
    finally:
        os.close(full)
