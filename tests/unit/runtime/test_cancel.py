"""The first error wins, and everybody who waits hears of it at once."""

from __future__ import annotations

import os
import select
import signal
import threading
import time

import pytest

from streamtos3.errors import Interrupted
from streamtos3.runtime.cancel import Cancelled, CancelScope

LONG_S = 60.0


def readable(fd: int) -> bool:
    return bool(select.select([fd], [], [], 0)[0])


def failing_soon(scope: CancelScope, error: BaseException) -> threading.Thread:
    """A thread that fails the scope once somebody waits for it."""
    thread = threading.Timer(0.02, scope.fail, (error,))
    thread.start()
    return thread


def test_the_first_error_wins() -> None:
    first, second = ValueError("first"), ValueError("second")
    with CancelScope() as scope:
        scope.fail(first)
        scope.fail(second)
        assert scope.error is first


def test_of_many_threads_exactly_one_error_wins() -> None:
    errors = [ValueError(number) for number in range(16)]
    with CancelScope() as scope:
        barrier = threading.Barrier(len(errors))

        def fail(error: ValueError) -> None:
            barrier.wait()
            scope.fail(error)

        threads = [threading.Thread(target=fail, args=(each,)) for each in errors]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert scope.error in errors
        assert len(os.read(scope.wake_fd, 100)) == 1


def test_all_is_well_until_there_is_an_error() -> None:
    with CancelScope() as scope:
        scope.check()
        assert scope.error is None
        scope.fail(ValueError("x"))
        for _ in range(2):
            with pytest.raises(Cancelled):
                scope.check()


def test_the_wake_descriptor_becomes_readable_and_stays_so() -> None:
    with CancelScope() as scope:
        assert not readable(scope.wake_fd)
        scope.fail(ValueError("x"))
        assert readable(scope.wake_fd)
        assert readable(scope.wake_fd)


def test_the_wake_descriptor_is_not_inherited() -> None:
    with CancelScope() as scope:
        assert not os.get_inheritable(scope.wake_fd)


def test_a_sleep_is_interrupted() -> None:
    with CancelScope() as scope:
        thread = failing_soon(scope, ValueError("x"))
        began_s = time.monotonic()
        with pytest.raises(Cancelled):
            scope.sleep(LONG_S)
        assert time.monotonic() - began_s < LONG_S / 2
        thread.join()


def test_a_sleep_ends_by_itself() -> None:
    with CancelScope() as scope:
        scope.sleep(0.001)


def test_a_wait_for_a_condition_is_interrupted() -> None:
    with CancelScope() as scope:
        thread = failing_soon(scope, ValueError("x"))
        with pytest.raises(Cancelled):
            scope.wait_for(lambda: False)
        thread.join()


def test_a_wait_ends_when_its_condition_comes_true() -> None:
    done: list[int] = []
    with CancelScope() as scope:

        def finish() -> None:
            with scope.condition:
                done.append(1)
                scope.condition.notify_all()

        thread = threading.Thread(target=finish)
        thread.start()
        assert scope.wait_for(lambda: bool(done), LONG_S)
        thread.join()


def test_a_wait_that_took_too_long_says_so() -> None:
    with CancelScope() as scope:
        assert not scope.wait_for(lambda: False, 0.001)


def test_an_error_outweighs_a_condition_that_is_true() -> None:
    with CancelScope() as scope:
        scope.fail(ValueError("x"))
        with pytest.raises(Cancelled):
            scope.wait_for(lambda: True)


def test_a_signal_hurries_even_after_another_error_and_only_the_first_counts() -> None:
    error = ValueError("x")
    with CancelScope() as scope:
        scope.fail(error)
        assert scope.interrupted_at_s is None
        scope.fail(Interrupted(signal.SIGTERM))
        interrupted_at_s = scope.interrupted_at_s
        scope.fail(Interrupted(signal.SIGTERM))
        assert scope.error is error
        assert interrupted_at_s is not None
        assert interrupted_at_s == scope.interrupted_at_s


def test_no_except_clause_for_errors_swallows_a_stop() -> None:
    """botocore wraps every Exception that a body raises."""
    assert not issubclass(Cancelled, Exception)
    assert not issubclass(Interrupted, Exception)


def test_a_closed_latch_has_given_its_descriptors_back_and_can_still_fail() -> None:
    before = len(os.listdir("/proc/self/fd"))
    with CancelScope() as scope:
        assert len(os.listdir("/proc/self/fd")) == before, "nobody waits on one yet"
        assert scope.wake_fd == scope.wake_fd
        assert len(os.listdir("/proc/self/fd")) == before + 2
    assert len(os.listdir("/proc/self/fd")) == before
    assert scope.wake_fd == -1
    scope.close()
    scope.fail(ValueError("late"))
    with pytest.raises(Cancelled):
        scope.check()


def test_a_wake_descriptor_that_is_asked_for_after_the_error_is_readable() -> None:
    with CancelScope() as scope:
        scope.fail(ValueError("early"))
        assert readable(scope.wake_fd)


def test_the_first_error_is_told_whoever_asks_with_which() -> None:
    """`Cancelled` only tells that there is one; a later error does not replace it."""
    with CancelScope() as scope:
        earlier = ValueError("earlier")
        assert scope.fail_with(earlier) is earlier
        assert scope.fail_with(Cancelled()) is earlier
        assert scope.fail_with(ValueError("later")) is earlier


def test_what_fails_a_latch_fails_its_children_but_not_the_other_way_round() -> None:
    with CancelScope() as parent:
        first, second = parent.child(), parent.child()
        own, common = ValueError("own"), ValueError("common")
        first.fail(own)
        assert (first.error, second.error, parent.error) == (own, None, None)
        parent.fail(common)
        assert (first.error, second.error) == (own, common)
        assert readable(second.wake_fd)
        assert parent.child().error is common


def test_a_signal_hurries_the_children_too() -> None:
    with CancelScope() as parent, parent.child() as child:
        child.fail(ValueError("own"))
        parent.fail(Interrupted(signal.SIGTERM))
        assert child.interrupted_at_s is not None


def test_a_parent_keeps_nothing_of_a_child_that_was_closed() -> None:
    """A sink makes one for each of its objects, for ever."""
    before = len(os.listdir("/proc/self/fd"))
    with CancelScope() as parent:
        with parent.child() as child:
            pass
        child.close()
        parent.fail(ValueError("x"))
        assert child.error is None
    assert len(os.listdir("/proc/self/fd")) == before
