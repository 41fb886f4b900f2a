"""The body of an answer is read into the caller's memory, and urllib3 still looks after it."""

from __future__ import annotations

import io
import socket
import ssl
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ResponseStreamingError

from streamtos3.s3.botocore_tuning import _decrypt_directly, read_directly
from tests.rig.fake_s3 import FakeS3
from tests.rig.support import payload, s3_client

DATA = payload(300_000)


@pytest.fixture
def body() -> Iterator[Any]:
    with FakeS3() as fake:
        client = s3_client(fake.endpoint_url, "AKIA", "secret")
        client.put_object(Bucket="b", Key="k", Body=DATA)
        yield client.get_object(Bucket="b", Key="k")["Body"]


def read(body: Any, size: int) -> bytes:
    memory = memoryview(bytearray(size))
    filled = 0
    while filled < size and (count := body.readinto(memory[filled : filled + 100_000])):
        filled += count
    return bytes(memory[:filled])


def test_all_arrives_and_the_connection_can_be_used_again(body: Any) -> None:
    read_directly(body)
    raw = body._raw_stream
    assert "readinto" in vars(raw), "urllib3 is built differently by now"
    assert read(body, len(DATA)) == DATA
    assert (raw.length_remaining, raw._connection) == (0, None)
    assert body.readinto(memoryview(bytearray(1))) == 0


def test_what_breaks_is_reported_as_before(body: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    read_directly(body)
    raw = body._raw_stream

    def breaks(_: object) -> int:
        raise ConnectionResetError("reset by peer")

    monkeypatch.setattr(raw._fp, "readinto", breaks)
    with pytest.raises(ResponseStreamingError):
        read(body, len(DATA))


@pytest.mark.parametrize("gone", ["_error_catcher", "_fp_bytes_read", "length_remaining", "_fp"])
def test_what_is_built_differently_is_left_alone(
    gone: str, body: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = body._raw_stream
    with monkeypatch.context() as patch:
        owner = raw if gone in vars(raw) else type(raw)
        patch.delattr(owner, gone)
        read_directly(body)
    assert "readinto" not in vars(raw)
    assert read(body, len(DATA)) == DATA


def test_a_body_of_another_make_is_left_alone() -> None:
    read_directly(object())


class Records:
    """In place of a TLS connection: `read` gives these, one at a time."""

    def __init__(self, *records: bytes | Exception) -> None:
        self._records = list(records)
        self._sslobj = self

    def read(self, size_bytes: int, into: memoryview) -> int:
        record = self._records.pop(0)
        if isinstance(record, Exception):
            raise record
        assert len(record) <= size_bytes
        into[: len(record)] = record
        return len(record)


def decrypting(*records: bytes | Exception) -> io.BufferedReader:
    """What http.client reads such a connection with."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        connection = socket.SocketIO(ours, "r")
        connection._sock = Records(*records)  # type: ignore[attr-defined]
        _decrypt_directly(connection)
        return io.BufferedReader(connection)


def test_records_are_decrypted_into_the_readers_memory() -> None:
    records = [b"head", DATA[:16384], DATA[16384:20000]]
    reader = decrypting(*records, b"", b"")
    assert (reader.read1(4), read(reader, 20_000)) == (b"head", DATA[:20_000])
    assert reader.readinto(bytearray(1)) == 0


def test_a_connection_that_ends_without_a_goodbye_is_an_end() -> None:
    ended = ssl.SSLEOFError(ssl.SSL_ERROR_EOF, "EOF occurred in violation of protocol")
    assert read(decrypting(b"12", ended, ended), 10) == b"12"


def test_other_errors_of_a_connection_are_raised() -> None:
    with pytest.raises(TimeoutError):
        read(decrypting(b"12", TimeoutError("The read operation timed out")), 10)


def test_a_connection_without_tls_is_left_alone() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, socket.SocketIO(ours, "r") as connection:
        _decrypt_directly(connection)
        assert "readinto" not in vars(connection)
