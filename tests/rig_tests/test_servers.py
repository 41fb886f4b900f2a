"""The servers behave as the other tests take for granted."""

from __future__ import annotations

import base64
import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from tests.rig.seaweed import SeaweedFS
from tests.rig.support import (
    MIB,
    assert_nothing_left,
    object_exists,
    open_uploads,
    payload,
    s3_client,
)

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef

PART_BYTES = 5 * MIB


def content_md5(data: bytes) -> str:
    return base64.b64encode(hashlib.md5(data).digest()).decode()


def composite(*parts: bytes) -> str:
    """S3's ETag of a multipart object, with its quotes."""
    whole = hashlib.md5(b"".join(hashlib.md5(part).digest() for part in parts))
    return f'"{whole.hexdigest()}-{len(parts)}"'


def upload_parts(
    s3: S3Client, bucket: str, key: str, *parts: bytes
) -> tuple[str, list[CompletedPartTypeDef]]:
    """Create a multipart upload and put its parts; return its id and the list that completes it."""
    upload_id = s3.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]
    done: list[CompletedPartTypeDef] = []
    for number, body in enumerate(parts, 1):
        answer = s3.upload_part(
            Bucket=bucket, Key=key, UploadId=upload_id, PartNumber=number, Body=body
        )
        done.append({"PartNumber": number, "ETag": answer["ETag"]})
    return upload_id, done


def wait_until_gone(directory: Path) -> None:
    """Wait until nothing is left in a directory; the test's timeout is the limit."""
    while list(directory.iterdir()):
        time.sleep(0.05)


def test_seaweed_rejects_a_damaged_object(s3: S3Client, bucket: str) -> None:
    with pytest.raises(ClientError, match="BadDigest"):
        s3.put_object(Bucket=bucket, Key="k", Body=b"sent", ContentMD5=content_md5(b"meant"))
    assert_nothing_left(s3, bucket, "k")


def test_seaweed_rejects_a_damaged_part_and_takes_it_when_it_is_sent_again(
    s3: S3Client, bucket: str
) -> None:
    meant = payload(PART_BYTES)
    upload_id = s3.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]

    def put(body: bytes) -> str:
        return s3.upload_part(
            Bucket=bucket,
            Key="k",
            UploadId=upload_id,
            PartNumber=1,
            Body=body,
            ContentMD5=content_md5(meant),
        )["ETag"]

    with pytest.raises(ClientError, match="BadDigest"):
        put(b"X" + meant[1:])
    assert put(meant) == f'"{hashlib.md5(meant).hexdigest()}"'


def test_seaweed_answers_with_the_composite_etag(s3: S3Client, bucket: str) -> None:
    parts = payload(PART_BYTES, 1), payload(PART_BYTES, 2), b"the short end"
    upload_id, done = upload_parts(s3, bucket, "k", *parts)
    answer = s3.complete_multipart_upload(
        Bucket=bucket, Key="k", UploadId=upload_id, MultipartUpload={"Parts": done}
    )
    expected = composite(*parts)
    assert expected == answer["ETag"]
    assert expected == s3.head_object(Bucket=bucket, Key="k")["ETag"]
    assert b"".join(parts) == s3.get_object(Bucket=bucket, Key="k")["Body"].read()


def test_seaweed_stores_an_empty_object(s3: S3Client, bucket: str) -> None:
    answer = s3.put_object(Bucket=bucket, Key="k", Body=b"", ContentMD5=content_md5(b""))
    assert answer["ETag"] == '"d41d8cd98f00b204e9800998ecf8427e"'


def test_seaweed_does_not_put_over_an_existing_object_when_told_so(
    s3: S3Client, bucket: str
) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"old", IfNoneMatch="*")
    with pytest.raises(ClientError, match="PreconditionFailed"):
        s3.put_object(Bucket=bucket, Key="k", Body=b"new", IfNoneMatch="*")
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"old"


def test_seaweed_does_not_complete_over_an_existing_object_when_told_so(
    s3: S3Client, bucket: str
) -> None:
    upload_id, done = upload_parts(s3, bucket, "k", payload(PART_BYTES))
    s3.put_object(Bucket=bucket, Key="k", Body=b"old")
    with pytest.raises(ClientError, match="PreconditionFailed"):
        s3.complete_multipart_upload(
            Bucket=bucket,
            Key="k",
            UploadId=upload_id,
            MultipartUpload={"Parts": done},
            IfNoneMatch="*",
        )
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"old"


def test_seaweed_lists_open_uploads_until_they_are_aborted(s3: S3Client, bucket: str) -> None:
    upload_id, _ = upload_parts(s3, bucket, "k", b"some")
    assert open_uploads(s3, bucket) == [("k", upload_id)]
    assert not object_exists(s3, bucket, "k")
    with pytest.raises(AssertionError):
        assert_nothing_left(s3, bucket, "k")
    s3.abort_multipart_upload(Bucket=bucket, Key="k", UploadId=upload_id)
    assert_nothing_left(s3, bucket, "k")


def test_seaweed_keeps_the_metadata_given_at_create(s3: S3Client, bucket: str) -> None:
    given = {"streamtos3-token": "0123abcd"}
    upload_id = s3.create_multipart_upload(Bucket=bucket, Key="k", Metadata=given)["UploadId"]
    body = b"some"
    answer = s3.upload_part(Bucket=bucket, Key="k", UploadId=upload_id, PartNumber=1, Body=body)
    s3.complete_multipart_upload(
        Bucket=bucket,
        Key="k",
        UploadId=upload_id,
        MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": answer["ETag"]}]},
    )
    assert s3.head_object(Bucket=bucket, Key="k")["Metadata"] == given


@pytest.mark.parametrize("who", ["reader", "denied"])
def test_seaweed_denies_writing_to_those_who_may_not(
    seaweed: SeaweedFS, s3: S3Client, bucket: str, who: str
) -> None:
    access_key = getattr(seaweed, f"{who}_access_key")
    secret_key = getattr(seaweed, f"{who}_secret_key")
    other = s3_client(seaweed.endpoint_url, access_key, secret_key)
    with pytest.raises(ClientError, match="AccessDenied"):
        other.put_object(Bucket=bucket, Key="k", Body=b"x")
    with pytest.raises(ClientError, match="AccessDenied"):
        other.create_multipart_upload(Bucket=bucket, Key="k")
    assert_nothing_left(s3, bucket, "k")


def test_seaweed_lets_only_the_reader_see_what_is_absent(seaweed: SeaweedFS, bucket: str) -> None:
    reader = s3_client(seaweed.endpoint_url, seaweed.reader_access_key, seaweed.reader_secret_key)
    denied = s3_client(seaweed.endpoint_url, seaweed.denied_access_key, seaweed.denied_secret_key)
    assert not object_exists(reader, bucket, "k")
    with pytest.raises(ClientError, match="403"):
        denied.head_object(Bucket=bucket, Key="k")


@pytest.mark.parametrize(
    ("known", "code"), [(True, "SignatureDoesNotMatch"), (False, "InvalidAccessKeyId")]
)
def test_seaweed_tells_a_wrong_secret_from_an_unknown_key(
    seaweed: SeaweedFS, known: bool, code: str
) -> None:
    access_key = seaweed.access_key if known else "nobody"
    stranger = s3_client(seaweed.endpoint_url, access_key, "wrong")
    with pytest.raises(ClientError, match=code):
        stranger.list_buckets()


def test_moto_answers(moto_s3: S3Client, moto_bucket: str) -> None:
    upload_id, _ = upload_parts(moto_s3, moto_bucket, "k", b"some")
    assert open_uploads(moto_s3, moto_bucket) == [("k", upload_id)]
    moto_s3.abort_multipart_upload(Bucket=moto_bucket, Key="k", UploadId=upload_id)
    assert_nothing_left(moto_s3, moto_bucket, "k")


def test_nothing_of_the_users_configuration_leaks_in(home: Path) -> None:
    assert Path.home() == home
    assert list(home.iterdir()) == []
    steering = {name for name in os.environ if name.startswith(("AWS_", "STREAMTOS3_"))}
    assert steering == {
        "AWS_CONFIG_FILE",
        "AWS_EC2_METADATA_DISABLED",
        "AWS_SHARED_CREDENTIALS_FILE",
    }


@pytest.mark.slow
@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM])
def test_a_server_in_the_foreground_ends_with_its_process(
    signum: signal.Signals, tmp_path: Path
) -> None:
    """Even kill -9 leaves no server behind: the demo and a crashed test run rely on it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.rig.seaweed", "--bucket", "demo"],
        stdout=subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        text=True,
    )
    with process:
        assert process.stdout
        lines = [process.stdout.readline() for _ in range(4)]
        exports = dict(line.removeprefix("export ").strip().split("=", 1) for line in lines)
        s3 = s3_client(
            exports["AWS_ENDPOINT_URL"],
            exports["AWS_ACCESS_KEY_ID"],
            exports["AWS_SECRET_ACCESS_KEY"],
        )
        s3.put_object(Bucket="demo", Key="k", Body=b"k")
        process.send_signal(signum)
        assert process.wait() == (0 if signum == signal.SIGTERM else -signum)
    wait_until_gone(tmp_path)
    with pytest.raises(EndpointConnectionError):
        s3.list_buckets()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_seaweed_holds_a_gibibyte(s3: S3Client, bucket: str) -> None:
    part = payload(64 * MIB)
    upload_id, done = upload_parts(s3, bucket, "k", *[part] * 16)
    s3.complete_multipart_upload(
        Bucket=bucket, Key="k", UploadId=upload_id, MultipartUpload={"Parts": done}
    )
    head = s3.head_object(Bucket=bucket, Key="k")
    assert head["ContentLength"] == 1024 * MIB
    assert head["ETag"] == composite(*[part] * 16)
