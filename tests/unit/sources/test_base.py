"""The input: every way it can be given, fail, end, or keep silent."""

from __future__ import annotations

import fcntl
import gzip
import io
import os
import select
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

import pytest

from streamtos3.errors import Interrupted, SourceError, UsageError
from streamtos3.runtime.cancel import Cancelled, CancelScope
from streamtos3.sources.base import FdSource, ObjectSource, Source, WrappedSource
from streamtos3.sources.open import as_source, open_file
from tests.rig.support import payload, unless_root

LONG_S = 60.0


@pytest.fixture
def scope() -> Iterator[CancelScope]:
    with CancelScope() as scope:
        yield scope


@pytest.fixture
def pipe() -> Iterator[tuple[FdSource, int]]:
    """A source that reads a pipe, and the pipe's other end."""
    read_fd, write_fd = os.pipe()
    source = FdSource(read_fd, "a pipe")
    yield source, write_fd
    source.close()
    os.close(write_fd)


def end_input(write_fd: int) -> None:
    """Close the pipe's other end, and keep its number from being another's before it is closed."""
    with Path(os.devnull).open() as null:
        os.dup2(null.fileno(), write_fd)


def read_all(source: Source, scope: CancelScope, step_bytes: int = 7) -> bytes:
    view = memoryview(bytearray(step_bytes))
    pieces = []
    while count := source.readinto(view, scope):
        pieces.append(bytes(view[:count]))
    return b"".join(pieces)


# Descriptors


def test_a_pipe_is_read_to_its_end(pipe: tuple[FdSource, int], scope: CancelScope) -> None:
    source, write_fd = pipe
    source.start()
    os.write(write_fd, b"some bytes from a producer")
    end_input(write_fd)
    assert source.length_bytes is None
    assert read_all(source, scope) == b"some bytes from a producer"
    source.finish(scope)


def test_a_read_gives_what_is_there_and_does_not_wait_for_a_full_buffer(
    pipe: tuple[FdSource, int], scope: CancelScope
) -> None:
    source, write_fd = pipe
    os.write(write_fd, b"abc")
    assert source.readinto(memoryview(bytearray(100)), scope) == 3


def test_a_pipe_is_made_larger(pipe: tuple[FdSource, int]) -> None:
    source, write_fd = pipe
    source.start()
    assert fcntl.fcntl(write_fd, fcntl.F_GETPIPE_SZ) == 1 << 20


def test_a_pipe_that_cannot_be_made_larger_is_read_as_it_is(
    pipe: tuple[FdSource, int], scope: CancelScope, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, write_fd = pipe

    def refuse(*_: object) -> int:
        raise PermissionError("pipe-user-pages-soft")

    monkeypatch.setattr("fcntl.fcntl", refuse)
    source.start()
    os.write(write_fd, b"abc")
    end_input(write_fd)
    assert read_all(source, scope) == b"abc"


def test_a_descriptor_that_another_process_made_non_blocking_is_waited_for(
    pipe: tuple[FdSource, int], scope: CancelScope
) -> None:
    source, write_fd = pipe
    os.set_blocking(source._fd, False)
    timer = threading.Timer(0.02, os.write, (write_fd, b"late"))
    timer.start()
    assert source.readinto(memoryview(bytearray(10)), scope) == 4
    timer.join()


def test_a_read_that_would_block_after_all_is_tried_again(
    pipe: tuple[FdSource, int], scope: CancelScope, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else may have taken what poll announced."""
    source, write_fd = pipe
    os.write(write_fd, b"abc")
    readv, calls = os.readv, 0

    def once_robbed(fd: int, views: Any) -> int:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise BlockingIOError
        return readv(fd, views)

    monkeypatch.setattr("os.readv", once_robbed)
    assert source.readinto(memoryview(bytearray(10)), scope) == 3


def test_a_silent_producer_does_not_hold_a_failed_upload(
    pipe: tuple[FdSource, int], scope: CancelScope
) -> None:
    source, _ = pipe
    timer = threading.Timer(0.02, scope.fail, (Interrupted(signal.SIGTERM),))
    timer.start()
    began_s = time.monotonic()
    with pytest.raises(Cancelled):
        source.readinto(memoryview(bytearray(10)), scope)
    assert time.monotonic() - began_s < LONG_S / 2
    timer.join()


def test_a_failed_upload_reads_no_more_even_where_there_is_more(
    pipe: tuple[FdSource, int], scope: CancelScope
) -> None:
    source, write_fd = pipe
    os.write(write_fd, b"abc")
    scope.fail(ValueError("elsewhere"))
    with pytest.raises(Cancelled):
        source.readinto(memoryview(bytearray(10)), scope)
    assert select.select([source._fd], [], [], 0)[0]


def test_a_socket_is_read(scope: CancelScope) -> None:
    ours, theirs = socket.socketpair()
    theirs.sendall(b"over a socket")
    theirs.close()
    source = FdSource(ours.detach(), "a socket")
    assert source.length_bytes is None
    source.start()
    assert read_all(source, scope) == b"over a socket"
    source.close()


def test_a_closed_source_is_closed_once(scope: CancelScope) -> None:
    read_fd, write_fd = os.pipe()
    source = FdSource(read_fd, "a pipe")
    source.close()
    reused = os.open(os.devnull, os.O_RDONLY)
    assert reused == read_fd
    source.close()
    os.fstat(reused)
    os.close(reused)
    os.close(write_fd)


# Files


def test_a_file_is_read_and_its_length_known(tmp_path: Path, scope: CancelScope) -> None:
    path = tmp_path / "file"
    path.write_bytes(payload(1000))
    source = open_file(path)
    source.start()
    assert (source.length_bytes, source.name) == (1000, str(path))
    assert read_all(source, scope) == payload(1000)
    source.close()


@pytest.mark.parametrize(
    "offset, expected", [(0, 100), (30, 70), (99, 1), (100, None), (150, None)]
)
def test_the_length_of_a_file_counts_from_where_it_stands(
    tmp_path: Path, scope: CancelScope, offset: int, expected: int | None
) -> None:
    path = tmp_path / "file"
    path.write_bytes(payload(100))
    fd = os.open(path, os.O_RDONLY)
    os.lseek(fd, offset, os.SEEK_SET)
    source = FdSource(fd, "file")
    assert expected == source.length_bytes
    assert read_all(source, scope) == payload(100)[offset:]
    source.close()


def test_a_file_that_claims_to_be_empty_is_read_all_the_same(scope: CancelScope) -> None:
    source = open_file("/proc/version")
    assert source.length_bytes is None
    assert read_all(source, scope) == Path("/proc/version").read_bytes()
    source.close()


def test_a_read_error_in_mid_stream_names_the_byte() -> None:
    """/proc/self/mem gives EIO at address 0: what a dying disk gives."""
    fd = os.open("/proc/self/mem", os.O_RDONLY)
    source = FdSource(fd, "/dev/sda")
    source._offset = 4096
    with CancelScope() as scope, pytest.raises(SourceError) as caught:
        source.readinto(memoryview(bytearray(10)), scope)
    source.close()
    assert caught.value.message == "cannot read /dev/sda at byte 4096: input/output error"
    assert caught.value.exit_status == 7


def test_the_byte_of_a_read_error_counts_what_was_read(
    tmp_path: Path, scope: CancelScope, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_bytes(payload(100))
    source = open_file(path)
    source.readinto(memoryview(bytearray(60)), scope)

    def fail(*_: object) -> int:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("os.readv", fail)
    with pytest.raises(SourceError, match="at byte 60: input/output error"):
        source.readinto(memoryview(bytearray(60)), scope)
    source.close()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError) as caught:
        open_file(tmp_path / "none")
    expected = f"cannot read {tmp_path}/none: no such file or directory"
    assert expected == caught.value.message


def test_a_directory_is_refused_with_the_way_to_store_one(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(SourceError) as caught:
        open_file(tmp_path)
    assert f"cannot read {tmp_path}: it is a directory" == caught.value.message
    assert str(caught.value.hint).startswith(f"tar -c {tmp_path} | streamtos3 ")
    assert len(os.listdir("/proc/self/fd")) == before


@unless_root
def test_an_unreadable_file_is_an_error_of_the_source(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch(0o000)
    with pytest.raises(SourceError, match="permission denied"):
        open_file(path)


def test_a_name_that_no_file_can_have_is_an_error_of_the_source() -> None:
    with pytest.raises(SourceError, match="cannot read"):
        open_file("a\x00b")


# Python objects


class Fails(io.RawIOBase):
    """Gives three bytes, then fails."""

    def __init__(self, error: Exception) -> None:
        self._errors = iter([None, error])

    def readable(self) -> bool:
        return True

    def readinto(self, view: Any) -> int:
        error = next(self._errors)
        if error is not None:
            raise error
        view[:3] = b"abc"
        return 3


class OnlyRead:
    """Has `read` and nothing else, as an HTTP answer of some libraries."""

    def __init__(self, *pieces: Any) -> None:
        self._pieces = iter(pieces)

    def read(self, size: int) -> Any:
        return next(self._pieces, b"")


def object_source(reader: object) -> ObjectSource:
    return ObjectSource(cast(BinaryIO, reader), "an object")


@pytest.mark.parametrize("reader", [io.BytesIO(b"some bytes"), OnlyRead(b"some ", b"bytes")])
def test_a_file_object_is_read_by_what_it_can(reader: object, scope: CancelScope) -> None:
    source = object_source(reader)
    source.start()
    assert read_all(source, scope) == b"some bytes"
    source.finish(scope)
    source.close()


def test_a_file_object_stays_open(scope: CancelScope) -> None:
    reader = io.BytesIO(b"x")
    object_source(reader).close()
    assert not reader.closed


@pytest.mark.parametrize(
    "error",
    [OSError(5, "Input/output error"), ValueError("closed"), EOFError("cut"), KeyError("k")],
)
def test_whatever_a_file_object_raises_is_an_error_of_the_source(
    error: Exception, scope: CancelScope
) -> None:
    with pytest.raises(SourceError) as caught:
        read_all(object_source(Fails(error)), scope)
    assert caught.value.message.startswith("cannot read an object at byte 3: ")
    assert caught.value.__cause__ is error


def test_a_compressed_file_that_was_cut_short_is_an_error_of_the_source(scope: CancelScope) -> None:
    cut = gzip.compress(payload(1000))[:-20]
    with gzip.open(io.BytesIO(cut)) as reader, pytest.raises(SourceError, match="end-of-stream"):
        read_all(object_source(reader), scope)


def test_no_data_yet_is_never_taken_for_the_end_of_the_input(scope: CancelScope) -> None:
    """A non-blocking file object answers None; the object would be stored with its end missing."""
    read_fd, write_fd = os.pipe()
    os.set_blocking(read_fd, False)
    with os.fdopen(read_fd, "rb", buffering=0) as reader:
        with pytest.raises(SourceError, match="non-blocking"):
            object_source(reader).readinto(memoryview(bytearray(10)), scope)
        with pytest.raises(SourceError, match="non-blocking"):
            object_source(OnlyRead(None)).readinto(memoryview(bytearray(10)), scope)
    os.close(write_fd)


@pytest.mark.parametrize("piece", ["text", b"more than ten bytes", 7])
def test_a_file_object_that_gives_something_else_than_asked_is_refused(
    piece: object, scope: CancelScope
) -> None:
    with pytest.raises(SourceError, match="cannot read an object at byte 0"):
        object_source(OnlyRead(piece)).readinto(memoryview(bytearray(10)), scope)


def test_a_file_object_is_not_read_after_the_upload_has_failed(scope: CancelScope) -> None:
    scope.fail(ValueError("elsewhere"))
    with pytest.raises(Cancelled):
        object_source(io.BytesIO(b"x")).readinto(memoryview(bytearray(1)), scope)


# What the library accepts


def test_a_path_a_descriptor_an_object_and_a_source_are_accepted(
    tmp_path: Path, scope: CancelScope
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"data")
    fd = os.open(path, os.O_RDONLY)
    with path.open("rb") as file:
        given = open_file(path)
        for source in (as_source(path), as_source(str(path)), as_source(fd), as_source(file)):
            assert isinstance(source, Source)
            assert read_all(source, scope) == b"data"
            source.close()
        assert as_source(given) is given
        given.close()
    os.close(fd)


def test_a_given_descriptor_is_left_open(tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_RDONLY)
    source = as_source(fd)
    source.close()
    os.fstat(fd)
    os.close(fd)


def test_a_descriptor_that_is_not_open_is_an_error_of_the_source() -> None:
    with pytest.raises(SourceError, match="cannot read descriptor 987: bad file descriptor"):
        as_source(987)


# Standard input, each in a process of its own


# What is nearly a source


class NearlyASource:
    """What the documentation of an earlier version asked for, with a method forgotten."""

    name = "nearly"
    length_bytes: int | None = None

    def start(self) -> None: ...

    def readinto(self, view: memoryview, scope: CancelScope) -> int:
        return 0

    def finish(self, scope: CancelScope) -> None: ...


def test_what_is_nearly_a_source_is_told_what_it_lacks() -> None:
    """It was taken for a file, and failed at its first byte: readinto() lacks an argument."""
    with pytest.raises(UsageError) as caught:
        as_source(NearlyASource())  # type: ignore[arg-type]
    assert caught.value.message == "NearlyASource is not a Source: it has no stop, close"


def test_what_cannot_be_read_is_a_mistake() -> None:
    with pytest.raises(UsageError, match="object cannot be read: it has neither"):
        as_source(object())  # type: ignore[arg-type]


def test_a_wrapped_source_passes_everything_on() -> None:
    calls: list[str] = []

    class Told:
        name = "told"
        length_bytes: int | None = 3

        def start(self) -> None:
            calls.append("start")

        def readinto(self, view: memoryview, scope: CancelScope) -> int:
            calls.append("readinto")
            return 0

        def finish(self, scope: CancelScope) -> None:
            calls.append("finish")

        def stop(self) -> None:
            calls.append("stop")

        def close(self) -> None:
            calls.append("close")

    wrapped = WrappedSource(Told())
    assert (wrapped.name, wrapped.length_bytes) == ("told", 3)
    with CancelScope() as scope:
        wrapped.start()
        assert wrapped.readinto(memoryview(bytearray(1)), scope) == 0
        wrapped.finish(scope)
        wrapped.stop()
        wrapped.close()
    assert calls == ["start", "readinto", "finish", "stop", "close"]
