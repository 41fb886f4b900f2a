"""`--tee`: the copy is what was read, and whoever reads it never decides about the object."""

from __future__ import annotations

import hashlib
import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamtos3 import upload
from streamtos3.errors import ReportError, SourceError, StreamToS3Error
from streamtos3.model.options import Connection
from streamtos3.runtime.cancel import Cancelled, CancelScope
from streamtos3.sources.tee import TeeSource
from tests.rig.command import PROGRAM, anonymous, assert_refused, invoke, run, shell
from tests.rig.fake_s3 import FakeS3, Quirks
from tests.rig.proxy import Fault, FaultProxy
from tests.rig.support import MIB, payload
from tests.rig.tiny import PART, InSteps, broken_input, tiny

DATA = payload(10 * PART)
MORE_THAN_A_PIPE = payload(2 * MIB)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeS3]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    with FakeS3(Quirks(min_part_bytes=1), buckets=["bucket"]) as fake:
        yield fake


@pytest.fixture
def pipe() -> Iterator[list[int]]:
    """Both ends; a test closes what it wants to be closed, by `close`."""
    ends = list(os.pipe())
    yield ends
    for end, fd in enumerate(ends):
        if fd >= 0:
            close(ends, end)


def close(pipe: list[int], end: int) -> None:
    """Close an end, and forget its number: soon it is that of a connection of another thread."""
    fd, pipe[end] = pipe[end], -1
    os.close(fd)


def store(fake: FakeS3, source: TeeSource, endpoint_url: str | None = None) -> None:
    connection = Connection(endpoint_url=endpoint_url or fake.endpoint_url, region="us-east-1")
    upload(source, "bucket", "k", options=tiny(connection=connection))


def test_the_copy_equals_the_object(fake: FakeS3, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    with copy.open("wb") as file:
        tee = TeeSource(InSteps(DATA, step_bytes=17), file.fileno())
        store(fake, tee)
    tee.check()
    assert fake.objects["bucket", "k"].body == DATA == copy.read_bytes()


def test_a_slow_reader_holds_the_stream_back(pipe: list[int]) -> None:
    """Nothing is kept for it: one read's bytes, and what its pipe holds."""
    source = InSteps(MORE_THAN_A_PIPE, step_bytes=MIB // 4)
    tee = TeeSource(source, pipe[1])
    view = memoryview(bytearray(MIB // 4))
    with CancelScope() as scope:
        ended = threading.Event()

        def read_on() -> None:
            while tee.readinto(view, scope):
                continue
            close(pipe, 1)
            ended.set()

        reading = threading.Thread(target=read_on, daemon=True)
        reading.start()
        copy = os.read(pipe[0], 1)
        assert (source.reads, ended.is_set()) == (1, False)
        while piece := os.read(pipe[0], MIB):
            copy += piece
        assert ended.wait(30)
        reading.join()
    assert copy == MORE_THAN_A_PIPE


def test_a_reader_that_goes_away_changes_nothing_for_the_object(
    fake: FakeS3, pipe: list[int]
) -> None:
    close(pipe, 0)
    tee = TeeSource(InSteps(DATA), pipe[1])
    store(fake, tee)
    assert fake.objects["bucket", "k"].body == DATA
    with pytest.raises(ReportError) as caught:
        tee.check()
    assert caught.value.message == "the copy on standard output is incomplete: broken pipe"
    assert caught.value.exit_status == 11


def test_a_nonblocking_descriptor_that_others_fill_is_waited_for(
    pipe: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    os.set_blocking(pipe[1], False)
    write, full = os.write, iter([True, False, True])

    def write_unless_full(fd: int, data: memoryview) -> int:
        if fd == pipe[1] and next(full, False):
            raise BlockingIOError
        return write(fd, data)

    monkeypatch.setattr(os, "write", write_unless_full)
    tee = TeeSource(InSteps(MORE_THAN_A_PIPE, step_bytes=MIB), pipe[1])
    view = memoryview(bytearray(MIB))
    copied = bytearray()

    def read_copy() -> None:
        while piece := os.read(pipe[0], MIB):
            copied.extend(piece)

    with CancelScope() as scope:
        reading = threading.Thread(target=read_copy, daemon=True)
        reading.start()
        while tee.readinto(view, scope):
            continue
        close(pipe, 1)
        reading.join(30)
    tee.check()
    assert copied == MORE_THAN_A_PIPE


def test_an_upload_that_fails_while_nobody_reads_the_copy_ends_at_once(
    fake: FakeS3, pipe: list[int]
) -> None:
    """The reader waits in the write of the copy; the failed part wakes it."""
    source = InSteps(MORE_THAN_A_PIPE, step_bytes=PART)
    with FaultProxy(fake.endpoint_url) as proxy:
        proxy.faults = [Fault("put-part", "access-denied", part=2, times=-1)]
        with pytest.raises(StreamToS3Error) as caught:
            store(fake, TeeSource(source, pipe[1]), proxy.endpoint_url)
    assert caught.value.exit_status == 5
    assert (fake.objects, fake.uploads, source.closed) == ({}, {}, True)


def test_a_blocked_copy_is_stopped_by_the_latch(pipe: list[int]) -> None:
    tee = TeeSource(InSteps(MORE_THAN_A_PIPE), pipe[1])
    with CancelScope() as scope:
        threading.Timer(0.05, lambda: scope.fail(SourceError("elsewhere"))).start()
        with pytest.raises(Cancelled):
            tee.readinto(memoryview(bytearray(MIB)), scope)


def test_a_read_error_stays_a_read_error(fake: FakeS3, tmp_path: Path) -> None:
    with (tmp_path / "copy").open("wb") as file:
        source = InSteps(DATA, at_end=broken_input)
        with pytest.raises(SourceError):
            store(fake, TeeSource(source, file.fileno()))
    assert (fake.objects, fake.uploads) == ({}, {})


# The program


def test_the_stream_goes_on_through_a_pipeline(fake: FakeS3) -> None:
    outcome = shell(
        'head -c 100000 /dev/zero | "$@" | sha256sum',
        *("--tee", "s3://bucket/k"),
        env=anonymous(fake.endpoint_url),
    )
    expected = hashlib.sha256(bytes(100_000)).hexdigest()
    assert outcome.stdout.split()[0] == expected
    assert f"sha256 {expected}" in outcome.stderr


def test_run_has_a_copy_too_and_its_command_in_the_receipt(fake: FakeS3, tmp_path: Path) -> None:
    receipt = tmp_path / "receipt"
    outcome = run(
        *("run", "--tee", "--receipt", receipt, "s3://bucket/k", "--", "echo", "hello"),
        env=anonymous(fake.endpoint_url),
    )
    assert (outcome.status, outcome.stdout) == (0, "hello\n"), outcome
    assert fake.objects["bucket", "k"].body == b"hello\n"
    assert '"exit_status": 0' in receipt.read_text()


@pytest.mark.parametrize(
    "redirection, reason",
    [(">/dev/full", "no space left on device"), (">&-", "bad file descriptor")],
)
def test_an_incomplete_copy_is_status_11_and_the_object_is_there(
    fake: FakeS3, redirection: str, reason: str
) -> None:
    outcome = shell(
        f'echo data | "$@" {redirection}',
        *("--tee", "s3://bucket/k"),
        env=anonymous(fake.endpoint_url),
    )
    assert_refused(outcome, 11, f"the copy on standard output is incomplete: {reason}")
    assert outcome.said("left behind") == ["s3://bucket/k, stored and proved"]
    assert fake.objects["bucket", "k"].body == b"data\n"


def test_a_reader_that_has_seen_enough_is_status_11(fake: FakeS3) -> None:
    command = [*PROGRAM, "--tee", "s3://bucket/k"]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **anonymous(fake.endpoint_url)},
    ) as program:
        assert program.stdout is not None
        program.stdout.close()
        _, stderr = program.communicate(MORE_THAN_A_PIPE, timeout=60)
    assert program.returncode == 11
    assert b"broken pipe" in stderr
    assert fake.objects["bucket", "k"].body == MORE_THAN_A_PIPE


def test_copy_and_receipt_cannot_share_standard_output() -> None:
    outcome = invoke("--tee", "--json", "/dev/zero", "s3://bucket/k")
    assert_refused(outcome, 2, "--tee and --json both want standard output")
