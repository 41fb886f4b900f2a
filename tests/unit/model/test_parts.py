"""The part plan: how a stream of any length is cut within S3's numbers."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamtos3.errors import SourceError, UsageError
from streamtos3.model.parts import DEFAULT_CHUNK_BYTES, S3_LIMITS, Limits, PartPlan, plan_parts
from streamtos3.units import GIB, KIB, MIB, TIB

CEILING_BYTES = 10_000 * 5 * GIB

chunks = st.integers(5 * MIB, 5 * GIB)
lengths = st.integers(0, CEILING_BYTES)
tiny_limits = st.builds(
    Limits,
    min_part_bytes=st.just(1),
    max_part_bytes=st.integers(64, 256),
    max_parts=st.integers(1, 40),
    growth_after_parts=st.integers(1, 10),
    growth_every_parts=st.integers(1, 10),
)


def cut(plan: PartPlan, length_bytes: int) -> list[int]:
    """The sizes of the parts of a stream, as the reader cuts it."""
    sizes: list[int] = []
    while sum(sizes) < length_bytes:
        left_bytes = length_bytes - sum(sizes)
        sizes.append(min(left_bytes, plan.size_bytes(len(sizes) + 1)))
    return sizes


# A stream of unknown length


def test_the_numbers_are_those_of_s3() -> None:
    expected = Limits(5 * MIB, 5 * GIB, 10_000, 2_500, 750)
    assert expected == S3_LIMITS
    assert DEFAULT_CHUNK_BYTES == 8 * MIB


def test_parts_stay_at_the_chunk_size_for_2500_and_double_every_750() -> None:
    plan = plan_parts(8 * MIB)
    numbers = (1, 2500, 2501, 3250, 3251, 9250, 9251)
    sizes = {number: plan.size_bytes(number) // MIB for number in numbers}
    assert sizes == {1: 8, 2500: 8, 2501: 16, 3250: 16, 3251: 32, 9250: 4096, 9251: 5120}
    assert plan.grows


def test_a_stream_of_16_gib_ends_before_its_parts_grow() -> None:
    assert len(set(plan_parts(8 * MIB).cut(16 * GIB))) == 1


@pytest.mark.parametrize(
    "chunk_bytes, reach_tib", [(8 * MIB, 9.5), (64 * MIB, 20.6), (5 * GIB, 48.8)]
)
def test_a_stream_of_unknown_length_reaches_far_unplanned(
    chunk_bytes: int, reach_tib: float
) -> None:
    assert reach_tib == pytest.approx(plan_parts(chunk_bytes).capacity_bytes / TIB, abs=0.06)


def test_the_ceiling_of_s3_is_reached_with_the_largest_parts() -> None:
    assert plan_parts(5 * GIB).capacity_bytes == CEILING_BYTES


@given(chunk_bytes=chunks)
def test_no_part_is_smaller_than_the_one_before_nor_larger_than_s3_allows(chunk_bytes: int) -> None:
    plan = plan_parts(chunk_bytes)
    sizes = [plan.size_bytes(number) for number in range(1, 10_001, 250)]
    assert sizes == sorted(sizes)
    assert sizes[0] == chunk_bytes
    assert max(sizes) <= 5 * GIB


@settings(max_examples=25, deadline=None)
@given(chunk_bytes=chunks)
def test_the_capacity_is_the_sum_of_ten_thousand_parts(chunk_bytes: int) -> None:
    plan = plan_parts(chunk_bytes)
    assert plan.capacity_bytes == sum(plan.size_bytes(n) for n in range(1, 10_001))


@given(limits=tiny_limits, chunk_bytes=st.integers(1, 64), length_bytes=st.integers(0, 600))
def test_the_parts_of_a_stream_add_up_to_it_and_only_the_last_is_short(
    limits: Limits, chunk_bytes: int, length_bytes: int
) -> None:
    plan = plan_parts(chunk_bytes, limits=limits)
    length_bytes = min(length_bytes, plan.capacity_bytes)
    sizes = cut(plan, length_bytes)
    assert sum(sizes) == length_bytes
    assert len(sizes) <= limits.max_parts
    assert sizes[:-1] == [plan.size_bytes(n) for n in range(1, len(sizes))]
    assert all(0 < size <= limits.max_part_bytes for size in sizes)


@given(limits=tiny_limits, chunk_bytes=st.integers(1, 64))
def test_the_capacity_is_exactly_what_the_allowed_parts_hold(
    limits: Limits, chunk_bytes: int
) -> None:
    plan = plan_parts(chunk_bytes, limits=limits)
    assert len(cut(plan, plan.capacity_bytes)) == limits.max_parts
    assert len(cut(plan, plan.capacity_bytes + 1)) == limits.max_parts + 1


def test_a_part_number_far_beyond_the_last_costs_nothing_to_ask_for() -> None:
    assert PartPlan(5 * MIB, 1000).size_bytes(10**9) == 5 * GIB


# A known length


@given(chunk_bytes=chunks, length_bytes=lengths)
def test_a_known_length_makes_equal_parts_of_the_smallest_size_that_fits(
    chunk_bytes: int, length_bytes: int
) -> None:
    plan = plan_parts(chunk_bytes, length_bytes=length_bytes)
    assert not plan.grows
    assert plan.size_bytes(1) == plan.size_bytes(10_000) == plan.part_bytes
    assert chunk_bytes <= plan.part_bytes <= 5 * GIB
    assert length_bytes <= plan.capacity_bytes
    if plan.part_bytes > chunk_bytes:
        one_mib_less = plan.part_bytes - MIB
        assert plan.part_bytes % MIB == 0
        assert one_mib_less < chunk_bytes or one_mib_less * 10_000 < length_bytes


@pytest.mark.parametrize(
    "length_bytes, part_bytes",
    [
        (0, 8 * MIB),
        (1, 8 * MIB),
        (80_000 * MIB, 8 * MIB),
        (80_000 * MIB + 1, 9 * MIB),
        (500 * GIB, 52 * MIB),
        (CEILING_BYTES, 5 * GIB),
    ],
)
def test_the_part_size_of_a_known_length(length_bytes: int, part_bytes: int) -> None:
    plan = plan_parts(8 * MIB, length_bytes=length_bytes)
    assert part_bytes == plan.part_bytes


def test_what_no_object_can_hold_is_refused_before_it_is_read() -> None:
    with pytest.raises(SourceError) as caught:
        plan_parts(8 * MIB, length_bytes=CEILING_BYTES + 1)
    assert caught.value.message == (
        "the input of 48.8 TiB does not fit one S3 object of at most 48.8 TiB"
    )


# A hint, and equal parts


@given(chunk_bytes=chunks, hint_bytes=lengths)
def test_a_hinted_stream_fits_and_may_outgrow_its_hint(chunk_bytes: int, hint_bytes: int) -> None:
    plan = plan_parts(chunk_bytes, size_hint_bytes=hint_bytes)
    assert hint_bytes <= plan.capacity_bytes
    if plan.part_bytes < 5 * GIB:
        assert hint_bytes <= 5000 * plan.part_bytes
        assert 2 * hint_bytes <= plan.capacity_bytes
    assert chunk_bytes <= plan.part_bytes <= plan.size_bytes(10_000) <= 5 * GIB


def test_a_hint_keeps_half_of_the_numbers_for_a_stream_that_outgrows_it() -> None:
    plan = plan_parts(8 * MIB, size_hint_bytes=100 * GIB)
    assert [plan.size_bytes(n) // MIB for n in (1, 5000, 5001, 6001)] == [21, 21, 42, 84]


def test_a_hint_beyond_half_of_what_s3_holds_uses_the_largest_parts_throughout() -> None:
    plan = plan_parts(8 * MIB, size_hint_bytes=30 * TIB)
    assert [plan.size_bytes(n) for n in (1, 10_000)] == [5 * GIB, 5 * GIB]


def test_a_hint_beyond_what_s3_holds_is_refused() -> None:
    with pytest.raises(SourceError, match="does not fit one S3 object"):
        plan_parts(8 * MIB, size_hint_bytes=CEILING_BYTES + 1)


def test_a_hint_is_taken_where_only_one_part_is_allowed() -> None:
    plan = plan_parts(8 * MIB, size_hint_bytes=1, limits=Limits(max_parts=1))
    assert plan.capacity_bytes == 8 * MIB


def test_a_known_length_outweighs_a_hint() -> None:
    plan = plan_parts(8 * MIB, length_bytes=MIB, size_hint_bytes=TIB)
    assert (plan.part_bytes, plan.grows) == (8 * MIB, False)


@given(chunk_bytes=chunks)
def test_equal_parts_forbid_growth(chunk_bytes: int) -> None:
    plan = plan_parts(chunk_bytes, equal_parts=True)
    assert not plan.grows
    assert plan.capacity_bytes == 10_000 * chunk_bytes


def test_equal_parts_are_as_large_as_a_hint_asks() -> None:
    plan = plan_parts(8 * MIB, equal_parts=True, size_hint_bytes=TIB)
    assert (plan.part_bytes, plan.grows) == (105 * MIB, False)


# Refusals, and the form that is kept


@pytest.mark.parametrize("chunk_bytes", [0, 1, 5 * MIB - 1, 5 * GIB + 1])
def test_a_chunk_size_that_s3_does_not_take_is_refused(chunk_bytes: int) -> None:
    with pytest.raises(UsageError) as caught:
        plan_parts(chunk_bytes)
    assert "is outside S3's limits for a part, 5 MiB to 5 GiB" in caught.value.message
    assert f"{chunk_bytes} bytes" in caught.value.message


@pytest.mark.parametrize("chunk_bytes", [5 * MIB, 5 * GIB])
def test_the_limits_themselves_are_allowed(chunk_bytes: int) -> None:
    assert plan_parts(chunk_bytes).part_bytes == chunk_bytes


def test_a_plan_is_kept_as_part_size_count_and_the_pace_of_growth() -> None:
    assert str(plan_parts(8 * MIB)) == "8388608/2500/750"
    assert str(plan_parts(5 * MIB, length_bytes=4 * KIB)) == "5242880/10000"


# The way back


@given(
    chunk_bytes=st.integers(1, 64),
    limits=tiny_limits,
    length_bytes=st.integers(0, 5_000),
    knows=st.booleans(),
)
def test_a_plan_that_was_written_down_cuts_the_object_as_the_reader_did(
    chunk_bytes: int, limits: Limits, length_bytes: int, knows: bool
) -> None:
    try:
        plan = plan_parts(chunk_bytes, length_bytes=length_bytes if knows else None, limits=limits)
    except SourceError:
        return
    if length_bytes > plan.capacity_bytes:
        return
    again = PartPlan.parse(str(plan), limits)
    assert again == plan
    assert list(again.cut(length_bytes)) == (cut(plan, length_bytes) or [0])


def test_a_plan_keeps_its_pace_of_growth_whatever_the_program_has_become_used_to() -> None:
    plan = PartPlan.parse("1/2/3", Limits(growth_every_parts=7))
    assert plan is not None
    assert [plan.size_bytes(number) for number in range(1, 10)] == [1, 1, 2, 2, 2, 4, 4, 4, 8]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "8388608",
        "8388608/",
        "/10000",
        "0/10000",
        "-1/10000",
        "8388608/10000 ",
        "a/b",
        "1/2/0",
        "1/2",
    ],
)
def test_what_is_no_plan_is_none(text: str) -> None:
    assert PartPlan.parse(text) is None
