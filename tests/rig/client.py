"""A boto3 client without manners: no retries, no checksums, no Expect; one call is one request."""

from __future__ import annotations

import base64
import functools
import hashlib
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.handlers import add_expect_header

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef


@functools.cache
def _session() -> boto3.session.Session:
    """A session of its own takes a tenth of a second, most of it for the service model."""
    return boto3.session.Session(region_name="us-east-1")


def plain_client(
    endpoint_url: str,
    key: str = "key",
    secret: str = "secret",
    connect_timeout_s: float = 5,
    read_timeout_s: float = 5,
) -> S3Client:
    config = Config(
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        retries={"total_max_attempts": 1},
        s3={"addressing_style": "path"},
        connect_timeout=connect_timeout_s,
        read_timeout=read_timeout_s,
    )
    client = _session().client(
        "s3",
        endpoint_url=endpoint_url,
        config=config,
        aws_access_key_id=key,
        aws_secret_access_key=secret,
    )
    client.meta.events.unregister("before-call.s3", add_expect_header)
    return client


class Uploading:
    """A multipart upload, call by call."""

    def __init__(self, client: S3Client, bucket: str = "b", key: str = "k", **create: Any) -> None:
        self.client = client
        created = client.create_multipart_upload(Bucket=bucket, Key=key, **create)
        self.where: Any = {"Bucket": bucket, "Key": key, "UploadId": created["UploadId"]}
        self.parts: list[CompletedPartTypeDef] = []

    def put(self, number: int, body: bytes) -> str | None:
        """Send a part with its MD5, and note the ETag, which may be missing."""
        md5 = base64.b64encode(hashlib.md5(body).digest()).decode()
        answer = self.client.upload_part(**self.where, PartNumber=number, Body=body, ContentMD5=md5)
        etag: str | None = answer.get("ETag")
        self.parts.append({"PartNumber": number, "ETag": etag or ""})
        return etag and etag.strip('"')

    def complete(self, **conditions: Any) -> str | None:
        answer = self.client.complete_multipart_upload(
            **self.where, MultipartUpload={"Parts": self.parts}, **conditions
        )
        etag: str | None = answer.get("ETag")
        return etag and etag.strip('"')

    def listed(self, **paging: Any) -> list[tuple[int, str]]:
        answer = self.client.list_parts(**self.where, **paging)
        return [(p["PartNumber"], p["ETag"].strip('"')) for p in answer.get("Parts", [])]


def refused(code: str) -> pytest.RaisesExc[ClientError]:
    """`with refused("NoSuchUpload"):` the service must answer with this error code."""
    return pytest.raises(ClientError, check=lambda e: e.response["Error"]["Code"] == code)


def md5(*bodies: bytes) -> str:
    return hashlib.md5(b"".join(bodies)).hexdigest()


def composite(*bodies: bytes) -> str:
    digests = b"".join(hashlib.md5(body).digest() for body in bodies)
    return f"{hashlib.md5(digests).hexdigest()}-{len(bodies)}"
