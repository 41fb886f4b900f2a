"""What the kernel and a container say of memory and processors."""

from __future__ import annotations

import builtins
import io
import os
import time
from datetime import datetime, timezone
from typing import Any

import pytest

from streamtos3.runtime import host
from streamtos3.runtime.host import LoadMeter, available_bytes, processors, utc_offset
from streamtos3.units import GIB, KIB, MIB

CGROUPS = "/sys/fs/cgroup/"


class Machine:
    """Files that say what there is; all others are not there."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, files: dict[str, str]) -> None:
        self.files = files
        monkeypatch.setattr(builtins, "open", self.open)

    def open(self, path: str, *_: Any, **__: Any) -> io.StringIO:
        if path not in self.files:
            raise FileNotFoundError(path)
        return io.StringIO(self.files[path])


def meminfo(available: int) -> dict[str, str]:
    text = f"MemTotal: 99999999 kB\nMemAvailable:  {available // KIB} kB\n"
    return {"/proc/meminfo": text}


def memory_v2(limit: object, used: int) -> dict[str, str]:
    return {CGROUPS + "memory.max": f"{limit}\n", CGROUPS + "memory.current": f"{used}\n"}


def memory_v1(limit: int, used: int) -> dict[str, str]:
    directory = CGROUPS + "memory/memory."
    return {
        directory + "limit_in_bytes": f"{limit}\n",
        directory + "usage_in_bytes": f"{used}\n",
    }


@pytest.mark.parametrize(
    "files, expected",
    [
        (meminfo(2 * GIB), 2 * GIB),
        (meminfo(8 * GIB) | memory_v2(GIB, 200 * MIB), 824 * MIB),
        (meminfo(8 * GIB) | memory_v2("max", 200 * MIB), 8 * GIB),
        (meminfo(8 * GIB) | memory_v2(GIB, 2 * GIB), 0),
        (meminfo(8 * GIB) | memory_v1(GIB, 0), GIB),
        (meminfo(2 * GIB) | memory_v1(2**63 - 4096, 5 * GIB), 2 * GIB),
        (meminfo(GIB) | memory_v2(4 * GIB, 0), GIB),
    ],
)
def test_what_is_left_is_the_least_of_machine_and_container(
    monkeypatch: pytest.MonkeyPatch, files: dict[str, str], expected: int
) -> None:
    Machine(monkeypatch, files)
    assert available_bytes() == expected


@pytest.mark.parametrize("files", [{}, {"/proc/meminfo": "MemFree: 1 kB\n"}])
def test_where_the_kernel_does_not_say_half_of_the_memory_counts_as_left(
    monkeypatch: pytest.MonkeyPatch, files: dict[str, str]
) -> None:
    Machine(monkeypatch, files)
    pages = {"SC_PHYS_PAGES": GIB // 4096, "SC_PAGE_SIZE": 4096}
    monkeypatch.setattr("os.sysconf", lambda name: pages[name])
    assert available_bytes() == 512 * MIB


def quota_v1(quota_us: int) -> dict[str, str]:
    directory = CGROUPS + "cpu/cpu.cfs_"
    return {directory + "quota_us": f"{quota_us}\n", directory + "period_us": "100000\n"}


@pytest.mark.parametrize(
    "files, expected",
    [
        ({}, 8),
        ({CGROUPS + "cpu.max": "max 100000\n"}, 8),
        ({CGROUPS + "cpu.max": "150000 100000\n"}, 1.5),
        ({CGROUPS + "cpu.max": "1600000 100000\n"}, 8),
        (quota_v1(-1), 8),
        (quota_v1(50000), 0.5),
    ],
)
def test_the_processors_are_those_it_is_bound_to_or_the_quota_of_its_container(
    monkeypatch: pytest.MonkeyPatch, files: dict[str, str], expected: float
) -> None:
    Machine(monkeypatch, files)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))
    assert processors() == expected


def test_where_a_process_cannot_be_bound_all_processors_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Machine(monkeypatch, {})
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert processors() == 6


# Load


class Clock:
    """The time, and what this process has computed since it began."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.used_s = 5.0

    def monotonic(self) -> float:
        return self.now_s

    def process_time(self) -> float:
        return self.used_s


@pytest.mark.parametrize(
    ("idle_s", "used_s", "is_spare"),
    [
        (0.0, 2.0, False),  # we take all there is
        (0.0, 0.1, False),  # others do
        (1.9, 0.1, True),  # nobody does: it is the input or the link that is waited for
        (0.6, 1.3, True),
        (0.4, 1.3, False),
        (1.0, 1.9, False),  # more than we may: a container's quota holds us back
    ],
)
def test_processors_have_time_to_spare(
    idle_s: float, used_s: float, is_spare: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    machine = Machine(monkeypatch, {"/proc/uptime": "1000.00 700.00\n"})
    monkeypatch.setattr(host, "time", clock)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1}, raising=False)
    load = LoadMeter()
    for _ in range(2):
        clock.now_s += 1.0
        clock.used_s += used_s
        before_s = float(machine.files["/proc/uptime"].split()[1])
        machine.files["/proc/uptime"] = f"1001.00 {before_s + idle_s:.2f}\n"
        assert load.has_spare_time() is is_spare


@pytest.mark.parametrize(("used_s", "is_spare"), [(0.1, True), (1.9, False)])
def test_where_the_system_does_not_say_our_own_use_decides(
    used_s: float, is_spare: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    Machine(monkeypatch, {})
    monkeypatch.setattr(host, "time", clock)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1}, raising=False)
    load = LoadMeter()
    clock.now_s += 1.0
    clock.used_s += used_s
    assert load.has_spare_time() is is_spare


def test_the_offset_follows_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
    time.tzset()
    summer_begins_s = datetime(2027, 3, 28, 1, tzinfo=timezone.utc).timestamp()
    try:
        for after_s, offset in ((-1, "+01:00"), (0, "+02:00"), (1, "+02:00"), (-2, "+01:00")):
            monkeypatch.setattr(time, "time", lambda at=summer_begins_s + after_s: at)
            assert utc_offset() == offset
    finally:
        monkeypatch.undo()
        time.tzset()
