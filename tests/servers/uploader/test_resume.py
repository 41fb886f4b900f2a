"""Resuming on real servers: what is there is not sent again, and stored is what was read."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import pytest
from mypy_boto3_s3.client import S3Client

from streamtos3 import Connection, Options, Receipt, Retries, upload
from streamtos3.errors import AbsentError, ExistsError, SourceError
from streamtos3.model.events import Event, PartStored, Resuming, Warned
from streamtos3.model.object_settings import ObjectSettings
from streamtos3.model.parts import Limits
from tests.rig.fake_s3 import FakeS3, Quirks
from tests.rig.fault_rig import slowly
from tests.rig.seaweed import SeaweedFS
from tests.rig.support import (
    MIB,
    assert_nothing_left,
    object_exists,
    open_uploads,
    payload,
    s3_client,
)

KEY = "disk.img"


@dataclass(frozen=True)
class Server:
    """Where a test runs: SeaweedFS, which wants parts of 5 MiB, or the fake, which takes any."""

    connection: Connection
    s3: S3Client
    bucket: str
    part_bytes: int

    def options(self, *, chunk_parts: int = 1, resume: bool = True) -> Options:
        return Options(
            connection=self.connection,
            chunk_bytes=chunk_parts * self.part_bytes,
            limits=Limits(min_part_bytes=self.part_bytes),
            resume=resume,
            retries=Retries(first_wait_s=0.01, tries=2),
        )

    def data(self, parts: int, seed: int = 0) -> bytes:
        return payload(parts * self.part_bytes, seed)

    def stored(self) -> bytes:
        return self.s3.get_object(Bucket=self.bucket, Key=KEY)["Body"].read()

    def open_uploads(self) -> list[tuple[str, str]]:
        return open_uploads(self.s3, self.bucket)

    def upload(self, data: bytes, *, on_event: Listener | None = None, **how: int) -> Receipt:
        options = self.options(chunk_parts=how.get("chunk_parts", 1))
        return upload(io.BytesIO(data), self.bucket, KEY, options=options, on_event=on_event)

    def interrupted_run(self, data: bytes, *, resume: bool = True) -> SourceError:
        """A first run that stores every whole part of `data` and then fails."""
        reader = DyingReader(data, len(data) // self.part_bytes)
        with pytest.raises(SourceError) as caught:
            upload(
                reader,
                self.bucket,
                KEY,
                options=self.options(resume=resume),
                on_event=reader.listen,
            )
        return caught.value


Listener = Callable[[Event], None]


class DyingReader(io.BytesIO):
    """Yields its bytes and, once the parts of them are stored, fails as a dying disk does."""

    def __init__(self, data: bytes, parts: int) -> None:
        super().__init__(data)
        self._unstored = threading.Semaphore(0)
        self._parts = parts

    def listen(self, event: Event) -> None:
        if isinstance(event, PartStored):
            self._unstored.release()

    def readinto(self, buffer: object) -> int:
        count = super().readinto(buffer)  # type: ignore[arg-type]
        if not count:
            for _ in range(self._parts):
                assert self._unstored.acquire(timeout=30)
            raise OSError(5, "input/output error")
        return count


@pytest.fixture
def on_seaweed(
    seaweed: SeaweedFS, s3: S3Client, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> Server:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", seaweed.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", seaweed.secret_key)
    return Server(Connection(seaweed.endpoint_url, "us-east-1"), s3, bucket, 5 * MIB)


@contextmanager
def fake_server(monkeypatch: pytest.MonkeyPatch, quirks: Quirks) -> Iterator[Server]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    with FakeS3(quirks, buckets=("bucket",)) as fake:
        client = s3_client(fake.endpoint_url, "key", "secret")
        yield Server(Connection(fake.endpoint_url, "us-east-1"), client, "bucket", 1000)


@pytest.fixture
def on_fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A small page, so that a few parts and uploads take several pages of a listing."""
    quirks = Quirks(min_part_bytes=1, page_size=3, keeps_resent_parts=True)
    with fake_server(monkeypatch, quirks) as server:
        yield server


@pytest.fixture(params=["fake", *slowly("seaweed")])
def server(request: pytest.FixtureRequest) -> Server:
    found: Server = request.getfixturevalue(f"on_{request.param}")
    return found


def resumed_parts(receipt: Receipt) -> list[int]:
    return [part.number for part in receipt.parts if part.resumed]


def test_sends_only_what_is_missing(server: Server) -> None:
    data = server.data(5) + b"tail"
    error = server.interrupted_run(server.data(3))
    assert "kept for --resume" in (error.left_behind or "")
    assert not object_exists(server.s3, server.bucket, KEY)
    events: list[Event] = []
    receipt = server.upload(data, on_event=events.append)
    assert resumed_parts(receipt) == [1, 2, 3]
    assert [part.tries for part in receipt.parts] == [0, 0, 0, 1, 1, 1]
    assert receipt.token is None
    assert Resuming(receipt.upload_id or "", 3, 3 * server.part_bytes) in events
    assert server.stored() == data
    assert server.open_uploads() == []


def test_keeps_the_first_runs_part_size(server: Server) -> None:
    data = server.data(4)
    server.interrupted_run(server.data(3))
    receipt = server.upload(data, chunk_parts=2)
    assert resumed_parts(receipt) == [1, 2, 3]
    assert {part.size_bytes for part in receipt.parts} == {server.part_bytes}
    assert server.stored() == data


def test_stores_what_is_read_now_where_the_source_has_changed(server: Server) -> None:
    """SeaweedFS lists the changed part twice; the new ETag stores the new bytes."""
    old, other = server.data(3), server.data(1, seed=7)
    new = old[: server.part_bytes] + other + old[2 * server.part_bytes :] + b"tail"
    server.interrupted_run(old)
    receipt = server.upload(new)
    assert resumed_parts(receipt) == [1, 3]
    assert server.stored() == new
    assert server.open_uploads() == []


def test_a_part_listed_twice_is_right_for_either_of_its_contents(server: Server) -> None:
    old, other = server.data(3), server.data(1, seed=7)
    new = old[: server.part_bytes] + other + old[2 * server.part_bytes :]
    server.interrupted_run(old)
    server.interrupted_run(new)
    receipt = server.upload(old + b"!")
    assert server.stored() == old + b"!"
    assert receipt.proof.object == "composite-etag"


def test_a_source_that_has_shrunk_leaves_no_old_tail(server: Server) -> None:
    data = server.data(3)
    server.interrupted_run(data)
    receipt = server.upload(data[: server.part_bytes + 1])
    assert resumed_parts(receipt) == [1]
    assert server.stored() == data[: server.part_bytes + 1]


def test_a_source_that_fits_one_request_now_costs_no_kept_part(server: Server) -> None:
    """A producer that died at once gives no byte, and the next one may go on."""
    server.interrupted_run(server.data(2))
    events: list[Event] = []
    receipt = server.upload(b"", on_event=events.append)
    assert receipt.upload_id is None
    assert server.stored() == b""
    ((_, upload_id),) = server.open_uploads()
    (warning,) = [event.message for event in events if isinstance(event, Warned)]
    assert f"unfinished upload {upload_id} of this key was not used" in warning
    server.s3.abort_multipart_upload(Bucket=server.bucket, Key=KEY, UploadId=upload_id)


def test_an_upload_that_vanishes_while_it_is_resumed_is_not_called_kept(server: Server) -> None:
    server.interrupted_run(server.data(2))

    class Vanishing(io.BytesIO):
        def readinto(self, buffer: object) -> int:
            for key, upload_id in server.open_uploads():
                server.s3.abort_multipart_upload(Bucket=server.bucket, Key=key, UploadId=upload_id)
            return super().readinto(buffer)  # type: ignore[arg-type]

    with pytest.raises(AbsentError) as caught:
        upload(Vanishing(server.data(3, seed=3)), server.bucket, KEY, options=server.options())
    assert caught.value.left_behind is None
    assert_nothing_left(server.s3, server.bucket, KEY)


def test_says_that_a_resumed_object_keeps_its_first_settings(server: Server) -> None:
    server.interrupted_run(server.data(2))
    events: list[Event] = []
    options = replace(server.options(), settings=ObjectSettings(metadata={"case": "7"}))
    data = server.data(2) + b"!"
    upload(io.BytesIO(data), server.bucket, KEY, options=options, on_event=events.append)
    (warning,) = [event.message for event in events if isinstance(event, Warned)]
    assert "not those asked for now" in warning


def test_takes_the_newest_of_several_and_no_other_keys(server: Server) -> None:
    data = server.data(2) + b"!"
    other = server.s3.create_multipart_upload(Bucket=server.bucket, Key=KEY + ".other")
    old = server.s3.create_multipart_upload(Bucket=server.bucket, Key=KEY)
    time.sleep(1.1)  # the listing's dates are whole seconds
    newest = server.s3.create_multipart_upload(Bucket=server.bucket, Key=KEY)["UploadId"]
    server.s3.upload_part(
        Bucket=server.bucket, Key=KEY, UploadId=newest, PartNumber=1, Body=data[: server.part_bytes]
    )
    receipt = server.upload(data)
    assert (receipt.upload_id, resumed_parts(receipt)) == (newest, [1])
    left = {upload_id for _, upload_id in server.open_uploads()}
    assert left == {other["UploadId"], old["UploadId"]}
    for upload_id, key in ((other["UploadId"], KEY + ".other"), (old["UploadId"], KEY)):
        server.s3.abort_multipart_upload(Bucket=server.bucket, Key=key, UploadId=upload_id)


def test_begins_anew_where_the_upload_was_aborted_in_between(server: Server) -> None:
    data = server.data(2) + b"!"
    server.interrupted_run(server.data(2))
    for key, upload_id in server.open_uploads():
        server.s3.abort_multipart_upload(Bucket=server.bucket, Key=key, UploadId=upload_id)
    receipt = server.upload(data)
    assert resumed_parts(receipt) == []
    assert server.stored() == data


def test_without_resume_nothing_is_kept(server: Server) -> None:
    error = server.interrupted_run(server.data(2), resume=False)
    assert error.left_behind is None
    assert_nothing_left(server.s3, server.bucket, KEY)


def test_an_object_created_meanwhile_ends_the_upload_for_good(server: Server) -> None:
    """Its parts could only be used to overwrite; keeping them would only cost."""

    class Racing(io.BytesIO):
        def readinto(self, buffer: object) -> int:
            count = super().readinto(buffer)  # type: ignore[arg-type]
            if not count:
                server.s3.put_object(Bucket=server.bucket, Key=KEY, Body=b"somebody else's")
            return count

    with pytest.raises(ExistsError):
        upload(Racing(server.data(2) + b"!"), server.bucket, KEY, options=server.options())
    assert server.stored() == b"somebody else's"
    assert server.open_uploads() == []


def test_reads_every_page_of_parts_and_uploads(on_fake: Server) -> None:
    """S3 lists 1,000 a page; here 3, so that ten parts and six uploads take several."""
    for _ in range(5):
        on_fake.s3.create_multipart_upload(Bucket=on_fake.bucket, Key=KEY)
    time.sleep(1.1)
    newest = on_fake.s3.create_multipart_upload(Bucket=on_fake.bucket, Key=KEY)["UploadId"]
    data = on_fake.data(10)
    on_fake.interrupted_run(data)
    receipt = on_fake.upload(data + b"!")
    assert (receipt.upload_id, resumed_parts(receipt)) == (newest, list(range(1, 11)))
    assert on_fake.stored() == data + b"!"


def test_skips_nothing_and_says_so_where_etags_are_no_md5(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with fake_server(monkeypatch, Quirks(min_part_bytes=1, etag="opaque")) as server:
        data = server.data(3)
        server.interrupted_run(data)
        events: list[Event] = []
        receipt = server.upload(data + b"!", on_event=events.append)
        assert (resumed_parts(receipt), receipt.proof.object) == ([], "readback")
        warnings = [event.message for event in events if isinstance(event, Warned)]
        assert warnings == ["this endpoint's part ETags are not MD5s, so no part can be skipped"]
        assert server.stored() == data + b"!"


def test_goes_on_after_kill_9(on_seaweed: Server) -> None:
    """The program's own memory is gone, and nothing of it was on the disk: the server knows."""
    server = on_seaweed
    data = server.data(4) + b"tail"
    command = [
        sys.executable,
        "-m",
        "streamtos3",
        "-q",
        "-c",
        "5MiB",
        f"s3://{server.bucket}/{KEY}",
    ]
    command += ["--endpoint-url", str(server.connection.endpoint_url), "--resume"]
    environment = {**os.environ, "AWS_DEFAULT_REGION": "us-east-1"}
    first = subprocess.Popen(command, stdin=subprocess.PIPE, env=environment)
    assert first.stdin is not None
    first.stdin.write(server.data(3))
    first.stdin.flush()
    while not stored_parts(server):
        assert first.poll() is None
        time.sleep(0.05)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    assert not object_exists(server.s3, server.bucket, KEY)
    second = subprocess.run(command, input=data, env=environment, check=False)
    assert second.returncode == 0
    assert server.stored() == data
    assert server.open_uploads() == []


def stored_parts(server: Server) -> int:
    return sum(
        len(server.s3.list_parts(Bucket=server.bucket, Key=key, UploadId=each).get("Parts", []))
        for key, each in server.open_uploads()
    )
