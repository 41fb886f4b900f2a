"""The peers that are libraries, each used in the shortest way: `library_peers.py NAME VERB KEY`.

`put` stores standard input, `get` writes the object to standard output. The endpoint comes from
the environment (AWS_ENDPOINT_URL_S3), the bucket is `bench`.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from typing import Any

BUCKET = "bench"
_COPY_BYTES = 1 << 20


def _boto3_client() -> Any:
    import boto3

    return boto3.client("s3")


def boto3_put(key: str) -> None:
    _boto3_client().upload_fileobj(sys.stdin.buffer, BUCKET, key)


def boto3_get(key: str) -> None:
    _boto3_client().download_fileobj(BUCKET, key, sys.stdout.buffer)


def smart_open_put(key: str) -> None:
    import smart_open

    with smart_open.open(f"s3://{BUCKET}/{key}", "wb") as target:
        shutil.copyfileobj(sys.stdin.buffer, target, _COPY_BYTES)


def smart_open_get(key: str) -> None:
    import smart_open

    with smart_open.open(f"s3://{BUCKET}/{key}", "rb") as source:
        shutil.copyfileobj(source, sys.stdout.buffer, _COPY_BYTES)


def _obstore() -> Any:
    from obstore.store import S3Store

    endpoint = os.environ["AWS_ENDPOINT_URL_S3"]
    return S3Store(
        BUCKET, endpoint=endpoint, virtual_hosted_style_request=False, client_options=_PLAIN
    )


_PLAIN: Any = {"allow_http": True}


def obstore_put(key: str) -> None:
    import obstore

    # An iterator, because it refuses a file that cannot seek.
    obstore.put(_obstore(), key, iter(lambda: sys.stdin.buffer.read(_COPY_BYTES), b""))


def obstore_get(key: str) -> None:
    import obstore

    for chunk in obstore.get(_obstore(), key).stream(_COPY_BYTES):
        sys.stdout.buffer.write(chunk)


_PEERS: dict[str, Callable[[str], None]] = {
    "boto3 put": boto3_put,
    "boto3 get": boto3_get,
    "smart_open put": smart_open_put,
    "smart_open get": smart_open_get,
    "obstore put": obstore_put,
    "obstore get": obstore_get,
}

if __name__ == "__main__":
    _PEERS[" ".join(sys.argv[1:3])](sys.argv[3])
    sys.stdout.flush()
