"""The engine in small: parts of a few bytes, every length, every order, every event.

`s3` and `bucket` are those of the strict fake here: real servers refuse parts under 5 MiB. What is
claimed about integrity is tested on a real one in `test_upload`.
"""

from __future__ import annotations

import gc
import hashlib
import io
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from streamtos3 import upload
from streamtos3.errors import ExistsError, Interrupted, SourceError, UsageError
from streamtos3.model.events import Event, PartStored, Retrying, Started, UploadCreated
from streamtos3.model.options import Connection
from streamtos3.results import Receipt
from streamtos3.runtime.buffers import Buffer
from streamtos3.runtime.cancel import CancelScope
from streamtos3.runtime.workers import WorkerPool
from tests.rig.client import composite, md5
from tests.rig.fake_s3 import FakeS3, Quirks
from tests.rig.process import wait_until
from tests.rig.proxy import Fault, FaultProxy
from tests.rig.support import assert_nothing_left, object_exists, open_uploads, payload, s3_client
from tests.rig.tiny import PART, InSteps, Seen, silent_pipe, tiny

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

DATA = payload(10 * PART)
LENGTHS = [0, 1, PART - 1, PART, PART + 1, 2 * PART, 2 * PART + 1, 3 * PART + 7]


@pytest.fixture
def fake() -> Iterator[FakeS3]:
    with FakeS3(Quirks(min_part_bytes=1), buckets=["bucket"]) as fake:
        yield fake


@pytest.fixture
def s3(fake: FakeS3) -> Iterator[S3Client]:
    client = s3_client(fake.endpoint_url, "key", "secret")
    yield client
    client.close()


@pytest.fixture
def bucket() -> str:
    return "bucket"


def stored(s3: S3Client, bucket: str, key: str = "k") -> bytes:
    return s3.get_object(Bucket=bucket, Key=key)["Body"].read()


def parts_of(data: bytes, part_bytes: int = PART) -> list[bytes]:
    cuts = range(0, len(data), part_bytes)
    return [data[cut : cut + part_bytes] for cut in cuts] or [b""]


def proxied(proxy: FaultProxy) -> S3Client:
    return s3_client(proxy.endpoint_url, "key", "secret")


# Every length against every read size


@pytest.mark.parametrize("length", LENGTHS)
def test_what_is_stored_is_what_was_read_however_it_came(
    length: int, s3: S3Client, bucket: str
) -> None:
    """Read sizes of one byte, of odd numbers, around a part, and of all at once."""
    data = DATA[:length]
    parts = parts_of(data)
    etag = md5(data) if length <= PART else composite(*parts)
    for step_bytes in (1, 7, PART - 1, PART, PART + 1, 10**6):
        key = f"by-{step_bytes}"
        receipt = upload(InSteps(data, step_bytes), bucket, key, options=tiny(), client=s3)
        assert stored(s3, bucket, key) == data
        assert (receipt.size_bytes, receipt.etag_expected, receipt.etag_found) == (
            length,
            etag,
            etag,
        )
        assert [part.size_bytes for part in receipt.parts] == [len(part) for part in parts]
        assert s3.head_object(Bucket=bucket, Key=key)["ETag"] == f'"{etag}"'
    assert open_uploads(s3, bucket) == []


# The receipt


def test_every_field_of_the_receipt_is_true(s3: S3Client, bucket: str, fake: FakeS3) -> None:
    data = DATA[: 2 * PART + 5]
    began = datetime.now(timezone.utc)
    receipt = upload(
        io.BytesIO(data),
        bucket,
        "k",
        options=tiny(digests=("sha256", "md5", "blake2b"), command_line=("a", "b")),
        client=s3,
    )
    head = s3.head_object(Bucket=bucket, Key="k")
    parts = parts_of(data)
    assert (receipt.bucket, receipt.key) == (bucket, "k")
    assert (receipt.endpoint, receipt.region) == (fake.endpoint_url, "us-east-1")
    assert receipt.digests == {
        "sha256": hashlib.sha256(data).hexdigest(),
        "md5": hashlib.md5(data).hexdigest(),
        "blake2b": hashlib.blake2b(data).hexdigest(),
    }
    assert [
        (part.number, part.offset_bytes, part.size_bytes, part.md5, part.etag, part.tries)
        for part in receipt.parts
    ] == [
        (number, (number - 1) * PART, len(part), md5(part), md5(part), 1)
        for number, part in enumerate(parts, 1)
    ]
    assert all(part.etag_is_md5 and not part.resumed for part in receipt.parts)
    assert (receipt.proof.parts, receipt.proof.object) == ("md5-etag", "composite-etag")
    assert head["Metadata"] == {
        "streamtos3-token": receipt.token,
        "streamtos3-plan": receipt.part_plan,
    }
    assert receipt.part_plan == f"{PART}/10000"
    assert receipt.upload_id
    assert receipt.retries == 0
    assert receipt.command_line == ("a", "b")
    assert receipt.first_byte_at is not None
    assert began <= receipt.started_at <= receipt.first_byte_at <= receipt.ended_at
    assert receipt.ended_at <= datetime.now(timezone.utc)
    assert receipt.started_at.tzinfo is timezone.utc


def test_the_receipt_of_an_empty_stream_has_one_empty_part_and_no_first_byte(
    s3: S3Client, bucket: str
) -> None:
    receipt = upload(io.BytesIO(), bucket, "k", client=s3)
    (part,) = receipt.parts
    assert (part.number, part.offset_bytes, part.size_bytes, part.md5) == (1, 0, 0, md5(b""))
    assert (receipt.first_byte_at, receipt.upload_id) == (None, None)
    assert (receipt.proof.parts, receipt.proof.object) == ("md5-etag", "md5-etag")
    assert s3.head_object(Bucket=bucket, Key="k")["Metadata"]["streamtos3-token"] == receipt.token


def test_two_uploads_never_have_the_same_token(s3: S3Client, bucket: str) -> None:
    receipts = [upload(io.BytesIO(), bucket, key, client=s3) for key in "ab"]
    assert receipts[0].token != receipts[1].token


def test_tries_and_retries_are_counted(bucket: str, fake: FakeS3) -> None:
    with FaultProxy(fake.endpoint_url) as proxy:
        proxy.faults = [Fault("put-part", "503", part=2, times=2), Fault("create", "500")]
        source = io.BytesIO(DATA[: 3 * PART])
        receipt = upload(source, bucket, "k", options=tiny(), client=proxied(proxy))
    assert [part.tries for part in receipt.parts] == [1, 3, 1]
    assert receipt.retries == 3


# Sources


def test_a_path_a_descriptor_and_a_file_object_are_sources(
    s3: S3Client, bucket: str, tmp_path: Path
) -> None:
    path = tmp_path / "input"
    path.write_bytes(DATA)
    read_fd, write_fd = os.pipe()
    os.write(write_fd, DATA)
    os.close(write_fd)
    upload(path, bucket, "path", options=tiny(), client=s3)
    upload(str(path), bucket, "name", options=tiny(), client=s3)
    upload(read_fd, bucket, "descriptor", options=tiny(), client=s3)
    with path.open("rb") as file:
        upload(file, bucket, "object", options=tiny(), client=s3)
    for key in ("path", "name", "descriptor", "object"):
        assert stored(s3, bucket, key) == DATA
    os.close(read_fd)  # the caller's own is still open


def test_a_source_of_ours_is_closed_and_a_file_object_is_not(s3: S3Client, bucket: str) -> None:
    source, file = InSteps(b"x"), io.BytesIO(b"x")
    upload(source, bucket, "one", client=s3)
    upload(file, bucket, "two", client=s3)
    assert (source.closed, file.closed) == (True, False)


# How many requests, and which


@pytest.mark.parametrize("size_bytes", [0, 1, PART])
def test_a_stream_that_fits_one_part_goes_as_one_request(
    size_bytes: int, fake: FakeS3, s3: S3Client, bucket: str
) -> None:
    upload(io.BytesIO(DATA[:size_bytes]), bucket, "k", options=tiny(), client=s3)
    assert [asked.verb for asked in fake.requests] == "head head-bucket put-object".split()


def test_a_longer_stream_goes_in_parts(fake: FakeS3, s3: S3Client, bucket: str) -> None:
    upload(io.BytesIO(DATA[: PART + 1]), bucket, "k", options=tiny(jobs=1), client=s3)
    expected = "head head-bucket create put-part put-part complete head".split()
    assert [asked.verb for asked in fake.requests] == expected


@pytest.mark.parametrize("size_bytes", [5, 2 * PART])
def test_every_byte_goes_with_content_md5_and_commits_are_conditional(
    size_bytes: int, fake: FakeS3, s3: S3Client, bucket: str
) -> None:
    for overwrite in (False, True):
        source = io.BytesIO(DATA[:size_bytes])
        upload(source, bucket, "k", options=tiny(overwrite=overwrite), client=s3)
    sent = [asked for asked in fake.requests if asked.verb in ("put-object", "put-part")]
    commits = [asked for asked in fake.requests if asked.verb in ("put-object", "complete")]
    assert all("content-md5" in asked.headers for asked in sent)
    assert not any("x-amz-checksum" in name for asked in sent for name in asked.headers)
    assert [asked.headers.get("if-none-match") for asked in commits] == ["*", None]


def test_requests_have_the_shape_that_moto_expects(moto_s3: S3Client, moto_bucket: str) -> None:
    receipt = upload(
        io.BytesIO(payload(5 * 1024**2 + 1)),
        moto_bucket,
        "with spaces/ü+%&=.bin",
        options=tiny(part_bytes=5 * 1024**2),
        client=moto_s3,
    )
    assert receipt.proof.object == "composite-etag"
    head = moto_s3.head_object(Bucket=moto_bucket, Key="with spaces/ü+%&=.bin")
    assert head["Metadata"]["streamtos3-token"] == receipt.token
    assert open_uploads(moto_s3, moto_bucket) == []


# An object that is already there


@pytest.mark.parametrize("size_bytes", [5, 2 * PART])
def test_an_object_that_exists_is_found_before_the_first_byte(
    size_bytes: int, s3: S3Client, bucket: str
) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"older")
    source = InSteps(DATA[:size_bytes])
    with pytest.raises(ExistsError):
        upload(source, bucket, "k", options=tiny(), client=s3)
    assert source.reads == 0
    assert stored(s3, bucket) == b"older"


@pytest.mark.parametrize("size_bytes", [5, 2 * PART])
def test_an_object_created_after_the_check_is_not_replaced(
    size_bytes: int, s3: S3Client, bucket: str
) -> None:
    def create() -> None:
        s3.put_object(Bucket=bucket, Key="k", Body=b"quicker")

    source = InSteps(DATA[:size_bytes], at_finish=create)
    with pytest.raises(ExistsError) as caught:
        upload(source, bucket, "k", options=tiny(), client=s3)
    assert caught.value.left_behind is None
    assert stored(s3, bucket) == b"quicker"
    assert open_uploads(s3, bucket) == []


@pytest.mark.parametrize("size_bytes", [0, 5, 2 * PART])
def test_overwrite_replaces(size_bytes: int, s3: S3Client, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"older")
    data = DATA[:size_bytes]
    upload(io.BytesIO(data), bucket, "k", options=tiny(overwrite=True), client=s3)
    assert stored(s3, bucket) == data


# Events


def test_events_come_in_the_order_of_the_upload(s3: S3Client, bucket: str) -> None:
    seen = Seen()
    receipt = upload(
        io.BytesIO(DATA[: 2 * PART]), bucket, "k", options=tiny(), client=s3, on_event=seen
    )
    assert [type(event) for event in seen.events] == [
        Started,
        UploadCreated,
        PartStored,
        PartStored,
    ]
    assert seen.of(Started) == [Started(None, PART, 10_000 * PART, False)]
    assert seen.of(UploadCreated) == [UploadCreated(receipt.upload_id or "")]
    assert {event.part for event in seen.of(PartStored)} == set(receipt.parts)


def test_a_retry_is_an_event(bucket: str, fake: FakeS3) -> None:
    seen = Seen()
    with FaultProxy(fake.endpoint_url) as proxy:
        proxy.faults = [Fault("put-part", "503", part=2)]
        client = proxied(proxy)
        source = io.BytesIO(DATA[: 2 * PART])
        upload(source, bucket, "k", options=tiny(), client=client, on_event=seen)
    (retrying,) = seen.of(Retrying)
    assert (retrying.action, retrying.tries) == ("store part 2", 1)
    assert "SlowDown" in retrying.reason


def test_a_listener_that_fails_changes_nothing_and_is_logged(
    s3: S3Client, bucket: str, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(event: Event) -> None:
        raise ZeroDivisionError("no listener of ours")

    receipt = upload(io.BytesIO(DATA), bucket, "k", options=tiny(), client=s3, on_event=fail)
    assert stored(s3, bucket) == DATA
    assert receipt.proof.object == "composite-etag"
    assert "the listener failed on Started" in caplog.text


def test_a_listener_is_never_called_twice_at_a_time(s3: S3Client, bucket: str) -> None:
    busy = threading.Lock()
    overlaps: list[Event] = []

    def listen(event: Event) -> None:
        if not busy.acquire(blocking=False):
            overlaps.append(event)
            return
        busy.release()

    upload(io.BytesIO(DATA), bucket, "k", options=tiny(part_bytes=8), client=s3, on_event=listen)
    assert overlaps == []


# When parts are sent (invariant 15)


@pytest.mark.slow
def test_parts_are_sent_as_soon_as_they_are_full_while_the_producer_is_silent(
    s3: S3Client, bucket: str
) -> None:
    """Invariant 15: the first once a second begins, each later one when its buffer is full."""
    read_fd, write_fd = os.pipe()
    seen = Seen()
    receipts: list[Receipt] = []

    def run() -> None:
        receipts.append(upload(read_fd, bucket, "k", options=tiny(), client=s3, on_event=seen))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    os.write(write_fd, DATA[:PART])
    seen.wait_for(Started)
    os.write(write_fd, DATA[PART : PART + 1])
    seen.wait_for(PartStored, 1)
    os.write(write_fd, DATA[PART + 1 : 2 * PART])
    seen.wait_for(PartStored, 2)
    assert [event.part.number for event in seen.of(PartStored)] == [1, 2]
    os.close(write_fd)
    thread.join(30)
    os.close(read_fd)
    assert len(receipts[0].parts) == 2
    assert stored(s3, bucket) == DATA[: 2 * PART]


def test_a_full_first_part_waits_for_a_second_byte_as_it_may_be_all(
    fake: FakeS3, s3: S3Client, bucket: str
) -> None:
    """Nothing is sent before, so a stream of exactly one part still goes as one request."""
    before_the_end: list[str] = []

    def note() -> None:
        before_the_end.extend(asked.verb for asked in fake.requests)

    upload(InSteps(DATA[:PART], 7, at_end=note), bucket, "k", options=tiny(), client=s3)
    assert before_the_end == ["head", "head-bucket"]


# Mistakes of the caller


@pytest.mark.parametrize(
    ("bucket_name", "key"), [("b", "k"), ("bucket", ""), ("bucket", "k" * 1025), ("bu cket", "k")]
)
def test_names_are_checked_before_anything_else(bucket_name: str, key: str) -> None:
    source = InSteps(b"x")
    with pytest.raises(UsageError):
        upload(source, bucket_name, key)
    assert source.reads == 0


def test_more_than_the_parts_can_hold_stores_nothing(s3: S3Client, bucket: str) -> None:
    options = tiny(max_parts=3)
    upload(io.BytesIO(DATA[: 3 * PART]), bucket, "fits", options=options, client=s3)
    with pytest.raises(SourceError, match="longer than 3 parts can hold"):
        upload(io.BytesIO(DATA[: 3 * PART + 1]), bucket, "k", options=options, client=s3)
    assert object_exists(s3, bucket, "fits")
    assert_nothing_left(s3, bucket, "k")


def test_one_error_that_ends_many_uploads_names_what_each_has_left(
    fake: FakeS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They share the error; none may hide what another one left."""
    connection = Connection(endpoint_url=fake.endpoint_url, region="us-east-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    seen, end = Seen(), Interrupted(signal.SIGTERM)
    with CancelScope() as scope, ExitStack() as pipes:
        workers = WorkerPool(3, scope)
        for key in "abc":
            source = pipes.enter_context(silent_pipe(DATA))
            store = partial(upload, source, "bucket", key, scope=scope.child(), on_event=seen)
            workers.submit(partial(store, options=tiny(connection=connection, resume=True)))
        seen.wait_for(UploadCreated, 3)
        scope.fail(end)
        assert workers.wait_idle(30, 30)
    assert end.left_behind is not None
    assert len(fake.uploads) == 3
    assert [each for each in fake.uploads if each not in end.left_behind] == []


def held_buffers() -> set[int]:
    return {id(each) for each in gc.get_objects() if isinstance(each, Buffer)}


@pytest.mark.parametrize("data", [b"", DATA[:PART], DATA], ids=["empty", "one", "many"])
def test_an_upload_that_is_over_holds_no_buffer(
    fake: FakeS3, s3: S3Client, bucket: str, data: bytes
) -> None:
    """Whatever the garbage collector does: a program that makes many must not pile them up."""
    gc.collect()
    before = held_buffers()
    gc.disable()
    try:
        upload(InSteps(data), bucket, "k", options=tiny(), client=s3)
        # A thread that has just ended its last task may hold one for a moment.
        wait_until(lambda: held_buffers() <= before, lambda: "buffers to go", timeout_s=5)
    finally:
        gc.enable()


@pytest.mark.parametrize("key", ["k", "taken"])
def test_a_scope_that_the_caller_gives_is_not_closed(s3: S3Client, bucket: str, key: str) -> None:
    """It may serve other uploads: only its owner knows when it is over."""
    s3.put_object(Bucket=bucket, Key="taken", Body=b"")
    with CancelScope() as scope:
        try:
            upload(io.BytesIO(b"x"), bucket, key, options=tiny(), client=s3, scope=scope)
        except ExistsError:
            assert key == "taken"
        os.fstat(scope.wake_fd)
