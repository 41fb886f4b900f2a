"""Each option of an object is checked where it ends: in what the service says of the object."""

from __future__ import annotations

import base64
import io
import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from streamtos3 import Connection, Options, Receipt, upload
from streamtos3.errors import IntegrityError, StreamToS3Error
from streamtos3.model.object_settings import ObjectSettings
from tests.rig.command import account, anonymous, assert_refused, invoke, run
from tests.rig.fake_s3 import FakeS3, Quirks
from tests.rig.proxy import Fault, FaultProxy
from tests.rig.support import MIB, object_exists, open_uploads, payload, remove_bucket
from tests.rig.tiny import PART, tiny

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from tests.rig.seaweed import SeaweedFS

KEY = "evidence.json"
CUSTOMER_KEY = bytes(range(32))
LATER = datetime.now(timezone.utc).replace(microsecond=0) + timedelta(days=2)
LOCK = ObjectSettings(lock_mode="GOVERNANCE", lock_until=LATER, legal_hold=True)
# Real servers want parts of 5 MiB; the fake takes any.
BOTH_WAYS = {"one request": payload(PART), "multipart": payload(5 * MIB + 1)}
both_ways = pytest.mark.parametrize("data", BOTH_WAYS.values(), ids=BOTH_WAYS)
TINY = {"one request": payload(PART), "multipart": payload(3 * PART)}
tiny_both_ways = pytest.mark.parametrize("data", TINY.values(), ids=TINY)


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")


@pytest.fixture
def seaweed_url(seaweed: SeaweedFS, monkeypatch: pytest.MonkeyPatch) -> str:
    """The endpoint of SeaweedFS, with its keys in the environment."""
    for name, value in account(seaweed).items():
        monkeypatch.setenv(name, value)
    return seaweed.endpoint_url


def fake_s3(**quirks: Any) -> FakeS3:
    return FakeS3(Quirks(min_part_bytes=1, **quirks), buckets=["bucket"])


def store(
    endpoint_url: str,
    bucket: str,
    data: bytes,
    settings: ObjectSettings,
    *,
    part_bytes: int = 5 * MIB,
    **changes: Any,
) -> Receipt:
    connection = Connection(endpoint_url=endpoint_url, region="us-east-1")
    options: Options = tiny(part_bytes=part_bytes, connection=connection, **changes)
    return upload(io.BytesIO(data), bucket, KEY, options=replace(options, settings=settings))


# What real servers keep


@both_ways
def test_seaweedfs_keeps_metadata_tags_types_and_class(
    seaweed_url: str, s3: S3Client, bucket: str, data: bytes
) -> None:
    settings = ObjectSettings(
        metadata={"case": "42"},
        tags={"team": "r&d", "kind": "a b"},
        content_type="application/x-raw",
        content_encoding="zstd",
        content_language="de",
        cache_control="no-store",
        storage_class="STANDARD_IA",
    )
    store(seaweed_url, bucket, data, settings)
    head = s3.head_object(Bucket=bucket, Key=KEY)
    tags = s3.get_object_tagging(Bucket=bucket, Key=KEY)["TagSet"]
    assert set(head["Metadata"]) == {"case", "streamtos3-token", "streamtos3-plan"}
    assert head["Metadata"]["case"] == "42"
    assert {each["Key"]: each["Value"] for each in tags} == settings.tags
    assert head["ContentType"] == "application/x-raw"
    assert head["ContentEncoding"] == "zstd"
    assert head["ContentLanguage"] == "de"
    assert head["CacheControl"] == "no-store"
    assert head["StorageClass"] == "STANDARD_IA"


@both_ways
def test_moto_keeps_acl_and_encryption(
    moto_server: str, moto_s3: S3Client, moto_bucket: str, data: bytes
) -> None:
    store(moto_server, moto_bucket, data, ObjectSettings(acl="public-read", sse="AES256"))
    head = moto_s3.head_object(Bucket=moto_bucket, Key=KEY)
    grants = moto_s3.get_object_acl(Bucket=moto_bucket, Key=KEY)["Grants"]
    everybody = "http://acs.amazonaws.com/groups/global/AllUsers"
    assert head["ServerSideEncryption"] == "AES256"
    assert everybody in [each["Grantee"].get("URI") for each in grants]


# Object Lock


@pytest.fixture
def lockable(s3: S3Client) -> Iterator[str]:
    """A bucket on SeaweedFS with Object Lock."""
    name = f"test-{uuid.uuid4().hex[:12]}"
    s3.create_bucket(Bucket=name, ObjectLockEnabledForBucket=True)
    yield name
    for version in s3.list_object_versions(Bucket=name).get("Versions", []):
        where: Any = {"Bucket": name, "Key": version["Key"], "VersionId": version["VersionId"]}
        s3.put_object_legal_hold(**where, LegalHold={"Status": "OFF"})
        s3.delete_object(**where, BypassGovernanceRetention=True)
    remove_bucket(s3, name)


@both_ways
def test_a_lock_is_set_and_confirmed(
    seaweed_url: str, s3: S3Client, lockable: str, data: bytes
) -> None:
    store(seaweed_url, lockable, data, LOCK)
    retention = s3.get_object_retention(Bucket=lockable, Key=KEY)["Retention"]
    hold = s3.get_object_legal_hold(Bucket=lockable, Key=KEY)["LegalHold"]
    assert (retention["Mode"], retention["RetainUntilDate"]) == ("GOVERNANCE", LATER)
    assert hold["Status"] == "ON"


@tiny_both_ways
def test_a_lock_that_a_server_accepts_and_forgets_is_status_9(data: bytes) -> None:
    """As moto does for multipart uploads; the object stays, and is named."""
    with fake_s3() as fake:
        with pytest.raises(IntegrityError) as caught:
            store(fake.endpoint_url, "bucket", data, LOCK, part_bytes=PART)
        assert ("bucket", KEY) in fake.objects
        assert fake.uploads == {}
    assert caught.value.exit_status == 9
    assert caught.value.message.endswith("cannot be confirmed: the lock mode is none")
    assert caught.value.left_behind == f"s3://bucket/{KEY} is there"


def test_a_legal_hold_that_moto_forgets_is_status_9(
    moto_server: str, moto_s3: S3Client, moto_bucket: str
) -> None:
    with pytest.raises(IntegrityError, match="the legal hold is off"):
        store(moto_server, moto_bucket, BOTH_WAYS["multipart"], ObjectSettings(legal_hold=True))
    assert object_exists(moto_s3, moto_bucket, KEY)
    assert open_uploads(moto_s3, moto_bucket) == []


def test_a_lock_that_nobody_may_look_at_is_not_confirmed() -> None:
    with (
        fake_s3(head_forbidden=True) as fake,
        pytest.raises(IntegrityError, match="looking at it is not allowed"),
    ):
        store(fake.endpoint_url, "bucket", b"data", LOCK)


def test_a_lock_that_did_not_take_weighs_more_than_a_missing_proof() -> None:
    with (
        fake_s3(etag="opaque") as fake,
        pytest.raises(IntegrityError, match="the lock mode is none"),
    ):
        store(fake.endpoint_url, "bucket", b"data", LOCK)


def test_the_lock_is_taken_from_the_command_line(
    seaweed: SeaweedFS, s3: S3Client, lockable: str
) -> None:
    options = ["--lock-mode", "GOVERNANCE", "--lock-until", "2099-12-31", "--legal-hold"]
    outcome = run(*options, f"s3://{lockable}/{KEY}", env=account(seaweed), stdin=b"data")
    assert outcome.status == 0, outcome
    head = s3.head_object(Bucket=lockable, Key=KEY)
    expected = datetime(2099, 12, 31, 23, 59, 59, tzinfo=timezone.utc)
    assert expected == head["ObjectLockRetainUntilDate"]


# The customer's own key


@both_ways
def test_an_object_under_the_customers_key_is_read_with_it_alone(
    seaweed_url: str, s3: S3Client, bucket: str, data: bytes
) -> None:
    """SeaweedFS answers with MD5s, but says that it encrypts: nothing proves it but reading."""
    settings = ObjectSettings(sse_c_key=CUSTOMER_KEY)
    assert store(seaweed_url, bucket, data, settings).proof.object == "readback"
    with_key: Any = {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": CUSTOMER_KEY}
    assert data == s3.get_object(Bucket=bucket, Key=KEY, **with_key)["Body"].read()
    with pytest.raises(s3.exceptions.ClientError):
        s3.get_object(Bucket=bucket, Key=KEY)


@tiny_both_ways
def test_the_customers_key_goes_with_everything_that_touches_the_bytes(data: bytes) -> None:
    with fake_s3() as fake:
        settings = ObjectSettings(sse_c_key=CUSTOMER_KEY)
        store(fake.endpoint_url, "bucket", data, settings, part_bytes=PART)
    sent = base64.b64encode(CUSTOMER_KEY).decode()
    header = "x-amz-server-side-encryption-customer-key"
    for request in fake.requests:
        expected = None if request.verb == "head-bucket" else sent
        assert expected == request.headers.get(header), request.verb
    assert {"head", "head-bucket"} < {request.verb for request in fake.requests}


def test_a_customers_key_never_shows(tmp_path: Path) -> None:
    """Not even where Python would quote it in its own way."""
    secret = b'it\'s "quoted" and 32 bytes long!'
    key_file = tmp_path / "key"
    key_file.write_bytes(secret)
    key_file.chmod(0o600)
    receipt = tmp_path / "receipt.json"
    with fake_s3() as fake:
        outcome = run(
            *("--debug", "--sse-c-key-file", key_file, "--receipt", receipt, f"s3://bucket/{KEY}"),
            env=anonymous(fake.endpoint_url),
            stdin=b"data",
        )
    assert outcome.status == 0, outcome.stderr[-2000:]
    shown = outcome.stderr + receipt.read_text()
    for leaked in ("quoted", "bytes long", base64.b64encode(secret).decode()):
        assert leaked not in shown


@pytest.mark.parametrize(
    "content, mode, message",
    [
        (None, 0o600, "cannot read the key file"),
        (bytes(31), 0o600, "has 31 bytes; a key has 32"),
        (bytes(32), 0o644, "can be read by others (mode 0644)"),
    ],
)
def test_a_key_file_that_is_no_key_file_is_status_3(
    tmp_path: Path, content: bytes | None, mode: int, message: str
) -> None:
    key_file = tmp_path / "key"
    if content is not None:
        key_file.write_bytes(content)
        key_file.chmod(mode)
    assert_refused(invoke("--sse-c-key-file", key_file, "-", "s3://bucket/k"), 3, message)


def test_an_empty_name_of_a_key_file_is_not_no_key_file() -> None:
    """As from an unset variable of a shell: the object must not be stored without the key."""
    message = "cannot read the key file"
    assert_refused(invoke("--sse-c-key-file", "", "-", "s3://bucket/k"), 3, message)


# Owner and payer


@tiny_both_ways
def test_owner_and_payer_go_with_every_request(data: bytes) -> None:
    """HeadBucket alone knows no payer."""
    settings = ObjectSettings(expected_bucket_owner="111122223333", request_payer=True)
    with fake_s3() as fake:
        store(fake.endpoint_url, "bucket", data, settings, part_bytes=PART, resume=True)
    for request in fake.requests:
        payer = None if request.verb == "head-bucket" else "requester"
        assert request.headers.get("x-amz-expected-bucket-owner") == "111122223333"
        assert payer == request.headers.get("x-amz-request-payer"), request.verb
    assert {"head", "head-bucket", "list-uploads"} < {request.verb for request in fake.requests}


def test_the_owner_is_named_when_a_failed_upload_is_aborted() -> None:
    settings = ObjectSettings(expected_bucket_owner="1", request_payer=True)
    with fake_s3() as fake, FaultProxy(fake.endpoint_url) as proxy:
        proxy.faults = [Fault("put-part", "access-denied")]
        with pytest.raises(StreamToS3Error):
            store(proxy.endpoint_url, "bucket", payload(3 * PART), settings, part_bytes=PART)
        assert (fake.objects, fake.uploads) == ({}, {})
    (abort,) = [each for each in fake.requests if each.verb == "abort"]
    assert abort.headers["x-amz-expected-bucket-owner"] == "1"


@tiny_both_ways
def test_kms_is_asked_for_where_the_object_begins(data: bytes) -> None:
    settings = ObjectSettings(sse="aws:kms:dsse", sse_kms_key_id="key-1")
    with fake_s3() as fake:
        store(fake.endpoint_url, "bucket", data, settings, part_bytes=PART)
    header = "x-amz-server-side-encryption"
    (begun,) = [each for each in fake.requests if header in each.headers]
    assert begun.verb == ("create" if len(data) > PART else "put-object")
    assert begun.headers[header] == "aws:kms:dsse"
    assert begun.headers[header + "-aws-kms-key-id"] == "key-1"


# The command line


def test_the_options_of_an_object_are_taken_from_the_command_line(
    seaweed: SeaweedFS, s3: S3Client, bucket: str
) -> None:
    outcome = run(
        *("--metadata", "a=1", "--metadata", "b=x=y", "--tag", "t=1", "--tag", "u="),
        *("--cache-control", "no-store", "--content-language", "de, en", f"s3://{bucket}/{KEY}"),
        env=account(seaweed),
        stdin=b"{}",
    )
    assert outcome.status == 0, outcome
    head = s3.head_object(Bucket=bucket, Key=KEY)
    tags = s3.get_object_tagging(Bucket=bucket, Key=KEY)["TagSet"]
    assert (head["Metadata"]["a"], head["Metadata"]["b"]) == ("1", "x=y")
    assert {each["Key"]: each["Value"] for each in tags} == {"t": "1", "u": ""}
    assert (head["ContentType"], head["CacheControl"]) == ("application/json", "no-store")
    assert head["ContentLanguage"] == "de, en"


@pytest.mark.parametrize(
    "words, message",
    [
        (["--metadata", "a"], "--metadata 'a' is not of the form KEY=VALUE"),
        (["--tag", "=a"], "--tag '=a' is not of the form KEY=VALUE"),
        (["--tag", "a=1", "--tag", "a=2"], "--tag gives 'a' twice"),
        (["--lock-mode", "GOVERNANCE"], "--lock-mode needs --lock-until or --lock-days"),
        (["--lock-mode", "GOVERNANCE", "--lock-until", "soon"], "'soon' is not a date"),
        (["--lock-until", "2099-01-01", "--lock-days", "1"], "not both"),
        (["--sse-kms-key-id", "k"], "--sse-kms-key-id needs --sse"),
        (["--notes", "two\nlines"], "metadata 'notes' holds a control character"),
    ],
)
def test_what_makes_no_sense_is_status_2_before_anything_is_read(
    words: list[str], message: str
) -> None:
    outcome = invoke(*words, "/dev/zero", "s3://bucket/k")
    assert_refused(outcome, 2, message)
