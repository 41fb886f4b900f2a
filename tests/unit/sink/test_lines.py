"""Lines out of bytes, however those arrive."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamtos3.errors import Interrupted, SourceError, SpoolError
from streamtos3.runtime.cancel import Cancelled, CancelScope
from streamtos3.sink.lines import LineReader, store_lines
from streamtos3.sources.base import FdSource
from tests.rig.tiny import InSteps


def lines_of(data: bytes, step_bytes: int = 3, max_bytes: int = 100) -> list[bytes]:
    with CancelScope() as scope:
        reader = LineReader(InSteps(data, step_bytes), max_bytes)
        return [line for group in reader.groups(scope) for line in group]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", []),
        (b"\n", [b"\n"]),
        (b"a", [b"a"]),
        (b"a\n", [b"a\n"]),
        (b"a\n\nb", [b"a\n", b"\n", b"b"]),
        (b"a\r\nb\x00\n", [b"a\r\n", b"b\x00\n"]),
        (b"long line over steps\nshort\n", [b"long line over steps\n", b"short\n"]),
    ],
)
def test_lines_keep_their_newlines_and_the_last_may_lack_one(
    data: bytes, expected: list[bytes]
) -> None:
    assert lines_of(data) == expected


@given(st.binary(max_size=200), st.integers(1, 50))
def test_no_byte_is_lost_or_moved_however_they_arrive(data: bytes, step_bytes: int) -> None:
    lines = lines_of(data, step_bytes, max_bytes=1000)
    assert b"".join(lines) == data
    assert all(line.endswith(b"\n") for line in lines[:-1])
    assert all(line.count(b"\n") <= 1 for line in lines)


@pytest.mark.parametrize("step_bytes", [1, 4, 100])
def test_a_line_that_is_too_long_is_named_after_those_before_it(step_bytes: int) -> None:
    with CancelScope() as scope:
        reader = LineReader(InSteps(b"12345\n12345\n123456\nx\n", step_bytes), 5)
        seen: list[bytes] = []
        with pytest.raises(SourceError, match="^line 3 of .* is longer than 5 bytes") as caught:
            for group in reader.groups(scope):
                seen += group
    assert seen == [b"12345\n", b"12345\n"]
    assert caught.value.exit_status == 7


def test_a_line_that_never_ends_is_not_read_into_memory() -> None:
    source = InSteps(b"x" * 10_000_000, 1 << 20)
    with CancelScope() as scope, pytest.raises(SourceError, match="line 1"):
        list(LineReader(source, 1 << 20).groups(scope))


class Listed:
    """A sink that keeps what it is given; `failing` is what `append` raises then."""

    def __init__(self, failing: BaseException | None = None) -> None:
        self.reading = CancelScope()
        self.records: list[bytes] = []
        self.unfinished = b""
        self.unstored = 0
        self.failed: Exception | None = None
        self.finished = 0
        self._failing = failing

    def append(self, records: Sequence[bytes]) -> None:
        if self._failing is not None:
            raise self._failing
        self.records += records

    def append_unfinished(self, data: bytes) -> None:
        self.unfinished = data

    def count_unstored(self, records: int) -> None:
        self.unstored += records

    def finish(self, failed: Exception | None = None) -> None:
        self.failed = failed
        self.finished += 1


def test_all_lines_are_stored_and_then_the_sink_is_finished() -> None:
    sink = Listed()
    store_lines(InSteps(b"a\nb", 1), sink, 10)
    assert (sink.records, sink.unfinished, sink.finished) == ([b"a\n", b"b"], b"", 1)


def test_what_came_before_a_bad_line_is_stored_before_the_error_is_raised() -> None:
    sink = Listed()
    with pytest.raises(SourceError, match="line 2"):
        store_lines(InSteps(b"a\nbbbbb\n", 7), sink, 3)
    assert (sink.records, sink.finished) == ([b"a\n"], 1)


@pytest.mark.parametrize("error", [Cancelled(), SpoolError("the disk")])
def test_a_sink_that_takes_nothing_more_is_finished_all_the_same(error: BaseException) -> None:
    sink = Listed(failing=error)
    if isinstance(error, Cancelled):
        store_lines(InSteps(b"a\n", 7), sink, 3)
    else:
        with pytest.raises(SpoolError):
            store_lines(InSteps(b"a\n", 7), sink, 3)
    assert sink.finished == 1


def test_a_signal_stores_what_was_read_of_an_unfinished_line() -> None:
    """The producer is silent; what came of a record is neither dropped nor waited for."""
    read_fd, write_fd = os.pipe()
    sink = Listed()
    source = FdSource(read_fd, "a pipe")
    os.write(write_fd, b"whole\nhalf")

    def stop_when_read() -> None:
        while not sink.records:
            pass
        sink.reading.fail(Interrupted(signal.SIGTERM))

    thread = threading.Thread(target=stop_when_read)
    thread.start()
    store_lines(source, sink, 100)
    thread.join()
    os.close(write_fd)
    source.close()
    assert (sink.records, sink.unfinished, sink.finished) == ([b"whole\n"], b"half", 1)


def test_after_a_failed_upload_an_unfinished_line_is_no_record() -> None:
    sink = Listed()
    sink.reading.fail(ValueError("an upload failed"))
    store_lines(InSteps(b"half", 2), sink, 100)
    assert (sink.records, sink.unfinished, sink.finished) == ([], b"", 1)


@pytest.mark.parametrize(
    ("data", "stored", "unstored"),
    [
        (b"a\nbbbbb\nc\nd", 1, 3),  # the bad one, and two behind it
        (b"a\nbbbbb", 1, 1),
        (b"a\n" * 20_000 + b"bbbbb\n" + b"c\n" * 20_000, 20_000, 20_001),
    ],
)
def test_what_was_read_with_a_bad_line_and_is_not_stored_is_counted(
    data: bytes, stored: int, unstored: int
) -> None:
    sink = Listed()
    with pytest.raises(SourceError):
        store_lines(InSteps(data, 1 << 20), sink, 3)
    assert (len(sink.records), sink.unstored) == (stored, unstored)
    assert isinstance(sink.failed, SourceError)


def test_what_was_read_behind_records_that_nobody_took_is_counted() -> None:
    """The sink counts the records that it was given."""
    sink = Listed(failing=SpoolError("the disk"))
    given: list[int] = []

    def refuse(records: Sequence[bytes]) -> None:
        given.append(len(records))
        raise SpoolError("the disk")

    sink.append = refuse  # type: ignore[method-assign]
    with pytest.raises(SpoolError):
        store_lines(InSteps(b"a\n" * 50_000 + b"b", 1 << 20), sink, 10)
    assert given[0] + sink.unstored == 50_001
