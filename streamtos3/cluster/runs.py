"""Runs of consecutive parts: what one task reads and stores (pure)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..units import MIB

__all__ = ["PartSpan", "cut_runs", "sample", "spans_of"]

_RUN_BYTES = 128 * MIB  # so much is sent again where a worker dies


@dataclass(frozen=True)
class PartSpan:
    """Where one part lies: `size_bytes` from `offset_bytes` on."""

    number: int
    offset_bytes: int
    size_bytes: int


def spans_of(sizes: Sequence[int]) -> tuple[PartSpan, ...]:
    """The spans of consecutive parts of these sizes, numbered from 1."""
    spans = []
    offset_bytes = 0
    for number, size_bytes in enumerate(sizes, 1):
        spans.append(PartSpan(number, offset_bytes, size_bytes))
        offset_bytes += size_bytes
    return tuple(spans)


def cut_runs(spans: Sequence[PartSpan], threads: int) -> Iterator[tuple[PartSpan, ...]]:
    """`spans` in runs of consecutive parts, of 128 MiB or of one larger part.

    Never more than the share of one of `threads` threads in what is left, so shorter and shorter
    towards the end, down to one part: the last ones decide how long the others wait.
    """
    left_bytes = sum(span.size_bytes for span in spans)
    run_bytes = _run_bytes(left_bytes, threads)
    run: list[PartSpan] = []
    filled_bytes = 0
    for span in spans:
        if run and filled_bytes + span.size_bytes > run_bytes:
            yield tuple(run)
            left_bytes -= filled_bytes
            run_bytes = _run_bytes(left_bytes, threads)
            run, filled_bytes = [], 0
        run.append(span)
        filled_bytes += span.size_bytes
    if run:
        yield tuple(run)


def _run_bytes(left_bytes: int, threads: int) -> int:
    return min(_RUN_BYTES, left_bytes // max(1, threads))


def sample(spans: Sequence[PartSpan], share: float, chance: float) -> tuple[PartSpan, ...]:
    """About `share` (0 to 1) of the parts, evenly spread; at least one where `share` is not 0.

    `chance`, from 0 up to 1, shifts the choice, so that it cannot be known beforehand.
    """
    if share <= 0 or not spans:
        return ()
    count = max(1, round(share * len(spans)))
    step = len(spans) / count
    return tuple(spans[int((index + chance) * step)] for index in range(count))
