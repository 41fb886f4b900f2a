"""A bounded set of threads whose first error ends everything, and that never holds the program."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from streamtos3.errors import Interrupted
from streamtos3.runtime.cancel import Latch, Stopped
from streamtos3.runtime.workers import Crew

LONG_S = 60.0


@contextmanager
def crew_of(size: int) -> Iterator[tuple[Crew, Latch]]:
    with Latch() as latch:
        crew = Crew(size, latch)
        yield crew, latch
        crew.dismiss()
        assert crew.settle(LONG_S, LONG_S)


@contextmanager
def stuck(crew: Crew) -> Iterator[None]:
    """A task runs until the block ends."""
    release, running = threading.Event(), threading.Event()

    def wait() -> None:
        running.set()
        release.wait()

    crew.submit(wait, regardless=True)
    assert running.wait(LONG_S)
    try:
        yield
    finally:
        release.set()


def test_a_task_gives_its_value() -> None:
    with crew_of(2) as (crew, _):
        task = crew.submit(lambda: 42)
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

    with crew_of(8) as (crew, _):
        monkeypatch.setattr(threading.Thread, "start", start_two)
        tasks = [crew.submit(lambda each=each: each) for each in range(20)]  # type: ignore[misc]
        assert [task.result() for task in tasks] == list(range(20))


def test_without_any_thread_nothing_is_counted_as_running(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with Latch() as latch:
        crew = Crew(2, latch)
        with pytest.raises(RuntimeError):
            crew.submit(lambda: None)
        assert crew.unfinished == 0
        assert crew.settle(LONG_S, LONG_S)


def test_no_more_threads_run_than_allowed_and_none_before_it_is_needed() -> None:
    running, peak = 0, 0
    lock = threading.Lock()

    def call() -> None:
        nonlocal running, peak
        with lock:
            running += 1
            peak = max(peak, running)
        time.sleep(0.002)
        with lock:
            running -= 1

    before = threading.active_count()
    with crew_of(3) as (crew, _):
        assert threading.active_count() == before
        for task in [crew.submit(call) for _ in range(20)]:
            task.result()
        assert peak == 3


def test_one_task_after_another_needs_one_thread() -> None:
    threads: list[int] = []
    with crew_of(8) as (crew, latch):
        for _ in range(5):
            crew.submit(lambda: threads.append(threading.get_ident())).result()
            latch.wait_for(lambda: crew.unfinished == 0)
    assert len(set(threads)) == 1


def test_the_first_error_reaches_the_latch_and_stops_who_waits() -> None:
    error = ValueError("x")

    def fail() -> None:
        raise error

    with crew_of(2) as (crew, latch):
        task = crew.submit(fail)
        with pytest.raises(Stopped):
            task.result()
        assert latch.error is error
        assert not task.has_value


def test_who_waits_for_one_task_is_stopped_by_the_error_of_another() -> None:
    with crew_of(2) as (crew, latch), stuck(crew):
        waiting = crew.submit(lambda: latch.wait_for(lambda: False))
        latch.fail(ValueError("elsewhere"))
        with pytest.raises(Stopped):
            waiting.result()


def test_even_a_base_exception_does_not_get_lost_in_a_thread() -> None:
    error = KeyboardInterrupt()

    def fail() -> None:
        raise error

    with crew_of(1) as (crew, latch):
        with pytest.raises(Stopped):
            crew.submit(fail).result()
        assert latch.error is error


def test_no_new_task_begins_after_an_error_unless_it_is_meant_to() -> None:
    ran: list[str] = []
    with crew_of(1) as (crew, latch):
        with stuck(crew):
            crew.submit(lambda: ran.append("queued"))
            latch.fail(ValueError("x"))
        crew.submit(lambda: ran.append("late"))
        cleaning = crew.submit(lambda: ran.append("abort"), regardless=True)
        assert crew.settle(LONG_S, LONG_S)
        assert cleaning.has_value
    assert ran == ["abort"]


def test_a_value_that_was_there_before_the_error_is_still_given() -> None:
    with crew_of(1) as (crew, latch):
        task = crew.submit(lambda: 42)
        assert task.result() == 42
        latch.fail(ValueError("x"))
        assert task.result() == 42


def test_settling_waits_until_nothing_runs() -> None:
    with crew_of(2) as (crew, latch):
        with stuck(crew):
            assert crew.unfinished == 1
            assert not crew.settle(0.01, LONG_S)
        assert crew.settle(LONG_S, LONG_S)
        assert crew.unfinished == 0


def test_a_signal_shortens_the_settling() -> None:
    with crew_of(2) as (crew, latch), stuck(crew):
        latch.fail(Interrupted(signal.SIGTERM))
        began_s = time.monotonic()
        assert not crew.settle(LONG_S, 0.01)
        assert time.monotonic() - began_s < LONG_S / 2


def test_a_signal_during_the_settling_shortens_it_too() -> None:
    with crew_of(2) as (crew, latch), stuck(crew):
        latch.fail(ValueError("x"))
        thread = threading.Timer(0.02, latch.fail, (Interrupted(signal.SIGTERM),))
        thread.start()
        began_s = time.monotonic()
        assert not crew.settle(LONG_S, 0.01)
        assert time.monotonic() - began_s < LONG_S / 2
        thread.join()


def test_a_dismissed_crew_ends_its_threads_once_the_queue_is_empty() -> None:
    ran: list[int] = []
    before = set(threading.enumerate())
    with Latch() as latch:
        crew = Crew(3, latch)
        for number in range(6):
            crew.submit(lambda number=number: ran.append(number))  # type: ignore[misc]
        crew.dismiss()
        for thread in set(threading.enumerate()) - before:
            thread.join(LONG_S)
            assert not thread.is_alive()
    assert sorted(ran) == [0, 1, 2, 3, 4, 5]


def test_a_task_that_is_done_is_not_kept_alive_by_its_idle_thread() -> None:
    """Or the last part's buffer would stay."""

    class Big:
        pass

    with crew_of(1) as (crew, _):
        big = Big()
        gone = weakref.ref(big)
        task = crew.submit(lambda big=big: None)  # type: ignore[misc]
        task.result()
        crew.settle(LONG_S, LONG_S)
        del big, task
        deadline_s = time.monotonic() + LONG_S
        while gone() is not None and time.monotonic() < deadline_s:
            time.sleep(0.001)
        assert gone() is None


def test_a_stuck_thread_does_not_hold_the_program() -> None:
    program = (
        "import threading\n"
        "from streamtos3.runtime.workers import Crew\n"
        "from streamtos3.runtime.cancel import Latch\n"
        "started = threading.Event()\n"
        "Crew(1, Latch()).submit(lambda: (started.set(), threading.Event().wait()))\n"
        "started.wait()\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=LONG_S)
