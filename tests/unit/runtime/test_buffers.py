"""The buffer pool: bounded, lazily committed, reused, and grown only where that helps."""

from __future__ import annotations

import mmap
import random
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamtos3.runtime import buffers
from streamtos3.runtime import host as machine
from streamtos3.runtime.buffers import Buffer, BufferPool, SpareBuffers, default_memory_bytes
from streamtos3.runtime.cancel import Cancelled, CancelScope
from streamtos3.units import GIB, MIB
from tests.rig.peak_pool import PeakPool

KIB = 1024


@pytest.fixture
def scope() -> Iterator[CancelScope]:
    with CancelScope() as scope:
        yield scope


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wait is over at once, and this process was idle meanwhile."""
    monkeypatch.setattr(buffers, "_PATIENCE_S", 0.001)
    uses_processor(monkeypatch, lambda: 0.0)


def uses_processor(monkeypatch: pytest.MonkeyPatch, process_time: Callable[[], float]) -> None:
    clocks = SimpleNamespace(monotonic=time.monotonic, process_time=process_time)
    monkeypatch.setattr(buffers, "time", clocks)


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * mmap.PAGESIZE


def in_thread(pool: PeakPool, size_bytes: int) -> tuple[threading.Thread, list[Buffer]]:
    got: list[Buffer] = []
    thread = threading.Thread(target=lambda: got.append(pool.acquire(size_bytes)))
    thread.start()
    return thread, got


# Memory


def test_a_buffer_is_writable_and_of_the_size_asked() -> None:
    buffer = Buffer(10)
    buffer.view[:] = b"0123456789"
    assert bytes(buffer.view) == b"0123456789"
    assert buffer.size_bytes == 10


def test_the_memory_of_a_buffer_is_committed_only_as_it_is_written() -> None:
    before = resident_bytes()
    buffer = Buffer(GIB)
    assert resident_bytes() - before < 16 * MIB
    buffer.view[: 32 * MIB] = bytes(32 * MIB)
    assert resident_bytes() - before > 24 * MIB


def test_no_buffer_is_made_before_one_is_needed(scope: CancelScope) -> None:
    assert PeakPool(64 * KIB, 8, scope).peak_bytes == 0


def test_a_buffer_that_was_given_back_is_used_again(scope: CancelScope) -> None:
    pool = PeakPool(64 * KIB, 8, scope)
    first = pool.acquire(KIB)
    pool.release(first)
    assert pool.acquire(KIB) is first
    assert pool.peak_bytes == KIB


def test_a_stream_of_any_length_needs_no_more_than_what_is_in_use_at_once(
    scope: CancelScope,
) -> None:
    pool = PeakPool(64 * KIB, 8, scope)
    for _ in range(100):
        held = [pool.acquire(KIB) for _ in range(3)]
        for buffer in held:
            pool.release(buffer)
    assert pool.peak_bytes == 3 * KIB


def test_a_larger_buffer_serves_for_a_smaller_part(scope: CancelScope) -> None:
    pool = PeakPool(64 * KIB, 8, scope)
    large = pool.acquire(8 * KIB)
    pool.release(large)
    assert pool.acquire(KIB) is large


def test_buffers_that_became_too_small_are_dropped_when_parts_grow(scope: CancelScope) -> None:
    pool = PeakPool(4 * KIB, 8, scope)
    small = [pool.acquire(KIB) for _ in range(4)]
    for buffer in small:
        pool.release(buffer)
    pool.acquire(2 * KIB)
    pool.acquire(2 * KIB)
    assert pool.peak_bytes == 4 * KIB


@pytest.mark.usefixtures("impatient")
def test_the_limit_holds_a_reader_back_until_a_buffer_returns(scope: CancelScope) -> None:
    pool = PeakPool(3 * KIB, 8, scope)
    held = [pool.acquire(KIB) for _ in range(3)]
    thread, got = in_thread(pool, KIB)
    thread.join(0.05)
    assert thread.is_alive()
    pool.release(held[0])
    thread.join()
    assert got == [held[0]]
    assert pool.peak_bytes == 3 * KIB


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("limit_bytes", [1, KIB, 2 * KIB - 1])
def test_two_buffers_are_always_allowed_and_no_third(scope: CancelScope, limit_bytes: int) -> None:
    pool = PeakPool(limit_bytes, 8, scope)
    held = [pool.acquire(KIB), pool.acquire(KIB)]
    thread, got = in_thread(pool, KIB)
    thread.join(0.05)
    assert thread.is_alive()
    pool.release(held[0])
    thread.join()
    assert len(got) == 1
    assert pool.peak_bytes == 2 * KIB


@settings(max_examples=60, deadline=None)
@given(
    limit_bytes=st.integers(1, 40 * KIB),
    max_buffers=st.integers(1, 12),
    sizes=st.lists(st.integers(1, 16 * KIB), max_size=40).map(sorted),
    seed=st.integers(),
)
def test_the_bound_is_never_exceeded_as_parts_grow(
    limit_bytes: int, max_buffers: int, sizes: list[int], seed: int
) -> None:
    """Buffers return in any order; a part is taken only where the pool would not wait."""
    chance = random.Random(seed)
    with CancelScope() as scope:
        pool = PeakPool(limit_bytes, max_buffers, scope)
        held: list[Buffer] = []
        for size_bytes in sizes:
            while held and (len(held) >= pool.allowed or chance.random() < 0.3):
                pool.release(held.pop(chance.randrange(len(held))))
            if len(held) >= 2:
                in_use_bytes = sum(each.size_bytes for each in held)
                while len(held) >= 2 and in_use_bytes + size_bytes > limit_bytes:
                    in_use_bytes -= held[0].size_bytes
                    pool.release(held.pop(0))
            held.append(pool.acquire(size_bytes))
            assert held[-1].size_bytes >= size_bytes
            assert pool.peak_bytes <= max(limit_bytes, 2 * size_bytes)


@pytest.mark.usefixtures("impatient")
def test_the_bound_holds_with_many_threads_giving_back(scope: CancelScope) -> None:
    limit_bytes = 32 * KIB
    pool = PeakPool(limit_bytes, 16, scope)
    sizes = sorted(random.Random(1).choice([KIB, 2 * KIB, 4 * KIB, 8 * KIB]) for _ in range(400))
    in_use: set[int] = set()
    threads = []
    for size_bytes in sizes:
        buffer = pool.acquire(size_bytes)
        assert id(buffer) not in in_use, "one buffer was given out twice"
        in_use.add(id(buffer))

        def give_back(buffer: Buffer = buffer) -> None:
            buffer.view[0] = 1
            in_use.discard(id(buffer))
            pool.release(buffer)

        threads.append(threading.Timer(0.0005, give_back))
        threads[-1].start()
    for thread in threads:
        thread.join()
    assert pool.peak_bytes <= limit_bytes
    assert pool.allowed <= 16


# Growth


@pytest.mark.usefixtures("impatient")
def test_a_reader_that_waits_for_a_slow_link_is_allowed_more(scope: CancelScope) -> None:
    pool = PeakPool(GIB, 8, scope)
    assert pool.allowed == 4
    for _ in range(8):
        pool.acquire(KIB)
    assert pool.allowed == 8


@pytest.mark.usefixtures("impatient")
def test_a_reader_that_waits_because_we_hold_ourselves_back_is_not(scope: CancelScope) -> None:
    pool = PeakPool(GIB, 8, scope, lambda: True)
    *_, last = (pool.acquire(KIB) for _ in range(4))
    thread, _ = in_thread(pool, KIB)
    thread.join(0.05)  # fifty times its patience
    assert pool.allowed == 4
    pool.release(last)
    thread.join()


@pytest.mark.usefixtures("impatient")
def test_fewer_are_allowed_when_parts_become_larger_and_more_again_after_waits(
    scope: CancelScope,
) -> None:
    """A long stream would else double its memory with every doubling of its parts."""
    pool = PeakPool(GIB, 8, scope)
    held = [pool.acquire(KIB) for _ in range(8)]
    for buffer in held:
        pool.release(buffer)
    held = [pool.acquire(2 * KIB)]
    assert pool.allowed == 4
    held += [pool.acquire(2 * KIB) for _ in range(4)]
    assert pool.allowed == 5
    held += [pool.acquire(KIB)]
    assert pool.allowed == 6


def test_three_buffers_stay_however_large_the_parts_become(
    scope: CancelScope, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(buffers, "_PATIENCE_S", 60)  # a machine that stalls is no slow link
    pool = PeakPool(GIB, 8, scope)
    for size_bytes in (KIB, 2 * KIB, 64 * KIB):
        pool.release(pool.acquire(size_bytes))
    assert pool.allowed == 3


def test_many_short_waits_count_like_a_long_one(
    scope: CancelScope, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With many parts in flight a buffer comes back every few milliseconds."""
    uses_processor(monkeypatch, lambda: 0.0)
    pool = PeakPool(GIB, 5, scope)
    held = [pool.acquire(KIB) for _ in range(4)]
    for _ in range(40):
        if pool.allowed > 4:
            break
        timer = threading.Timer(0.005, pool.release, (held.pop(0),))
        timer.start()
        held.append(pool.acquire(KIB))
        timer.join()
    assert pool.allowed == 5


@pytest.mark.usefixtures("impatient")
def test_never_more_than_the_parts_in_flight_can_use(scope: CancelScope) -> None:
    pool = PeakPool(GIB, 6, scope)
    held = [pool.acquire(KIB) for _ in range(6)]
    thread, got = in_thread(pool, KIB)
    thread.join(0.05)
    assert thread.is_alive()
    assert pool.allowed == 6
    pool.release(held.pop())
    thread.join()
    assert len(got) == 1


@pytest.mark.parametrize(
    "processors, busy, allowed",
    [
        *((0.5, 0.34, 5), (0.5, 0.36, 4), (1, 0.69, 5), (1, 0.71, 4)),
        *((2, 0.79, 5), (2, 0.81, 4), (8, 3.19, 5), (8, 3.21, 4)),
    ],
)
def test_a_program_that_keeps_the_processors_busy_is_not_allowed_more(
    scope: CancelScope,
    monkeypatch: pytest.MonkeyPatch,
    processors: float,
    busy: float,
    allowed: int,
) -> None:
    """More parts in flight would only make it larger."""
    monkeypatch.setattr(machine, "processors", lambda: processors)
    pool = PeakPool(GIB, 8, scope)
    pool._note_wait(10.0, 10.0 * busy)
    assert pool.allowed == allowed


@pytest.mark.usefixtures("impatient")
def test_what_the_service_asked_to_be_held_back_stays_so(scope: CancelScope) -> None:
    pool = PeakPool(GIB, 16, scope)
    held = [pool.acquire(KIB) for _ in range(12)]
    pool.hold_back()
    assert pool.allowed == 6
    for buffer in held:
        pool.release(buffer)
    held = [pool.acquire(KIB) for _ in range(6)]
    thread, _ = in_thread(pool, KIB)
    thread.join(0.05)
    assert thread.is_alive()
    assert pool.allowed == 6
    pool.release(held.pop())
    thread.join()


def test_two_buffers_stay_however_often_the_service_asks_for_less(
    scope: CancelScope, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(buffers, "_HOLD_BACK_S", 0.0)
    pool = PeakPool(GIB, 16, scope)
    for _ in range(5):
        pool.hold_back()
    assert pool.allowed == 2


@pytest.mark.usefixtures("impatient")
def test_one_burst_halves_only_once(scope: CancelScope) -> None:
    """All parts in flight hear the same SlowDown."""
    pool = PeakPool(GIB, 16, scope)
    for _ in range(12):
        pool.acquire(KIB)
    for _ in range(12):
        pool.hold_back()
    assert pool.allowed == 6


def test_a_reader_that_waits_is_stopped_when_the_upload_fails(scope: CancelScope) -> None:
    pool = PeakPool(KIB, 2, scope)
    pool.acquire(KIB)
    pool.acquire(KIB)
    timer = threading.Timer(0.02, scope.fail, (ValueError("x"),))
    timer.start()
    with pytest.raises(Cancelled):
        pool.acquire(KIB)
    timer.join()


# The default


@pytest.mark.parametrize(
    "available_bytes, expected",
    [(2 * GIB, 512 * MIB), (64 * GIB, GIB), (20 * MIB, 32 * MIB)],
)
def test_the_default_is_a_quarter_of_what_is_left_within_bounds(
    monkeypatch: pytest.MonkeyPatch, available_bytes: int, expected: int
) -> None:
    monkeypatch.setattr(machine, "available_bytes", lambda: available_bytes)
    assert expected == default_memory_bytes()


# What is allowed, for those who plan with it


def test_more_buffers_can_be_allowed_from_the_start(scope: CancelScope) -> None:
    pool = PeakPool(64 * KIB, 8, scope)
    pool.allow(7)
    assert pool.allowed == 7
    pool.allow(3)
    assert pool.allowed == 7
    pool.allow(100)
    assert pool.allowed == 8


def test_what_the_service_took_away_is_not_allowed_again(scope: CancelScope) -> None:
    pool = PeakPool(64 * KIB, 8, scope)
    pool.hold_back()
    pool.allow(7)
    assert pool.allowed == 2


@pytest.mark.parametrize(("size_kib", "buffers"), [(1, 4), (16, 4), (20, 3), (32, 2), (64, 2)])
def test_room_is_bounded_by_memory_and_by_what_is_allowed(
    scope: CancelScope, size_kib: int, buffers: int
) -> None:
    assert PeakPool(64 * KIB, 8, scope).room_for(size_kib * KIB) == buffers


# Several at once


def test_several_are_taken_as_long_as_two_are_left(scope: CancelScope) -> None:
    pool = BufferPool(GIB, 7, scope)
    pool.allow(7)
    assert len(pool.acquire_together(KIB, 9)) == 5
    assert len(pool.acquire_together(KIB, 1)) == 1


def test_the_limit_of_the_memory_makes_them_fewer_but_never_none(scope: CancelScope) -> None:
    pool = BufferPool(4 * KIB, 7, scope)
    pool.allow(7)
    assert len(pool.acquire_together(KIB, 4)) == 2
    assert len(BufferPool(1, 7, scope).acquire_together(KIB, 4)) == 1


def test_two_that_take_several_do_not_wait_for_each_other(scope: CancelScope) -> None:
    """Each would hold half of the buffers, were they taken one by one."""
    pool = BufferPool(GIB, 6, scope)
    pool.allow(6)
    rounds = 200

    def work() -> None:
        for _ in range(rounds):
            for buffer in pool.acquire_together(KIB, 4):
                pool.release(buffer)

    threads = [threading.Thread(target=work, daemon=True) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()


def test_who_waits_for_several_takes_fewer_once_less_is_allowed(scope: CancelScope) -> None:
    pool = BufferPool(GIB, 6, scope)
    pool.allow(6)
    held = pool.acquire_together(KIB, 4)
    got: list[Buffer] = []
    thread = threading.Thread(target=lambda: got.extend(pool.acquire_together(KIB, 4)), daemon=True)
    thread.start()
    pool.hold_back()  # three are allowed from now on
    for buffer in held[:2]:
        pool.release(buffer)
    thread.join(60)
    assert len(got) == 1


# What one upload leaves for the next


def test_the_next_upload_gets_the_memory_of_the_one_before(scope: CancelScope) -> None:
    spare = SpareBuffers()
    first = BufferPool(GIB, 4, scope, spare=spare)
    used = [first.acquire(MIB), first.acquire(MIB)]
    for buffer in used:
        first.release(buffer)
    first.leave()
    second = BufferPool(GIB, 4, scope, spare=spare)
    assert {id(second.acquire(MIB)) for _ in used} == {id(buffer) for buffer in used}
    assert second.acquire(MIB) not in used


def test_an_upload_that_fails_leaves_nothing(scope: CancelScope) -> None:
    spare = SpareBuffers()
    pool = BufferPool(GIB, 4, scope, spare=spare)
    pool.release(pool.acquire(MIB))
    pool.close()
    assert spare.take(MIB) is None


def test_what_is_in_use_is_left_to_nobody(scope: CancelScope) -> None:
    spare = SpareBuffers()
    pool = BufferPool(GIB, 4, scope, spare=spare)
    in_use, free = pool.acquire(MIB), pool.acquire(MIB)
    pool.release(free)
    pool.leave()
    pool.release(in_use)
    assert [spare.take(MIB), spare.take(MIB)] == [free, None]


def test_spare_memory_is_of_one_size_and_freed_when_another_is_needed() -> None:
    spare = SpareBuffers()
    small, large = Buffer(4 * KIB), Buffer(8 * KIB)
    spare.give([small, large])
    assert spare.take(8 * KIB) is None
    assert spare.take(4 * KIB) is None
    spare.give([large])
    assert spare.take(8 * KIB) is large


def test_nothing_is_left_where_nobody_follows(scope: CancelScope) -> None:
    pool = BufferPool(GIB, 4, scope)
    pool.release(pool.acquire(MIB))
    pool.leave()
    assert pool.acquire(MIB).size_bytes == MIB
