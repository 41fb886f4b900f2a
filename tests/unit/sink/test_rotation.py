"""Where a stream of records is cut, and what the pieces are called."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamtos3.errors import UsageError
from streamtos3.model.names import check_destination_name
from streamtos3.sink.rotation import (
    Clock,
    ObjectNames,
    Partition,
    RotationRules,
    SteadyClock,
    cut,
    partition_end,
)

NOON = datetime(2026, 11, 21, 12, 0, 0, tzinfo=timezone.utc)


def names(
    prefix: str = "p",
    partition: Partition = "hourly",
    name: str = "events",
    suffix: str = ".ndjson",
) -> ObjectNames:
    return ObjectNames("bucket", prefix, partition=partition, name=name, suffix=suffix)


@pytest.mark.parametrize(
    ("prefix", "partition", "folder"),
    [
        ("p", "hourly", "p/2026/11/21/12/"),
        ("p/", "daily", "p/2026/11/21/"),
        ("p/q", "none", "p/q/"),
        ("", "hourly", "2026/11/21/12/"),
        ("", "none", ""),
    ],
)
def test_a_key_names_partition_time_and_something_random(
    prefix: str, partition: Partition, folder: str
) -> None:
    at, key = names(prefix, partition).next(NOON + timedelta(microseconds=7))
    stamp = "20261121T120000.000007Z"
    assert re.fullmatch(re.escape(f"{folder}events-{stamp}-") + r"[0-9a-f]{32}\.ndjson", key)
    assert at == NOON + timedelta(microseconds=7)


def test_the_time_is_utc_wherever_the_clock_stands() -> None:
    elsewhere = NOON.astimezone(timezone(timedelta(hours=-11)))
    at, key = names().next(elsewhere)
    assert at == NOON
    assert key.startswith("p/2026/11/21/12/")


@given(st.lists(st.integers(-5_000_000, 5_000_000), min_size=2, max_size=30))
def test_keys_sort_as_they_were_made_whatever_the_clock_does(steps_s: list[int]) -> None:
    """A clock that is set back, or stands still, must not put later records before earlier ones."""
    maker, now = names(), NOON
    keys = []
    for step_s in steps_s:
        now += timedelta(seconds=step_s)
        keys.append(maker.next(now)[1])
    assert keys == sorted(keys)
    assert len(set(keys)) == len(keys)


class SetClock(Clock):
    """Tells what it is told; `go_on` lets time pass, `jump` sets it to another one."""

    def __init__(self) -> None:
        self.at, self.s = NOON, 1000.0

    def now(self) -> datetime:
        return self.at

    def monotonic(self) -> float:
        return self.s

    def go_on(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)
        self.s += seconds

    def jump(self, **by: float) -> None:
        self.at += timedelta(**by)


@pytest.mark.parametrize("by", [{"days": 3650}, {"hours": 1}, {"days": -3650}, {"minutes": -1}])
def test_a_clock_that_jumps_for_a_moment_moves_no_key(by: dict[str, float]) -> None:
    """It would pin all later keys to a moment that never was, or run ahead of it for years."""
    clock, maker = SetClock(), names()
    steady = SteadyClock(clock)
    keys = [maker.next(steady.now())[1]]
    clock.jump(**by)
    for _ in range(3):
        clock.go_on(20)
        at, key = maker.next(steady.now())
        keys.append(key)
    assert at == NOON + timedelta(seconds=60)
    clock.jump(**{name: -value for name, value in by.items()})
    clock.go_on(20)
    at, key = maker.next(steady.now())
    keys.append(key)
    assert at == clock.at == NOON + timedelta(seconds=80)
    assert keys == sorted(keys)


@pytest.mark.parametrize("days", [100, -100])
def test_a_clock_that_stays_where_it_was_set_is_followed(days: int) -> None:
    """A machine may start with a clock that is wrong. Keys go on in order all the same."""
    clock, maker = SetClock(), names()
    steady = SteadyClock(clock)
    before = maker.next(steady.now())[1]
    clock.jump(days=days)
    steady.now()
    clock.go_on(400)
    assert steady.now() == clock.at
    assert maker.next(steady.now())[1] > before
    clock.go_on(1)
    assert steady.now() == clock.at


def test_a_clock_that_is_corrected_bit_by_bit_is_followed_at_once() -> None:
    clock = SetClock()
    steady = SteadyClock(clock)
    for _ in range(100):
        clock.go_on(10)
        clock.jump(seconds=0.9)
        assert steady.now() == clock.at


def test_two_sinks_never_share_a_key() -> None:
    assert names().next(NOON)[1] != names().next(NOON)[1]


@pytest.mark.parametrize(
    ("name", "suffix"), [("a/b", ""), ("", ".x"), ("a", "/x"), ("x" * 1000, ""), ("\n", "")]
)
def test_names_that_make_no_key_are_refused(name: str, suffix: str) -> None:
    with pytest.raises(UsageError):
        names(name=name, suffix=suffix)


@pytest.mark.parametrize(
    ("partition", "at", "end"),
    [
        ("hourly", NOON, NOON + timedelta(hours=1)),
        ("hourly", NOON + timedelta(minutes=59, seconds=59.9), NOON + timedelta(hours=1)),
        ("daily", NOON, NOON + timedelta(hours=12)),
        ("daily", datetime(2026, 12, 31, 23, 59, tzinfo=timezone.utc), datetime(2027, 1, 1)),
        ("none", NOON, None),
    ],
)
def test_a_partition_ends_with_its_hour_or_day(
    partition: Partition, at: datetime, end: datetime | None
) -> None:
    assert partition_end(partition, at) == (end and end.replace(tzinfo=timezone.utc))


def objects_of(sizes: list[int], rules: RotationRules, held: tuple[int, ...] = ()) -> object:
    """The sizes of the records of each object, as the sink cuts them; the last may go on."""
    records = [b"x" * size for size in sizes]
    objects = [list(map(len, some)) for some, _ in cut(records, rules, len(held), sum(held))]
    ends = [ends for _, ends in cut(records, rules, len(held), sum(held))]
    assert all(ends[:-1])
    return objects


@pytest.mark.parametrize(
    ("sizes", "max_records", "max_bytes", "expected"),
    [
        ([1] * 5, 2, 100, [[1, 1], [1, 1], [1]]),
        ([1] * 4, 2, 100, [[1, 1], [1, 1]]),
        ([4, 4, 4], 100, 8, [[4, 4], [4]]),
        ([4, 5, 4], 100, 8, [[4, 5], [4]]),
        ([9, 1], 100, 8, [[9], [1]]),
        ([1, 9, 1], 100, 8, [[1, 9], [1]]),
        ([3], 1, 1, [[3]]),
        ([0, 0, 1], 100, 1, [[0, 0, 1]]),
    ],
)
def test_the_record_that_reaches_a_limit_is_the_last_of_its_object(
    sizes: list[int], max_records: int, max_bytes: int, expected: list[list[int]]
) -> None:
    rules = RotationRules(max_records=max_records, max_bytes=max_bytes)
    assert objects_of(sizes, rules) == expected


@given(st.lists(st.integers(0, 20)), st.integers(1, 7), st.integers(1, 50))
def test_cutting_at_once_is_cutting_one_by_one(
    sizes: list[int], max_records: int, max_bytes: int
) -> None:
    objects, held = [], []
    for size in sizes:
        held.append(size)
        if len(held) == max_records or sum(held) >= max_bytes:
            objects.append(held)
            held = []
    rules = RotationRules(max_records=max_records, max_bytes=max_bytes)
    assert objects_of(sizes, rules) == objects + ([held] if held else [])


def test_the_longest_key_that_a_sink_makes_is_checked_at_the_start() -> None:
    maker = names("p" * 900)
    check_destination_name("bucket", maker.next(NOON)[1])
    with pytest.raises(UsageError, match="1024"):
        names("p" * 1000)
