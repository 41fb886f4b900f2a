"""The first error wins, and everybody who waits hears of it at once."""

from __future__ import annotations

import os
import select
import signal
import threading
import time

import pytest

from streamtos3.errors import Interrupted
from streamtos3.runtime.cancel import Latch, Stopped

LONG_S = 60.0


def readable(fd: int) -> bool:
    return bool(select.select([fd], [], [], 0)[0])


def failing_soon(latch: Latch, error: BaseException) -> threading.Thread:
    """A thread that fails the latch once somebody waits for it."""
    thread = threading.Timer(0.02, latch.fail, (error,))
    thread.start()
    return thread


def test_the_first_error_wins() -> None:
    first, second = ValueError("first"), ValueError("second")
    with Latch() as latch:
        latch.fail(first)
        latch.fail(second)
        assert latch.error is first


def test_of_many_threads_exactly_one_error_wins() -> None:
    errors = [ValueError(number) for number in range(16)]
    with Latch() as latch:
        barrier = threading.Barrier(len(errors))

        def fail(error: ValueError) -> None:
            barrier.wait()
            latch.fail(error)

        threads = [threading.Thread(target=fail, args=(each,)) for each in errors]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert latch.error in errors
        assert len(os.read(latch.wake_fd, 100)) == 1


def test_all_is_well_until_there_is_an_error() -> None:
    with Latch() as latch:
        latch.check()
        assert latch.error is None
        latch.fail(ValueError("x"))
        for _ in range(2):
            with pytest.raises(Stopped):
                latch.check()


def test_the_wake_descriptor_becomes_readable_and_stays_so() -> None:
    with Latch() as latch:
        assert not readable(latch.wake_fd)
        latch.fail(ValueError("x"))
        assert readable(latch.wake_fd)
        assert readable(latch.wake_fd)


def test_the_wake_descriptor_is_not_inherited() -> None:
    with Latch() as latch:
        assert not os.get_inheritable(latch.wake_fd)


def test_a_sleep_is_interrupted() -> None:
    with Latch() as latch:
        thread = failing_soon(latch, ValueError("x"))
        began_s = time.monotonic()
        with pytest.raises(Stopped):
            latch.sleep(LONG_S)
        assert time.monotonic() - began_s < LONG_S / 2
        thread.join()


def test_a_sleep_ends_by_itself() -> None:
    with Latch() as latch:
        latch.sleep(0.001)


def test_a_wait_for_a_condition_is_interrupted() -> None:
    with Latch() as latch:
        thread = failing_soon(latch, ValueError("x"))
        with pytest.raises(Stopped):
            latch.wait_for(lambda: False)
        thread.join()


def test_a_wait_ends_when_its_condition_comes_true() -> None:
    done: list[int] = []
    with Latch() as latch:

        def finish() -> None:
            with latch.condition:
                done.append(1)
                latch.condition.notify_all()

        thread = threading.Thread(target=finish)
        thread.start()
        assert latch.wait_for(lambda: bool(done), LONG_S)
        thread.join()


def test_a_wait_that_took_too_long_says_so() -> None:
    with Latch() as latch:
        assert not latch.wait_for(lambda: False, 0.001)


def test_an_error_outweighs_a_condition_that_is_true() -> None:
    with Latch() as latch:
        latch.fail(ValueError("x"))
        with pytest.raises(Stopped):
            latch.wait_for(lambda: True)


def test_a_signal_hurries_even_after_another_error_and_only_the_first_counts() -> None:
    error = ValueError("x")
    with Latch() as latch:
        latch.fail(error)
        assert latch.hurried_at_s is None
        latch.fail(Interrupted(signal.SIGTERM))
        hurried_at_s = latch.hurried_at_s
        latch.fail(Interrupted(signal.SIGTERM))
        assert latch.error is error
        assert hurried_at_s is not None
        assert hurried_at_s == latch.hurried_at_s


def test_no_except_clause_for_errors_swallows_a_stop() -> None:
    """botocore wraps every Exception that a body raises."""
    assert not issubclass(Stopped, Exception)
    assert not issubclass(Interrupted, Exception)


def test_a_closed_latch_has_given_its_descriptors_back_and_can_still_fail() -> None:
    before = len(os.listdir("/proc/self/fd"))
    with Latch() as latch:
        assert len(os.listdir("/proc/self/fd")) == before + 2
    assert len(os.listdir("/proc/self/fd")) == before
    latch.close()
    latch.fail(ValueError("late"))
    with pytest.raises(Stopped):
        latch.check()


def test_the_first_error_is_told_whoever_asks_with_which() -> None:
    """`Stopped` only tells that there is one; a later error does not replace it."""
    with Latch() as latch:
        earlier = ValueError("earlier")
        assert latch.first(earlier) is earlier
        assert latch.first(Stopped()) is earlier
        assert latch.first(ValueError("later")) is earlier


def test_what_fails_a_latch_fails_its_children_but_not_the_other_way_round() -> None:
    with Latch() as parent:
        first, second = parent.child(), parent.child()
        own, common = ValueError("own"), ValueError("common")
        first.fail(own)
        assert (first.error, second.error, parent.error) == (own, None, None)
        parent.fail(common)
        assert (first.error, second.error) == (own, common)
        assert readable(second.wake_fd)
        assert parent.child().error is common


def test_a_signal_hurries_the_children_too() -> None:
    with Latch() as parent, parent.child() as child:
        child.fail(ValueError("own"))
        parent.fail(Interrupted(signal.SIGTERM))
        assert child.hurried_at_s is not None


def test_a_parent_keeps_nothing_of_a_child_that_was_closed() -> None:
    """A sink makes one for each of its objects, for ever."""
    before = len(os.listdir("/proc/self/fd"))
    with Latch() as parent:
        with parent.child() as child:
            pass
        child.close()
        parent.fail(ValueError("x"))
        assert child.error is None
    assert len(os.listdir("/proc/self/fd")) == before
