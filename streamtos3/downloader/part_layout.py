"""The sizes of an object's parts, from which its composite ETag can be recomputed.

S3 tells the size of one part per request, and some servers of none. A guess (our own plan in the
metadata, or equal parts) is therefore checked against the size of the last part.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..integrity.etag import is_md5, parts_in
from ..model.parts import Limits, PartPlan
from ..s3.responses import ObjectInfo

__all__ = ["AskParts", "ask_exact_layout", "find_layout"]


AskParts = Callable[[Sequence[int]], Sequence[tuple[int, int] | None]]
"""For each part number: the size of the part in bytes, and the number of all parts.

One request per part; None if the server does not tell. See `OperationContext.ask_parts`.
"""


def find_layout(info: ObjectInfo, ask: AskParts, limits: Limits) -> tuple[int, ...] | None:
    """The sizes of the object's parts in bytes; None where they are unknown or prove nothing.

    The last part is asked for first. Its size tells plans apart, because it is what the others
    leave over, while many plans share the size of the first part. The answer also says how many
    parts the server knows; if that is not the number in the ETag, it does not know them. A guess
    may still be wrong in the middle: then the ETag does not match, and `ask_exact_layout` tells.
    """
    if not info.etag_is_md5:
        return None
    count = parts_in(info.etag)
    if is_md5(info.etag) or count == 1:
        return (info.size_bytes,)
    if count is None:
        return None
    plan = PartPlan.parse(info.part_plan or "", limits)
    planned = _cut(plan, info.size_bytes, count)
    (last,) = ask([count])
    if last is None or last[1] != count:
        return planned
    if planned and planned[-1] == last[0]:
        return planned
    return _ask_equal_parts(info, count, last[0], ask, limits) or ask_exact_layout(info, ask)


def ask_exact_layout(info: ObjectInfo, ask: AskParts) -> tuple[int, ...] | None:
    """The sizes of the object's parts as the server knows them, one request per part.

    None where the ETag names no parts, or the server does not tell the size of each.
    """
    count = parts_in(info.etag) or 0
    sizes = tuple(answer[0] for answer in ask(range(1, count + 1)) if answer is not None)
    return sizes if count and len(sizes) == count and sum(sizes) == info.size_bytes else None


def _ask_equal_parts(
    info: ObjectInfo, count: int, last_bytes: int, ask: AskParts, limits: Limits
) -> tuple[int, ...] | None:
    """The sizes, if all parts but the last have the size of the first."""
    (first,) = ask([1])
    if first is None or not first[0]:
        return None
    sizes = _cut(PartPlan(first[0], limits.max_parts, limits), info.size_bytes, count)
    return sizes if sizes and sizes[-1] == last_bytes else None


def _cut(plan: PartPlan | None, size_bytes: int, count: int) -> tuple[int, ...] | None:
    """The sizes by `plan`, if that gives as many parts as the object has."""
    if plan is None or size_bytes > plan.capacity_bytes:
        return None
    sizes = plan.cut(size_bytes)
    return sizes if len(sizes) == count else None
