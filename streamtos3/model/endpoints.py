"""Endpoints and buckets that do not fit each other (pure)."""

from __future__ import annotations

from urllib.parse import urlsplit

from ..errors import UsageError
from .options import Addressing

__all__ = ["check_access_point", "endpoint_warning"]

_AWS_HOSTS = (
    ".amazonaws.com",
    ".amazonaws.com.cn",
    ".amazonaws.eu",
    ".api.aws",
    ".ic.gov",
    ".sgov.gov",
    ".adc-e.uk",
)
_INTERFACE_ENDPOINT = ".vpce."


def check_access_point(bucket: str, given_url: str | None, endpoint_url: str) -> None:
    """UsageError where `bucket` is the ARN of an access point and the endpoint is somewhere else.

    `given_url` is the endpoint that this connection was given, `endpoint_url` the one that it
    uses, which the environment or a profile may set too. An ARN says by itself where its requests
    go; only an interface endpoint of AWS stands in between (S3 user guide, "AWS PrivateLink").
    """
    if not bucket.startswith("arn:"):
        return
    host = urlsplit(endpoint_url).hostname or ""
    is_elsewhere = given_url is not None or not host.endswith(_AWS_HOSTS)
    if is_elsewhere and not (_INTERFACE_ENDPOINT in host and host.endswith(_AWS_HOSTS)):
        raise UsageError(
            f"the ARN of an access point says where it is, which excludes the endpoint "
            f"{endpoint_url}",
            hint="leave out --endpoint-url, and whatever sets it (AWS_ENDPOINT_URL, a profile)",
        )


def endpoint_warning(bucket: str, endpoint_url: str, addressing: Addressing) -> str | None:
    """What to say where the endpoint's URL holds the bucket already; None where it does not.

    Consoles offer such URLs for copying. The bucket is then in the address twice, and services
    take the second for the beginning of the key.
    """
    url = urlsplit(endpoint_url)
    last = url.path.rstrip("/").rpartition("/")[2]
    if last == bucket:
        where = "ends in"
    elif addressing != "virtual" and (url.hostname or "").startswith(bucket.lower() + "."):
        where = "begins with"
    else:
        return None
    return (
        f"the endpoint {endpoint_url} {where} the bucket's name, so that objects may be stored "
        f"as {bucket}/KEY; an endpoint is given without the bucket"
    )
