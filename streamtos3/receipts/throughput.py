"""Throughput over time, from when each part was stored, as a picture without coordinates (pure)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from ..results import Receipt, StoredPart

__all__ = ["Throughput", "throughput_of"]

_MOST_BINS = 120
_FEWEST_BINS = 4
_PARTS_A_BIN = 3
_SHORTEST_S = 0.05  # of less the receipt's milliseconds make steps that were not there


@dataclass(frozen=True)
class Throughput:
    """How much was stored when, in intervals of `bin_s` seconds from `began_at` on.

    `rates` are in bytes a second, each of one interval; `retries` are seconds from the beginning
    at which a request was sent again.
    """

    began_at: datetime
    bin_s: float
    rates: tuple[float, ...]
    retries: tuple[float, ...]
    size_bytes: int

    @property
    def length_s(self) -> float:
        """Seconds from the beginning to the last part."""
        return self.bin_s * len(self.rates)

    @property
    def mean(self) -> float:
        """Bytes a second, over all."""
        return self.size_bytes / self.length_s

    @property
    def peak(self) -> float:
        """Bytes a second, in the quickest interval."""
        return max(self.rates)


def throughput_of(receipt: Receipt) -> Throughput | None:
    """The throughput that a receipt tells of; None for one request, or where no times are known.

    Parts that an earlier run stored are not counted, as they took no time in this one.
    """
    sent = [part for part in receipt.parts if part.stored_at and not part.resumed]
    if len(sent) < 2:
        return None
    began_at = receipt.first_byte_at or receipt.started_at
    ends = [_moment(part) for part in sent]
    length_s = (max(ends) - began_at).total_seconds()
    if length_s < _SHORTEST_S or min(ends) < began_at:
        return None
    count = max(_FEWEST_BINS, min(_MOST_BINS, len(sent) // _PARTS_A_BIN))
    bin_s = length_s / count
    sizes = [0] * count
    for part, end in zip(sent, ends, strict=True):
        sizes[_bin(end - began_at, bin_s, count)] += part.size_bytes
    if min(sizes) < 0 or not sum(sizes):
        return None
    return Throughput(
        began_at,
        bin_s,
        tuple(size / bin_s for size in sizes),
        _offsets([each.at for each in receipt.retried], began_at, length_s),
        sum(sizes),
    )


def _moment(part: StoredPart) -> datetime:
    assert part.stored_at is not None
    return part.stored_at


def _bin(since: timedelta, bin_s: float, count: int) -> int:
    return min(count - 1, max(0, math.ceil(since.total_seconds() / bin_s) - 1))


def _offsets(moments: Sequence[datetime], began_at: datetime, length_s: float) -> tuple[float, ...]:
    offsets = [(moment - began_at).total_seconds() for moment in moments]
    return tuple(offset for offset in offsets if 0 <= offset <= length_s)
