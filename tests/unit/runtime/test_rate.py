"""A rate limit, on a clock of its own: how much is let through, how evenly, and who may wait."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamtos3.errors import RetriesUsedUpError, TransientError, UsageError
from streamtos3.model.options import Retries
from streamtos3.runtime.cancel import Cancelled, CancelScope
from streamtos3.runtime.rate import RateLimit
from streamtos3.runtime.retry import Retrier
from streamtos3.units import KIB, MIB

RATE = 20 * MIB


def unchecked() -> None:
    return


class World:
    """A clock that moves when somebody sleeps, `late_s` longer than asked for."""

    def __init__(self, bytes_per_s: int | None = RATE, late_s: float = 0.0) -> None:
        self.now_s = 1000.0
        self.late_s = late_s
        self.sleeps_s: list[float] = []
        self.limit = RateLimit(bytes_per_s, clock=lambda: self.now_s, sleep=self.sleep)
        self.passed: list[tuple[float, int]] = []

    def sleep(self, seconds: float) -> None:
        self.sleeps_s.append(seconds)
        self.now_s += seconds + self.late_s

    def send(self, size_bytes: int, check: Callable[[], None] = unchecked) -> None:
        """Let so many bytes through, in the pieces that the limit asks for."""
        while size_bytes:
            piece_bytes = self.limit.cut(min(size_bytes, 128 * KIB))
            self.limit.wait(piece_bytes, check)
            self.passed.append((self.now_s, piece_bytes))
            size_bytes -= piece_bytes

    def most_in(self, window_s: float) -> int:
        """The most bytes that passed in any window of this length."""
        most = 0
        for start_s, _ in self.passed:
            end_s = start_s + window_s
            most = max(most, sum(size for at_s, size in self.passed if start_s <= at_s < end_s))
        return most


@pytest.mark.parametrize("bytes_per_s", [10 * KIB, 300 * KIB, RATE, 900 * MIB])
@pytest.mark.parametrize("late_s", [0.0, 0.002])
def test_ten_seconds_take_ten_seconds(bytes_per_s: int, late_s: float) -> None:
    world = World(bytes_per_s, late_s)
    for _ in range(10):
        world.send(bytes_per_s)
    assert world.now_s - 1000 == pytest.approx(10, rel=0.05)


def test_it_is_smooth_within_a_second() -> None:
    world = World()
    world.send(10 * RATE)
    for window_s in (0.1, 0.5, 1.0):
        assert world.most_in(window_s) <= RATE * (window_s + 0.07)


def test_after_a_pause_nothing_is_made_up_for() -> None:
    world = World()
    world.send(RATE)
    world.now_s += 3600
    world.passed.clear()
    world.send(2 * RATE)
    assert world.most_in(1.0) <= RATE * 1.07


def test_a_piece_is_a_fiftieth_of_a_second_or_less() -> None:
    assert World(10 * KIB).limit.cut(128 * KIB) == 204
    assert World(900 * MIB).limit.cut(128 * KIB) == 128 * KIB


def test_without_a_limit_nothing_waits_and_nothing_is_cut() -> None:
    world = World(None)
    with world.limit.turn(unchecked):
        world.limit.wait(1 << 40, unchecked)
    assert (world.limit.cut(1 << 30), world.sleeps_s) == (1 << 30, [])
    assert not world.limit.is_reached


@given(st.integers(max_value=KIB - 1))
def test_less_than_a_kibibyte_a_second_is_refused(bytes_per_s: int) -> None:
    with pytest.raises(UsageError, match="too low") as caught:
        RateLimit(bytes_per_s)
    assert caught.value.hint == "at least 1 KiB a second"


def test_it_is_reached_while_somebody_waits_and_not_later() -> None:
    world = World()
    assert not world.limit.is_reached
    world.limit.wait(RATE, unchecked)
    assert world.limit.is_reached
    world.now_s += 1
    assert not world.limit.is_reached


def test_a_stopped_transfer_waits_no_longer() -> None:
    world = World(KIB)
    world.limit.wait(100 * KIB, unchecked)  # the next bytes are due in 100 s

    def stopped() -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        world.limit.wait(1, stopped)
    assert world.sleeps_s == [0.1]


def test_as_many_transfers_run_as_the_rate_keeps_going() -> None:
    """At 512 KiB a second two, or each would be so slow that a server gives it up."""
    world = World(512 * KIB)
    under_way, most = 0, 0
    lock = threading.Lock()
    together = threading.Barrier(2)

    def transfer() -> None:
        nonlocal under_way, most
        with world.limit.turn(unchecked):
            with lock:
                under_way += 1
                most = max(most, under_way)
            together.wait(30)
            with lock:
                under_way -= 1

    threads = [threading.Thread(target=transfer) for _ in range(6)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert most == 2


def test_a_turn_is_given_back_after_an_error_and_not_waited_for_when_stopped() -> None:
    world = World(KIB)
    with pytest.raises(ValueError), world.limit.turn(unchecked):
        raise ValueError

    def stopped() -> None:
        raise Cancelled

    with world.limit.turn(unchecked), pytest.raises(Cancelled), world.limit.turn(stopped):
        pass
    with world.limit.turn(stopped):  # it is free again
        pass


def test_waiting_for_the_limit_does_not_use_up_the_time_for_retries() -> None:
    """A part of 8 MiB at 8 KiB/s takes 17 minutes, and has 15 after its first failure."""
    world = World(8 * KIB)
    scope = CancelScope()
    scope.close()
    retrier = Retrier(Retries(), scope, lambda *_: None, clock=world.limit.clock, sleep=world.sleep)
    tries = []

    def attempt() -> str:
        tries.append(world.now_s)
        world.limit.wait(8 * MIB, unchecked)
        if len(tries) < 4:
            raise TransientError("503")
        return "stored"

    assert retrier.call("store", attempt).value == "stored"
    assert tries[-1] - tries[0] > 2 * 15 * 60

    def away() -> None:
        raise TransientError("503")

    with pytest.raises(RetriesUsedUpError):  # what is not the limit's does
        retrier.call("store", away)
