"""S3's limits, and the plan that cuts a stream into parts (pure).

A plan is decided once, before the first byte, and names the size of every part by its number
alone. So a later run that reads the same stream cuts it at the same places.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from itertools import count
from urllib.parse import urlsplit

from ..errors import SourceError, UsageError
from ..units import GIB, MIB, format_size

__all__ = [
    "DEFAULT_CHUNK_BYTES",
    "Limits",
    "ListedPart",
    "PartPlan",
    "S3_LIMITS",
    "infer_plan",
    "plan_parts",
    "requires_equal_parts",
]

DEFAULT_CHUNK_BYTES = 8 * MIB
# Endpoints that refuse at `complete` parts of different sizes (opendal#2904).
_EQUAL_PARTS_HOSTS = (".r2.cloudflarestorage.com",)
_PLAN = re.compile(r"([1-9]\d{0,15})/(\d{1,5})(?:/([1-9]\d{0,4}))?")


@dataclass(frozen=True)
class Limits:
    """What a service accepts. The defaults are S3's (userguide/qfacts.html, December 2025).

    A stream of unknown length doubles its part size after `growth_after_parts` parts, and then
    after each `growth_every_parts`: late, so that most streams end before their memory grows
    with their parts, and then often enough to reach S3's largest parts (docs/design.org, Sizes).
    """

    min_part_bytes: int = 5 * MIB
    max_part_bytes: int = 5 * GIB
    max_parts: int = 10_000
    growth_after_parts: int = 2500
    growth_every_parts: int = 750


S3_LIMITS = Limits()


@dataclass(frozen=True)
class PartPlan:
    """Parts 1 to `equal_parts` have `part_bytes` each; then the size doubles at intervals."""

    part_bytes: int
    equal_parts: int
    limits: Limits = S3_LIMITS

    def size_bytes(self, number: int) -> int:
        """Size of part `number` (from 1), in bytes; the last part may turn out shorter."""
        if number <= self.equal_parts:
            return self.part_bytes
        doublings = (number - self.equal_parts - 1) // self.limits.growth_every_parts + 1
        # Part sizes beyond 2^64 would only cost time to compute before they are capped.
        return min(self.part_bytes << min(doublings, 64), self.limits.max_part_bytes)

    @cached_property
    def capacity_bytes(self) -> int:
        """The longest stream that this plan can hold."""
        count, every = self.limits.max_parts, self.limits.growth_every_parts
        equal = min(self.equal_parts, count)
        total = equal * self.part_bytes
        for first in range(equal + 1, count + 1, every):
            total += min(every, count - first + 1) * self.size_bytes(first)
        return total

    def cut(self, length_bytes: int) -> tuple[int, ...]:
        """The sizes of all parts of a stream of this length; one part of 0 bytes if it is empty."""
        sizes: list[int] = []
        rest_bytes = length_bytes
        for number in count(1):
            sizes.append(min(self.size_bytes(number), rest_bytes))
            rest_bytes -= sizes[-1]
            if not rest_bytes:
                break
        return tuple(sizes)

    @classmethod
    def parse(cls, text: str, limits: Limits = S3_LIMITS) -> PartPlan | None:
        """The plan that `str` wrote; None if `text` is not a plan."""
        match = _PLAN.fullmatch(text)
        if match is None:
            return None
        if match[3]:
            limits = replace(limits, growth_every_parts=int(match[3]))
        plan = cls(int(match[1]), int(match[2]), limits)
        return None if plan.grows and not match[3] else plan

    @property
    def grows(self) -> bool:
        """Whether later parts are larger than the first."""
        return self.equal_parts < self.limits.max_parts

    def __str__(self) -> str:
        """The form kept in the object's metadata (`streamtos3-plan`): `8388608/2500/750`.

        The part size, how many parts have it, and, if the plan grows, after how many more
        parts it doubles again.
        """
        every = f"/{self.limits.growth_every_parts}" if self.grows else ""
        return f"{self.part_bytes}/{self.equal_parts}{every}"


@dataclass(frozen=True)
class ListedPart:
    """A part of an unfinished upload, as the server lists it; `stored_at` by its clock."""

    number: int
    size_bytes: int
    etag: str
    stored_at: datetime | None = field(default=None, compare=False)


def plan_parts(
    chunk_bytes: int,
    *,
    length_bytes: int | None = None,
    size_hint_bytes: int | None = None,
    equal_parts: bool = False,
    limits: Limits = S3_LIMITS,
) -> PartPlan:
    """The part plan for a stream of known, of roughly known, or of unknown length.

    With a known length all parts are equal, at the smallest size from `chunk_bytes` up that fits.
    With a hint, half of the part numbers are kept for a stream that outgrows it.

    Raises UsageError where the chunk size is outside the service's limits, SourceError where
    the stream is known to be longer than any plan holds.
    """
    if not limits.min_part_bytes <= chunk_bytes <= limits.max_part_bytes:
        raise UsageError(
            f"chunk size {chunk_bytes} bytes is outside S3's limits for a part, "
            f"{format_size(limits.min_part_bytes)} to {format_size(limits.max_part_bytes)}"
        )
    if length_bytes is not None:
        plan = PartPlan(_fit(chunk_bytes, length_bytes, limits.max_parts), limits.max_parts, limits)
    elif equal_parts:
        size = _fit(chunk_bytes, size_hint_bytes or 0, limits.max_parts)
        plan = PartPlan(size, limits.max_parts, limits)
    elif size_hint_bytes is not None:
        half = max(1, limits.max_parts // 2)
        size = min(_fit(chunk_bytes, size_hint_bytes, half), limits.max_part_bytes)
        plan = PartPlan(size, half, limits)
    else:
        plan = PartPlan(chunk_bytes, limits.growth_after_parts, limits)
    wanted_bytes = (size_hint_bytes or 0) if length_bytes is None else length_bytes
    if plan.part_bytes > limits.max_part_bytes or plan.capacity_bytes < wanted_bytes:
        ceiling = format_size(limits.max_parts * limits.max_part_bytes)
        raise SourceError(
            f"the input of {format_size(wanted_bytes)} does not fit one S3 object "
            f"of at most {ceiling}"
        )
    return plan


def _fit(chunk_bytes: int, length_bytes: int, count: int) -> int:
    """Smallest size from `chunk_bytes` up at which `count` parts hold `length_bytes`.

    Rounded up to whole MiB where that is above the chunk size, so that parts stay aligned to
    the blocks of disks and file systems.
    """
    needed = -(-length_bytes // count)
    if needed <= chunk_bytes:
        return chunk_bytes
    return -(-needed // MIB) * MIB


def infer_plan(
    parts: Sequence[ListedPart], planned: PartPlan, length_bytes: int | None
) -> PartPlan:
    """The plan that `parts` were cut by, if one explains them; else `planned`.

    Whatever the chunk size is now, the first run's plan is kept, or no part would match. Beyond
    the listed parts, any plan will do that can hold a stream of `length_bytes`.
    """
    limits = planned.limits
    ways = (
        planned.equal_parts,
        limits.growth_after_parts,
        limits.max_parts // 2,
        limits.max_parts,
    )
    # A plan that explains every part is better than one that takes the last for a short one.
    for last_is_short in (False, True):
        for equal_parts in dict.fromkeys(ways):
            shape = PartPlan(planned.part_bytes, equal_parts, limits)
            plan = _plan_through(parts, shape, last_is_short=last_is_short)
            if plan is not None and plan.capacity_bytes >= (length_bytes or 0):
                return plan
    return planned


def _plan_through(
    parts: Sequence[ListedPart], shape: PartPlan, *, last_is_short: bool
) -> PartPlan | None:
    """The plan of this shape that cuts `parts`; None if there is none."""
    if not parts:
        return None
    # The largest part is a whole one, unless it is the only one and the stream's last.
    largest = max(parts, key=lambda part: part.size_bytes)
    growth = shape.size_bytes(largest.number) // shape.part_bytes
    plan = PartPlan(largest.size_bytes // growth, shape.equal_parts, shape.limits)
    last = max(part.number for part in parts)
    fits = all(
        part.size_bytes == plan.size_bytes(part.number)
        or (last_is_short and part.number == last and part.size_bytes < plan.size_bytes(last))
        for part in parts
    )
    allowed = shape.limits.min_part_bytes <= plan.part_bytes <= shape.limits.max_part_bytes
    return plan if fits and allowed else None


def requires_equal_parts(endpoint_url: str | None) -> bool:
    """Whether this endpoint is known to refuse parts of growing size."""
    host = urlsplit(endpoint_url or "").hostname or ""
    return host.endswith(_EQUAL_PARTS_HOSTS)
