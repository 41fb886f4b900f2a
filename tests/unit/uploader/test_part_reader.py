"""The reader cuts a stream at the same places however it arrives, and checks its end."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import pytest

from streamtos3.errors import SourceError
from streamtos3.model.options import Options
from streamtos3.model.parts import Limits, PartPlan, plan_parts
from streamtos3.runtime.cancel import Cancelled, CancelScope
from streamtos3.uploader.part_reader import Part, Reader
from tests.rig.peak_pool import PeakPool
from tests.rig.support import payload

P = 10
LIMITS = Limits(min_part_bytes=1, max_part_bytes=1 << 20, max_parts=10_000)


class TrickleSource:
    """Gives at most so many bytes a read, and records when it was read and finished."""

    name = "a trickle"
    length_bytes: int | None = None

    def __init__(self, data: bytes, step_bytes: int, error_at: int | None = None) -> None:
        self.reads = 0
        self.finished = False
        self.taken_bytes = 0
        self._data = data
        self._step_bytes = step_bytes
        self._error_at = error_at

    def start(self) -> None:
        """Nothing to prepare."""

    def readinto(self, view: memoryview, scope: CancelScope) -> int:
        scope.check()
        self.reads += 1
        if self._error_at is not None and self.taken_bytes >= self._error_at:
            raise SourceError(f"cannot read a trickle at byte {self.taken_bytes}")
        left = self._data[self.taken_bytes :][: min(len(view), self._step_bytes)]
        view[: len(left)] = left
        self.taken_bytes += len(left)
        return len(left)

    def finish(self, scope: CancelScope) -> None:
        self.finished = True

    def stop(self) -> None:
        """Nothing to stop."""

    def close(self) -> None:
        """Nothing to close."""


class Reading:
    """A reader with its pool, and the parts that it gave."""

    def __init__(
        self,
        scope: CancelScope,
        data: bytes,
        step_bytes: int = 1 << 20,
        *,
        plan: PartPlan | None = None,
        error_at: int | None = None,
        **options: Any,
    ) -> None:
        self.source = TrickleSource(data, step_bytes, error_at)
        self.pool = PeakPool(1 << 20, 16, scope)
        self.plan = plan or plan_parts(P, limits=LIMITS)
        self.reader = Reader(self.source, self.pool, Options(**options), scope)
        self.offsets: list[int] = []

    def parts(self) -> Iterator[Part]:
        """The parts as the engine takes them."""
        first, second = self.reader.first_parts(self.plan)
        yield first
        if second is not None:
            yield from self.reader.rest(second)

    def bodies(self) -> list[bytes]:
        """What was read, part by part; each buffer goes back as if its part were stored."""
        bodies = []
        for number, part in enumerate(self.parts(), 1):
            assert number == part.number
            bodies.append(bytes(part.data))
            self.offsets.append(part.offset_bytes)
            self.pool.release(part.buffer)
        return bodies


@pytest.fixture
def scope() -> Iterator[CancelScope]:
    with CancelScope() as scope:
        yield scope


# The grid


@pytest.mark.parametrize("length", [0, 1, P - 1, P, P + 1, 2 * P, 2 * P + 1, 3 * P + 7])
@pytest.mark.parametrize("step_bytes", [1, P - 1, P, P + 1, 1 << 20])
def test_a_stream_is_cut_at_the_same_places_however_it_arrives(
    scope: CancelScope, length: int, step_bytes: int
) -> None:
    data = payload(length)
    reading = Reading(scope, data, step_bytes, digests=("sha256", "md5"))
    expected = [data[start : start + P] for start in range(0, length, P)] or [b""]
    assert expected == reading.bodies()
    reading.reader.check_end()
    reader = reading.reader
    assert length == reader.size_bytes
    assert reader.digests.hexdigests() == {
        "sha256": hashlib.sha256(data).hexdigest(),
        "md5": hashlib.md5(data).hexdigest(),
    }
    assert reading.offsets == [P * number for number in range(len(expected))]
    assert (reader.first_byte_at is None) == (length == 0)
    assert reading.source.finished


def test_growing_parts_are_cut_as_planned(scope: CancelScope) -> None:
    limits = Limits(1, 1 << 20, 10_000, growth_after_parts=2, growth_every_parts=2)
    reading = Reading(scope, payload(100), 3, plan=plan_parts(4, limits=limits))
    assert [len(body) for body in reading.bodies()] == [4, 4, 8, 8, 16, 16, 32, 12]
    assert reading.offsets == [0, 4, 8, 16, 24, 40, 56, 88]


def test_a_part_larger_than_a_read_is_filled_by_several(scope: CancelScope) -> None:
    """One mebibyte at a time, so that the digest finds it in the processor's cache."""
    big = 5 * (1 << 20) // 2
    plan = PartPlan(big, 10_000, Limits(1, 1 << 30))
    reading = Reading(scope, payload(big + 1), 1 << 30, plan=plan)
    assert [len(body) for body in reading.bodies()] == [big, 1]
    assert reading.source.reads == 5  # 1 MiB, 1 MiB, 512 KiB, the last byte, the end


# The first part


@pytest.mark.parametrize("length", [0, 1, P - 1, P])
def test_a_stream_that_fits_one_part_gives_no_second(scope: CancelScope, length: int) -> None:
    reading = Reading(scope, payload(length))
    first, second = reading.reader.first_parts(reading.plan)
    assert second is None
    assert bytes(first.data) == payload(length)


def test_a_full_first_part_is_held_until_a_second_begins(scope: CancelScope) -> None:
    reading = Reading(scope, payload(P + 1), P)
    first, second = reading.reader.first_parts(reading.plan)
    assert second is not None
    assert (first.filled_bytes, second.filled_bytes) == (P, 1)
    assert reading.source.taken_bytes == P + 1


def test_a_second_part_that_never_begins_gives_its_buffer_back(scope: CancelScope) -> None:
    reading = Reading(scope, payload(P))
    reading.reader.first_parts(reading.plan)
    held = [reading.pool.acquire(P) for _ in range(3)]
    assert len(held) == 3
    assert reading.pool.peak_bytes == 4 * P


def test_a_full_part_is_given_before_the_next_is_read(scope: CancelScope) -> None:
    reading = Reading(scope, payload(3 * P), P)
    parts = reading.parts()
    next(parts)
    second = next(parts)
    assert second.number == 2
    assert reading.source.taken_bytes == 2 * P


def test_the_input_is_not_read_again_after_its_end(scope: CancelScope) -> None:
    reading = Reading(scope, payload(P + 1))
    reading.bodies()
    assert reading.source.reads == 3


def test_a_read_error_ends_the_reading_and_is_no_end_of_input(scope: CancelScope) -> None:
    reading = Reading(scope, payload(100), 4, error_at=2 * P + 4)
    with pytest.raises(SourceError, match="at byte 24"):
        reading.bodies()
    assert not reading.source.finished


def test_a_failed_upload_ends_the_reading(scope: CancelScope) -> None:
    reading = Reading(scope, payload(100))
    parts = reading.parts()
    next(parts)
    scope.fail(ValueError("elsewhere"))
    with pytest.raises(Cancelled):
        list(parts)


# More than the plan holds


@pytest.mark.parametrize("max_parts, length", [(3, 3 * P), (3, 2 * P + 1), (1, P), (2, 2 * P)])
def test_a_stream_may_fill_the_last_allowed_part(
    scope: CancelScope, max_parts: int, length: int
) -> None:
    plan = PartPlan(P, max_parts, Limits(1, P, max_parts))
    bodies = Reading(scope, payload(length), plan=plan).bodies()
    assert payload(length) == b"".join(bodies)
    assert len(bodies) == max_parts


@pytest.mark.parametrize("max_parts", [1, 2, 3])
def test_one_byte_more_than_the_plan_holds_ends_the_upload(
    scope: CancelScope, max_parts: int
) -> None:
    plan = PartPlan(P, max_parts, Limits(1, P, max_parts))
    reading = Reading(scope, payload(max_parts * P + 1), plan=plan)
    with pytest.raises(SourceError) as caught:
        reading.bodies()
    expected = f"the input is longer than {max_parts} parts can hold ({max_parts * P} B)"
    assert expected == caught.value.message
    assert "--expect-size" in str(caught.value.hint)


# What the user said of the end


def test_the_expected_size_must_be_met(scope: CancelScope) -> None:
    reading = Reading(scope, payload(25), expect_size_bytes=25)
    reading.bodies()
    reading.reader.check_end()


def test_a_stream_that_ends_early_is_refused(scope: CancelScope) -> None:
    reading = Reading(scope, payload(24), expect_size_bytes=25)
    reading.bodies()
    with pytest.raises(SourceError) as caught:
        reading.reader.check_end()
    assert caught.value.message == "the input ended after 24 bytes; 25 were expected"


def test_a_stream_that_goes_on_too_long_is_refused_while_it_is_read(scope: CancelScope) -> None:
    reading = Reading(scope, payload(1000), 5, expect_size_bytes=25)
    with pytest.raises(SourceError) as caught:
        reading.bodies()
    assert caught.value.message == "the input is longer than the 25 bytes expected"
    assert reading.source.taken_bytes == 30


def test_an_expected_size_of_nothing_means_nothing(scope: CancelScope) -> None:
    reading = Reading(scope, b"", expect_size_bytes=0)
    reading.bodies()
    reading.reader.check_end()
    with pytest.raises(SourceError):
        Reading(scope, b"x", expect_size_bytes=0).bodies()


@pytest.mark.parametrize("length, passes", [(9, False), (10, True), (11, True)])
def test_the_least_size_is_inclusive(scope: CancelScope, length: int, passes: bool) -> None:
    reading = Reading(scope, payload(length), min_size_bytes=10)
    reading.bodies()
    if passes:
        reading.reader.check_end()
        return
    with pytest.raises(SourceError) as caught:
        reading.reader.check_end()
    assert caught.value.message == "the input ended after 9 bytes; at least 10 were expected"


def test_the_expected_digest_is_compared(scope: CancelScope) -> None:
    sha256 = hashlib.sha256(payload(25)).hexdigest()
    for expected in (sha256, sha256.upper()):
        reading = Reading(scope, payload(25), expect_sha256=expected)
        reading.bodies()
        reading.reader.check_end()
    reading = Reading(scope, payload(26), expect_sha256=sha256)
    reading.bodies()
    with pytest.raises(SourceError, match=f"but {sha256} was expected"):
        reading.reader.check_end()


def test_the_expected_digest_is_computed_even_if_no_other_was_asked(scope: CancelScope) -> None:
    sha256 = hashlib.sha256(payload(25)).hexdigest()
    reading = Reading(scope, payload(25), expect_sha256=sha256, digests=())
    reading.bodies()
    reading.reader.check_end()
