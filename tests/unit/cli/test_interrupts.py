"""What the first, the second and the third signal mean."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from streamtos3.cli import interrupts as module
from streamtos3.cli.interrupts import Interrupts, SinkInterrupts
from streamtos3.errors import Interrupted, SourceError
from streamtos3.runtime.cancel import CancelScope

INT, TERM, HUP = signal.SIGINT, signal.SIGTERM, signal.SIGHUP


class Left(BaseException):
    """Stands for the end of the process."""


class FakeReporter:
    def __init__(self) -> None:
        self.upload_id: str | None = None
        self.said: list[str] = []

    def write(self, text: str) -> None:
        self.said.append(text)


@pytest.fixture(autouse=True)
def left(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The statuses the process would have ended with; the timers that would end it never run."""
    statuses: list[int] = []

    def leave(status: int) -> None:
        statuses.append(status)
        raise Left

    class Unstarted(threading.Timer):
        def start(self) -> None:
            pass

    monkeypatch.setattr("os._exit", leave)
    monkeypatch.setattr("threading.Timer", Unstarted)
    return statuses


@pytest.fixture
def scope() -> Iterator[CancelScope]:
    with CancelScope() as opened:
        yield opened


def interrupts(scope: CancelScope, *, finish: bool = False) -> tuple[Interrupts, FakeReporter]:
    reporter: Any = FakeReporter()
    return Interrupts(scope, reporter, finish=finish), reporter


def test_the_first_signal_cancels_and_the_second_leaves(
    scope: CancelScope, left: list[int]
) -> None:
    on_signal, reporter = interrupts(scope)
    on_signal(TERM)
    assert isinstance(scope.error, Interrupted) and scope.error.signum == TERM
    assert (left, reporter.said) == ([], [])
    with pytest.raises(Left):
        on_signal(INT)
    assert left == [128 + INT]
    assert reporter.said == ["left at once on a second signal"]


def test_who_leaves_tells_which_upload_may_be_left(scope: CancelScope) -> None:
    on_signal, reporter = interrupts(scope)
    reporter.upload_id = "U7"
    on_signal(INT)
    with pytest.raises(Left):
        on_signal(INT)
    assert reporter.said == ["left at once on a second signal; upload U7 may be left"]


def test_what_is_stored_is_not_called_interrupted(scope: CancelScope, left: list[int]) -> None:
    on_signal, reporter = interrupts(scope)
    reporter.upload_id = "U7"
    on_signal.stored = "s3://bkt/k"
    on_signal(INT)
    with pytest.raises(Left):
        on_signal(INT)
    assert left == [11]
    assert reporter.said == [
        "left at once on a second signal before all was reported; s3://bkt/k is stored and proved"
    ]


@pytest.mark.parametrize("number", [INT, TERM])
def test_with_finish_the_first_reads_on_the_second_cancels_the_third_leaves(
    scope: CancelScope, left: list[int], number: signal.Signals
) -> None:
    on_signal, reporter = interrupts(scope, finish=True)
    on_signal(number)
    assert scope.error is None
    assert reporter.said == [
        f"{number.name}: reading to the end of the input, to store all of it; "
        "a second signal stores nothing"
    ]
    on_signal(number)
    assert isinstance(scope.error, Interrupted) and left == []
    with pytest.raises(Left):
        on_signal(number)
    assert left == [128 + number]


def test_with_finish_a_hangup_cancels(scope: CancelScope) -> None:
    on_signal, reporter = interrupts(scope, finish=True)
    on_signal(HUP)
    assert isinstance(scope.error, Interrupted) and reporter.said == []


def test_with_finish_a_failed_upload_reads_no_further(scope: CancelScope) -> None:
    on_signal, reporter = interrupts(scope, finish=True)
    scope.fail(SourceError("broken"))
    on_signal(INT)
    assert isinstance(scope.error, SourceError)
    assert scope.interrupted_at_s is not None and reporter.said == []


class FakeSink:
    def __init__(self) -> None:
        self.told: list[tuple[str, int]] = []
        self.aborted = threading.Event()

    def stop(self, signum: int) -> None:
        self.told.append(("stop", signum))

    def abort(self, signum: int) -> None:
        self.told.append(("abort", signum))
        self.aborted.set()


def test_a_sink_stores_what_was_read_then_nothing_more_then_leaves(
    monkeypatch: pytest.MonkeyPatch, left: list[int]
) -> None:
    said: list[str] = []
    announced = threading.Event()

    def say(text: str) -> None:
        said.append(text)
        announced.set()

    monkeypatch.setattr(module, "say", say)
    sink: Any = FakeSink()
    on_signal = SinkInterrupts(sink, quiet=False)
    on_signal(TERM)
    assert sink.told == [("stop", TERM)] and announced.wait(10)
    assert said == ["SIGTERM: storing what was read; a second signal stores nothing more"]
    on_signal(INT)
    assert sink.aborted.wait(10) and sink.told == [("stop", TERM), ("abort", INT)]
    assert left == []
    with pytest.raises(Left):
        on_signal(INT)
    assert left == [128 + INT]
