"""Parts in runs: all of them, in order, none too long; and the sample of --cross-check."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamtos3.cluster.runs import PartSpan, cut_runs, sample, spans_of
from streamtos3.units import GIB, MIB


@given(st.lists(st.integers(1, 200 * MIB), min_size=1, max_size=60), st.integers(0, 50))
def test_runs_are_all_parts_in_order_and_bounded(sizes: list[int], threads: int) -> None:
    spans = spans_of(sizes)
    runs = list(cut_runs(spans, threads))
    assert [span for run in runs for span in run] == list(spans)
    for run in runs:
        assert len(run) == 1 or sum(span.size_bytes for span in run) <= 128 * MIB


def test_spans_follow_each_other() -> None:
    assert spans_of([5, 5, 2]) == (PartSpan(1, 0, 5), PartSpan(2, 5, 5), PartSpan(3, 10, 2))


def test_a_run_is_128_mib_of_a_long_file_and_shorter_of_a_short_one() -> None:
    assert len(next(cut_runs(spans_of([8 * MIB] * 1000), 2))) == 16
    assert len(next(cut_runs(spans_of([8 * MIB] * 16), 4))) == 4
    assert len(next(cut_runs(spans_of([GIB] * 3), 2))) == 1


def test_runs_get_shorter_towards_the_end() -> None:
    """No thread gets more than its share of what is left, so none keeps the others waiting."""
    runs = [len(run) for run in cut_runs(spans_of([8 * MIB] * 96), 4)]
    assert runs == [16, 16, 16, 12, 9, 6, 5, 4, 3, 2, 1, 1, 1, 1, 1, 1, 1]


@pytest.mark.parametrize(("share", "count"), [(0.0, 0), (0.001, 1), (0.01, 10), (1.0, 1000)])
def test_so_many_parts_are_sampled_evenly(share: float, count: int) -> None:
    spans = spans_of([1] * 1000)
    chosen = sample(spans, share, 0.5)
    assert len(chosen) == len(set(chosen)) == count
    assert sorted(chosen, key=lambda span: span.number) == list(chosen)
    assert sample(spans, share, 0.999)[-1:] == (spans[-1:] if count else ())
