"""What the client shows of a cluster: how many workers there are, and each part once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest

from streamtos3.cluster.connection import Cluster
from streamtos3.cluster.dispatch import Dispatcher
from streamtos3.cluster.orders import describe
from streamtos3.model.events import Event, PartsStored, PartStored, Warned, WorkersCounted
from streamtos3.results import StoredPart
from streamtos3.runtime.cancel import CancelScope


class WorkersComeAndGo:
    """A cluster with other workers at each look; `hear` is called with what a worker logs."""

    address = "tcp://127.0.0.1:1"
    is_connected = True

    def __init__(self, counts: list[int]) -> None:
        self.hear: Callable[[dict[str, Any]], None]
        self.seen_all = threading.Event()
        self._counts = counts

    def subscribe(self, topic: str, handle: Callable[[dict[str, Any]], None]) -> None:
        self.hear = handle

    def workers(self, retry_for_s: float) -> dict[str, int]:
        if len(self._counts) == 1:
            self.seen_all.set()
            return self._some(self._counts[0])
        return self._some(self._counts.pop(0))

    def run_on_all(self, *arguments: Any, **named: Any) -> dict[str, Any]:
        return {}

    def _some(self, count: int) -> dict[str, int]:
        return {f"tcp://127.0.0.1:{number}": 2 for number in range(count)}


class Watched:
    """A dispatcher that has begun, and its events."""

    def __init__(self, cluster: WorkersComeAndGo, scope: CancelScope) -> None:
        self.events: list[Event] = []
        self.cluster = cluster
        self.dispatcher = Dispatcher(
            cast(Cluster, cluster), "id", scope, self.events.append, retry_for_s=60.0
        )
        self.dispatcher.start()

    def hear(self, *numbers: int) -> None:
        told = describe(PartsStored(tuple(part_of(number) for number in numbers)), "host")
        assert told is not None
        self.cluster.hear(told)

    @property
    def shown(self) -> list[int]:
        return [event.part.number for event in self.events if isinstance(event, PartStored)]


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[list[int]], Watched]]:
    monkeypatch.setattr("streamtos3.cluster.dispatch._LOOK_S", 0.001)
    begun: list[Watched] = []
    with CancelScope() as scope:

        def begin(counts: list[int]) -> Watched:
            begun.append(Watched(WorkersComeAndGo(counts), scope))
            return begun[-1]

        yield begin
        for each in begun:
            assert each.dispatcher.end()


def part_of(number: int) -> StoredPart:
    return StoredPart(number, 0, 1, "0" * 32, "0" * 32, 1)


def test_workers_are_counted_anew_when_one_joins_or_leaves(
    watch: Callable[[list[int]], Watched],
) -> None:
    watched = watch([1, 1, 3, 2, 2, 0, 1])
    assert watched.cluster.seen_all.wait(60)
    assert watched.dispatcher.end()
    counted = [event.workers for event in watched.events if isinstance(event, WorkersCounted)]
    assert counted == [1, 3, 2, 0, 1]
    assert [event for event in watched.events if isinstance(event, Warned)]  # for there was none


def test_a_part_is_shown_once_whoever_tells_it_and_how_often(
    watch: Callable[[list[int]], Watched],
) -> None:
    """Told, reported, told late, and performed again elsewhere."""
    watched = watch([1])
    watched.hear(1, 2)
    watched.hear(2)
    assert watched.shown == [1, 2]
    watched.dispatcher.show([part_of(number) for number in (1, 2, 3)])
    watched.hear(3)
    watched.dispatcher.show([part_of(number) for number in (1, 2, 3)])
    watched.hear(4, 1)
    assert watched.shown == [1, 2, 3, 4]
