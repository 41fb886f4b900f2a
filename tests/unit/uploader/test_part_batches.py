"""Parts are hashed together where that pays, and none is held back for nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence

import pytest

from streamtos3.errors import SourceError
from streamtos3.integrity.md5 import Md5Method
from streamtos3.runtime.buffers import Buffer, BufferPool
from streamtos3.runtime.cancel import CancelScope
from streamtos3.uploader import part_batches
from streamtos3.uploader.part_batches import PartBatches
from streamtos3.uploader.part_reader import Part

KIB = 1024
BATCH = 4


class Load:
    """What the processors are said to be."""

    is_spare = False

    def has_spare_time(self) -> bool:
        return Load.is_spare


@pytest.fixture(autouse=True)
def lanes(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Sixteen lanes on busy processors; the result sets another number of lanes."""
    monkeypatch.setattr(Load, "is_spare", False)
    monkeypatch.setattr(part_batches, "LoadMeter", Load)
    monkeypatch.setattr(part_batches, "_LOOK_S", 0.001)
    monkeypatch.setattr(part_batches, "_LONGEST_WAIT_S", 1000.0)

    def set_lanes(number: int) -> None:
        monkeypatch.setattr(part_batches, "md5_method", lambda: Md5Method("sse2", number))

    set_lanes(16)
    return set_lanes


@pytest.fixture
def scope() -> Iterator[CancelScope]:
    with CancelScope() as scope:
        yield scope


class Starts:
    """The batches that were started, as the numbers of their parts."""

    def __init__(self, scope: CancelScope) -> None:
        self._scope = scope
        self.batches: list[list[int]] = []

    def __call__(self, parts: Sequence[Part]) -> None:
        self.batches.append([part.number for part in parts])
        self._scope.condition.notify_all()

    def await_parts(self, count: int) -> None:
        self._scope.wait_for(lambda: sum(map(len, self.batches)) == count)


def add(batches: PartBatches, *numbers: int) -> None:
    buffer = Buffer(KIB)
    for number in numbers:
        batches.add(Part(number, 0, KIB, buffer))


def batches_of(scope: CancelScope, memory_bytes: int = 100 * KIB) -> tuple[PartBatches, Starts]:
    starts = Starts(scope)
    return PartBatches(BufferPool(memory_bytes, 17, scope), scope, starts), starts


def test_parts_wait_until_there_are_enough(scope: CancelScope) -> None:
    batches, starts = batches_of(scope)
    add(batches, 1, 2, 3)
    assert starts.batches == []
    add(batches, 4, 5, 6, 7, 8, 9)
    assert starts.batches == [[1, 2, 3, 4], [5, 6, 7, 8]]
    batches.end()
    assert starts.batches[2:] == [[9]]


def test_the_end_of_the_input_is_not_waited_for_in_vain(scope: CancelScope) -> None:
    batches, starts = batches_of(scope)
    add(batches, 1)
    batches.end()
    batches.end()
    assert starts.batches == [[1]]


def test_where_the_processors_have_time_to_spare_nothing_waits(scope: CancelScope) -> None:
    """A silent input must not keep parts from being stored that it has given."""
    batches, starts = batches_of(scope)
    add(batches, 1, 2)
    Load.is_spare = True
    starts.await_parts(2)
    assert starts.batches == [[1, 2]]
    add(batches, 3)
    assert starts.batches[1:] == [[3]]


def test_no_part_waits_for_long(scope: CancelScope, monkeypatch: pytest.MonkeyPatch) -> None:
    batches, starts = batches_of(scope)
    add(batches, 1, 2)
    assert starts.batches == []
    monkeypatch.setattr(part_batches, "_LONGEST_WAIT_S", 0.0)
    starts.await_parts(2)


@pytest.mark.parametrize(
    ("parts_in_memory", "batch"), [(2, 1), (3, 1), (4, 2), (5, 3), (6, 4), (60, 4)]
)
def test_two_parts_in_memory_are_always_for_sending(
    scope: CancelScope, parts_in_memory: int, batch: int
) -> None:
    batches, starts = batches_of(scope, memory_bytes=parts_in_memory * KIB)
    add(batches, *range(1, batch + 1))
    assert starts.batches == [list(range(1, batch + 1))]


@pytest.mark.parametrize("number", [1, 2])
def test_no_more_parts_wait_than_there_are_lanes(
    scope: CancelScope, lanes: Callable[[int], None], number: int
) -> None:
    lanes(number)
    batches, starts = batches_of(scope)
    add(batches, 1, 2)
    assert starts.batches == ([[1], [2]] if number == 1 else [[1, 2]])


def test_the_memory_for_a_batch_is_allowed_only_where_there_are_lanes(
    scope: CancelScope, lanes: Callable[[int], None]
) -> None:
    pools = [BufferPool(100 * KIB, 17, scope) for _ in range(2)]
    PartBatches(pools[0], scope, Starts(scope))
    lanes(1)
    PartBatches(pools[1], scope, Starts(scope))
    assert [pool.allowed for pool in pools] == [7, 4]


def own_threads() -> set[threading.Thread]:
    return {each for each in threading.enumerate() if each.name.startswith("streamtos3-")}


@pytest.mark.parametrize("fails", [False, True])
def test_the_thread_ends_with_the_input_and_with_the_upload(
    scope: CancelScope, fails: bool
) -> None:
    before = own_threads()
    batches, starts = batches_of(scope)
    [thread] = own_threads() - before
    add(batches, 1)
    if fails:
        scope.fail(SourceError("gone"))
    else:
        batches.end()
    thread.join(20)
    assert not thread.is_alive()
    assert starts.batches == ([] if fails else [[1]])
