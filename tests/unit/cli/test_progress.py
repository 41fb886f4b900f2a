"""Progress as it is shown, without a terminal and without waiting."""

from __future__ import annotations

import io

from streamtos3.cli.progress import BarProgress, LineProgress, SilentProgress
from streamtos3.model.events import PartStored, Retrying, Started, WorkersCounted
from streamtos3.results import StoredPart

MIB = 1024**2
RETRYING = Retrying("part 1", 1, 2.0, "no answer")


def part_of(size_bytes: int) -> PartStored:
    return PartStored(StoredPart(1, 0, size_bytes, "0" * 32, "0" * 32, 1), in_flight=3)


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_a_line_now_and_then_says_stored_rate_and_retries() -> None:
    lines: list[str] = []
    clock = Clock()
    progress = LineProgress(lines.append, every_s=30, clock=clock)
    progress(Started(None, MIB, 10**9, True))
    clock.now_s = 29
    progress(part_of(20 * MIB))
    assert lines == []
    clock.now_s = 40
    progress(RETRYING)
    assert lines == ["20 MiB stored, 512 KiB/s, 1 retries"]
    clock.now_s = 69
    progress(part_of(MIB))
    assert len(lines) == 1
    clock.now_s = 70
    progress(part_of(14 * MIB))
    assert lines[1:] == ["35 MiB stored, 512 KiB/s, 1 retries"]


def test_a_line_says_total_and_time_left_where_the_length_is_known() -> None:
    lines: list[str] = []
    clock = Clock()
    progress = LineProgress(lines.append, every_s=30, clock=clock)
    progress(Started(100 * MIB, MIB, 10**9, False))
    clock.now_s = 50
    progress(part_of(50 * MIB))
    assert lines == ["50 MiB stored of 100 MiB, 1 MiB/s, about 50 s left, 0 retries"]


def test_silence_shows_nothing_and_passes_lines_on() -> None:
    lines: list[str] = []
    progress = SilentProgress(lines.append)
    progress(part_of(1))
    progress.write("a warning")
    progress.close()
    assert lines == ["a warning"]


def test_the_bar_counts_retries_and_parts_in_flight() -> None:
    screen = io.StringIO()
    progress = BarProgress(screen)
    progress(Started(10 * MIB, MIB, 10**9, False))
    progress(part_of(5 * MIB))
    progress(RETRYING)
    progress.close()
    progress.close()
    assert "50%" in screen.getvalue()
    assert "5.00M/10.0M" in screen.getvalue()
    assert "3 in flight, 1 retries" in screen.getvalue()


def test_of_a_cluster_the_bar_counts_the_workers_and_not_what_they_have_in_flight() -> None:
    screen = io.StringIO()
    progress = BarProgress(screen)
    progress(Started(10 * MIB, MIB, 10**9, False))
    progress(WorkersCounted(2))
    progress(part_of(5 * MIB))
    progress(WorkersCounted(3))
    progress.close()
    assert "2 workers, 0 retries" in screen.getvalue()
    assert "3 workers, 0 retries" in screen.getvalue()
    assert "in flight" not in screen.getvalue()


def test_what_is_written_while_the_bar_is_up_is_said_as_a_line_of_the_program() -> None:
    """Which names it, and escapes what a server could play with a terminal."""
    screen = io.StringIO()
    progress = BarProgress(screen, "voice: {}".format)
    progress(Started(None, MIB, 10**9, True))
    progress.write("a warning")
    progress.close()
    assert "\rvoice: a warning\n" in screen.getvalue()


def test_an_event_after_the_bar_is_closed_is_ignored() -> None:
    screen = io.StringIO()
    progress = BarProgress(screen)
    progress(part_of(1))
    progress(Started(None, MIB, 10**9, True))
    progress.close()
    before = screen.getvalue()
    progress(part_of(1))
    assert screen.getvalue() == before
