"""Throughput over time, and the numbers of its picture."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta

import pytest

from streamtos3.receipts.chart import chart_of
from streamtos3.receipts.throughput import Throughput, throughput_of
from streamtos3.results import Receipt, RetriedRequest
from tests.rig.made_receipts import BEGAN, receipt_of


def measured(receipt: Receipt) -> Throughput:
    found = throughput_of(receipt)
    assert found is not None
    return found


def test_every_byte_is_in_one_interval() -> None:
    receipt = receipt_of([100] * 50)
    found = measured(receipt)
    assert sum(found.rates) * found.bin_s == pytest.approx(receipt.size_bytes)
    assert found.length_s == pytest.approx(50)
    assert found.began_at == BEGAN
    assert found.mean == pytest.approx(100)
    assert len(found.rates) == 16


def test_a_pause_shows() -> None:
    receipt = receipt_of([100] * 40)
    late = [replace(each, stored_at=(each.stored_at or BEGAN) + timedelta(seconds=60))
            for each in receipt.parts[20:]]  # fmt: skip
    found = measured(replace(receipt, parts=(*receipt.parts[:20], *late)))
    assert min(found.rates) == 0
    assert found.rates[0] > 0 < found.rates[-1]


def test_parts_of_an_earlier_run_took_no_time_in_this_one() -> None:
    receipt = receipt_of([100] * 10)
    resumed = [replace(each, resumed=True, stored_at=BEGAN - timedelta(days=1))
               for each in receipt.parts[:5]]  # fmt: skip
    found = measured(replace(receipt, parts=(*resumed, *receipt.parts[5:])))
    assert found.size_bytes == 500


def test_retries_are_where_they_were() -> None:
    at = [BEGAN + timedelta(seconds=seconds) for seconds in (-5, 2.5, 99)]
    retried = tuple(RetriedRequest(each, "part 1", 1, 1.0, "no answer") for each in at)
    assert measured(replace(receipt_of([1] * 10), retried=retried)).retries == (2.5,)


def test_where_nothing_can_be_shown_there_is_no_picture() -> None:
    receipt = receipt_of([10] * 10)
    without_times = tuple(replace(each, stored_at=None) for each in receipt.parts)
    before = tuple(replace(each, stored_at=BEGAN - timedelta(hours=1)) for each in receipt.parts)
    at_once = tuple(replace(each, stored_at=BEGAN) for each in receipt.parts)
    for parts in (receipt.parts[:1], without_times, before, at_once):
        assert throughput_of(replace(receipt, parts=parts)) is None
    assert throughput_of(receipt_of([0, 0])) is None


@pytest.mark.parametrize("seconds", [0.2, 3, 61, 3600, 86400 * 40])
@pytest.mark.parametrize("rate", [1, 999, 2**20, 3.7e9])
def test_everything_lies_in_the_picture(seconds: float, rate: float) -> None:
    rates = (rate, 0.0, rate / 3)
    found = Throughput(BEGAN, seconds / 3, rates, (0.0, seconds), round(seconds * rate))
    chart = chart_of(found)
    heights = [float(each) for each in re.findall(r"V([\d.]+)", chart.path)]
    widths = [float(each) for each in re.findall(r"H([\d.]+)", chart.path)]
    assert all(0 <= each <= chart.height for each in heights)
    assert widths == sorted(widths) and widths[-1] == chart.width
    assert 2 <= len(chart.y_ticks) <= 6
    assert 1 <= len(chart.x_ticks) <= 10
    assert chart.y_ticks[0].label == "0" and chart.y_ticks[0].at == chart.height
    assert all(0 <= each.at <= chart.width for each in chart.x_ticks)
    assert chart.retries == (0, chart.width)


def test_the_axes_are_labelled_in_round_numbers() -> None:
    chart = chart_of(Throughput(BEGAN, 20, (90 * 2**20, 30 * 2**20), (), 1))
    labels = [each.label for each in chart.y_ticks]
    assert labels == ["0", "25 MiB/s", "50 MiB/s", "75 MiB/s", "100 MiB/s"]
    assert [each.label for each in chart.x_ticks] == ["0 s", "5 s", "10 s", "15 s", "20 s", "25 s",
                                                      "30 s", "35 s", "40 s"]  # fmt: skip
