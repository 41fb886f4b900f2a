"""What the machine, or the container, offers: memory, processors, open files, a user name."""

from __future__ import annotations

import functools
import getpass
import os
import resource
import time
from dataclasses import dataclass
from datetime import datetime, timezone

__all__ = [
    "Descriptors",
    "LoadMeter",
    "available_bytes",
    "processors",
    "raise_open_file_limit",
    "user_name",
    "utc_offset",
]

_QUARTER_S = 15 * 60
_WANTED = 65536
_KEPT = 256
_IDLE_SHARE = 0.25
_BUSY_SHARE = 0.7

_CGROUPS = "/sys/fs/cgroup"


def available_bytes() -> int:
    """Available memory in bytes: the machine's or the control group's, whichever is less."""
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


class LoadMeter:
    """Tells whether processors have had time to spare, from one question to the next.

    Both must hold: those of the machine idled for a quarter of the time, and this process did not
    use most of what it may (a container's quota, which keeps it waiting on an idle machine).
    """

    def __init__(self) -> None:
        self._processors = processors()
        self._at_s, self._cpu_s, self._idle_s = self._read()

    def has_spare_time(self) -> bool:
        """Whether there was time to spare since the last call, or since this was made."""
        before_s, cpu_before_s, idle_before_s = self._at_s, self._cpu_s, self._idle_s
        self._at_s, self._cpu_s, self._idle_s = self._read()
        passed_s = max(self._at_s - before_s, 1e-6)
        used_share = (self._cpu_s - cpu_before_s) / passed_s / self._processors
        if self._idle_s is None or idle_before_s is None:
            return used_share < _BUSY_SHARE
        idle_share = (self._idle_s - idle_before_s) / passed_s / (os.cpu_count() or 1)
        return idle_share > _IDLE_SHARE and used_share < _BUSY_SHARE

    def _read(self) -> tuple[float, float, float | None]:
        return time.monotonic(), time.process_time(), _machine_idle_s()


def _machine_idle_s() -> float | None:
    """For how long the machine's processors have idled, added up; None where it does not say."""
    try:
        with open("/proc/uptime", encoding="ascii") as file:  # in steps of 10 ms
            return float(file.read().split()[1])
    except (OSError, ValueError, IndexError):
        return None


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


@dataclass(frozen=True)
class Descriptors:
    """How many files this process may have open, and how many of them senders may use."""

    limit: int

    @property
    def kept(self) -> int:
        """Those reserved for storing, which no sender gets: 256, but at most half."""
        return min(_KEPT, self.limit // 2)

    @property
    def for_senders(self) -> int:
        """How many senders there can be at most."""
        return self.limit - self.kept


def raise_open_file_limit() -> Descriptors:
    """Raise the limit of open files, to 65,536 or the hard limit; returns what it is then."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _WANTED if hard == resource.RLIM_INFINITY else min(_WANTED, hard)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return Descriptors(_WANTED if soft == resource.RLIM_INFINITY else soft)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError):  # a sandbox may forbid it: the lower limit stays
        return Descriptors(soft)
    return Descriptors(wanted)


@functools.cache  # or each receipt reads the file of users
def user_name() -> str:
    """The name of the user who runs this process; the user id if it has none.

    In a container a user may have no name.
    """
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def utc_offset() -> str:
    """How far this machine's own time is from UTC now: `+01:00`."""
    return _utc_offset_in(int(time.time()) // _QUARTER_S)


@functools.lru_cache(maxsize=1)  # clocks change at full quarters; asked for by each receipt
def _utc_offset_in(quarter: int) -> str:
    at = datetime.fromtimestamp(quarter * _QUARTER_S, timezone.utc)
    offset = f"{at.astimezone():%z}"
    return f"{offset[:3]}:{offset[3:5]}"
