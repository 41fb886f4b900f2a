"""What many tests need: clients, payloads, and the question what a failed upload left behind."""

from __future__ import annotations

import ctypes
import functools
import os
import random
from typing import TYPE_CHECKING

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

MIB = 1024**2

running_as_root = os.geteuid() == 0
unless_root = pytest.mark.skipif(running_as_root, reason="root may read and write everything")


def without_roots_override() -> None:
    """For the child of a test that root runs: from its `exec` on, modes of files count for it."""
    cap_dac_override, cap_dac_read_search, drop_from_bounding_set = 1, 2, 24
    if running_as_root:
        prctl = ctypes.CDLL(None, use_errno=True).prctl
        for capability in (cap_dac_override, cap_dac_read_search):
            if prctl(drop_from_bounding_set, capability, 0, 0, 0):
                raise OSError(ctypes.get_errno(), "cannot drop a capability")


@functools.cache
def _session() -> boto3.session.Session:
    """One for all clients, as each takes a tenth of a second; boto3's own is the program's."""
    return boto3.session.Session()


def s3_client(endpoint_url: str, access_key: str, secret_key: str) -> S3Client:
    """A client that sends what the test says: no checksums of its own, no second try."""
    return _session().client(
        "s3",
        endpoint_url=endpoint_url,
        region_name="us-east-1",
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
        config=Config(
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            retries={"total_max_attempts": 1},
            s3={"addressing_style": "path"},
        ),
    )


def payload(size_bytes: int, seed: int = 0) -> bytes:
    """The same pseudo-random bytes on every run; a shorter payload is the beginning of a longer."""
    source = random.Random(seed)
    pieces = [source.randbytes(MIB) for _ in range(-(-size_bytes // MIB))]
    return b"".join(pieces)[:size_bytes]


def object_exists(s3: S3Client, bucket: str, key: str) -> bool:
    try:
        s3.head_object(Bucket=bucket, Key=key)
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] != 404:
            raise
        return False
    return True


def open_uploads(s3: S3Client, bucket: str) -> list[tuple[str, str]]:
    """The unfinished multipart uploads of a bucket, as (key, upload id)."""
    pages = s3.get_paginator("list_multipart_uploads").paginate(Bucket=bucket)
    return [(u["Key"], u["UploadId"]) for page in pages for u in page.get("Uploads", [])]


def assert_nothing_left(s3: S3Client, bucket: str, key: str) -> None:
    """A failed upload leaves neither an object nor parts that somebody pays for."""
    assert not object_exists(s3, bucket, key), f"{key} exists"
    assert open_uploads(s3, bucket) == []


def is_empty(s3: S3Client, bucket: str) -> bool:
    """Whether a bucket has neither a version of an object nor an unfinished upload."""
    found = s3.list_object_versions(Bucket=bucket, MaxKeys=1)
    return not (found.get("Versions") or found.get("DeleteMarkers") or open_uploads(s3, bucket))


def empty_bucket(s3: S3Client, bucket: str) -> None:
    """Abort the unfinished uploads of a bucket and delete every version of every object."""
    for key, upload_id in open_uploads(s3, bucket):
        s3.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=upload_id)
    for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
        for version in [*page.get("Versions", []), *page.get("DeleteMarkers", [])]:
            s3.delete_object(Bucket=bucket, Key=version["Key"], VersionId=version["VersionId"])


def remove_bucket(s3: S3Client, bucket: str) -> None:
    """Delete a bucket with all that is in it."""
    empty_bucket(s3, bucket)
    s3.delete_bucket(Bucket=bucket)
