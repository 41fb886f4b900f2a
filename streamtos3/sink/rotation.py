"""When one object of an endless stream ends and the next begins, and their keys.

Pure except for `Clock`, whose time is passed in. Keys made by one sink sort in the order in which
they were made, and no two sinks ever make the same one.
"""

from __future__ import annotations

import time
import uuid
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from itertools import accumulate
from typing import Literal

from ..errors import UsageError
from ..model.names import check_destination_name
from ..units import MIB

__all__ = [
    "Clock",
    "ObjectNames",
    "Partition",
    "RotationRules",
    "SinkOptions",
    "SteadyClock",
    "cut",
    "partition_end",
    "records_that_fit",
    "records_within",
]

Partition = Literal["hourly", "daily", "none"]

_FOLDERS = {"hourly": "%Y/%m/%d/%H/", "daily": "%Y/%m/%d/", "none": ""}
_TICK = timedelta(microseconds=1)
# A jump of the clock that is over by then was a mistake; a longer one is a correction.
_JUMP_S = 1.0
_BELIEVED_AFTER_S = 300.0


class Clock:
    """The time; tests have a clock of their own."""

    def now(self) -> datetime:
        """The time of day, in UTC."""
        return datetime.now(timezone.utc)

    def monotonic(self) -> float:
        """Seconds, for intervals."""
        return time.monotonic()


class SteadyClock(Clock):
    """The time of day without the jumps that a clock makes and takes back.

    A clock that is set to another time is followed once it has stayed there for five minutes;
    until then the time goes on from where it was. Keys named after a moment that was wrong would
    pin all later ones to it, as none may sort before one that was made.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._at = clock.now()
        self._at_s = clock.monotonic()
        self._away_since_s: float | None = None

    def now(self) -> datetime:
        """See Clock."""
        now, now_s = self._clock.now(), self._clock.monotonic()
        expected = self._at + timedelta(seconds=now_s - self._at_s)
        if abs((now - expected).total_seconds()) > _JUMP_S:
            if self._away_since_s is None:
                self._away_since_s = now_s
            if now_s - self._away_since_s < _BELIEVED_AFTER_S:
                return expected
        self._at, self._at_s, self._away_since_s = now, now_s, None
        return now

    def monotonic(self) -> float:
        """See Clock."""
        return self._clock.monotonic()


@dataclass(frozen=True)
class RotationRules:
    """An object ends as soon as one of these limits is reached.

    `max_bytes` counts the records as they were read, before compression; the record that
    reaches it is the object's last. `interval_s` runs from the object's first record.
    """

    max_records: int = 1000
    max_bytes: int = 64 * MIB
    interval_s: float = 60.0
    partition: Partition = "hourly"


@dataclass(frozen=True)
class SinkOptions:
    """Where the objects go, their names, and when one ends and the next begins.

    `compress` is a key of `sources.compressed.COMPRESSION_SUFFIXES`, whose suffix is appended;
    `objects_at_once` bounds the objects that are being sent at the same time.
    """

    bucket: str
    prefix: str = ""
    name: str = "events"
    suffix: str = ".ndjson"
    rules: RotationRules = RotationRules()
    compress: str | None = None
    objects_at_once: int = 4


class ObjectNames:
    """Keys below `prefix`: the partition's folder, `name`, the time, a random part, `suffix`.

    UsageError if S3 would not accept such keys.
    """

    def __init__(
        self, bucket: str, prefix: str, *, name: str, suffix: str, partition: Partition
    ) -> None:
        if "/" in name or "/" in suffix or not name:
            raise UsageError("--name is one segment of a key: not empty, and without a slash")
        self._prefix = prefix + "/" if prefix and not prefix.endswith("/") else prefix
        self._name = name
        self._suffix = suffix
        self._folder = _FOLDERS[partition]
        self._last = datetime.min.replace(tzinfo=timezone.utc)
        check_destination_name(bucket, self._key(datetime.now(timezone.utc)))

    def next(self, now: datetime) -> tuple[datetime, str]:
        """The time and the key of an object whose first record came `now`.

        Where that is not later than the one before, it is a microsecond later than that, or the
        keys would not sort any more.
        """
        self._last = max(now.astimezone(timezone.utc), self._last + _TICK)
        return self._last, self._key(self._last)

    def _key(self, at: datetime) -> str:
        stamp = at.strftime("%Y%m%dT%H%M%S.%fZ")
        folder = at.strftime(self._folder)
        return f"{self._prefix}{folder}{self._name}-{stamp}-{uuid.uuid4().hex}{self._suffix}"


def partition_end(partition: Partition, at: datetime) -> datetime | None:
    """When the partition that `at` falls in is over, in UTC; None where there is only one."""
    start = at.astimezone(timezone.utc).replace(minute=0, second=0, microsecond=0)
    if partition == "hourly":
        return start + timedelta(hours=1)
    if partition == "daily":
        return start.replace(hour=0) + timedelta(days=1)
    return None


def records_that_fit(
    records: Sequence[bytes], rules: RotationRules, held_records: int, held_bytes: int
) -> int:
    """How many of `records` fit into an object that holds so many already; at least one.

    The record that makes it reach `max_bytes` still belongs to it.
    """
    fits = min(len(records), rules.max_records - held_records)
    sizes = list(accumulate(map(len, records[:fits])))
    if held_bytes + sizes[-1] < rules.max_bytes:
        return fits
    return bisect_left(sizes, rules.max_bytes - held_bytes) + 1


def cut(
    records: Sequence[bytes], rules: RotationRules, held_records: int, held_bytes: int
) -> Iterator[tuple[Sequence[bytes], bool]]:
    """The records of one object after the other, and whether it ends with them.

    The first of the objects already holds some.
    """
    at = 0
    while at < len(records):
        some = records[at : at + rules.max_records]
        some = some[: records_that_fit(some, rules, held_records, held_bytes)]
        at += len(some)
        held_records += len(some)
        held_bytes += sum(map(len, some))
        ends = held_records >= rules.max_records or held_bytes >= rules.max_bytes
        yield some, ends
        if ends:
            held_records = held_bytes = 0


def records_within(records: Sequence[bytes], room_bytes: int) -> Sequence[bytes]:
    """The first of `records`, as many as fit into `room_bytes`; perhaps none."""
    sizes = list(accumulate(map(len, records)))
    return records[: bisect_right(sizes, room_bytes)]
