"""How signals reach the work that is done: each order once, and none while nothing is done."""

from __future__ import annotations

import queue
import signal

import pytest

from streamtos3.cli import signals
from streamtos3.cli.signals import on_signals


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
