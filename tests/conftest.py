"""Fixtures: an environment nobody has configured, and the servers the tests talk to."""

from __future__ import annotations

import functools
import os
import signal
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from botocore.loaders import create_loader
from hypothesis import settings

from streamtos3.runtime.host import user_name
from streamtos3.s3 import clients
from tests.rig.fault_rig import Bench, fake_bench, real_bench
from tests.rig.seaweed import SeaweedFS, free_ports
from tests.rig.support import empty_bucket, is_empty, remove_bucket, s3_client

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

# A time limit for each example would measure how busy the machine is.
settings.register_profile("tests", deadline=None)
settings.load_profile("tests")

PROXIES = {"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"}


@pytest.fixture(scope="session", autouse=True)
def _bare_environment() -> Iterator[None]:
    """Take away what would steer the program, or the servers' clients, from outside."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            steers = name.startswith(("AWS_", "STREAMTOS3_", "BOTO_")) or name.upper() in PROXIES
            if steers or name == "REQUESTS_CA_BUNDLE":
                patch.delenv(name)
        yield


@pytest.fixture(scope="session", autouse=True)
def _signals_are_heard() -> None:
    """A shell's background job ignores SIGINT, `nohup` SIGHUP, and every child inherits it."""
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(each) is signal.SIG_IGN:
            signal.signal(each, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def _service_model_read_once() -> Iterator[None]:
    """Every upload has a session of its own, and each would read the megabytes of S3's model."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("botocore.session.create_loader", functools.cache(create_loader))
        yield


@pytest.fixture
def nameless_user(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The user who runs this has a number and no name, as in many containers."""

    def nobody() -> str:
        raise KeyError("getpwuid(): uid not found")

    monkeypatch.setattr("getpass.getuser", nobody)
    user_name.cache_clear()
    yield
    user_name.cache_clear()


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home directory; a test may write `.aws/config` and `.aws/credentials` into it."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(home / ".aws" / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(home / ".aws" / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return home


@pytest.fixture(scope="session")
def seaweed() -> Iterator[SeaweedFS]:
    """A real S3 server for all that is claimed about integrity."""
    with SeaweedFS() as server:
        yield server


@pytest.fixture(scope="session")
def s3(seaweed: SeaweedFS) -> Iterator[S3Client]:
    """A client that may do everything on SeaweedFS, and does it once."""
    client = s3_client(seaweed.endpoint_url, seaweed.access_key, seaweed.secret_key)
    yield client
    client.close()


@pytest.fixture(scope="session")
def _used_buckets() -> list[str]:
    """Buckets on SeaweedFS that are empty again: its first object takes a new one 0.2 s."""
    return []


@pytest.fixture
def bucket(s3: S3Client, _used_buckets: list[str]) -> Iterator[str]:
    """An empty bucket on SeaweedFS that no other test uses meanwhile."""
    while _used_buckets:
        name = _used_buckets.pop()
        if is_empty(s3, name):
            break
        # A program that was killed was heard late.
        remove_bucket(s3, name)
    else:
        name = f"test-{uuid.uuid4().hex[:12]}"
        s3.create_bucket(Bucket=name)
    yield name
    if "Status" in s3.get_bucket_versioning(Bucket=name):
        remove_bucket(s3, name)
    else:
        empty_bucket(s3, name)
        _used_buckets.append(name)


@pytest.fixture(scope="session")
def moto_server() -> Iterator[str]:
    """The URL of a moto server: for the shape of requests, not for integrity, which it ignores."""
    from moto.server import ThreadedMotoServer  # takes a second, which unit tests need not pay

    (port,) = free_ports(1)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    server.start()
    yield f"http://127.0.0.1:{port}"
    server.stop()


@pytest.fixture
def moto_s3(moto_server: str) -> Iterator[S3Client]:
    """A client of the moto server, which takes any keys."""
    client = s3_client(moto_server, "moto", "moto")
    yield client
    client.close()


@pytest.fixture
def moto_bucket(moto_s3: S3Client) -> Iterator[str]:
    """A bucket on the moto server that no other test sees."""
    yield from _fresh_bucket(moto_s3)


def _fresh_bucket(s3: S3Client) -> Iterator[str]:
    name = f"test-{uuid.uuid4().hex[:12]}"
    s3.create_bucket(Bucket=name)
    yield name
    remove_bucket(s3, name)


@pytest.fixture
def on_seaweed(
    seaweed: SeaweedFS, s3: S3Client, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Bench]:
    """Uploads to SeaweedFS through the fault proxy."""
    keys = seaweed.access_key, seaweed.secret_key
    with real_bench(monkeypatch, seaweed.endpoint_url, keys, s3, bucket) as bench:
        yield bench


@pytest.fixture
def on_moto(
    moto_server: str, moto_s3: S3Client, moto_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Bench]:
    """Uploads to moto through the fault proxy."""
    keys = "moto", "moto"
    with real_bench(monkeypatch, moto_server, keys, moto_s3, moto_bucket) as bench:
        yield bench


@pytest.fixture
def on_fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """Uploads to the strict fake through the fault proxy."""
    with fake_bench(monkeypatch) as bench:
        yield bench


@pytest.fixture
def short_timeouts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that does not answer is given up after a fraction of a second."""
    for profile in clients.TIMEOUTS_S:
        monkeypatch.setitem(clients.TIMEOUTS_S, profile, (0.5, 0.5))
