"""`check`: what it finds, and that it leaves nothing, whatever fails and whenever it is ended."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from streamtos3.errors import Interrupted
from streamtos3.model.options import Connection, Retries
from streamtos3.runtime.cancel import Cancelled, CancelScope
from streamtos3.uploader.examination import Finding, examine_destination
from tests.rig.fault_rig import Bench, fake_bench, interrupting
from tests.rig.faults import Fault
from tests.rig.quirks import Quirks
from tests.rig.support import open_uploads

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

ALL = "credentials bucket round-trip region TLS clock see-objects see-uploads begin-and-abort"
SETTINGS = "versioning object-lock encryption lifecycle"


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    hasty = Retries(first_wait_s=0.01, retry_for_s=2.0)
    monkeypatch.setattr("streamtos3.uploader.examination._UNDO_RETRIES", hasty)


def examine(
    bench: Bench, prefix: str = "below/", *, write: bool = True, **connection: Any
) -> dict[str, Finding]:
    """The findings by what they are about."""
    options = replace(bench.options, connection=replace(bench.options.connection, **connection))
    with CancelScope() as scope:
        found = examine_destination(bench.bucket, prefix, options, write=write, scope=scope)
        return {each.about: each for each in found}


def left(bench: Bench) -> list[str]:
    """All that is in the bucket: objects, versions, markers that hide them, unfinished uploads."""
    bench.proxy.faults.clear()
    if bench.fake is not None:
        objects = [key for _, key in bench.fake.objects]
    else:
        page = bench.s3.list_object_versions(Bucket=bench.bucket)
        versions = [*page.get("Versions", []), *page.get("DeleteMarkers", [])]
        objects = [each["Key"] for each in versions]
    return [*objects, *(upload_id for _, upload_id in open_uploads(bench.s3, bench.bucket))]


def failed(found: dict[str, Finding]) -> dict[str, int]:
    return {each.about: each.exit_status for each in found.values() if each.verdict == "failed"}


@pytest.mark.parametrize("write", [False, True])
@pytest.mark.parametrize("server", ["on_seaweed", "on_moto", "on_fake"])
def test_a_bucket_where_all_is_well(
    server: str, write: bool, request: pytest.FixtureRequest
) -> None:
    bench: Bench = request.getfixturevalue(server)
    found = examine(bench, write=write)
    assert failed(found) == {}
    names = [*ALL.split(), *SETTINGS.split(), *["write-and-remove"] * write, "proof"]
    assert [each.replace(" ", "-") for each in found] == names
    assert found["credentials"].message.startswith("from the environment, access key ...")
    assert found["begin and abort"].message == "allowed"
    if write:
        assert "stored, read back and removed" in found["write and remove"].message
        assert found["proof"].message.startswith("md5-etag")
    assert left(bench) == []


PASSING = [
    *(Fault("create", action) for action in ("500", "lost-answer", "internal-after", "cut-answer")),
    *(Fault("abort", action) for action in ("500", "lost-answer", "reset-before")),
    *(Fault("list-parts", action) for action in ("503", "cut-answer")),
    *(Fault("put-object", action) for action in ("500", "lost-answer", "internal-after")),
    *(Fault("put-object", action) for action in ("reset-middle", "wrong-etag", "flip-request")),
    *(Fault("get", action) for action in ("500", "cut-answer", "reset-after")),
    *(Fault("delete", action) for action in ("503", "lost-answer", "internal-after")),
]
LASTING = [
    (Fault("create", "access-denied", times=-1), "begin and abort", 5),
    (Fault("create", "internal-after", times=-1), "begin and abort", 8),
    (Fault("create", "lost-answer", times=-1), "begin and abort", 8),
    (Fault("list-parts", "500", times=-1), "begin and abort", 8),
    (Fault("put-object", "access-denied", times=-1), "write and remove", 5),
    (Fault("put-object", "internal-after", times=-1), "write and remove", None),
    (Fault("put-object", "wrong-etag", times=-1), "write and remove", None),
    (Fault("get", "500", times=-1, skip=0), "write and remove", 8),
]


def copy_of(fault: Fault) -> Fault:
    """One that has not struck."""
    return Fault(fault.verb, fault.action, times=fault.times, skip=fault.skip)


def name_of(value: object) -> str | None:
    return f"{value.verb}-{value.action}" if isinstance(value, Fault) else None


@pytest.mark.parametrize("server", ["on_fake", pytest.param("on_seaweed", marks=pytest.mark.slow)])
@pytest.mark.parametrize("fault", PASSING, ids=name_of)
def test_what_passes_changes_nothing_and_leaves_nothing(
    server: str, fault: Fault, request: pytest.FixtureRequest
) -> None:
    bench: Bench = request.getfixturevalue(server)
    fault = copy_of(fault)
    bench.proxy.faults.append(fault)
    found = examine(bench)
    assert fault.struck == 1
    assert failed(found) == {}, found
    assert left(bench) == []


@pytest.mark.parametrize("server", ["on_fake", pytest.param("on_seaweed", marks=pytest.mark.slow)])
@pytest.mark.parametrize(("fault", "about", "status"), LASTING, ids=name_of)
def test_what_fails_for_good_is_said_and_leaves_nothing(
    server: str, fault: Fault, about: str, status: int | None, request: pytest.FixtureRequest
) -> None:
    bench: Bench = request.getfixturevalue(server)
    fault = copy_of(fault)
    bench.proxy.faults.append(fault)
    found = examine(bench)
    assert fault.struck
    if status is not None:
        assert failed(found) == {about: status}, found
        # A server that cannot list parts does not show that they are gone.
        assert fault.verb == "list-parts" or found[about].left_behind is None
    assert left(bench) == []


@pytest.mark.slow
@pytest.mark.parametrize("server", ["on_fake", pytest.param("on_seaweed", marks=pytest.mark.slow)])
@pytest.mark.parametrize("when", ["callback", "callback-after"])
@pytest.mark.parametrize("verb", ["create", "list-parts", "abort", "put-object", "get", "delete"])
def test_a_signal_at_any_moment_leaves_nothing(
    server: str, when: str, verb: str, request: pytest.FixtureRequest
) -> None:
    bench: Bench = request.getfixturevalue(server)
    with CancelScope() as scope:
        fault = Fault(verb, when, callback=interrupting(scope))
        bench.proxy.faults.append(fault)
        with contextlib.suppress(Cancelled, Interrupted):
            list(examine_destination(bench.bucket, "", bench.options, write=True, scope=scope))
        assert isinstance(scope.error, Interrupted)
        assert getattr(scope.error, "left_behind", None) is None
    assert fault.struck
    assert left(bench) == []


def test_what_cannot_be_aborted_is_named(on_fake: Bench) -> None:
    on_fake.proxy.faults.append(Fault("abort", "access-denied", times=-1))
    finding = examine(on_fake)["begin and abort"]
    ((_, upload_id),) = on_fake.open_uploads
    assert (finding.verdict, finding.exit_status) == ("failed", 5)
    assert upload_id in (finding.left_behind or "")


def test_what_cannot_be_removed_is_named(on_fake: Bench) -> None:
    on_fake.proxy.faults.append(Fault("delete", "access-denied", times=-1))
    finding = examine(on_fake)["write and remove"]
    assert on_fake.fake is not None
    ((_, key),) = on_fake.fake.objects
    assert (finding.verdict, finding.exit_status) == ("failed", 5)
    assert f"s3://bucket/{key}" in (finding.left_behind or "")


@pytest.mark.parametrize("status", ["Enabled", "Suspended"])
def test_where_versions_are_kept_no_version_stays(
    on_moto: Bench, moto_s3: S3Client, status: str
) -> None:
    moto_s3.put_bucket_versioning(
        Bucket=on_moto.bucket,
        VersioningConfiguration={"Status": status},  # type: ignore[typeddict-item]
    )
    found = examine(on_moto)
    assert failed(found) == {}
    assert found["versioning"].message == {"Enabled": "on", "Suspended": "suspended"}[status]
    assert left(on_moto) == []


def test_where_everything_is_locked_nothing_is_written(moto_s3: S3Client, on_moto: Bench) -> None:
    moto_s3.create_bucket(Bucket="locked", ObjectLockEnabledForBucket=True)
    days: Any = {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 30}}
    moto_s3.put_object_lock_configuration(
        Bucket="locked",
        ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": days},
    )
    bench = replace(on_moto, bucket="locked")
    found = examine(bench)
    assert found["object lock"].message == "on, each object is locked for 30 days (GOVERNANCE)"
    assert found["write and remove"].verdict == "warning"
    assert left(bench) == []


def test_the_rules_and_the_encryption_of_a_bucket(on_moto: Bench, moto_s3: S3Client) -> None:
    rule: Any = {
        "ID": "unfinished",
        "Status": "Enabled",
        "Filter": {"Prefix": "below/"},
        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7},
    }
    moto_s3.put_bucket_lifecycle_configuration(
        Bucket=on_moto.bucket, LifecycleConfiguration={"Rules": [rule]}
    )
    kms: Any = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms"}}
    moto_s3.put_bucket_encryption(
        Bucket=on_moto.bucket, ServerSideEncryptionConfiguration={"Rules": [kms]}
    )
    found = examine(on_moto, write=False)
    assert found["lifecycle"].message == "unfinished uploads are aborted after 7 days"
    assert "aws:kms" in found["encryption"].message
    assert found["proof"].verdict == "warning"
    assert examine(on_moto, "beside/", write=False)["lifecycle"].verdict == "warning"


@pytest.fixture
def opaque(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    with fake_bench(monkeypatch, Quirks(min_part_bytes=1, etag="opaque")) as bench:
        yield bench


def test_where_nothing_proves_an_object(opaque: Bench) -> None:
    found = examine(opaque)
    assert (found["proof"].verdict, found["write and remove"].verdict) == ("warning", "ok")
    assert "--verify readback" in (found["proof"].hint or "")
    assert left(opaque) == []


def test_a_clock_that_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    with fake_bench(monkeypatch, Quirks(min_part_bytes=1, clock_offset_s=600)) as bench:
        clock = examine(bench)["clock"]
    assert clock.verdict == "warning"
    assert re.fullmatch(r"(10|9) min.* behind the service's", clock.message)


def test_a_bucket_that_is_not_there(on_seaweed: Bench) -> None:
    found = examine(replace(on_seaweed, bucket="no-such-bucket"))
    assert failed(found) == {"bucket": 5}
    assert list(found) == ["credentials", "bucket"]


def test_keys_that_are_not_known(on_seaweed: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "unknown")
    assert failed(examine(on_seaweed)) == {"bucket": 3}


def test_no_keys_at_all(on_seaweed: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    found = examine(on_seaweed)
    assert failed(found) == {"credentials": 3}
    assert list(found) == ["credentials"]


def test_an_endpoint_that_does_not_answer(on_fake: Bench) -> None:
    options = replace(
        on_fake.options,
        connection=Connection(endpoint_url="http://127.0.0.1:1", region="us-east-1"),
        retries=Retries(first_wait_s=0.01, check_for_s=0.05),
    )
    with CancelScope() as scope:
        found = list(examine_destination("bucket", "", options, write=False, scope=scope))
    assert [(each.about, each.exit_status) for each in found] == [("credentials", 0), ("bucket", 4)]
