"""The body of an answer is read into the caller's memory, and urllib3 still looks after it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ResponseStreamingError

from streamtos3.s3.botocore_tuning import read_directly
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
