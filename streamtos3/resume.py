"""Resuming: the server is the journal.

What an earlier run left is an unfinished upload of the same key; its listed parts say how the
stream was cut. The input is read again from its start, and a part is skipped when one of the
same number, size and MD5 is there. Nothing is kept on the local disk.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from .errors import AbsentError
from .parts import PartPlan
from .retry import Retrier
from .store import ListedPart, Store

__all__ = ["Leftover", "find_leftover", "infer_plan"]


@dataclass(frozen=True)
class Leftover:
    """An unfinished upload and the parts it holds, by number.

    Some servers list a part twice after it was sent again with other bytes (SeaweedFS); either
    may be completed with, by naming its ETag.
    """

    upload_id: str
    initiated: datetime
    parts: tuple[ListedPart, ...]

    @property
    def size_bytes(self) -> int:
        """What the parts hold together."""
        return sum({part.number: part.size_bytes for part in self.parts}.values())

    def holds(self, number: int, size_bytes: int, md5_hex: str) -> bool:
        """Whether this very part is there already."""
        return any(
            (part.number, part.size_bytes, part.etag) == (number, size_bytes, md5_hex)
            for part in self.parts
        )


def find_leftover(store: Store, retrier: Retrier, key: str, check_for_s: float) -> Leftover | None:
    """The newest unfinished upload of `key` with its parts; None where there is none."""

    def find() -> Leftover | None:
        uploads = [each for each in store.list_uploads(key) if each.key == key]
        for upload in sorted(uploads, key=lambda each: each.initiated, reverse=True):
            try:
                parts = tuple(store.list_parts(key, upload.upload_id))
            except AbsentError:  # aborted by someone else a moment ago
                continue
            return Leftover(upload.upload_id, upload.initiated, parts)
        return None

    what = f"find the unfinished upload of s3://{store.bucket}/{key}"
    return retrier.call(what, find, check_for_s=check_for_s).value


def infer_plan(
    parts: Sequence[ListedPart], planned: PartPlan, length_bytes: int | None
) -> PartPlan:
    """The plan by which `parts` were cut, as far as they tell; else `planned`.

    Whatever the chunk size is now, the first run's plan goes on, or no part would match. Beyond
    the listed parts a plan may be any that holds a stream of `length_bytes`.
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
