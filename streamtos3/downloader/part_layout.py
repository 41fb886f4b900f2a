"""Where an object's parts begin and end: what its composite ETag can be recomputed with.

S3 keeps the boundaries but tells them only one by one, and some servers not at all. What is
known beforehand (our own plan in the metadata, equal parts) is therefore held against the
size of the last part, which a single request tells.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..integrity.etag import is_md5, parts_in
from ..model.parts import Limits, PartPlan
from ..s3.responses import ObjectInfo

__all__ = ["AskPart", "find_layout", "is_wrong"]


AskPart = Callable[[Sequence[int]], Sequence[tuple[int, int] | None]]
"""Size and count for each part number asked for; None where the server does not tell."""


def find_layout(info: ObjectInfo, ask: AskPart, limits: Limits) -> tuple[int, ...] | None:
    """The sizes of the object's parts; None where they cannot be known or prove nothing."""
    if not info.etag_is_md5:
        return None
    if is_md5(info.etag):
        return (info.size_bytes,)
    count = parts_in(info.etag)
    if count is None:
        return None
    if count == 1:
        return (info.size_bytes,)
    plan = PartPlan.parse(info.part_plan or "", limits)
    planned = _cut(plan, info.size_bytes, count)
    (last,) = ask([count])
    if last is None or last[1] != count:
        return planned
    if planned and planned[-1] == last[0]:
        return planned
    return _equal_parts(info, count, last[0], ask, limits) or _exact_layout(info, count, ask)


def _equal_parts(
    info: ObjectInfo, count: int, last_bytes: int, ask: AskPart, limits: Limits
) -> tuple[int, ...] | None:
    (first,) = ask([1])
    if first is None or not first[0]:
        return None
    sizes = _cut(PartPlan(first[0], limits.max_parts, limits), info.size_bytes, count)
    return sizes if sizes and sizes[-1] == last_bytes else None


def is_wrong(sizes: Sequence[int], info: ObjectInfo, ask: AskPart) -> bool:
    """Whether an ETag was missed only because the parts' sizes are not what was thought."""
    count = parts_in(info.etag)
    exact = _exact_layout(info, count, ask) if count else None
    return exact is not None and exact != tuple(sizes)


def _exact_layout(info: ObjectInfo, count: int, ask: AskPart) -> tuple[int, ...] | None:
    """The parts' sizes as the server knows them, each asked for; None where it does not tell."""
    sizes = tuple(answer[0] for answer in ask(range(1, count + 1)) if answer is not None)
    return sizes if len(sizes) == count and sum(sizes) == info.size_bytes else None


def _cut(plan: PartPlan | None, size_bytes: int, count: int) -> tuple[int, ...] | None:
    """What `plan` makes of the object, if that gives as many parts as it has."""
    if plan is None or size_bytes > plan.capacity_bytes:
        return None
    sizes = plan.cut(size_bytes)
    return sizes if len(sizes) == count else None
