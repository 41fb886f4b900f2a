"""How signals reach the work that is done: each order once, and none while nothing is done."""

from __future__ import annotations

import os
import queue
import signal
import time
from contextlib import suppress

import pytest

from streamtos3.cli import signals
from streamtos3.cli.signals import on_signals
from streamtos3.errors import Interrupted


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def monotonic(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(signals, "time", clock)
    return clock


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> queue.Queue[int]:
    monkeypatch.setattr(signals, "default_signals", signals.DefaultSignals())
    return queue.Queue()


def test_the_same_signal_at_once_again_is_one(clock: Clock, heard: queue.Queue[int]) -> None:
    """As from `timeout`, which signals its child and the process group that the child is in."""
    with on_signals(heard.put):
        signal.raise_signal(signal.SIGTERM)
        assert heard.get(timeout=60) == signal.SIGTERM
        clock.now_s += 0.001
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
        assert heard.get(timeout=60) == signal.SIGINT
    assert heard.empty()


def test_a_second_signal_is_a_second_order(clock: Clock, heard: queue.Queue[int]) -> None:
    with on_signals(heard.put):
        for _ in range(2):
            signal.raise_signal(signal.SIGTERM)
            assert heard.get(timeout=60) == signal.SIGTERM
            clock.now_s += 0.06


def test_an_ignored_signal_stays_ignored(heard: queue.Queue[int]) -> None:
    """As under `nohup`."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with on_signals(heard.put):
            signal.raise_signal(signal.SIGHUP)
            signal.raise_signal(signal.SIGTERM)
            assert heard.get(timeout=60) == signal.SIGTERM
    finally:
        signal.signal(signal.SIGHUP, before)


def test_the_handlers_are_those_of_before(heard: queue.Queue[int]) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(ValueError, match="x"), on_signals(heard.put):
        raise ValueError("x")
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("status", [0, 11, 143])
def test_a_report_that_hangs_is_left_once_the_program_was_told_to_end(
    monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    """Two signals at the same moment are one for the kernel, so no further one may be needed."""
    left: queue.Queue[int] = queue.Queue()
    monkeypatch.setattr(signals, "_watched", list)
    monkeypatch.setattr(signals, "LEAVE_AFTER_S", 0.0)
    monkeypatch.setattr(os, "_exit", left.put)
    told_before = signals.DefaultSignals()
    told_before.install()
    told_before.decide(status, told=True)
    assert left.get(timeout=60) == status
    told_later = signals.DefaultSignals()
    told_later.install()
    told_later.decide(0)
    told_later.decide(status if status < 128 else 1)
    told_later.on_signal(signal.SIGTERM, None)
    assert left.get(timeout=60) == (status if status < 128 else 1)


def test_a_report_may_take_its_time_where_no_signal_came(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    left: list[int] = []
    monkeypatch.setattr(signals, "_watched", list)
    monkeypatch.setattr(signals, "LEAVE_AFTER_S", 0.0)
    monkeypatch.setattr(os, "_exit", left.append)
    decided = signals.DefaultSignals()
    decided.install()
    decided.decide(0)
    time.sleep(0.05)
    assert left == []


def test_a_signal_whose_exception_was_swallowed_ends_the_work_before_it_begins(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    swallowing = signals.DefaultSignals()
    monkeypatch.setattr(signals, "default_signals", swallowing)
    with suppress(Interrupted):
        swallowing.on_signal(signal.SIGTERM, None)
    begun = False
    with pytest.raises(Interrupted, match="SIGTERM"), on_signals(lambda _: None):
        begun = True
    assert not begun
