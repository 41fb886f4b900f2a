"""A source that also copies what it reads."""

from __future__ import annotations

import io
import os
import threading

import pytest

from streamtos3.errors import ReportError, SourceError
from streamtos3.runtime.cancel import Cancelled, CancelScope
from streamtos3.sources.base import ObjectSource
from streamtos3.sources.tee import TeeSource


def tee_of(data: bytes, fd: int) -> TeeSource:
    return TeeSource(ObjectSource(io.BytesIO(data), "bytes"), fd)


def read_all(source: TeeSource, scope: CancelScope) -> bytes:
    buffer = memoryview(bytearray(10_000))
    data = b""
    while count := source.readinto(buffer, scope):
        data += buffer[:count]
    return data


def test_the_copy_is_what_was_read() -> None:
    read_fd, write_fd = os.pipe()
    with CancelScope() as scope, open(read_fd, "rb") as copy:
        source = tee_of(b"x" * 30_000, write_fd)
        assert read_all(source, scope) == b"x" * 30_000
        source.check()
        os.close(write_fd)
        assert copy.read() == b"x" * 30_000


def test_a_copy_that_nobody_reads_is_reported_and_does_not_end_the_reading() -> None:
    read_fd, write_fd = os.pipe()
    os.close(read_fd)
    with CancelScope() as scope:
        source = tee_of(b"x" * 30_000, write_fd)
        assert read_all(source, scope) == b"x" * 30_000
    os.close(write_fd)
    with pytest.raises(ReportError, match="the copy on standard output is incomplete: broken pipe"):
        source.check()


def test_a_reader_that_is_slow_does_not_keep_a_failed_upload_waiting() -> None:
    read_fd, write_fd = os.pipe()
    with CancelScope() as scope:
        failing = threading.Timer(0.05, lambda: scope.fail(SourceError("failed")))
        failing.start()
        with pytest.raises(Cancelled):  # more than a pipe holds
            read_all(tee_of(bytes(1 << 20), write_fd), scope)
        failing.join()
    os.close(read_fd)
    os.close(write_fd)
