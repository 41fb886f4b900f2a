"""Threads that want MD5s at the same time share a computation, and each gets its own result."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator, Sequence

import pytest

from streamtos3.integrity.md5 import Md5Method
from streamtos3.runtime import md5_group
from streamtos3.runtime.md5_group import Md5Group


class Computations:
    """In place of `md5s`: the first waits until it is let go, and all are kept."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.began = threading.Event()
        self.may_go_on = threading.Event()
        self.error: BaseException | None = None

    def __call__(self, buffers: Sequence[memoryview]) -> list[bytes]:
        self.sizes.append(len(buffers))
        self.began.set()
        assert self.may_go_on.wait(60)
        if self.error is not None:
            raise self.error
        return [hashlib.md5(buffer).digest() for buffer in buffers]


class Load:
    """In place of the LoadMeter."""

    is_spare = False

    def has_spare_time(self) -> bool:
        return Load.is_spare


@pytest.fixture
def computations(monkeypatch: pytest.MonkeyPatch) -> Computations:
    computations = Computations()
    monkeypatch.setattr(md5_group, "md5s", computations)
    monkeypatch.setattr(md5_group, "md5_method", lambda: Md5Method("sse2", 4))
    return computations


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> type[Load]:
    """Busy processors, looked at all the time, and nobody gives up."""
    monkeypatch.setattr(Load, "is_spare", False)
    monkeypatch.setattr(md5_group, "LoadMeter", Load)
    monkeypatch.setattr(md5_group, "_LOOK_S", 0.001)
    monkeypatch.setattr(md5_group, "_LONGEST_WAIT_S", 1000.0)
    return Load


class Asker(threading.Thread):
    """Asks for one digest, and keeps it, or the error."""

    def __init__(self, group: Md5Group, data: bytes) -> None:
        super().__init__(daemon=True)
        self._group = group
        self.data = data
        self.digest: bytes | None = None
        self.error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self.digest = self._group.digest(memoryview(self.data))
        except BaseException as error:  # noqa: BLE001 - looked at by the test
            self.error = error


def wait_until(predicate: Callable[[], bool]) -> None:
    nobody = threading.Event()
    while not predicate():
        nobody.wait(0.001)


def test_who_comes_meanwhile_shares_the_next_computation(computations: Computations) -> None:
    group = Md5Group()
    askers = [Asker(group, b"first")]
    computations.began.wait(60)
    askers += [Asker(group, b"%d" % number) for number in range(10)]
    wait_until(lambda: len(group._waiting) == 10)
    computations.may_go_on.set()
    for asker in askers:
        asker.join(60)
        assert asker.digest == hashlib.md5(asker.data).digest()
    assert computations.sizes == [1, 10]


def test_an_error_ends_all_whose_data_was_part_of_it_and_nobody_else(
    computations: Computations,
) -> None:
    group = Md5Group()
    first = Asker(group, b"first")
    computations.began.wait(60)
    others = [Asker(group, b"other") for _ in range(3)]
    wait_until(lambda: len(group._waiting) == 3)
    computations.error = MemoryError()
    computations.may_go_on.set()
    for asker in (first, *others):
        asker.join(60)
        assert isinstance(asker.error, MemoryError)
    computations.error = None
    assert group.digest(memoryview(b"later")) == hashlib.md5(b"later").digest()


def test_one_after_the_other_works_as_well(computations: Computations) -> None:
    computations.may_go_on.set()
    group = Md5Group()
    for data in (b"", b"a", b"b"):
        assert group.digest(memoryview(data)) == hashlib.md5(data).digest()
    assert computations.sizes == [1, 1, 1]


@pytest.fixture
def announced(computations: Computations, load: type[Load]) -> Iterator[Md5Group]:
    """A group that computes at once, in which one part is announced that does not come."""
    computations.may_go_on.set()
    group = Md5Group(lambda size_bytes: 6)
    with group.announced():
        yield group


def test_the_first_waits_for_as_many_as_are_worthwhile(
    announced: Md5Group, computations: Computations
) -> None:
    askers = [Asker(announced, b"%d" % number) for number in range(3)]
    wait_until(lambda: len(announced._waiting) == 3)
    assert not computations.began.wait(0.05)
    for asker in (*askers, Asker(announced, b"fourth")):
        asker.join(60)
        assert asker.digest == hashlib.md5(asker.data).digest()
    assert computations.sizes == [4]


def test_memory_for_two_parts_is_left_to_read_into(
    announced: Md5Group, computations: Computations
) -> None:
    announced._room_for = lambda size_bytes: 2 + size_bytes
    for asker in [Asker(announced, b"ab"), Asker(announced, b"a")]:
        asker.join(60)
    assert computations.sizes == [2]


def test_nobody_waits_for_company_while_the_processors_idle(
    announced: Md5Group, computations: Computations, load: type[Load]
) -> None:
    asker = Asker(announced, b"a")
    assert not computations.began.wait(0.05)
    load.is_spare = True
    asker.join(60)
    assert computations.sizes == [1]


def test_company_that_does_not_come_is_not_waited_for(
    computations: Computations, load: type[Load], monkeypatch: pytest.MonkeyPatch
) -> None:
    computations.may_go_on.set()
    group = Md5Group()
    with group.announced():
        asker = Asker(group, b"a")
        assert not computations.began.wait(0.05)
    asker.join(60)  # whoever read it has failed
    assert computations.sizes == [1]
    monkeypatch.setattr(md5_group, "_LONGEST_WAIT_S", 0.01)
    with group.announced():
        assert group.digest(memoryview(b"b")) == hashlib.md5(b"b").digest()


def test_without_lanes_nobody_waits(
    computations: Computations, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(md5_group, "md5_method", lambda: Md5Method(None, 1))
    assert Md5Group().digest(memoryview(b"a")) == hashlib.md5(b"a").digest()
    assert computations.sizes == []


def test_many_threads_and_many_digests() -> None:
    group = Md5Group()
    wrong: list[bytes] = []

    def ask(start: int) -> None:
        for number in range(start, start + 200):
            data = number.to_bytes(4, "big") * (number % 97)
            if group.digest(memoryview(data)) != hashlib.md5(data).digest():
                wrong.append(data)

    threads = [threading.Thread(target=ask, args=(start * 1000,)) for start in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
