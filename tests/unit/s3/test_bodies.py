"""A request body reads like a file, copies nothing, and stops with the upload."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamtos3.runtime.cancel import Cancelled, CancelScope
from streamtos3.runtime.rate import RateLimit
from streamtos3.s3.bodies import Landing, PartBody

DATA = bytes(range(100))


def body_of(data: bytes = DATA) -> PartBody:
    return PartBody(memoryview(data), lambda: None)


steps = st.one_of(
    st.tuples(st.just("read"), st.integers(-1, 120)),
    st.tuples(st.just("seek"), st.integers(0, 120)),
)


@given(steps=st.lists(steps))
def test_it_reads_and_seeks_as_a_file_does(steps: list[tuple[str, int]]) -> None:
    body, file = body_of(), io.BytesIO(DATA)
    for what, number in steps:
        if what == "read":
            assert file.read(number) == body.read(number)
        else:
            assert file.seek(number) == body.seek(number)
        assert file.tell() == body.tell()


@pytest.mark.parametrize(
    "offset, whence, expected", [(10, 0, 10), (5, 1, 25), (-5, 1, 15), (0, 2, 100), (-1, 2, 99)]
)
def test_it_seeks_from_the_start_the_position_and_the_end(
    offset: int, whence: int, expected: int
) -> None:
    body = body_of()
    body.seek(20)
    assert expected == body.seek(offset, whence)


def test_it_reads_to_the_end_by_default_and_is_then_empty() -> None:
    body = body_of()
    assert body.read(None) == DATA
    assert len(body.read()) == 0


def test_its_length_is_that_of_the_part_wherever_it_stands() -> None:
    body = body_of()
    body.read(30)
    assert len(body) == 100


def test_what_it_reads_is_the_memory_itself_and_no_copy() -> None:
    memory = bytearray(DATA)
    piece = PartBody(memoryview(memory), lambda: None).read(10)
    memory[0] = 255
    assert piece[0] == 255


def test_a_failed_upload_stops_sending_in_the_middle_of_a_part() -> None:
    with CancelScope() as scope:
        body = PartBody(memoryview(DATA), scope.check)
        assert body.read(10) == DATA[:10]
        scope.fail(ValueError("elsewhere"))
        with pytest.raises(Cancelled):
            body.read(10)
        assert body.tell() == 10


class Clock:
    """A clock that moves when somebody sleeps."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def limit(clock: Clock) -> RateLimit:
    """1,000 times 1 KiB a second, each piece of 20 KiB when it is due."""
    return RateLimit(1000 * 1024, clock=lambda: clock.now_s, sleep=clock.sleep)


def test_a_body_with_a_limit_is_sent_piece_by_piece(clock: Clock, limit: RateLimit) -> None:
    body = body_of(bytes(10_000 * 1024))
    body.limit = limit
    sizes = []
    while piece := body.read(1 << 17):
        sizes.append(len(piece))
    assert sum(sizes) == len(body)
    assert max(sizes) == 20 * 1024
    assert clock.now_s == pytest.approx(10, rel=0.05)


def test_reading_for_the_signature_waits_for_nothing(clock: Clock, limit: RateLimit) -> None:
    body = body_of(bytes(10_000 * 1024))
    body.limit, body.sending = limit, False
    assert len(body.read(1 << 20)) == 1 << 20
    body.seek(0)
    body.sending = True
    assert len(body.read(1 << 20)) < 1 << 20
    assert clock.now_s < 0.1


def test_what_arrives_with_a_limit_is_read_piece_by_piece(clock: Clock, limit: RateLimit) -> None:
    source = io.BytesIO(bytes(10_000 * 1024))
    landing = Landing(memoryview(bytearray(10_000 * 1024)), lambda: None)
    landing.limit = limit
    landing.fill(source.readinto)
    assert landing.is_full
    assert clock.now_s == pytest.approx(10, rel=0.05)
