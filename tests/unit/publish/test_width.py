"""How many files are under way depends on how busy they keep the processor."""

from __future__ import annotations

import pytest

from streamtos3.publish.width import Width


class Clocks:
    """Time, and processor time, of which a share passes."""

    def __init__(self) -> None:
        self.now_s = self.cpu_s = 0.0

    def width(self, most: int = 16, *sizes: int | None) -> Width:
        return Width(most, sizes or [8192] * 3, lambda: self.now_s, lambda: self.cpu_s)

    def work(self, width: Width, share: float) -> int:
        self.now_s += 0.125
        self.cpu_s += 0.125 * share
        return width.more()


@pytest.mark.parametrize(
    ("share", "count"), [(1.0, 2), (0.81, 2), (0.79, 3), (0.5, 4), (0.2, 10), (0.1, 16), (0.0, 16)]
)
def test_there_are_as_many_as_keep_the_processor_busy(share: float, count: int) -> None:
    clocks = Clocks()
    width = clocks.width()
    assert width.count == 2
    assert clocks.work(width, share) == count - 2
    assert width.count == count


def test_it_is_measured_again_and_again() -> None:
    clocks = Clocks()
    width = clocks.width()
    counts = [(clocks.work(width, share), width.count) for share in (1.0, 0.5, 0.9, 0.5, 0.5, 0.1)]
    assert counts == [(0, 2), (2, 4), (0, 4), (4, 8), (8, 16), (0, 16)]


@pytest.mark.parametrize("size_bytes", [1 << 18, 1 << 30, None])
def test_with_a_larger_file_among_them_all_are_begun_at_once(size_bytes: int | None) -> None:
    width = Clocks().width(5, 1, 1, size_bytes, 1)
    assert (width.count, width.more()) == (5, 0)


@pytest.mark.parametrize("most", [1, 2])
def test_there_are_never_more_than_the_most(most: int) -> None:
    clocks = Clocks()
    width = clocks.width(most)
    assert (width.count, clocks.work(width, 0.0)) == (most, 0)
