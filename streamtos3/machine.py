"""What this machine, or the container that confines us, has for the program: memory, processors."""

from __future__ import annotations

import os

__all__ = ["available_bytes", "processors"]

_CGROUPS = "/sys/fs/cgroup"


def available_bytes() -> int:
    """The memory that is left, of the machine and of the control group; in bytes."""
    candidates = [_cgroup_left_bytes()]
    try:
        with open("/proc/meminfo", encoding="ascii") as meminfo:
            fields = dict(line.split(":", 1) for line in meminfo)
        candidates.append(int(fields["MemAvailable"].split()[0]) * 1024)
    except (OSError, KeyError, ValueError):  # not Linux, or a kernel before 3.14
        candidates.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2)
    return min(candidate for candidate in candidates if candidate is not None)


def processors() -> float:
    """How many processors this process may keep busy: those it is bound to, or its quota."""
    try:
        bound_to = len(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        bound_to = os.cpu_count() or 1
    return min(bound_to, _cgroup_processors() or bound_to)


def _cgroup_left_bytes() -> int | None:
    """What is left of a container's memory limit (cgroup v2, then v1); None without one."""
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        try:
            return max(0, int(_cgroup_text(limit)) - int(_cgroup_text(used)))
        except (OSError, ValueError):  # no such controller, or "max": no limit
            continue
    return None


def _cgroup_processors() -> float | None:
    """A container's quota in processors (cgroup v2, then v1); None without one."""
    for names in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        try:
            quota_us, period_us = map(int, " ".join(map(_cgroup_text, names)).split())
        except (OSError, ValueError):  # no such controller, or "max": no limit
            continue
        if quota_us > 0 and period_us > 0:  # -1: no limit
            return quota_us / period_us
    return None


def _cgroup_text(name: str) -> str:
    with open(f"{_CGROUPS}/{name}", encoding="ascii") as file:
        return file.read()
