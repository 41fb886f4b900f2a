"""A bounded set of threads whose first error ends everything, and that never holds the program."""

from __future__ import annotations

import signal
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from streamtos3.errors import Interrupted
from streamtos3.runtime.cancel import Cancelled, CancelScope
from streamtos3.runtime.workers import WorkerPool

LONG_S = 60.0


@contextmanager
def crew_of(size: int) -> Iterator[tuple[WorkerPool, CancelScope]]:
    with CancelScope() as scope:
        workers = WorkerPool(size, scope)
        yield workers, scope
        workers.shutdown()
        assert workers.wait_idle(LONG_S, LONG_S)


@contextmanager
def stuck(workers: WorkerPool) -> Iterator[None]:
    """A task runs until the block ends."""
    release, running = threading.Event(), threading.Event()

    def wait() -> None:
        running.set()
        release.wait()

    workers.submit(wait, even_if_cancelled=True)
    assert running.wait(LONG_S)
    try:
        yield
    finally:
        release.set()


def test_a_task_gives_its_value() -> None:
    with crew_of(2) as (workers, _):
        task = workers.submit(lambda: 42)
        assert task.result() == 42
        assert task.has_value
        assert task.result() == 42


def test_the_threads_that_there_are_must_do_where_the_system_gives_no_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A container's limit of processes must not lose the stream."""
    start, started = threading.Thread.start, 0

    def start_two(thread: threading.Thread) -> None:
        nonlocal started
        started += 1
        if started > 2:
            raise RuntimeError("can't start new thread")
        start(thread)

    with crew_of(8) as (workers, _):
        monkeypatch.setattr(threading.Thread, "start", start_two)
        tasks = [workers.submit(lambda each=each: each) for each in range(20)]  # type: ignore[misc]
        assert [task.result() for task in tasks] == list(range(20))


def test_without_any_thread_nothing_is_counted_as_running(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with CancelScope() as scope:
        workers = WorkerPool(2, scope)
        with pytest.raises(RuntimeError):
            workers.submit(lambda: None)
        assert workers.unfinished == 0
        assert workers.wait_idle(LONG_S, LONG_S)


def test_no_more_threads_run_than_allowed_and_none_before_it_is_needed() -> None:
    running, peak = 0, 0
    lock = threading.Lock()
    three = threading.Barrier(3)

    def call() -> None:
        nonlocal running, peak
        with lock:
            running += 1
            peak = max(peak, running)
        three.wait(60)
        with lock:
            running -= 1

    before = threading.active_count()
    with crew_of(3) as (workers, _):
        assert threading.active_count() == before
        for task in [workers.submit(call) for _ in range(18)]:
            task.result()
        assert peak == 3


def test_one_task_after_another_needs_one_thread() -> None:
    threads: list[int] = []
    with crew_of(8) as (workers, scope):
        for _ in range(5):
            workers.submit(lambda: threads.append(threading.get_ident())).result()
            scope.wait_for(lambda: workers.unfinished == 0)
    assert len(set(threads)) == 1


def test_the_first_error_reaches_the_latch_and_stops_who_waits() -> None:
    error = ValueError("x")

    def fail() -> None:
        raise error

    with crew_of(2) as (workers, scope):
        task = workers.submit(fail)
        with pytest.raises(Cancelled):
            task.result()
        assert scope.error is error
        assert not task.has_value


def test_who_waits_for_one_task_is_stopped_by_the_error_of_another() -> None:
    with crew_of(2) as (workers, scope), stuck(workers):
        waiting = workers.submit(lambda: scope.wait_for(lambda: False))
        scope.fail(ValueError("elsewhere"))
        with pytest.raises(Cancelled):
            waiting.result()


def test_even_a_base_exception_does_not_get_lost_in_a_thread() -> None:
    error = KeyboardInterrupt()

    def fail() -> None:
        raise error

    with crew_of(1) as (workers, scope):
        with pytest.raises(Cancelled):
            workers.submit(fail).result()
        assert scope.error is error


def test_no_new_task_begins_after_an_error_unless_it_is_meant_to() -> None:
    ran: list[str] = []
    with crew_of(1) as (workers, scope):
        with stuck(workers):
            workers.submit(lambda: ran.append("queued"))
            scope.fail(ValueError("x"))
        workers.submit(lambda: ran.append("late"))
        cleaning = workers.submit(lambda: ran.append("abort"), even_if_cancelled=True)
        assert workers.wait_idle(LONG_S, LONG_S)
        assert cleaning.has_value
    assert ran == ["abort"]


def test_a_value_that_was_there_before_the_error_is_still_given() -> None:
    with crew_of(1) as (workers, scope):
        task = workers.submit(lambda: 42)
        assert task.result() == 42
        scope.fail(ValueError("x"))
        assert task.result() == 42


def test_settling_waits_until_nothing_runs() -> None:
    with crew_of(2) as (workers, scope):
        with stuck(workers):
            assert workers.unfinished == 1
            assert not workers.wait_idle(0.01, LONG_S)
        assert workers.wait_idle(LONG_S, LONG_S)
        assert workers.unfinished == 0


def test_a_signal_shortens_the_settling() -> None:
    with crew_of(2) as (workers, scope), stuck(workers):
        scope.fail(Interrupted(signal.SIGTERM))
        began_s = time.monotonic()
        assert not workers.wait_idle(LONG_S, 0.01)
        assert time.monotonic() - began_s < LONG_S / 2


def test_a_signal_during_the_settling_shortens_it_too() -> None:
    with crew_of(2) as (workers, scope), stuck(workers):
        scope.fail(ValueError("x"))
        thread = threading.Timer(0.02, scope.fail, (Interrupted(signal.SIGTERM),))
        thread.start()
        began_s = time.monotonic()
        assert not workers.wait_idle(LONG_S, 0.01)
        assert time.monotonic() - began_s < LONG_S / 2
        thread.join()


def test_a_dismissed_crew_ends_its_threads_once_the_queue_is_empty() -> None:
    ran: list[int] = []
    before = set(threading.enumerate())
    with CancelScope() as scope:
        workers = WorkerPool(3, scope)
        for number in range(6):
            workers.submit(lambda number=number: ran.append(number))  # type: ignore[misc]
        workers.shutdown()
        for thread in set(threading.enumerate()) - before:
            thread.join(LONG_S)
            assert not thread.is_alive()
    assert sorted(ran) == [0, 1, 2, 3, 4, 5]


def test_a_task_that_is_done_is_not_kept_alive_by_its_idle_thread() -> None:
    """Or the last part's buffer would stay."""

    class Big:
        pass

    with crew_of(1) as (workers, _):
        big = Big()
        gone = weakref.ref(big)
        task = workers.submit(lambda big=big: None)  # type: ignore[misc]
        task.result()
        workers.wait_idle(LONG_S, LONG_S)
        del big, task
        deadline_s = time.monotonic() + LONG_S
        while gone() is not None and time.monotonic() < deadline_s:
            time.sleep(0.001)
        assert gone() is None
