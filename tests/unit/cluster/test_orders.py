"""What a worker tells before its report, and how often."""

from __future__ import annotations

import pickle
from dataclasses import dataclass, field
from typing import Any

from streamtos3.cluster.orders import _emitter, _Meanwhile
from streamtos3.model.events import PartsStored, Started
from streamtos3.results import StoredPart


def part_of(number: int) -> StoredPart:
    return StoredPart(number, 0, 1, "0" * 32, "0" * 32, 1)


@dataclass
class Told:
    """Numbers of the parts in each message, by a clock that the test sets."""

    now_s: float = 100.0
    messages: list[list[int]] = field(default_factory=list)

    def emit(self, event: Any) -> None:
        assert isinstance(event, PartsStored)
        self.messages.append([part.number for part in event.parts])

    def meanwhile(self, parts: int, every_s: float) -> _Meanwhile:
        return _Meanwhile(self.emit, parts, every_s, lambda: self.now_s)

    def run(self, parts: int, every_s: float, part_s: float) -> list[list[int]]:
        """The messages of a run each part of which takes so long."""
        meanwhile = self.meanwhile(parts, every_s)
        for number in range(1, parts + 1):
            self.now_s += part_s
            meanwhile.note(part_of(number))
        return self.messages


def test_a_run_of_less_than_the_interval_tells_nothing() -> None:
    assert Told().run(16, 1.0, 1 / 17) == []


def test_a_slow_run_tells_each_part_once_but_the_last() -> None:
    assert Told().run(4, 1.0, 5.0) == [[1], [2], [3]]
    assert Told().run(4, 0.0, 0.0) == [[1], [2], [3]]
    assert Told().run(1, 1.0, 60.0) == []


def test_messages_are_an_interval_apart() -> None:
    """At 1, 2 and 3 s; parts 13 to 15, and 16 with which it ends, are the report's."""
    assert Told().run(16, 1.0, 0.25) == [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11, 12]]


def test_a_message_is_made_of_what_the_scheduler_takes() -> None:
    """Plain values: it need not know streamtos3."""
    sent: list[tuple[str, dict[str, Any]]] = []
    emit = _emitter(lambda topic, told: sent.append((topic, told)), "topic", "host tcp://1")
    emit(PartsStored((part_of(3),)))
    emit(Started(1, 1, 1, False))
    ((topic, told),) = sent
    assert topic == "topic"
    assert [type(value) for value in told.values()] == [bytes]
    assert pickle.loads(told["parts"]) == (part_of(3),)
