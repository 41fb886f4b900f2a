"""Endpoints and buckets that do not fit each other."""

from __future__ import annotations

import pytest

from streamtos3.errors import UsageError
from streamtos3.model.endpoints import check_access_point, endpoint_warning
from streamtos3.model.options import Addressing

ARN = "arn:aws:s3:eu-west-1:123456789012:accesspoint/point"
AWS = "https://s3.eu-west-1.amazonaws.com"
INTERFACE = "https://accesspoint.vpce-1a2b.s3.eu-west-1.vpce.amazonaws.com"


@pytest.mark.parametrize(
    ("bucket", "given_url", "endpoint_url"),
    [
        (ARN, None, AWS),
        (ARN, None, "https://s3.cn-north-1.amazonaws.com.cn"),
        (ARN, INTERFACE, INTERFACE),
        ("bucket", AWS, AWS),
        ("bucket", None, "http://127.0.0.1:9000"),
    ],
)
def test_what_goes_together(bucket: str, given_url: str | None, endpoint_url: str) -> None:
    check_access_point(bucket, given_url, endpoint_url)


@pytest.mark.parametrize(
    ("given_url", "endpoint_url"),
    [
        ("http://127.0.0.1:9000", "http://127.0.0.1:9000"),
        (None, "https://minio.example"),
        (AWS, AWS),
        (None, "https://x.vpce.example"),
    ],
)
def test_an_arn_excludes_an_endpoint(given_url: str | None, endpoint_url: str) -> None:
    with pytest.raises(UsageError, match="excludes the endpoint"):
        check_access_point(ARN, given_url, endpoint_url)


@pytest.mark.parametrize(
    ("endpoint_url", "addressing", "where"),
    [
        ("https://s3.example/demo", "auto", "ends in"),
        ("https://s3.example/demo/", "path", "ends in"),
        ("https://s3.example/v1/demo", "virtual", "ends in"),
        ("https://demo.s3.example", "auto", "begins with"),
        ("https://DEMO.s3.example:9000/", "path", "begins with"),
        ("https://demo.s3.example", "virtual", None),
        ("https://demos.s3.example", "auto", None),
        ("https://s3.example/demo/v1", "auto", None),
        ("https://s3.example/ademo", "auto", None),
        ("https://s3.example", "auto", None),
        ("S3", "auto", None),
    ],
)
def test_an_endpoint_that_holds_the_bucket(
    endpoint_url: str, addressing: Addressing, where: str | None
) -> None:
    warning = endpoint_warning("demo", endpoint_url, addressing)
    if where is None:
        assert warning is None
    else:
        assert f"the endpoint {endpoint_url} {where} the bucket's name" in (warning or "")
