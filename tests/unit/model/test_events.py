"""A listener hears one event at a time, and cannot fail the work."""

from __future__ import annotations

import logging
import threading

import pytest

from streamtos3.model.events import Event, Warned, serialized


def test_without_a_listener_an_event_goes_nowhere() -> None:
    serialized(None)(Warned("unheard"))


def test_what_a_listener_raises_is_logged_and_the_next_event_comes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    heard: list[Event] = []

    def listen(event: Event) -> None:
        heard.append(event)
        raise ZeroDivisionError

    emit = serialized(listen)
    with caplog.at_level(logging.ERROR, "streamtos3"):
        emit(Warned("first"))
        emit(Warned("second"))
    assert heard == [Warned("first"), Warned("second")]
    assert caplog.text.count("the listener failed on") == 2


def test_a_signal_passes_through_a_listener() -> None:
    def listen(event: Event) -> None:
        raise KeyboardInterrupt

    emit = serialized(listen)
    for _ in range(2):  # the lock is free again
        with pytest.raises(KeyboardInterrupt):
            emit(Warned("interrupted"))


def test_a_second_event_waits_until_the_listener_is_done_with_the_first() -> None:
    heard: list[Event] = []
    entered, released = threading.Event(), threading.Event()

    def listen(event: Event) -> None:
        heard.append(event)
        entered.set()
        assert released.wait(10)

    emit = serialized(listen)
    threads = [threading.Thread(target=emit, args=(Warned(text),)) for text in ("1", "2")]
    threads[0].start()
    assert entered.wait(10)
    threads[1].start()
    threads[1].join(0.05)
    assert len(heard) == 1
    released.set()
    for thread in threads:
        thread.join(10)
    assert heard == [Warned("1"), Warned("2")]
