"""Certificate authorities: read once, read again when changed, and never merely believed."""

from __future__ import annotations

import os
import ssl
import time
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from streamtos3 import Connection
from streamtos3.s3 import clients
from streamtos3.s3.botocore_tuning import Authorities, share_authorities
from streamtos3.s3.clients import Clients
from tests.rig.tls import new_certificate


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


def test_a_file_that_changed_is_read_again(tmp_path: Path) -> None:
    context = Authorities(ssl.PROTOCOL_TLS_CLIENT)
    bundle = new_certificate(tmp_path)
    for _ in range(2):
        context.load_verify_locations(str(bundle))
        assert context.cert_store_stats()["x509"] == 1
    os.unlink(bundle)
    new_certificate(tmp_path)
    context.load_verify_locations(str(bundle))
    assert context.cert_store_stats()["x509"] == 2


def test_threads_that_all_connect_at_once_read_it_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Any] = []

    def slowly(self: ssl.SSLContext, cafile: Any, *rest: Any) -> None:
        read.append(cafile)
        time.sleep(0.05)  # as the authorities of a system take

    monkeypatch.setattr(ssl.SSLContext, "load_verify_locations", slowly)
    context = Authorities(ssl.PROTOCOL_TLS_CLIENT)
    bundle = str(new_certificate(tmp_path))
    threads = [Thread(target=context.load_verify_locations, args=(bundle,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert read == [bundle]


def test_a_file_that_cannot_be_read_is_an_error_each_time(tmp_path: Path) -> None:
    context = Authorities(ssl.PROTOCOL_TLS_CLIENT)
    (tmp_path / "empty").touch()
    for path, kind in (("none", FileNotFoundError), ("empty", ssl.SSLError)):
        for _ in range(2):
            with pytest.raises(kind):
                context.load_verify_locations(str(tmp_path / path))


def test_what_is_no_file_is_always_read(tmp_path: Path, read: list[Any]) -> None:
    context = Authorities(ssl.PROTOCOL_TLS_CLIENT)
    certificate = new_certificate(tmp_path).read_text()
    for _ in range(2):
        context.load_verify_locations(cadata=certificate[certificate.index("-----BEGIN CERT") :])
    assert len(read) == 2


def test_a_botocore_that_is_another_inside_is_left_alone() -> None:
    class Another:
        _endpoint = None

    client: Any = Another()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    assert share_authorities(client, context) is context
    assert share_authorities(client, None) is None


def test_clients_of_one_connection_share_them_and_others_do_not() -> None:
    connection = Connection("https://127.0.0.1:9", "us-east-1")
    ours, theirs = Clients(connection, 1), Clients(connection, 1)
    contexts = [_context(each.get(kind)) for each in (ours, theirs) for kind in _KINDS]
    assert [type(each) for each in contexts] == [Authorities] * 4
    assert [each is contexts[0] for each in contexts] == [True, True, False, False]


_KINDS: tuple[clients.TimeoutProfile, ...] = ("question", "body")


def _context(client: Any) -> object:
    return client._endpoint.http_session._manager.connection_pool_kw["ssl_context"]
