"""The engine on a real server: what is stored is what was read, or there is no object."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest

from streamtos3 import upload
from streamtos3.errors import ExistsError, IntegrityError, RefusedError
from streamtos3.model.events import Retrying
from streamtos3.model.options import Connection, Options, Retries
from tests.rig.client import composite, md5
from tests.rig.command import account
from tests.rig.proxy import Fault, FaultProxy
from tests.rig.support import MIB, assert_nothing_left, open_uploads, payload
from tests.rig.tiny import InSteps, Seen

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from tests.rig.seaweed import SeaweedFS

PART = 5 * MIB
DATA = payload(3 * PART + 7)
FEW_TRIES = Retries(first_wait_s=0.01, tries=3)
OPTIONS = Options(chunk_bytes=PART, retries=FEW_TRIES)


def stored(s3: S3Client, bucket: str, key: str = "k") -> bytes:
    return s3.get_object(Bucket=bucket, Key=key)["Body"].read()


@pytest.mark.parametrize("step_bytes", [65_521, PART - 1, PART + 1])
def test_every_length_is_stored_as_it_was_read(step_bytes: int, s3: S3Client, bucket: str) -> None:
    for length in (0, 1, PART - 1, PART, PART + 1, 2 * PART, 2 * PART + 1, 3 * PART + 7):
        data = DATA[:length]
        parts = [data[cut : cut + PART] for cut in range(0, length, PART)]
        etag = md5(data) if length <= PART else composite(*parts)
        source = InSteps(data, step_bytes)
        receipt = upload(source, bucket, f"k{length}", options=OPTIONS, client=s3)
        assert stored(s3, bucket, f"k{length}") == data
        assert (receipt.etag_expected, receipt.etag_found) == (etag, etag)
        assert s3.head_object(Bucket=bucket, Key=f"k{length}")["ETag"] == f'"{etag}"'
    assert open_uploads(s3, bucket) == []


def test_the_programs_own_clients_store_it_too(
    s3: S3Client, bucket: str, seaweed: SeaweedFS, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in account(seaweed).items():
        monkeypatch.setenv(name, value)
    receipt = upload(io.BytesIO(DATA), bucket, "k", options=OPTIONS)
    assert receipt.endpoint == seaweed.endpoint_url
    assert stored(s3, bucket) == DATA


@pytest.mark.parametrize("length", [5, 2 * PART])
def test_an_object_created_after_the_check_is_not_replaced(
    length: int, s3: S3Client, bucket: str
) -> None:
    source = InSteps(
        DATA[:length], at_finish=lambda: s3.put_object(Bucket=bucket, Key="k", Body=b"quicker")
    )
    with pytest.raises(ExistsError):
        upload(source, bucket, "k", options=OPTIONS, client=s3)
    assert stored(s3, bucket) == b"quicker"
    assert open_uploads(s3, bucket) == []


@pytest.mark.parametrize("length", [0, 2 * PART])
def test_overwrite_replaces(length: int, s3: S3Client, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"older")
    options = Options(chunk_bytes=PART, overwrite=True)
    upload(io.BytesIO(DATA[:length]), bucket, "k", options=options, client=s3)
    assert stored(s3, bucket) == DATA[:length]


def through(proxy: FaultProxy) -> Options:
    connection = Connection(endpoint_url=proxy.endpoint_url)
    return Options(chunk_bytes=PART, connection=connection, retries=FEW_TRIES)


@pytest.mark.parametrize("length", [1000, 2 * PART + 1])
@pytest.mark.parametrize(
    ("action", "reason"),
    [("flip-request", "BadDigest"), ("flip-request-no-md5", "the service stored other bytes")],
)
def test_bytes_damaged_on_their_way_are_sent_again(
    action: str,
    reason: str,
    length: int,
    s3: S3Client,
    bucket: str,
    seaweed: SeaweedFS,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The server finds it out by Content-MD5; where it does not get that, we do by the ETag."""
    for name, value in account(seaweed).items():
        monkeypatch.setenv(name, value)
    keys = (seaweed.access_key, seaweed.secret_key)
    with FaultProxy(seaweed.endpoint_url, credentials=keys) as proxy:
        proxy.faults = [Fault("put-part", action, part=2), Fault("put-object", action)]
        source = io.BytesIO(DATA[:length])
        receipt = upload(source, bucket, "k", options=through(proxy), on_event=(seen := Seen()))
    assert stored(s3, bucket) == DATA[:length]
    assert receipt.retries == 1
    assert reason in seen.of(Retrying)[0].reason


def test_bytes_damaged_every_time_store_nothing(
    s3: S3Client, bucket: str, seaweed: SeaweedFS, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in account(seaweed).items():
        monkeypatch.setenv(name, value)
    keys = (seaweed.access_key, seaweed.secret_key)
    with FaultProxy(seaweed.endpoint_url, credentials=keys) as proxy:
        proxy.faults = [Fault("put-part", "flip-request-no-md5", part=1, times=-1)]
        with pytest.raises(IntegrityError) as caught:
            upload(io.BytesIO(DATA), bucket, "k", options=through(proxy))
    assert caught.value.left_behind is None
    assert_nothing_left(s3, bucket, "k")


def test_a_missing_bucket_is_found_before_the_first_byte_and_stays_missing(s3: S3Client) -> None:
    """SeaweedFS would create it with the upload."""
    source = InSteps(DATA)
    with pytest.raises(RefusedError, match="NoSuchBucket"):
        upload(source, "no-such-bucket", "k", options=OPTIONS, client=s3)
    assert source.reads == 0
    assert "no-such-bucket" not in [each["Name"] for each in s3.list_buckets()["Buckets"]]


def test_nobody_who_may_only_read_begins_an_upload(
    bucket: str, s3: S3Client, seaweed: SeaweedFS, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in account(seaweed, "reader").items():
        monkeypatch.setenv(name, value)
    with pytest.raises(RefusedError, match="AccessDenied"):
        upload(io.BytesIO(DATA), bucket, "k", options=OPTIONS)
    assert_nothing_left(s3, bucket, "k")
