"""The sink on a real S3 server: nothing lost, nothing twice, nothing out of order."""

from __future__ import annotations

import gzip
import io
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mypy_boto3_s3.client import S3Client

from streamtos3 import Connection, Options, Receipt, Retries
from streamtos3.errors import (
    IntegrityError,
    Interrupted,
    RefusedError,
    ReportError,
    SpoolError,
    SpoolFullError,
    SpoolTooSmallError,
    UnprovedError,
    UnreachableError,
    UsageError,
)
from streamtos3.model.events import Event, Retrying
from streamtos3.model.object_settings import ObjectSettings
from streamtos3.model.options import Verify
from streamtos3.runtime.cancel import Cancelled
from streamtos3.sink.lines import store_lines
from streamtos3.sink.rotation import Clock, RotationRules, SinkOptions
from streamtos3.sink.sink import Sink
from streamtos3.sink.spool import Spool, SpoolFile
from streamtos3.sink.spool_header import BegunWith, ObjectHeader
from streamtos3.sink.upload_queue import UploadQueue
from streamtos3.sources.base import ObjectSource, Source
from streamtos3.uploader.upload import upload_one_of_many
from tests.rig.fake_s3 import FakeS3, Quirks
from tests.rig.process import account
from tests.rig.proxy import Fault, FaultProxy
from tests.rig.seaweed import SeaweedFS
from tests.rig.small_disk import small_disk
from tests.rig.support import MIB, open_uploads, payload
from tests.rig.tiny import InSteps
from tests.rig.wire import reserved_port

NOON = datetime(2026, 11, 21, 12, 0, 0, tzinfo=timezone.utc)
LIMIT = 1 << 20


class SetClock(Clock):
    """Stands still until it is told to go on."""

    def __init__(self, at: datetime = NOON) -> None:
        self._at = at
        self._s = 1000.0

    def now(self) -> datetime:
        return self._at

    def monotonic(self) -> float:
        return self._s

    def go_on(self, seconds: float) -> None:
        self._at += timedelta(seconds=seconds)
        self._s += seconds

    def jump(self, **by: float) -> None:
        self._at += timedelta(**by)


def rules(**changes: Any) -> RotationRules:
    return RotationRules(
        **{"max_records": 1000, "interval_s": 60.0, "partition": "none", **changes}
    )


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@contextmanager
def opened(
    bucket: str,
    s3: S3Client | None = None,
    *,
    spool: str | None = None,
    limit: int = LIMIT,
    options: Options | None = None,
    compress: str | None = None,
    at_once: int = 4,
    cut: RotationRules | None = None,
    prefix: str = "p",
    **more: Any,
) -> Iterator[Sink]:
    """A sink into `bucket`, below `prefix`; with a spool in the directory `spool`."""
    sink_options = SinkOptions(
        bucket, prefix, rules=cut or rules(), compress=compress, objects_at_once=at_once
    )
    held = Spool(spool, limit) if spool else None
    try:
        with Sink(sink_options, options, spool=held, client=s3, **more) as sink:
            yield sink
    finally:
        if held is not None:
            held.close()


def objects(s3: S3Client, bucket: str, prefix: str = "") -> dict[str, bytes]:
    """All objects below `prefix`, in the order of their keys."""
    found = {}
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        for each in page.get("Contents", []):
            found[each["Key"]] = s3.get_object(Bucket=bucket, Key=each["Key"])["Body"].read()
    return found


def bodies(s3: S3Client, bucket: str) -> list[bytes]:
    return list(objects(s3, bucket).values())


def lines(count: int, start: int = 0) -> list[bytes]:
    return [b"%d\n" % number for number in range(start, start + count)]


def through(server: SeaweedFS, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch) -> Options:
    for name, value in account(server, proxy.endpoint_url).items():
        monkeypatch.setenv(name, value)
    return Options(
        connection=Connection(endpoint_url=proxy.endpoint_url),
        retries=Retries(first_wait_s=0.01, longest_wait_s=0.05),
    )


@pytest.fixture
def proxy(seaweed: SeaweedFS) -> Iterator[FaultProxy]:
    with FaultProxy(seaweed.endpoint_url) as proxy:
        yield proxy


@pytest.fixture(params=[False, True], ids=["memory", "spool"])
def spool_dir(request: pytest.FixtureRequest, tmp_path: Path) -> str | None:
    return str(tmp_path / "spool") if request.param else None


def spool_files(directory: str | None) -> list[str]:
    return [name for name in os.listdir(directory) if name != "lock"] if directory else []


# Cutting


def test_an_object_ends_after_so_many_records(
    s3: S3Client, bucket: str, spool_dir: str | None
) -> None:
    receipts: list[Receipt] = []
    with opened(
        bucket, s3, spool=spool_dir, cut=rules(max_records=3), on_stored=receipts.append
    ) as sink:
        sink.append(lines(7))
        sink.append(lines(1, 7))
        sink.finish()
        figures = sink.figures()
    assert bodies(s3, bucket) == [b"0\n1\n2\n", b"3\n4\n5\n", b"6\n7\n"]
    assert sorted(receipt.key for receipt in receipts) == list(objects(s3, bucket))
    assert {receipt.proof.object for receipt in receipts} == {"md5-etag"}
    assert (figures.received_records, figures.received_bytes) == (8, 16)
    assert (figures.stored_records, figures.stored_bytes, figures.stored_objects) == (8, 16, 3)
    assert (figures.spool_bytes, figures.oldest_age_s, figures.retries) == (0, None, 0)
    assert spool_files(spool_dir) == []


def test_an_object_ends_with_the_record_that_reaches_the_size(
    s3: S3Client, bucket: str, spool_dir: str | None
) -> None:
    with opened(bucket, s3, spool=spool_dir, cut=rules(max_bytes=5)) as sink:
        sink.append(lines(5))
        sink.finish()
    assert bodies(s3, bucket) == [b"0\n1\n2\n", b"3\n4\n"]


def test_an_object_ends_so_long_after_its_first_record_also_when_nothing_more_comes(
    s3: S3Client, bucket: str, clock: SetClock, spool_dir: str | None
) -> None:
    with opened(bucket, s3, spool=spool_dir, cut=rules(interval_s=10), clock=clock) as sink:
        clock.go_on(100)
        sink.rotate_if_due()
        sink.append(lines(1))
        clock.go_on(9)
        sink.rotate_if_due()
        sink.append(lines(1, 1))
        assert sink.figures().oldest_age_s == 9
        clock.go_on(1)
        sink.rotate_if_due()
        sink.append(lines(1, 2))
        sink.finish()
    assert bodies(s3, bucket) == [b"0\n1\n", b"2\n"]


def test_the_timer_cuts_by_itself(s3: S3Client, bucket: str, spool_dir: str | None) -> None:
    stored = threading.Event()
    with (
        opened(
            bucket,
            s3,
            spool=spool_dir,
            cut=rules(interval_s=0.05),
            on_stored=lambda _: stored.set(),
        ) as sink,
        sink.ticking(),
    ):
        sink.append(lines(1))
        assert stored.wait(30)
        assert bodies(s3, bucket) == [b"0\n"]
        sink.finish()


@pytest.mark.parametrize(
    ("partition", "before", "folders"),
    [
        ("hourly", timedelta(minutes=59), ["p/2026/11/21/12/", "p/2026/11/21/13/"]),
        ("daily", timedelta(hours=11, minutes=59), ["p/2026/11/21/", "p/2026/11/22/"]),
    ],
)
def test_an_object_ends_with_its_partition(
    s3: S3Client,
    bucket: str,
    clock: SetClock,
    spool_dir: str | None,
    partition: str,
    before: timedelta,
    folders: list[str],
) -> None:
    """At the hour, whether or not anything arrives; the interval is not over yet."""
    cut = rules(partition=partition, interval_s=7200)
    with opened(bucket, s3, spool=spool_dir, cut=cut, clock=clock) as sink:
        clock.go_on(before.total_seconds())
        sink.append(lines(2))
        clock.go_on(60)
        sink.append(lines(1, 2))
        sink.finish()
    found = objects(s3, bucket)
    assert [re.sub(r"events-.*", "", key) for key in found] == folders
    assert list(found.values()) == [b"0\n1\n", b"2\n"]


def test_an_interval_without_records_makes_no_object(
    s3: S3Client, bucket: str, clock: SetClock, spool_dir: str | None
) -> None:
    with opened(bucket, s3, spool=spool_dir, clock=clock) as sink:
        for _ in range(3):
            clock.go_on(3600)
            sink.rotate_if_due()
        sink.append([])
        sink.finish()
    assert objects(s3, bucket) == {}


@pytest.mark.slow
@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25, deadline=None
)
@given(st.data())
def test_every_record_is_stored_once_and_in_order_however_it_is_cut(
    s3: S3Client, bucket: str, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    # Not the same one emptied: hypothesis may leave an example half way (at `draw`), and what was
    # under way then is stored a moment later, among the records of the next example.
    prefix = uuid4().hex
    clock = SetClock()
    cut = RotationRules(
        max_records=data.draw(st.integers(1, 20)),
        max_bytes=data.draw(st.integers(1, 200)),
        interval_s=data.draw(st.integers(1, 4000)),
        partition=data.draw(st.sampled_from(["hourly", "daily", "none"])),
    )
    record = st.binary(max_size=30).map(lambda each: each.replace(b"\n", b" ") + b"\n")
    groups = data.draw(st.lists(st.lists(record, max_size=12), max_size=8))
    spool = str(tmp_path_factory.mktemp("spool")) if data.draw(st.booleans()) else None
    with opened(bucket, s3, spool=spool, cut=cut, clock=clock, prefix=prefix) as sink:
        for group in groups:
            sink.append(group)
            clock.go_on(data.draw(st.integers(-10, 4000)))
            sink.rotate_if_due()
        sink.finish()
    stored = list(objects(s3, bucket, prefix + "/").values())
    assert b"".join(stored) == b"".join(record for group in groups for record in group)
    for body in stored:
        assert body.endswith(b"\n")
        assert body.count(b"\n") <= cut.max_records


def test_an_object_of_many_parts_is_streamed_while_it_grows(
    s3: S3Client, bucket: str, spool_dir: str | None
) -> None:
    """17 MiB in parts of 5 MiB, never held as a whole without a spool."""
    record = payload(MIB).replace(b"\n", b" ") + b"\n"
    options = Options(chunk_bytes=5 * MIB, memory_bytes=20 * MIB)
    with opened(bucket, s3, spool=spool_dir, limit=64 * MIB, options=options) as sink:
        for _ in range(17):
            sink.append([record])
        sink.finish()
    assert bodies(s3, bucket) == [record * 17]
    assert open_uploads(s3, bucket) == []


@pytest.mark.parametrize("at_once", [1, 3])
def test_more_objects_than_may_be_sent_at_once_wait_for_their_turn(
    s3: S3Client, bucket: str, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each has buffers of its own, so that more of them would be more memory."""
    running, most, guard = [0], [0], threading.Lock()

    def counted(*words: Any, **more: Any) -> Receipt:
        with guard:
            running[0] += 1
            most[0] = max(most[0], running[0])
        try:
            return upload_one_of_many(*words, **more)
        finally:
            with guard:
                running[0] -= 1

    monkeypatch.setattr("streamtos3.sink.upload_queue.upload_one_of_many", counted)
    with opened(bucket, s3, cut=rules(max_records=1), at_once=at_once) as sink:
        sink.append(lines(20))
        sink.finish()
        assert sink.figures().stored_objects == 20
    assert bodies(s3, bucket) == lines(20)
    assert 1 <= most[0] <= at_once


@pytest.mark.parametrize(
    ("memory_bytes", "at_once", "share_bytes"),
    [(64 * MIB, 4, 16 * MIB), (100 * MIB, 4, 25 * MIB), (40 * MIB, 2, 20 * MIB), (MIB, 1, MIB)],
)
def test_all_uploads_together_keep_to_the_memory(
    s3: S3Client,
    bucket: str,
    memory_bytes: int,
    at_once: int,
    share_bytes: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In equal shares of two parts at least; fewer objects at once where that is too much."""
    shares: list[int | None] = []

    def noted(*words: Any, options: Options, **more: Any) -> Receipt:
        shares.append(options.memory_bytes)
        return upload_one_of_many(*words, options=options, **more)

    monkeypatch.setattr("streamtos3.sink.upload_queue.upload_one_of_many", noted)
    with opened(
        bucket, s3, cut=rules(max_records=1), options=Options(memory_bytes=memory_bytes)
    ) as sink:
        sink.append(lines(3))
        sink.finish()
    assert shares == [share_bytes] * 3
    assert share_bytes * at_once <= memory_bytes


def test_compressed_objects_say_so_and_hold_the_records(
    s3: S3Client, bucket: str, spool_dir: str | None
) -> None:
    with opened(bucket, s3, spool=spool_dir, compress="gzip", cut=rules(max_records=5)) as sink:
        sink.append(lines(8))
        sink.finish()
    found = objects(s3, bucket)
    assert all(key.endswith(".ndjson.gz") for key in found)
    assert [gzip.decompress(body) for body in found.values()] == [
        b"".join(lines(5)),
        b"".join(lines(3, 5)),
    ]


# The service away, or against us


def test_while_the_service_is_away_the_producer_waits_and_nothing_is_lost(
    s3: S3Client,
    bucket: str,
    seaweed: SeaweedFS,
    proxy: FaultProxy,
    monkeypatch: pytest.MonkeyPatch,
    spool_dir: str | None,
) -> None:
    """Also when it goes away between two objects, where the check of the next one hits it."""
    events: list[Event] = []
    away = threading.Event()

    def heard(event: Event) -> None:
        events.append(event)
        if isinstance(event, Retrying):
            away.set()

    data = b"".join(lines(300))
    with opened(
        bucket,
        spool=spool_dir,
        options=through(seaweed, proxy, monkeypatch),
        cut=rules(max_records=10),
        on_event=heard,
    ) as sink:
        sink.check()
        sink.append(lines(10))
        proxy.down()
        source = InSteps(b"".join(lines(290, 10)), 50)
        thread = threading.Thread(target=store_lines, args=(source, sink, 100))
        thread.start()
        assert away.wait(30)
        time.sleep(0.3)
        assert thread.is_alive()
        proxy.up()
        thread.join(60)
        assert not thread.is_alive()
        assert sink.figures().retries > 0
    assert b"".join(bodies(s3, bucket)) == data
    assert open_uploads(s3, bucket) == []


def test_a_service_that_refuses_ends_the_sink_and_says_what_is_not_stored(
    s3: S3Client,
    bucket: str,
    seaweed: SeaweedFS,
    proxy: FaultProxy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    proxy.faults = [Fault("put-object", "access-denied", times=-1)]
    options = through(seaweed, proxy, monkeypatch)
    with (
        opened(bucket, options=options, cut=rules(max_records=3)) as sink,
        pytest.raises(RefusedError) as caught,
    ):
        store_lines(InSteps(b"".join(lines(7)), 4), sink, 100)
    assert caught.value.exit_status == 5
    assert re.fullmatch(
        r"(\d) of the \1 records read are not stored", caught.value.left_behind or ""
    )
    assert objects(s3, bucket) == {}
    assert open_uploads(s3, bucket) == []


def test_with_a_spool_the_next_run_stores_what_was_refused(
    s3: S3Client,
    bucket: str,
    seaweed: SeaweedFS,
    proxy: FaultProxy,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    spool = str(tmp_path / "spool")
    proxy.faults = [Fault("put-object", "access-denied", times=-1)]
    options = through(seaweed, proxy, monkeypatch)
    with opened(bucket, spool=spool, options=options, cut=rules(max_records=3)) as sink:
        sink.append(lines(3))
        with pytest.raises(RefusedError) as caught:
            sink.finish()
    assert caught.value.left_behind == f"3 records in the spool {spool}, for the next run"
    with opened(bucket, s3, spool=spool) as sink:
        sink.recover_spool()
        sink.append(lines(1, 3))
        sink.finish()
    assert bodies(s3, bucket) == [b"0\n1\n2\n", b"3\n"]
    assert spool_files(spool) == []


def test_the_uploads_beside_a_failed_one_come_to_their_end(
    s3: S3Client, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was read is stored as far as it can be."""
    failed = threading.Event()

    def first_one_fails(source: Source, bucket: str, key: str, **words: Any) -> Receipt:
        view = memoryview(bytearray(100))
        if source.readinto(view, words["scope"]) == len(b"0\n1\n"):
            failed.set()
            raise RefusedError("access denied")
        assert failed.wait(30)
        return upload_one_of_many(ObjectSource(io.BytesIO(b"2\n"), "x"), bucket, key, **words)

    monkeypatch.setattr("streamtos3.sink.upload_queue.upload_one_of_many", first_one_fails)
    with opened(bucket, s3, cut=rules(max_records=2)) as sink:
        with monkeypatch.context() as patch:
            patch.setattr(UploadQueue, "check", lambda self: None)  # both begin before one fails
            sink.append(lines(3))
        with pytest.raises(RefusedError) as caught:
            sink.finish()
    assert caught.value.left_behind == "2 of the 3 records read are not stored"
    assert bodies(s3, bucket) == [b"2\n"]


def test_a_missing_bucket_is_said_before_anything_is_read(s3: S3Client) -> None:
    with opened("no-such-bucket-at-all", s3) as sink, pytest.raises(RefusedError) as caught:
        sink.check()
    assert caught.value.exit_status == 5


def test_an_endpoint_that_is_not_there_is_said_at_the_start(
    seaweed: SeaweedFS, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in account(seaweed).items():
        monkeypatch.setenv(name, value)
    with reserved_port(0) as reserved:
        connection = Connection(
            endpoint_url=f"http://127.0.0.1:{reserved.getsockname()[1]}", region="us-east-1"
        )
        options = Options(connection=connection, retries=Retries(0.01, 0.01, check_for_s=0.05))
        with opened("bucket", options=options) as sink, pytest.raises(UnreachableError):
            sink.check()


def test_a_stop_during_the_check_is_heard(
    seaweed: SeaweedFS, bucket: str, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy.faults = [Fault("any", "stop-answering", times=-1)]
    with opened(bucket, options=through(seaweed, proxy, monkeypatch)) as sink:
        threading.Timer(0.1, sink.stop, (signal.SIGTERM,)).start()
        with pytest.raises(Interrupted):
            sink.check()


def test_a_receipt_that_nobody_takes_ends_the_sink(s3: S3Client, bucket: str) -> None:
    def refuse(receipt: Receipt) -> None:
        raise ReportError("standard output is closed")

    with opened(bucket, s3, on_stored=refuse) as sink:
        sink.append(lines(2))
        with pytest.raises(ReportError) as caught:
            sink.finish()
    assert caught.value.left_behind is None
    assert bodies(s3, bucket) == [b"0\n1\n"]


# Signals


def test_a_stop_stores_what_was_read(s3: S3Client, bucket: str, spool_dir: str | None) -> None:
    with opened(bucket, s3, spool=spool_dir) as sink:
        sink.append(lines(2))
        sink.stop(signal.SIGTERM)
        with pytest.raises(Cancelled):
            sink.reading.check()
        sink.append(lines(1, 2))
        sink.finish()
    assert bodies(s3, bucket) == [b"0\n1\n2\n"]


def test_an_abort_stores_nothing_more_and_leaves_nothing(
    s3: S3Client,
    bucket: str,
    seaweed: SeaweedFS,
    proxy: FaultProxy,
    monkeypatch: pytest.MonkeyPatch,
    spool_dir: str | None,
) -> None:
    """An upload of several parts is under way, and one more object waits."""
    proxy.faults = [Fault("put-part", "503", times=-1)]
    record = payload(6 * MIB).replace(b"\n", b" ") + b"\n"
    options = through(seaweed, proxy, monkeypatch)
    with opened(
        bucket, spool=spool_dir, limit=64 * MIB, options=options, cut=rules(max_records=3)
    ) as sink:
        sink.append([record] * 3)
        sink.append(lines(1))
        while not proxy.count("put-part"):
            time.sleep(0.01)
        sink.stop(signal.SIGTERM)
        sink.abort(signal.SIGTERM)
        with pytest.raises(Interrupted) as caught:
            sink.finish()
    assert caught.value.exit_status == 128 + signal.SIGTERM
    assert "records" in (caught.value.left_behind or "")
    assert [body for body in bodies(s3, bucket) if body != b"0\n"] == []
    assert open_uploads(s3, bucket) == []


# The spool


def test_what_was_committed_before_a_crash_is_recognised_and_not_repeated(
    s3: S3Client, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The crash comes between the answer to the commit and the removal of the file."""
    spool = str(tmp_path / "spool")
    for compress in (None, "gzip"):
        with monkeypatch.context() as patch:
            patch.setattr(Spool, "remove", lambda self, file: None)
            with opened(bucket, s3, spool=spool, compress=compress) as sink:
                sink.append(lines(5))
                sink.finish()
    before = objects(s3, bucket)
    versions = {key: s3.head_object(Bucket=bucket, Key=key)["LastModified"] for key in before}
    assert len(spool_files(spool)) == 2
    events: list[Event] = []
    with opened(bucket, s3, spool=spool, on_event=events.append) as sink:
        sink.recover_spool()
        sink.finish()
        assert sink.figures().stored_records == 10
    assert objects(s3, bucket) == before
    assert {
        key: s3.head_object(Bucket=bucket, Key=key)["LastModified"] for key in before
    } == versions
    assert spool_files(spool) == []
    assert all(any(key in str(event) for event in events) for key in before)


def test_an_object_that_is_there_but_is_not_ours_is_never_taken_for_it(
    s3: S3Client, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = str(tmp_path / "spool")
    with monkeypatch.context() as patch:
        patch.setattr(Spool, "remove", lambda self, file: None)
        with opened(bucket, s3, spool=spool) as sink:
            sink.append(lines(5))
            sink.finish()
    [key] = objects(s3, bucket)
    s3.put_object(Bucket=bucket, Key=key, Body=b"4\n3\n2\n1\n0\n")
    with opened(bucket, s3, spool=spool) as sink:
        sink.recover_spool()
        with pytest.raises(IntegrityError) as caught:
            sink.finish()
    assert caught.value.exit_status == 9
    assert len(spool_files(spool)) == 1


def test_an_upload_that_a_killed_process_began_is_gone_on_with(
    s3: S3Client, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No parts are left that somebody pays for, though nobody aborted them."""
    spool = str(tmp_path / "spool")
    record = payload(6 * MIB).replace(b"\n", b" ") + b"\n"
    held = Spool(spool, 64 * MIB)
    options = Options(chunk_bytes=5 * MIB)
    with Sink(SinkOptions(bucket, "p", rules=rules()), options, spool=held, client=s3) as sink:
        sink.append([record] * 2)  # never finished: the process is gone
    held.close()
    [file] = (each := Spool(spool, 64 * MIB)).recover()
    each.close()
    begun = s3.create_multipart_upload(Bucket=bucket, Key=file.header.key)
    body = record * 2
    s3.upload_part(
        Bucket=bucket,
        Key=file.header.key,
        UploadId=begun["UploadId"],
        PartNumber=1,
        Body=body[: 5 * MIB],
    )
    with opened(bucket, s3, spool=spool, limit=64 * MIB, options=options) as sink:
        sink.recover_spool()
        sink.finish()
    assert objects(s3, bucket) == {file.header.key: body}
    assert open_uploads(s3, bucket) == []


def test_a_record_is_on_the_disk_before_it_counts_as_received(
    s3: S3Client, bucket: str, tmp_path: Path
) -> None:
    spool = str(tmp_path / "spool")
    with opened(bucket, s3, spool=spool) as sink:
        sink.append(lines(1))
        [name] = spool_files(spool)
        assert b"0\n" in (tmp_path / "spool" / name).read_bytes()
        assert sink.figures().spool_bytes == (tmp_path / "spool" / name).stat().st_size
        sink.finish()


def test_a_full_spool_refuses_who_will_not_wait_and_holds_back_who_will(
    s3: S3Client,
    bucket: str,
    seaweed: SeaweedFS,
    proxy: FaultProxy,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    options = through(seaweed, proxy, monkeypatch)
    proxy.down()
    with opened(bucket, spool=str(tmp_path / "spool"), limit=3000, options=options) as sink:
        record = b"x" * 899 + b"\n"
        sink.append([record] * 2, wait=False)
        with pytest.raises(SpoolFullError, match="is full"):
            sink.append([record], wait=False)
        thread = threading.Thread(target=sink.append, args=([record],))
        thread.start()
        time.sleep(0.1)
        assert thread.is_alive()
        proxy.up()
        thread.join(30)
        assert not thread.is_alive()
        sink.finish()
    assert b"".join(bodies(s3, bucket)) == record * 3


@pytest.mark.parametrize("wait", [True, False])
def test_what_can_never_fit_is_said_instead_of_waited_for(
    s3: S3Client, bucket: str, tmp_path: Path, wait: bool
) -> None:
    with opened(bucket, s3, spool=str(tmp_path / "spool"), limit=700) as sink:
        sink.append(lines(1))
        with pytest.raises(SpoolTooSmallError, match="could never hold") as caught:
            sink.append([b"x" * 1000 + b"\n"], wait=wait)
        assert caught.value.exit_status == 7
        sink.finish()
        assert sink.refused_bytes is None
    assert bodies(s3, bucket) == [b"0\n"]


def test_many_small_objects_that_can_never_fit_together_are_told_from_a_full_spool(
    s3: S3Client, bucket: str, tmp_path: Path
) -> None:
    """What two thousand files take besides their records is more than the spool may have."""
    with opened(bucket, s3, spool=str(tmp_path / "spool"), cut=rules(max_records=1)) as sink:
        with pytest.raises(SpoolTooSmallError):
            sink.append(lines(2000), wait=False)
        sink.append(lines(20), wait=False)
        sink.finish()
    assert bodies(s3, bucket) == lines(20)


def test_a_line_that_can_never_fit_is_status_7_and_what_is_not_stored_is_counted(
    s3: S3Client, bucket: str, tmp_path: Path
) -> None:
    data = b"a\nb\n" + b"x" * 2000 + b"\nc\nd"
    with (
        opened(bucket, s3, spool=str(tmp_path / "spool"), limit=1500) as sink,
        pytest.raises(SpoolTooSmallError) as caught,
    ):
        store_lines(InSteps(data, 1 << 20), sink, 10_000)
    assert caught.value.left_behind == "3 of the 5 records read are not stored"
    assert bodies(s3, bucket) == [b"a\nb\n"]


class FullDisk:
    """Every `nth` write of a frame, and all after it, find the disk full, until it `ends`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, nth: int) -> None:
        self._real, self._left = SpoolFile.append, nth
        self.hits = threading.Semaphore(0)
        monkeypatch.setattr(SpoolFile, "append", lambda *words: self._append(*words))
        monkeypatch.setattr(Spool, "has_disk_for", lambda spool, size: self._left > 0)

    def ends(self) -> None:
        self._left = 1 << 30

    def _append(self, file: SpoolFile, data: bytes, count: int) -> None:
        self._left -= 1
        if self._left <= 0:
            self.hits.release()
            raise SpoolFullError("no space left on device")
        self._real(file, data, count)


@pytest.mark.parametrize("nth", [3, 4, 5])
def test_on_a_full_disk_all_records_of_one_call_are_taken_or_none(
    s3: S3Client, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nth: int
) -> None:
    """Whoever is told "full" sends them all again: none of them may have been stored."""
    disk = FullDisk(monkeypatch, nth)
    spool = tmp_path / "spool"
    with opened(bucket, s3, spool=str(spool), cut=rules(max_records=2)) as sink:
        sink.append(lines(2), wait=False)
        sink.append(lines(1, 2), wait=False)
        for _ in range(3):
            with pytest.raises(SpoolFullError):
                sink.append(lines(4, 3), wait=False)
        disk.ends()
        sink.append(lines(4, 3), wait=False)
        sink.finish()
        assert sink.figures().received_records == sink.figures().stored_records == 7
    assert b"".join(bodies(s3, bucket)) == b"".join(lines(7))


def test_what_was_taken_back_does_not_come_back_after_a_crash(
    s3: S3Client, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One object is open, the refused records would have filled it and begun two more."""
    spool = str(tmp_path / "spool")
    with monkeypatch.context() as patch:
        disk = FullDisk(patch, 4)
        with opened(bucket, s3, spool=spool, cut=rules(max_records=3)) as sink:
            patch.setattr(UploadQueue, "enqueue_file", lambda *words: None)  # never uploaded
            sink.append(lines(1), wait=False)
            with pytest.raises(SpoolFullError):
                sink.append(lines(7, 1), wait=False)
            assert disk.hits.acquire(blocking=False)
    with opened(bucket, s3, spool=spool) as sink:
        sink.recover_spool()
        sink.finish()
    assert bodies(s3, bucket) == [b"0\n"]


def test_a_disk_that_fails_in_the_middle_leaves_nothing_of_the_call_and_ends_the_sink(
    s3: S3Client, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = SpoolFile.append

    def fail(file: SpoolFile, data: bytes, count: int) -> None:
        if b"3" in data:
            raise SpoolError("input/output error")
        real(file, data, count)

    monkeypatch.setattr(SpoolFile, "append", fail)
    with opened(bucket, s3, spool=str(tmp_path / "spool"), cut=rules(max_records=2)) as sink:
        sink.append(lines(1), wait=False)
        with pytest.raises(SpoolError):
            sink.append(lines(3, 1), wait=False)
        with pytest.raises(SpoolError):
            sink.finish()
    with opened(bucket, s3, spool=str(tmp_path / "spool")) as sink:
        sink.recover_spool()
        sink.finish()
    assert bodies(s3, bucket) == [b"0\n"]


def test_a_request_with_many_objects_keeps_few_files_open(
    s3: S3Client, bucket: str, tmp_path: Path
) -> None:
    """Descriptors are short where many send; what is full needs none."""
    opened_at_most, real = [0], Spool.create

    def counted(spool: Spool, header: ObjectHeader) -> SpoolFile:
        opened_at_most[0] = max(opened_at_most[0], len(os.listdir("/proc/self/fd")))
        return real(spool, header)

    with opened(bucket, s3, spool=str(tmp_path / "spool"), cut=rules(max_records=1)) as sink:
        before = len(os.listdir("/proc/self/fd"))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Spool, "create", counted)
            sink.append(lines(100), wait=False)
        sink.finish()
    assert opened_at_most[0] < before + 20
    assert bodies(s3, bucket) == lines(100)


def test_lines_wait_for_a_full_disk_and_go_on(
    s3: S3Client, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The producer is held back, and nobody who asks how it goes is."""
    disk = FullDisk(monkeypatch, 2)
    said: list[Event] = []
    with opened(
        bucket, s3, spool=str(tmp_path / "spool"), cut=rules(max_records=2), on_event=said.append
    ) as sink:
        thread = threading.Thread(
            target=store_lines, args=(InSteps(b"".join(lines(9)), 4), sink, 100)
        )
        thread.start()
        for _ in range(2):  # it was tried again
            assert disk.hits.acquire(timeout=30)
        assert sink.figures().received_records == 2
        disk.ends()
        thread.join(60)
        assert not thread.is_alive()
    assert b"".join(bodies(s3, bucket)) == b"".join(lines(9))
    assert len([each for each in said if "waiting for room" in str(each)]) == 1


def test_a_stop_while_the_disk_is_full_stores_what_it_can_and_counts_the_rest(
    s3: S3Client, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = FullDisk(monkeypatch, 2)
    spool = str(tmp_path / "spool")
    with opened(bucket, s3, spool=spool, cut=rules(max_records=2)) as sink:
        source = InSteps(b"".join(lines(9)), 1 << 20)
        errors: list[SpoolFullError] = []

        def store() -> None:
            try:
                store_lines(source, sink, 100)
            except SpoolFullError as error:
                errors.append(error)

        thread = threading.Thread(target=store)
        thread.start()
        assert disk.hits.acquire(timeout=30)
        sink.stop(signal.SIGTERM)
        thread.join(60)
        assert not thread.is_alive()
    assert [error.left_behind for error in errors] == ["7 of the 9 records read are not stored"]
    assert bodies(s3, bucket) == [b"0\n1\n"]


def test_it_is_known_that_there_is_no_room_and_when_there_is_again(
    s3: S3Client, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = FullDisk(monkeypatch, 1)
    with opened(bucket, s3, spool=str(tmp_path / "spool")) as sink, sink.ticking():
        assert sink.refused_bytes is None
        for count in (5, 3, 4):
            with pytest.raises(SpoolFullError):
                sink.append(lines(count), wait=False)
        assert sink.refused_bytes == 6
        disk.ends()
        while sink.refused_bytes is not None:
            time.sleep(0.01)
        sink.append(lines(5), wait=False)
        sink.finish()
    assert bodies(s3, bucket) == [b"".join(lines(5))]


def test_a_real_disk_that_is_full_takes_a_call_whole_or_not_at_all(
    s3: S3Client,
    bucket: str,
    seaweed: SeaweedFS,
    proxy: FaultProxy,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """S3 is away, and the batches are small events and large ones, in several objects."""
    options = through(seaweed, proxy, monkeypatch)
    large = [b"x" * 900_000 + b"\n" for _ in range(4)]
    with small_disk(tmp_path / "disk", 4 * MIB) as disk:
        (disk / "other").write_bytes(bytes(MIB))
        proxy.down()
        cut = rules(max_records=10)
        with opened(bucket, spool=str(disk), limit=1 << 30, options=options, cut=cut) as sink:
            sink.append(lines(3), wait=False)
            for _ in range(3):
                with pytest.raises(SpoolFullError):
                    sink.append([*lines(10, 3), *large], wait=False)
            assert sink.refused_bytes is not None
            with pytest.raises(SpoolTooSmallError):  # the disk itself is too small for these
                sink.append(large * 2, wait=False)
            sink.append(lines(3, 3), wait=False)  # these few there is room for
            proxy.up()
            sink.finish()
        assert sorted(os.listdir(disk)) == ["lock", "other"]
    assert b"".join(bodies(s3, bucket)) == b"".join(lines(6))


def test_a_real_disk_that_is_full_holds_lines_back_until_there_is_room(
    s3: S3Client, bucket: str, tmp_path: Path
) -> None:
    """Somebody else's file fills it, and goes away again."""
    with small_disk(tmp_path / "disk", 4 * MIB) as disk:
        (disk / "spool").mkdir()
        (disk / "other").write_bytes(bytes(4 * MIB - 40_000))
        waiting = threading.Event()

        def heard(event: Event) -> None:
            if "waiting for room" in str(event):
                waiting.set()

        data = payload(500_000).hex().encode() + b"\n"
        with opened(bucket, s3, spool=str(disk / "spool"), limit=1 << 30, on_event=heard) as sink:
            thread = threading.Thread(
                target=store_lines, args=(InSteps(b"first\n" + data, 4096), sink, 2 * MIB)
            )
            thread.start()
            assert waiting.wait(30)
            (disk / "other").unlink()
            thread.join(60)
            assert not thread.is_alive()
    assert b"".join(bodies(s3, bucket)) == b"first\n" + data


def test_what_was_begun_with_other_flags_goes_on_with_those(
    s3: S3Client, bucket: str, tmp_path: Path
) -> None:
    """Its unfinished upload is found and gone on with, though parts are much larger now."""
    spool = str(tmp_path / "spool")
    record = payload(6 * MIB).replace(b"\n", b" ") + b"\n"
    first = Options(
        chunk_bytes=5 * MIB,
        settings=ObjectSettings(content_type="text/x", metadata={"case": "1"}),
    )
    held = Spool(spool, 64 * MIB)
    with Sink(SinkOptions(bucket, "p", rules=rules()), first, spool=held, client=s3) as sink:
        sink.append([record] * 2)  # never finished: the process is gone
    held.close()
    [file] = (each := Spool(spool, 64 * MIB)).recover()
    each.close()
    begun = s3.create_multipart_upload(
        Bucket=bucket, Key=file.header.key, ContentType="text/x", Metadata={"case": "1"}
    )
    body = record * 2
    words = {"Bucket": bucket, "Key": file.header.key, "UploadId": begun["UploadId"]}
    s3.upload_part(**words, PartNumber=1, Body=body[: 5 * MIB])  # type: ignore[arg-type]
    second = Options(
        chunk_bytes=64 * MIB,
        settings=ObjectSettings(content_type="text/y", metadata={"other": "2"}),
    )
    with opened(bucket, s3, spool=spool, limit=64 * MIB, options=second) as sink:
        sink.recover_spool()
        sink.append(lines(1))
        sink.finish()
    found = objects(s3, bucket)
    assert list(found.values()) == [body, b"0\n"]
    assert open_uploads(s3, bucket) == []
    said = [s3.head_object(Bucket=bucket, Key=key) for key in found]
    assert [head["ContentType"] for head in said] == ["text/x", "text/y"]
    assert [head["Metadata"].get("case") for head in said] == ["1", None]


def test_a_lock_that_is_over_by_the_restart_is_left_out_and_said(
    s3: S3Client, bucket: str, tmp_path: Path
) -> None:
    spool = str(tmp_path / "spool")
    until = datetime.now(timezone.utc) - timedelta(days=1)
    begun_with = BegunWith.of(
        Options(settings=ObjectSettings(lock_mode="GOVERNANCE", lock_until=until))
    )
    held = Spool(spool, LIMIT)
    file = held.create(ObjectHeader(bucket, "p/k", NOON.isoformat(), None, begun_with))
    file.append(b"x\n", 1)
    held.end(file)
    held.close()
    said: list[Event] = []
    with opened(bucket, s3, spool=spool, on_event=said.append) as sink:
        sink.recover_spool()
        sink.finish()
    assert bodies(s3, bucket) == [b"x\n"]
    assert any("stored without a lock" in str(each) for each in said)


def test_what_a_crash_tore_off_is_said_and_kept(s3: S3Client, bucket: str, tmp_path: Path) -> None:
    spool = str(tmp_path / "spool")
    held = Spool(spool, LIMIT)
    file = held.create(ObjectHeader(bucket, "p/k", NOON.isoformat(), None))
    file.append(b"whole\n", 1)
    file.append(b"torn\n", 1)
    os.truncate(file.path, file.file_bytes - 2)
    held.end(file)
    held.close()
    said: list[Event] = []
    with opened(bucket, s3, spool=spool, on_event=said.append) as sink:
        sink.recover_spool()
        sink.finish()
    assert bodies(s3, bucket) == [b"whole\n"]
    assert Path(file.path + ".torn").stat().st_size == 20 + 3
    assert any("the last 23 bytes" in str(each) for each in said)


def test_the_age_of_the_oldest_record_is_no_matter_of_the_time_of_day(
    s3: S3Client, bucket: str, tmp_path: Path, clock: SetClock
) -> None:
    """A clock that had jumped ahead when it came made it younger than nothing."""
    with opened(bucket, s3, spool=str(tmp_path / "spool"), clock=clock) as sink:
        clock.jump(days=10)
        sink.append(lines(1))
        clock.jump(days=-10)
        clock.go_on(30)
        assert sink.figures().oldest_age_s == 30
        sink.finish()
    [key] = objects(s3, bucket)
    assert f"-{NOON:%Y%m%dT%H%M%S}" in key


def test_a_small_spool_holds_back_a_stream_that_is_much_longer(
    s3: S3Client, bucket: str, tmp_path: Path
) -> None:
    """Room is asked for what is written next, and not for all that was read at once."""
    data = b"".join(lines(20_000))
    with opened(bucket, s3, spool=str(tmp_path / "spool"), limit=30_000) as sink:
        store_lines(InSteps(data, 1 << 20), sink, 100)
    assert b"".join(bodies(s3, bucket)) == data


def test_all_that_was_read_and_is_not_stored_is_counted(
    s3: S3Client,
    bucket: str,
    seaweed: SeaweedFS,
    proxy: FaultProxy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also what was read at once with the records of the object that failed."""
    proxy.faults = [Fault("put-object", "access-denied", times=-1)]
    options = through(seaweed, proxy, monkeypatch)
    with (
        opened(bucket, options=options, cut=rules(max_records=3), at_once=1) as sink,
        pytest.raises(RefusedError) as caught,
    ):
        store_lines(InSteps(b"".join(lines(5000)), 1 << 20), sink, 100)
    assert caught.value.left_behind == "5,000 of the 5,000 records read are not stored"
    assert bodies(s3, bucket) == []


def test_two_threads_that_wait_for_a_turn_share_the_object_that_is_begun(
    s3: S3Client, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second one must not begin another, whose first would then never end."""
    may_end = threading.Event()

    def held_up(*words: Any, **more: Any) -> Receipt:
        receipt = upload_one_of_many(*words, **more)
        may_end.wait(30)
        return receipt

    monkeypatch.setattr("streamtos3.sink.upload_queue.upload_one_of_many", held_up)
    with opened(bucket, s3, cut=rules(max_records=2), at_once=1) as sink:
        sink.append(lines(2))
        threads = [
            threading.Thread(target=sink.append, args=(lines(1, number),)) for number in (2, 3)
        ]
        for thread in threads:
            thread.start()
        time.sleep(0.2)
        may_end.set()
        for thread in threads:
            thread.join(30)
            assert not thread.is_alive()
        sink.finish()
    assert sorted(b"".join(bodies(s3, bucket)).splitlines()) == [b"0", b"1", b"2", b"3"]
    assert len(bodies(s3, bucket)) == 2


@pytest.mark.parametrize("verify", ["none", "etag"])
def test_what_nothing_proves_ends_the_sink_unless_that_is_accepted(
    tmp_path: Path, spool_dir: str | None, monkeypatch: pytest.MonkeyPatch, verify: Verify
) -> None:
    """`--verify none` stores all the same, and the status still says that nothing proves it."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "x")
    receipts: list[Receipt] = []
    with FakeS3(Quirks(etag="uuid", sse=""), buckets=("bucket",)) as fake:
        connection = Connection(endpoint_url=fake.endpoint_url, region="us-east-1")
        with opened(
            "bucket",
            spool=spool_dir,
            options=Options(connection=connection, verify=verify),
            cut=rules(max_records=2),
            on_stored=receipts.append,
        ) as sink:
            with suppress(Cancelled):
                sink.append(lines(5))
            with pytest.raises(UnprovedError):
                sink.finish()
    kept = len(spool_files(spool_dir))
    if verify == "none":
        assert (len(receipts), kept) == (3, 0)
    else:
        assert (receipts, kept > 0) == ([], spool_dir is not None)


def test_a_missing_compression_library_is_said_before_anything_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "backports", None)
    monkeypatch.setitem(sys.modules, "compression", None)
    with pytest.raises(UsageError, match="zstd needs a library"):
        Sink(SinkOptions("bucket", compress="zstd"))


def test_uploads_that_fail_each_by_itself_are_all_named(
    s3: S3Client,
    bucket: str,
    seaweed: SeaweedFS,
    proxy: FaultProxy,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """The service refuses the second part of each, and will not abort them either."""
    proxy.faults = [
        Fault("put-part", "access-denied", times=-1, part=2),
        Fault("abort", "access-denied", times=-1),
    ]
    record = payload(6 * MIB).replace(b"\n", b" ") + b"\n"
    options = replace(through(seaweed, proxy, monkeypatch), chunk_bytes=5 * MIB)
    with opened(
        bucket,
        spool=str(tmp_path / "spool"),
        limit=64 * MIB,
        options=options,
        cut=rules(max_records=1),
    ) as sink:
        with suppress(Cancelled):
            sink.append([record] * 4)
        with pytest.raises(RefusedError) as caught:
            sink.finish()
    left = open_uploads(s3, bucket)
    said = caught.value.left_behind or ""
    assert left
    assert [upload_id for _, upload_id in left if upload_id not in said] == []
    assert "records in the spool" in said
