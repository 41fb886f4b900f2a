"""Group commit: what waits goes together, within bounds, and everybody hears what became of it."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future

import pytest

from streamtos3.errors import SpoolError, SpoolFullError, SpoolTooSmallError
from streamtos3.receiver.batcher import Batcher, ByteBudget, Outcome
from tests.rig.receiver_rig import WAIT_S, ListStore


def held_back() -> ListStore:
    store = ListStore()
    store.gate.clear()
    return store


def outcomes(futures: list[Future[Outcome]]) -> list[Outcome]:
    return [each.result(WAIT_S) for each in futures]


def test_what_waits_is_appended_together_up_to_a_size() -> None:
    store = held_back()
    batcher = Batcher(store, group_bytes=100)
    futures = [batcher.submit([b"first\n"])]
    assert store.entered.acquire(timeout=WAIT_S)
    futures += [batcher.submit([b"x" * 24 + b"\n"] * 2) for _ in range(5)]
    store.gate.set()
    assert outcomes(futures) == [Outcome.DURABLE] * 6
    assert [len(records) for records in store.appends] == [1, 4, 4, 2]
    assert batcher.appends == 4
    batcher.close()


def test_a_small_one_never_waits_for_more_than_one_large() -> None:
    store = held_back()
    batcher = Batcher(store)
    large = [b"x" * 70_000 + b"\n"]
    futures = [batcher.submit(large)]
    assert store.entered.acquire(timeout=WAIT_S)
    futures += [batcher.submit(records) for records in (large, large, [b"1\n"], large, [b"2\n"])]
    store.gate.set()
    assert outcomes(futures) == [Outcome.DURABLE] * 6
    assert store.appends == [large, [b"1\n", b"2\n"], large, large, large]
    batcher.close()


def test_more_than_a_group_from_one_sender_stays_together() -> None:
    store = ListStore()
    batcher = Batcher(store, group_bytes=1)
    assert outcomes([batcher.submit([b"a\n", b"b\n", b"c\n"])]) == [Outcome.DURABLE]
    assert store.appends == [[b"a\n", b"b\n", b"c\n"]]
    batcher.close()


def test_what_was_submitted_before_the_end_has_its_outcome() -> None:
    store = held_back()
    batcher = Batcher(store)
    futures = [batcher.submit([b"1\n"])]
    assert store.entered.acquire(timeout=WAIT_S)
    futures.append(batcher.submit([b"2\n"]))
    batcher.close(timeout_s=0)
    futures.append(batcher.submit([b"3\n"]))
    store.gate.set()
    batcher.close(WAIT_S)
    assert outcomes(futures) == [Outcome.DURABLE, Outcome.DURABLE, Outcome.ENDING]
    assert store.appends == [[b"1\n"], [b"2\n"]]


def test_a_sender_that_gave_up_in_time_is_left_out() -> None:
    store = held_back()
    batcher = Batcher(store)
    first = batcher.submit([b"1\n"])
    assert store.entered.acquire(timeout=WAIT_S)
    gone, stays = batcher.submit([b"2\n"]), batcher.submit([b"3\n"])
    assert gone.cancel() and not first.cancel()
    store.gate.set()
    assert outcomes([first, stays]) == [Outcome.DURABLE] * 2
    assert store.appends == [[b"1\n"], [b"3\n"]]
    batcher.close()


def test_a_full_spool_ends_nothing_and_any_other_error_does() -> None:
    told: list[BaseException] = []
    store = ListStore()
    batcher = Batcher(store, told.append)
    store.error = SpoolFullError("full")
    assert outcomes([batcher.submit([b"1\n"])]) == [Outcome.FULL]
    assert (batcher.has_ended, told) == (False, [])
    store.error = SpoolError("no disk")
    assert outcomes([batcher.submit([b"2\n"])]) == [Outcome.ENDING]
    assert (batcher.has_ended, told) == (True, [store.error])
    assert outcomes([batcher.submit([b"3\n"])]) == [Outcome.ENDING]
    batcher.close(WAIT_S)


def test_who_is_with_one_that_does_not_fit_is_tried_alone() -> None:
    """A group is refused as a whole; not each of its senders has asked for too much."""
    store = held_back()
    take = store.append

    def append(records: Sequence[bytes], *, wait: bool = True) -> None:
        if b"too large\n" in records:
            raise SpoolTooSmallError("never")
        if sum(map(len, records)) > 10:
            raise SpoolFullError("full")
        take(records, wait=wait)

    store.append = append  # type: ignore[method-assign]
    batcher = Batcher(store)
    futures = [batcher.submit([b"first\n"])]
    assert store.entered.acquire(timeout=WAIT_S)
    futures += [
        batcher.submit([each]) for each in (b"1234567\n", b"too large\n", b"x" * 20, b"2\n")
    ]
    store.gate.set()
    assert outcomes(futures) == [
        Outcome.DURABLE,
        Outcome.DURABLE,
        Outcome.TOO_LARGE,
        Outcome.FULL,
        Outcome.DURABLE,
    ]
    assert store.appends == [[b"first\n"], [b"1234567\n"], [b"2\n"]]
    batcher.close()


def test_room_is_taken_and_given_back() -> None:
    budget = ByteBudget(10)
    with budget.share() as one, budget.share() as other:
        assert one.grow(6) and one.grow(4)
        assert not other.grow(5)
        assert other.grow(4)
        assert budget.held_bytes == 10
    assert budget.held_bytes == 0


def test_room_is_given_back_after_an_error_too() -> None:
    budget = ByteBudget(10)
    with pytest.raises(ValueError), budget.share() as share:
        share.grow(10)
        raise ValueError
    assert budget.held_bytes == 0
