"""A refused HEAD is explained by a GET of one byte, and only then."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.response import StreamingBody
from botocore.stub import Stubber

from streamtos3.errors import AbsentError, CredentialsError, RefusedError
from streamtos3.model.options import Connection
from streamtos3.s3.bucket import Bucket

HEAD = {"Bucket": "b", "Key": "k"}
GET = {**HEAD, "Range": "bytes=0-0"}


@pytest.fixture
def stub() -> Iterator[Stubber]:
    client = boto3.client(
        "s3", region_name="us-east-1", aws_access_key_id="AKIA", aws_secret_access_key="secret"
    )
    with Stubber(client) as stub:
        yield stub
        stub.assert_no_pending_responses()


@pytest.fixture
def bucket(stub: Stubber) -> Bucket:
    client: Any = stub.client
    return Bucket("b", Connection(), client=client)


def refuse(stub: Stubber, verb: str, code: str, status: int, params: dict[str, Any]) -> None:
    stub.add_client_error(verb, code, "no", http_status_code=status, expected_params=params)


def test_a_head_that_is_answered_is_all_that_is_asked(stub: Stubber, bucket: Bucket) -> None:
    answer = {"ContentLength": 3, "ETag": '"abc"'}
    stub.add_response("head_object", answer, {**HEAD, "VersionId": "v"})
    info = bucket.head_explained("k", "v")
    assert (info.size_bytes, info.etag) == (3, "abc")


def test_what_is_absent_needs_no_explanation(stub: Stubber, bucket: Bucket) -> None:
    refuse(stub, "head_object", "404", 404, HEAD)
    with pytest.raises(AbsentError):
        bucket.head_explained("k")


@pytest.mark.parametrize(
    "code, status, kind",
    [
        ("AccessDenied", 403, RefusedError),
        ("ExpiredToken", 400, CredentialsError),
        ("NoSuchBucket", 404, AbsentError),
    ],
)
def test_a_refused_head_ends_as_the_get_of_the_same_version_says(
    stub: Stubber, bucket: Bucket, code: str, status: int, kind: type[Exception]
) -> None:
    refuse(stub, "head_object", "403", 403, {**HEAD, "VersionId": "v"})
    refuse(stub, "get_object", code, status, {**GET, "VersionId": "v"})
    with pytest.raises(kind, match=code):
        bucket.head_explained("k", "v")


def test_a_refused_head_stays_refused_where_the_get_is_answered(
    stub: Stubber, bucket: Bucket
) -> None:
    body = StreamingBody(io.BytesIO(b"x"), 1)
    refuse(stub, "head_object", "403", 403, HEAD)
    stub.add_response("get_object", {"Body": body}, GET)
    with pytest.raises(RefusedError, match="403"):
        bucket.head_explained("k")
