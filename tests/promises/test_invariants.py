"""The invariants of docs/design.org, by number, as far as they show from outside.

Number 2 (nothing on the disk) is in `test_disk`, 13 (token) and 15 (when parts are sent) in
`test_engine`, the unit of each part of the machinery in the tests of its module.
"""

from __future__ import annotations

import importlib
import io
import json
import signal
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from streamtos3 import upload
from streamtos3.errors import (
    ExistsError,
    IntegrityError,
    Interrupted,
    RefusedError,
    RetriesUsedUpError,
    SourceError,
    UndecidedError,
)
from streamtos3.model.events import PartStored, Retrying
from streamtos3.model.options import Retries
from streamtos3.runtime.buffers import Buffer
from streamtos3.runtime.cancel import CancelScope
from streamtos3.uploader.object_upload import ObjectUpload
from tests.rig.command import anonymous, assert_refused, invoke, run
from tests.rig.fake_s3 import FakeS3, Quirks
from tests.rig.peak_pool import PeakPool
from tests.rig.proxy import Fault, FaultProxy
from tests.rig.support import MIB, payload, s3_client
from tests.rig.tiny import PART, InSteps, Seen, broken_input, silent_pipe, tiny

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

DATA = payload(40 * PART)
TWICE = Retries(first_wait_s=0.001, tries=2)
engine = importlib.import_module("streamtos3.uploader.upload")


@pytest.fixture
def fake() -> Iterator[FakeS3]:
    with FakeS3(Quirks(min_part_bytes=1), buckets=["bucket"]) as fake:
        yield fake


@pytest.fixture
def proxy(fake: FakeS3) -> Iterator[FaultProxy]:
    with FaultProxy(fake.endpoint_url) as proxy:
        yield proxy


@pytest.fixture
def s3(proxy: FaultProxy) -> Iterator[S3Client]:
    client = s3_client(proxy.endpoint_url, "key", "secret")
    yield client
    client.close()


def wait_until(condition: Callable[[], bool], timeout_s: float = 30) -> bool:
    """Whether `condition` comes true in time."""
    deadline_s = time.monotonic() + timeout_s
    while not condition() and time.monotonic() < deadline_s:
        time.sleep(0.005)
    return condition()


def assert_nothing(fake: FakeS3) -> None:
    """The pair: no object, and no upload that somebody pays for."""
    assert (fake.objects, fake.uploads) == ({}, {})


# 1: memory is bounded


@pytest.mark.parametrize("memory_bytes", [0, 2 * PART, 5 * PART])
def test_1_buffers_stay_within_the_memory_and_are_used_again(
    memory_bytes: int, s3: S3Client, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    pools: list[PeakPool] = []
    made: list[Buffer] = []

    class Tracked(PeakPool):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            pools.append(self)

    class Counted(Buffer):
        def __init__(self, size_bytes: int) -> None:
            super().__init__(size_bytes)
            made.append(self)

    monkeypatch.setattr(engine, "BufferPool", Tracked)
    monkeypatch.setattr("streamtos3.runtime.buffers.Buffer", Counted)
    upload(InSteps(DATA), "bucket", "k", options=tiny(memory_bytes=memory_bytes), client=s3)
    allowed = max(2, memory_bytes // PART)
    assert pools[0].peak_bytes <= allowed * PART
    assert len(made) <= allowed


# 3: the first error is latched


def test_3_a_part_out_of_tries_ends_the_upload(
    s3: S3Client, proxy: FaultProxy, fake: FakeS3
) -> None:
    """The reference goes on, and commits an object with a hole."""
    proxy.faults = [Fault("put-part", "503", part=2, times=-1)]
    source = InSteps(DATA)
    with pytest.raises(
        RetriesUsedUpError, match=r"part 2 of s3://bucket/k.* gave up after 2 tries"
    ):
        upload(source, "bucket", "k", options=tiny(jobs=1, retries=TWICE), client=s3)
    assert max(seen.part or 0 for seen in proxy.seen) == 2
    assert proxy.count("complete") == 0
    assert source.closed
    assert_nothing(fake)


def test_3_only_the_first_of_several_errors_is_told(
    s3: S3Client, proxy: FaultProxy, fake: FakeS3
) -> None:
    proxy.faults = [Fault("put-part", "access-denied", part=1)]
    with CancelScope() as scope:

        def break_later() -> None:
            assert wait_until(lambda: scope.error is not None)
            broken_input()

        source = InSteps(DATA[: 2 * PART], at_end=break_later)
        with pytest.raises(RefusedError, match="cannot store part 1 of"):
            upload(source, "bucket", "k", options=tiny(), client=s3, scope=scope)
    assert proxy.count("complete") == 0
    assert_nothing(fake)


# 4: `complete` only after a true end


@pytest.mark.parametrize("size_bytes", [0, 5, PART, PART + 1, 5 * PART])
def test_4_a_read_error_never_commits(
    size_bytes: int, s3: S3Client, proxy: FaultProxy, fake: FakeS3
) -> None:
    source = InSteps(DATA[:size_bytes], at_end=broken_input)
    with pytest.raises(SourceError, match="input/output error"):
        upload(source, "bucket", "k", options=tiny(), client=s3)
    assert proxy.count("complete") + proxy.count("put-object") == 0
    assert_nothing(fake)


@pytest.mark.parametrize("size_bytes", [0, 5, 5 * PART])
def test_4_a_producer_that_failed_never_commits(
    size_bytes: int, s3: S3Client, proxy: FaultProxy, fake: FakeS3
) -> None:
    source = InSteps(DATA[:size_bytes], at_finish=broken_input)
    with pytest.raises(SourceError):
        upload(source, "bucket", "k", options=tiny(), client=s3)
    assert proxy.count("complete") + proxy.count("put-object") == 0
    assert_nothing(fake)


def test_4_a_signal_never_commits(s3: S3Client, proxy: FaultProxy, fake: FakeS3) -> None:
    with CancelScope() as scope, silent_pipe(DATA[: 2 * PART + 1]) as read_fd:

        def interrupt(event: object) -> None:
            if isinstance(event, PartStored):
                scope.fail(Interrupted(signal.SIGTERM))

        with pytest.raises(Interrupted):
            upload(
                read_fd,
                "bucket",
                "k",
                options=tiny(),
                client=s3,
                on_event=interrupt,
                scope=scope,
            )
    assert proxy.count("complete") == 0
    assert_nothing(fake)


# 5: a part counts only after its ETag was compared


@pytest.mark.parametrize("action", ["wrong-etag", "no-etag", "foreign-etag"])
def test_5_a_part_with_another_etag_is_sent_again_and_listed_once(
    action: str, s3: S3Client, proxy: FaultProxy, fake: FakeS3
) -> None:
    proxy.faults = [Fault("put-part", action, part=2)]
    receipt = upload(InSteps(DATA[: 3 * PART]), "bucket", "k", options=tiny(), client=s3)
    assert [part.tries for part in receipt.parts] == [1, 2, 1]
    assert fake.objects["bucket", "k"].body == DATA[: 3 * PART]


def test_5_a_part_that_never_proves_is_status_9(
    s3: S3Client, proxy: FaultProxy, fake: FakeS3
) -> None:
    proxy.faults = [Fault("put-part", "wrong-etag", part=2, times=-1)]
    with pytest.raises(IntegrityError, match="stored other bytes than were sent"):
        upload(InSteps(DATA[: 3 * PART]), "bucket", "k", options=tiny(), client=s3)
    assert proxy.count("put-part", part=2) == 3
    assert_nothing(fake)


# 6: abort after all workers have settled


def test_6_the_abort_waits_for_parts_that_are_on_their_way(
    s3: S3Client, proxy: FaultProxy, fake: FakeS3
) -> None:
    aborts_meanwhile: list[int] = []
    is_stored = threading.Event()

    def hold(_: FaultProxy) -> None:
        """Part 1 is stored, but its answer waits until the upload has failed, and longer."""
        is_stored.set()
        assert wait_until(lambda: any(seen.status == 403 for seen in proxy.seen))
        time.sleep(0.1)
        aborts_meanwhile.append(proxy.count("abort"))

    proxy.faults = [
        Fault("put-part", "callback-after", part=1, callback=hold),
        Fault("put-part", "access-denied", part=3),
    ]
    # A third part that is not full is sent only when the input has ended. By then part 1 must be
    # stored: one that is still being sent when the upload fails is given up at once.
    source = InSteps(DATA[: 3 * PART - 1], at_end=lambda: is_stored.wait(30))
    with pytest.raises(RefusedError):
        upload(source, "bucket", "k", options=tiny(), client=s3)
    assert aborts_meanwhile == [0]
    assert proxy.count("abort") == 1
    assert_nothing(fake)


def test_6_an_abort_that_fails_names_the_upload_and_does_not_hide_the_first_error(
    s3: S3Client, proxy: FaultProxy, fake: FakeS3
) -> None:
    proxy.faults = [
        Fault("put-part", "access-denied", part=2),
        Fault("abort", "access-denied", times=-1),
    ]
    with pytest.raises(RefusedError, match="cannot store part 2 of") as caught:
        upload(InSteps(DATA[: 3 * PART]), "bucket", "k", options=tiny(), client=s3)
    (upload_id,) = fake.uploads
    assert upload_id in (caught.value.left_behind or "")


# 7: one owner of retries


@pytest.mark.parametrize("verb", ["put-object", "put-part", "create", "complete"])
def test_7_the_numbers_do_not_multiply(
    verb: str, proxy: FaultProxy, fake: FakeS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in anonymous(proxy.endpoint_url).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "7")
    proxy.faults = [Fault(verb, "503", times=-1)]
    size_bytes = 5 if verb == "put-object" else 2 * PART
    with pytest.raises(RetriesUsedUpError):
        upload(InSteps(DATA[:size_bytes]), "bucket", "k", options=tiny(jobs=1))
    assert proxy.count(verb, part=1 if verb == "put-part" else None) == 3
    assert_nothing(fake)


# 8: a lost answer to `complete` is not a failure yet


@pytest.mark.parametrize("size_bytes", [5, 2 * PART])
def test_8_a_commit_whose_answer_is_lost_is_recognised(
    size_bytes: int, s3: S3Client, proxy: FaultProxy, fake: FakeS3
) -> None:
    verb = "complete" if size_bytes > PART else "put-object"
    proxy.faults = [Fault(verb, "lost-answer")]
    receipt = upload(InSteps(DATA[:size_bytes]), "bucket", "k", options=tiny(), client=s3)
    assert receipt.proof.object is not None
    assert fake.objects["bucket", "k"].metadata["streamtos3-token"] == receipt.token
    assert fake.uploads == {}


def test_8_an_undecided_complete_is_never_aborted(
    s3: S3Client, proxy: FaultProxy, fake: FakeS3
) -> None:
    """The answer is lost, and nobody may look: an abort could destroy the object."""
    proxy.faults = [
        Fault("complete", "reset-after", times=-1),
        Fault("head", "access-denied", times=-1),
        Fault("get", "access-denied", times=-1),
    ]
    with pytest.raises(UndecidedError) as caught:
        upload(InSteps(DATA[: 2 * PART]), "bucket", "k", options=tiny(), client=s3)
    assert proxy.count("abort") == 0
    assert "its answer is unknown" in (caught.value.left_behind or "")


def test_8_an_object_of_somebody_else_is_not_taken_for_ours(
    s3: S3Client, proxy: FaultProxy, fake: FakeS3
) -> None:
    """Our `complete` never arrived; meanwhile another writer stored the very same bytes."""

    def other(_: FaultProxy) -> None:
        direct = s3_client(fake.endpoint_url, "key", "secret")
        upload(InSteps(DATA[: 2 * PART]), "bucket", "k", options=tiny(), client=direct)

    proxy.faults = [
        Fault("complete", "callback", callback=other),
        Fault("complete", "reset-after", times=1),
    ]
    with pytest.raises(ExistsError):
        upload(InSteps(DATA[: 2 * PART]), "bucket", "k", options=tiny(), client=s3)
    assert fake.uploads == {}


# 9: a failed upload ends at once, even while the producer is silent


def test_9_a_silent_producer_does_not_hold_a_failed_upload(
    s3: S3Client, proxy: FaultProxy, fake: FakeS3
) -> None:
    proxy.faults = [Fault("put-part", "access-denied", part=1)]
    denied = pytest.raises(RefusedError, match="AccessDenied")
    with silent_pipe(DATA[: PART + 1]) as read_fd, denied:
        upload(read_fd, "bucket", "k", options=tiny(), client=s3)
    assert_nothing(fake)


def test_9_a_silent_producer_does_not_hold_a_signal(s3: S3Client, fake: FakeS3) -> None:
    with CancelScope() as scope, silent_pipe(b"") as read_fd:

        def interrupt(event: object) -> None:
            scope.fail(Interrupted(signal.SIGINT))

        with pytest.raises(Interrupted):
            upload(
                read_fd, "bucket", "k", options=tiny(), client=s3, on_event=interrupt, scope=scope
            )
    assert_nothing(fake)


# 10: a source error is never confused with a store error


def test_10_what_the_input_raises_is_told_even_where_the_store_fails_afterwards(
    s3: S3Client, proxy: FaultProxy
) -> None:
    proxy.faults = [Fault("abort", "access-denied", times=-1)]
    source = InSteps(DATA[: 3 * PART], at_end=broken_input)
    with pytest.raises(SourceError) as caught:
        upload(source, "bucket", "k", options=tiny(), client=s3)
    assert "unfinished upload" in (caught.value.left_behind or "")


def test_10_an_oserror_of_a_file_object_is_the_inputs(s3: S3Client, fake: FakeS3) -> None:
    class Broken(io.RawIOBase):
        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            raise ConnectionResetError(104, "connection reset by peer")

    with pytest.raises(SourceError, match="reset by peer"):
        upload(io.BufferedReader(Broken()), "bucket", "k", options=tiny(), client=s3)
    assert_nothing(fake)


# 11: retrying never re-reads the input


def test_11_a_retry_sends_what_is_in_the_buffer(
    s3: S3Client, proxy: FaultProxy, fake: FakeS3
) -> None:
    undisturbed = InSteps(DATA[: 4 * PART], PART)
    upload(undisturbed, "bucket", "undisturbed", options=tiny(), client=s3)
    proxy.faults = [Fault("put-part", "reset-middle", part=n) for n in (1, 2, 4)]
    source, seen = InSteps(DATA[: 4 * PART], PART), Seen()
    upload(source, "bucket", "k", options=tiny(), client=s3, on_event=seen)
    assert len(seen.of(Retrying)) == 3
    assert source.reads == undisturbed.reads
    assert fake.objects["bucket", "k"].body == DATA[: 4 * PART]


# 12: nobody else may read the input


def test_12_a_credential_process_that_reads_its_input_swallows_no_byte(
    home: Path, fake: FakeS3
) -> None:
    keys = {"Version": 1, "AccessKeyId": "key", "SecretAccessKey": "secret"}
    script = home / "credentials"
    greedy = f"import sys\nsys.stdin.buffer.read(1000)\nprint('{json.dumps(keys)}')\n"
    script.write_text(f"#!{sys.executable}\n{greedy}")
    script.chmod(stat.S_IRWXU)
    (home / ".aws").mkdir()
    (home / ".aws" / "config").write_text(
        f"[default]\nregion = us-east-1\ncredential_process = {script}\n"
    )
    data = payload(MIB)
    outcome = run("s3://bucket/k", "--endpoint-url", fake.endpoint_url, stdin=data)
    assert outcome.status == 0, outcome
    assert fake.objects["bucket", "k"].body == data


# 14: the check before the first byte


def test_14_what_a_403_hides_is_asked_once_more_and_then_unknown(s3: S3Client) -> None:
    quirks = Quirks(min_part_bytes=1, head_forbidden=True)
    with FakeS3(quirks, buckets=["bucket"]) as fake:
        client = s3_client(fake.endpoint_url, "key", "secret")
        upload(InSteps(b"few"), "bucket", "k", options=tiny(), client=client)
        verbs = [asked.verb for asked in fake.requests]
        assert verbs[:3] == ["head", "get", "put-object"]
        assert fake.requests[2].headers["if-none-match"] == "*"
        with pytest.raises(ExistsError):
            upload(InSteps(b"other"), "bucket", "k", options=tiny(), client=client)
        assert fake.objects["bucket", "k"].body == b"few"


# A bug of ours


@pytest.mark.parametrize("where", ["composite_etag", "StoredPart"])
def test_a_bug_aborts_and_is_not_dressed_up(
    where: str,
    s3: S3Client,
    proxy: FaultProxy,
    fake: FakeS3,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    def bug(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a bug")

    module = "object_upload" if where == "composite_etag" else "multipart"
    monkeypatch.setattr(importlib.import_module(f"streamtos3.uploader.{module}"), where, bug)
    with pytest.raises(ZeroDivisionError):
        upload(InSteps(DATA[: 3 * PART]), "bucket", "k", options=tiny(), client=s3)
    assert proxy.count("abort") == 1
    assert_nothing(fake)
    (tmp_path / "input").write_bytes(payload(6 * MIB))
    words = (tmp_path / "input", "s3://bucket/k", "-c", "5MiB")
    outcome = invoke(*words, env=anonymous(proxy.endpoint_url))
    assert_refused(outcome, 1, "unexpected ZeroDivisionError: a bug", "report it")
    assert_nothing(fake)


def test_a_gap_in_the_parts_is_never_committed(
    s3: S3Client, proxy: FaultProxy, fake: FakeS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever bug may have led there: the last look before `complete` adds everything up."""

    def forget(self: Any, part: Any) -> None:
        if part.number != 2:
            note(self, part)

    note = ObjectUpload.note
    monkeypatch.setattr(ObjectUpload, "note", forget)
    with pytest.raises(IntegrityError, match="2 parts of 128 bytes are stored, but 192 bytes"):
        upload(InSteps(DATA[: 3 * PART]), "bucket", "k", options=tiny(), client=s3)
    assert proxy.count("complete") == 0
    assert_nothing(fake)
