"""What one thread writes, another one reads, and neither runs away from the other."""

from __future__ import annotations

import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamtos3.runtime.cancel import Cancelled, CancelScope
from streamtos3.sources.pipe import PipeSource


def read_all(feed: PipeSource, scope: CancelScope, step_bytes: int) -> bytes:
    view = memoryview(bytearray(step_bytes))
    pieces = []
    while count := feed.readinto(view, scope):
        pieces.append(bytes(view[:count]))
    return b"".join(pieces)


@given(st.lists(st.binary(max_size=50)), st.integers(1, 30))
def test_what_is_written_is_read_in_order(chunks: list[bytes], step_bytes: int) -> None:
    with CancelScope() as scope:
        feed = PipeSource("x", scope)
        for chunk in chunks:
            feed.write(chunk)
        feed.end()
        assert read_all(feed, scope, step_bytes) == b"".join(chunks)
        assert feed.readinto(memoryview(bytearray(1)), scope) == 0


def test_whoever_writes_waits_until_what_is_held_was_read() -> None:
    chunk = bytes(1 << 20)
    with CancelScope() as scope:
        feed = PipeSource("x", scope)
        feed.write(chunk)

        def write() -> None:
            feed.write(chunk)
            feed.end()

        writer = threading.Thread(target=write)
        writer.start()
        time.sleep(0.02)
        assert writer.is_alive()
        assert len(read_all(feed, scope, 100_000)) == 2 * len(chunk)
        writer.join()


def test_a_failed_upload_wakes_both_sides() -> None:
    with CancelScope() as scope:
        feed = PipeSource("x", scope)
        feed.write(bytes(1 << 20))
        scope.fail(ValueError("x"))
        with pytest.raises(Cancelled):
            feed.write(b"more")
        with pytest.raises(Cancelled):
            feed.readinto(memoryview(bytearray(1)), scope)


def test_whoever_reads_waits_for_the_next_bytes() -> None:
    with CancelScope() as scope:
        feed = PipeSource("x", scope)
        threading.Timer(0.02, feed.write, (b"late",)).start()
        view = memoryview(bytearray(10))
        assert feed.readinto(view, scope) == 4
        assert bytes(view[:4]) == b"late"
