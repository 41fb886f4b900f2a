"""`infer_plan`: the plan of an earlier run, from the parts that it has left."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from streamtos3.model.parts import Limits, ListedPart, PartPlan, infer_plan

SMALL = Limits(
    min_part_bytes=1,
    max_part_bytes=1 << 20,
    max_parts=40,
    growth_after_parts=4,
    growth_every_parts=3,
)


@given(
    part_bytes=st.integers(1, 50),
    equal_parts=st.sampled_from([4, 20, 40]),
    numbers=st.sets(st.integers(1, 40), min_size=2, max_size=20),
    planned_bytes=st.integers(1, 50),
)
@settings(deadline=None)
def test_an_inferred_plan_cuts_what_is_listed_as_the_first_run_did(
    part_bytes: int, equal_parts: int, numbers: set[int], planned_bytes: int
) -> None:
    first = PartPlan(part_bytes, equal_parts, SMALL)
    listed = [ListedPart(number, first.size_bytes(number), "") for number in sorted(numbers)]
    plan = infer_plan(listed, PartPlan(planned_bytes, 4, SMALL), None)
    assert [plan.size_bytes(n) for n in sorted(numbers)] == [part.size_bytes for part in listed]


def test_a_plan_that_cannot_hold_the_stream_is_not_inferred() -> None:
    """Five equal parts could mean forty; a stream longer than that needs the growing plan."""
    listed = [ListedPart(number, 10, "") for number in (1, 2, 3)]
    plan = infer_plan(listed, PartPlan(16, 40, SMALL), 1000)
    assert (plan.part_bytes, plan.equal_parts) == (10, 4)


def test_nothing_listed_leaves_the_plan_as_it_is() -> None:
    planned = PartPlan(16, 40, SMALL)
    assert infer_plan([], planned, None) == planned
