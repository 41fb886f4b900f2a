"""`rclone serve s3`: an imitator that ignores conditions and answers HEAD with the whole MD5."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest

from streamtos3 import Connection, Options, Retries, upload
from streamtos3.model.options import Verify
from tests.rig.servers import Server, rclone
from tests.rig.support import MIB, payload


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with rclone(tmp_path_factory.mktemp("rclone")) as running:
        yield running


@pytest.mark.parametrize(
    ("size_bytes", "verify", "digests", "proof"),
    [
        (10, "auto", ("sha256",), "md5-etag"),
        (11 * MIB, "auto", ("sha256",), "composite-etag"),
        (11 * MIB, "auto", ("md5",), "whole-md5-etag"),
        (11 * MIB, "readback", ("sha256",), "readback"),
    ],
)
def test_what_proves_an_object_there(
    server: Server,
    monkeypatch: pytest.MonkeyPatch,
    size_bytes: int,
    verify: Verify,
    digests: tuple[str, ...],
    proof: str,
) -> None:
    """`complete` answers with the composite, HEAD with the MD5 of the whole: either will do."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", server.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", server.secret_key)
    options = Options(
        connection=Connection(
            endpoint_url=server.endpoint_url, region="us-east-1", addressing="path"
        ),
        chunk_bytes=5 * MIB,
        retries=Retries(first_wait_s=0.05, tries=3),
        verify=verify,
        digests=digests,
    )
    bucket, data = server.new_bucket(), payload(size_bytes)
    receipt = upload(io.BytesIO(data), bucket, "k.img", options=options)
    assert receipt.proof.object == proof
    assert server.client.get_object(Bucket=bucket, Key="k.img")["Body"].read() == data
