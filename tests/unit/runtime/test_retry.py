"""The retry policy, on a clock of its own: how often, how long, and what becomes of it then."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamtos3.errors import (
    CredentialsError,
    IntegrityError,
    RefusedError,
    RetriesUsedUpError,
    StreamToS3Error,
    TransientError,
    UnreachableError,
)
from streamtos3.model.events import Retrying
from streamtos3.model.options import Retries
from streamtos3.runtime import retry
from streamtos3.runtime.cancel import Cancelled, CancelScope
from streamtos3.runtime.retry import Retrier

MINUTE_S = 60.0


class World:
    """A clock that moves only when somebody sleeps or a call takes its time."""

    def __init__(self, policy: Retries | None = None) -> None:
        scope = CancelScope()
        scope.close()  # nothing here waits for its descriptor
        self.now_s = 0.0
        self.waits_s: list[float] = []
        self.tried_at_s: list[float] = []
        self.events: list[Retrying] = []
        self.retrier = Retrier(
            policy or Retries(),
            scope,
            lambda event, _: self.events.append(event),
            clock=lambda: self.now_s,
            sleep=self.sleep,
        )

    def sleep(self, seconds: float) -> None:
        self.waits_s.append(seconds)
        self.now_s += seconds

    def failing(
        self, error: Callable[[], Exception] | None = None, *, takes_s: float = 0.0, times: int = -1
    ) -> Callable[[], str]:
        """A call that fails `times` times, or for ever, and each time takes a while."""

        def call() -> str:
            self.tried_at_s.append(self.now_s)
            self.now_s += takes_s
            if len(self.tried_at_s) - 1 == times:
                return "stored"
            raise error() if error else TransientError("503")

        return call

    def give_up(
        self, call: Callable[[], object], *, check_for_s: float | None = None
    ) -> StreamToS3Error:
        with pytest.raises(StreamToS3Error) as caught:
            self.retrier.call("store part 1", call, check_for_s=check_for_s)
        return caught.value


@pytest.fixture
def no_jitter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("random.uniform", lambda low, high: high)


def damaged() -> TransientError:
    return TransientError("BadDigest", damaged=True)


def outage_until(world: World, end_s: float) -> Callable[[], str]:
    def call() -> str:
        world.tried_at_s.append(world.now_s)
        if world.now_s < end_s:
            raise TransientError("connection refused", answered=False)
        return "stored"

    return call


# Waits


def test_what_succeeds_at_once_is_tried_once() -> None:
    world = World()
    outcome = world.retrier.call("x", lambda: 42)
    assert (outcome.value, outcome.tries) == (42, 1)
    assert (world.waits_s, world.events) == ([], [])


def test_what_succeeds_later_says_on_which_try() -> None:
    outcome = World().retrier.call("x", World().failing(times=2))
    assert (outcome.value, outcome.tries) == ("stored", 3)


def test_success_on_the_last_allowed_try_is_success() -> None:
    """The reference takes it for failure."""
    world = World(Retries(tries=3))
    assert world.retrier.call("x", world.failing(times=2)).tries == 3


@pytest.mark.usefixtures("no_jitter")
def test_waits_double_from_the_first_to_the_longest() -> None:
    world = World(Retries(tries=10))
    world.give_up(world.failing())
    assert world.waits_s == [1, 2, 4, 8, 16, 32, 60, 60, 60]


@pytest.mark.usefixtures("no_jitter")
def test_the_first_and_the_longest_wait_can_be_chosen() -> None:
    world = World(Retries(tries=5, first_wait_s=0.5, longest_wait_s=1.5))
    world.give_up(world.failing())
    assert world.waits_s == [0.5, 1, 1.5, 1.5]


def test_waits_are_spread_between_half_and_the_whole() -> None:
    firsts = []
    for _ in range(100):
        world = World(Retries(tries=8))
        world.give_up(world.failing())
        full_s = [1, 2, 4, 8, 16, 32, 60]
        assert all(f / 2 <= w <= f for f, w in zip(full_s, world.waits_s, strict=True))
        firsts.append(world.waits_s[0])
    assert len(set(firsts)) > 50
    assert min(firsts) < 0.6 < 0.9 < max(firsts)


def test_the_service_may_ask_for_a_longer_wait_but_not_for_a_shorter_one() -> None:
    world = World(Retries(tries=3))
    world.give_up(world.failing(lambda: TransientError("SlowDown", retry_after_s=90)))
    assert world.waits_s == [90, 90]
    world = World(Retries(tries=2))
    world.give_up(world.failing(lambda: TransientError("SlowDown", retry_after_s=0.001)))
    assert world.waits_s[0] >= 0.5


def test_a_thousand_tries_overflow_nothing() -> None:
    world = World(Retries(tries=2000))
    world.give_up(world.failing())
    assert len(world.tried_at_s) == 2000
    assert max(world.waits_s) <= 60


def test_each_wait_is_reported_before_it_begins() -> None:
    world = World(Retries(tries=3))
    world.give_up(world.failing())
    assert [event.wait_s for event in world.events] == world.waits_s
    assert [event.tries for event in world.events] == [1, 2]
    assert {(event.action, event.reason) for event in world.events} == {("store part 1", "503")}


# Giving up


def test_by_default_a_call_gives_up_fifteen_minutes_after_its_first_failure() -> None:
    world = World()
    error = world.give_up(world.failing(takes_s=0))
    assert isinstance(error, RetriesUsedUpError)
    assert world.tried_at_s[-1] == pytest.approx(15 * MINUTE_S)
    expected = f"503; gave up after {len(world.tried_at_s)} tries in 15 min 00 s"
    assert expected == error.message


def test_the_time_before_the_first_failure_does_not_count() -> None:
    """A slow part must not have used up its patience before anything went wrong."""
    world = World(Retries(retry_for_s=100))
    world.give_up(world.failing(takes_s=80))
    assert world.tried_at_s[0] == 0
    assert world.tried_at_s[-1] > 80
    assert len(world.tried_at_s) > 1


@given(retry_for_s=st.floats(0.1, 5000), first_wait_s=st.floats(0.01, 100))
def test_the_last_try_comes_exactly_when_the_time_is_over(
    retry_for_s: float, first_wait_s: float
) -> None:
    world = World(Retries(retry_for_s=retry_for_s, first_wait_s=first_wait_s))
    world.give_up(world.failing())
    assert retry_for_s == pytest.approx(world.tried_at_s[-1])


def test_the_service_cannot_ask_for_more_time_than_there_is() -> None:
    world = World()
    busy = world.failing(lambda: TransientError("SlowDown", retry_after_s=300))
    world.give_up(busy, check_for_s=30)
    assert world.tried_at_s == [0, 30]


def test_no_time_at_all_means_one_try() -> None:
    world = World(Retries(retry_for_s=0))
    error = world.give_up(world.failing())
    assert len(world.tried_at_s) == 1
    assert error.message == "503; gave up after 1 try in 0.0 s"


@pytest.mark.parametrize("tries", [1, 2, 7])
def test_r_gives_up_after_that_many_tries_however_long_they_take(tries: int) -> None:
    world = World(Retries(tries=tries))
    world.give_up(world.failing(takes_s=3600))
    assert tries == len(world.tried_at_s)


def test_where_tries_and_time_are_given_the_first_to_be_used_up_decides() -> None:
    world = World(Retries(tries=3, retry_for_s=10_000))
    world.give_up(world.failing())
    assert len(world.tried_at_s) == 3
    world = World(Retries(tries=10_000, retry_for_s=30))
    world.give_up(world.failing())
    assert world.tried_at_s[-1] == pytest.approx(30)


@pytest.mark.parametrize("tries, expected", [(None, 5), (9, 5), (5, 5), (3, 3), (1, 1)])
def test_damage_gives_up_after_five_tries_or_r_if_fewer(tries: int | None, expected: int) -> None:
    world = World(Retries(tries=tries))
    error = world.give_up(world.failing(damaged))
    assert isinstance(error, IntegrityError)
    assert len(world.tried_at_s) == expected


def test_an_outage_between_does_not_count_as_damage() -> None:
    world = World()
    errors = iter([damaged(), *[TransientError("503") for _ in range(10)], damaged()])
    call = world.failing(lambda: next(errors), times=12)
    assert world.retrier.call("x", call).tries == 13


def test_an_outage_of_five_minutes_is_survived_with_the_defaults() -> None:
    world = World()
    outcome = world.retrier.call("x", outage_until(world, 5 * MINUTE_S))
    assert outcome.value == "stored"
    assert world.now_s < 6 * MINUTE_S + 1


def test_each_call_has_its_own_patience() -> None:
    world = World(Retries(retry_for_s=60))
    for _ in range(3):
        assert world.retrier.call("x", outage_until(world, world.now_s + 50)).value == "stored"


def test_the_check_before_the_first_byte_has_a_time_of_its_own() -> None:
    world = World(Retries(retry_for_s=10_000))
    world.give_up(world.failing(), check_for_s=30)
    assert world.tried_at_s[-1] == pytest.approx(30)


def test_the_check_before_the_first_byte_heeds_r_too() -> None:
    world = World(Retries(tries=2))
    world.give_up(world.failing(), check_for_s=30)
    assert len(world.tried_at_s) == 2


# Verdicts

UNANSWERED: dict[str, Any] = {"answered": False}


@pytest.mark.parametrize(
    "flags, check_for_s, verdict, exit_status",
    [
        ({}, None, RetriesUsedUpError, 8),
        (UNANSWERED, None, RetriesUsedUpError, 8),
        ({}, 30, RetriesUsedUpError, 8),
        (UNANSWERED, 30, UnreachableError, 4),
        ({"expired": True}, None, CredentialsError, 3),
        ({"expired": True}, 30, CredentialsError, 3),
        ({"damaged": True}, None, IntegrityError, 9),
        ({"damaged": True}, 30, IntegrityError, 9),
    ],
)
def test_what_giving_up_means(
    flags: dict[str, Any],
    check_for_s: float | None,
    verdict: type[StreamToS3Error],
    exit_status: int,
) -> None:
    world = World(Retries(tries=2))
    call = world.failing(lambda: TransientError("it failed", hint="do this", **flags))
    error = world.give_up(call, check_for_s=check_for_s)
    assert verdict is type(error)
    assert exit_status == error.exit_status
    assert error.message.startswith("it failed; gave up after 2 tries in ")
    assert error.hint == "do this"
    assert isinstance(error.__cause__, TransientError)


def test_the_verdict_keeps_what_the_service_said() -> None:
    world = World(Retries(tries=1))
    said: dict[str, Any] = {"code": "SlowDown", "http_status": 503, "request_id": "R1"}
    error = world.give_up(world.failing(lambda: TransientError("slow down", **said)))
    assert isinstance(error, RetriesUsedUpError)
    assert said == {name: getattr(error, name) for name in said}


def test_the_last_failure_decides_the_verdict() -> None:
    world = World(Retries(tries=2))
    errors = iter([damaged(), TransientError("503")])
    assert type(world.give_up(world.failing(lambda: next(errors)))) is RetriesUsedUpError


@pytest.mark.parametrize("error", [RefusedError("access denied"), ValueError("a bug")])
def test_what_is_permanent_is_raised_at_once_and_as_it_is(error: Exception) -> None:
    world = World()
    with pytest.raises(type(error)) as caught:
        world.retrier.call("x", world.failing(lambda: error))
    assert caught.value is error
    assert (len(world.tried_at_s), world.waits_s) == (1, [])


def test_a_permanent_error_after_a_passing_one_ends_the_tries() -> None:
    world = World()
    errors = iter([TransientError("503"), RefusedError("gone")])
    with pytest.raises(RefusedError, match="gone"):
        world.retrier.call("x", world.failing(lambda: next(errors)))


# Interruption


def test_waiting_stops_at_once_when_the_upload_fails_elsewhere() -> None:
    tries = 0
    with CancelScope() as scope:
        retrier = Retrier(Retries(first_wait_s=60), scope, lambda *_: scope.fail(ValueError("x")))

        def call() -> None:
            nonlocal tries
            tries += 1
            raise TransientError("503")

        with pytest.raises(Cancelled):
            retrier.call("x", call)
        assert tries == 1


def test_a_stopped_call_is_not_tried_again() -> None:
    world = World()

    def stopped() -> Exception:
        raise Cancelled

    with pytest.raises(Cancelled):
        world.retrier.call("x", world.failing(stopped))
    assert len(world.tried_at_s) == 1


def test_the_default_time_is_what_the_documentation_says() -> None:
    assert retry.DEFAULT_RETRY_FOR_S == 15 * MINUTE_S
