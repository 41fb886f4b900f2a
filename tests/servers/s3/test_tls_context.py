"""Certificate authorities: read once, read again when changed, and never merely believed."""

from __future__ import annotations

import gc
import io
import os
import ssl
from pathlib import Path
from typing import Any

import pytest

from streamtos3 import Connection, Options, upload
from streamtos3.errors import StreamToS3Error
from streamtos3.model.options import Retries
from streamtos3.model.parts import Limits
from streamtos3.s3 import clients
from streamtos3.s3.clients import Clients
from tests.rig.fake_s3 import Quirks
from tests.rig.support import payload
from tests.rig.tls import fake_over_tls, new_certificate


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Every file that was truly read."""
    files: list[Any] = []

    class Watched(ssl.SSLContext):
        def load_verify_locations(self, cafile: Any = None, *rest: Any, **more: Any) -> None:
            files.append(cafile)
            _LOAD(self, cafile, *rest, **more)

    monkeypatch.setattr(ssl.SSLContext, "load_verify_locations", Watched.load_verify_locations)
    return files


_LOAD = ssl.SSLContext.load_verify_locations


def options_of(endpoint_url: str, bundle: Path) -> Options:
    return Options(
        connection=Connection(endpoint_url, "us-east-1", ca_bundle=str(bundle)),
        chunk_bytes=50_000,
        limits=Limits(min_part_bytes=1),
        retries=Retries(first_wait_s=0.01, tries=2, check_for_s=1.0),
    )


@pytest.mark.parametrize("reach", ["as known", "another"])
def test_one_upload_reads_them_once(
    tmp_path: Path, read: list[Any], reach: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And still stores where botocore is another inside, only with more processor time."""
    if reach == "another":
        monkeypatch.setattr(
            "streamtos3.s3.botocore_tuning.share_authorities", lambda client, shared: shared
        )
    bundle = new_certificate(tmp_path)
    with fake_over_tls(bundle) as fake:
        data = payload(400_000)
        fake.quirks = Quirks(min_part_bytes=1)
        fake.buckets.add("bkt")
        upload(io.BytesIO(data), "bkt", "k", options=options_of(fake.endpoint_url, bundle))
        connections = {request.client_port for request in fake.requests}
    assert len(connections) > 2
    assert set(read) == {str(bundle)}
    assert (len(read) == 1) == (reach == "as known")


def test_a_stranger_is_refused_after_another_was_trusted(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    ours, strange = new_certificate(tmp_path / "a"), new_certificate(tmp_path / "b")
    with fake_over_tls(ours) as fake:
        fake.buckets.add("bkt")
        upload(io.BytesIO(b"x"), "bkt", "k", options=options_of(fake.endpoint_url, ours))
        with pytest.raises(StreamToS3Error, match="(?i)certificate"):
            upload(io.BytesIO(b"x"), "bkt", "l", options=options_of(fake.endpoint_url, strange))
    assert set(fake.objects) == {("bkt", "k")}


def test_a_directory_of_certificates_takes_one_descriptor_until_its_clients_go(
    tmp_path: Path,
) -> None:
    """However many clients there are, and however often the credentials are read anew."""

    def is_ours(fd: str) -> bool:
        try:
            return "memfd:streamtos3-ca" in os.readlink(f"/proc/self/fd/{fd}")
        except FileNotFoundError:  # a thread of an earlier test has just closed it
            return False

    def in_memory() -> int:
        return sum(is_ours(fd) for fd in os.listdir("/proc/self/fd"))

    new_certificate(tmp_path)
    before = in_memory()
    ours = Clients(Connection("https://127.0.0.1:1", "us-east-1", ca_bundle=str(tmp_path)), 1)
    for _ in range(3):
        ours.get("question"), ours.get("body")
        assert in_memory() == before + 1
        ours.forget_session()
    del ours
    gc.collect()
    assert in_memory() == before


def test_a_directory_of_certificates_is_still_trusted_after_credentials_were_read_anew(
    tmp_path: Path,
) -> None:
    bundle = new_certificate(tmp_path)
    with fake_over_tls(bundle) as fake:
        fake.buckets.add("bkt")
        connection = options_of(fake.endpoint_url, tmp_path).connection
        ours = Clients(connection, 1)
        for _ in range(2):
            ours.get("question").head_bucket(Bucket="bkt")
            ours.forget_session()


_KINDS: tuple[clients.TimeoutProfile, ...] = ("question", "body")
