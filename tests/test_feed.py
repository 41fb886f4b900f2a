"""What one thread writes, another one reads, and neither runs away from the other."""

from __future__ import annotations

import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamtos3.runtime.cancel import Latch, Stopped
from streamtos3.sources.pipe import Feed


def read_all(feed: Feed, latch: Latch, step_bytes: int) -> bytes:
    view = memoryview(bytearray(step_bytes))
    pieces = []
    while count := feed.readinto(view, latch):
        pieces.append(bytes(view[:count]))
    return b"".join(pieces)


@given(st.lists(st.binary(max_size=50)), st.integers(1, 30))
def test_what_is_written_is_read_in_order(chunks: list[bytes], step_bytes: int) -> None:
    with Latch() as latch:
        feed = Feed("x", latch)
        for chunk in chunks:
            feed.write(chunk)
        feed.end()
        assert read_all(feed, latch, step_bytes) == b"".join(chunks)
        assert feed.readinto(memoryview(bytearray(1)), latch) == 0


def test_whoever_writes_waits_until_what_is_held_was_read() -> None:
    chunk = bytes(1 << 20)
    with Latch() as latch:
        feed = Feed("x", latch)
        feed.write(chunk)

        def write() -> None:
            feed.write(chunk)
            feed.end()

        writer = threading.Thread(target=write)
        writer.start()
        time.sleep(0.02)
        assert writer.is_alive()
        assert len(read_all(feed, latch, 100_000)) == 2 * len(chunk)
        writer.join()


def test_a_failed_upload_wakes_both_sides() -> None:
    with Latch() as latch:
        feed = Feed("x", latch)
        feed.write(bytes(1 << 20))
        latch.fail(ValueError("x"))
        with pytest.raises(Stopped):
            feed.write(b"more")
        with pytest.raises(Stopped):
            feed.readinto(memoryview(bytearray(1)), latch)


def test_whoever_reads_waits_for_the_next_bytes() -> None:
    with Latch() as latch:
        feed = Feed("x", latch)
        threading.Timer(0.02, feed.write, (b"late",)).start()
        view = memoryview(bytearray(10))
        assert feed.readinto(view, latch) == 4
        assert bytes(view[:4]) == b"late"
