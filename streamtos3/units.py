"""Sizes and durations as people write them, parsed and formatted (pure).

Units follow GNU dd: `K`, `M`, `G`, `T` and `KiB`… are powers of 1024, `kB`, `MB`, `GB`, `TB` powers
of 1000. Case does not matter. A number without a unit is in bytes or seconds.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

__all__ = [
    "GIB",
    "KIB",
    "MIB",
    "TIB",
    "format_duration",
    "format_size",
    "parse_duration",
    "parse_rate",
    "parse_size",
    "plural",
]

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB
TIB = 1024 * GIB

_NUMBER_AND_UNIT = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([a-z]*)\s*", re.IGNORECASE)
_PREFIXES = "kmgt"
_SIZE_UNITS = {
    "": 1,
    "b": 1,
    **{
        f"{prefix}{suffix}": base ** (power + 1)
        for power, prefix in enumerate(_PREFIXES)
        for suffix, base in (("", KIB), ("ib", KIB), ("b", 1000))
    },
}
_DURATION_UNITS_MS = {
    "": 1000,
    "ms": 1,
    "s": 1000,
    "m": 60_000,
    "min": 60_000,
    "h": 3_600_000,
    "d": 86_400_000,
}
_LONGEST_TEXT = 40


def _parse(text: str, units: Mapping[str, int], what: str) -> tuple[int, int]:
    """The exact value, as a fraction: a float would round large sizes."""
    match = _NUMBER_AND_UNIT.fullmatch(text)
    if match is None or match[2].lower() not in units:
        known = ", ".join(unit for unit in units if unit)
        raise ValueError(f"{text!r} is not a {what}: a number with one of {known}, or none")
    if len(text) > _LONGEST_TEXT:
        raise ValueError(f"{text[:10]}... is too long for a {what}")
    whole, _, decimals = match[1].partition(".")
    return int(whole + decimals) * units[match[2].lower()], 10 ** len(decimals)


def parse_size(text: str) -> int:
    """Bytes that `text` stands for (`8MiB`, `64M`, `1g`, `4096`). ValueError otherwise."""
    value, of = _parse(text, _SIZE_UNITS, "size")
    return value // of


def parse_rate(text: str) -> int:
    """Bytes a second that `text` stands for (`20MiB`, `20MiB/s`). ValueError otherwise."""
    return parse_size(text.strip().removesuffix("/s"))


def parse_duration(text: str) -> float:
    """Seconds that `text` stands for (`90s`, `15m`, `2h`, `7d`, `30`). ValueError otherwise."""
    value_ms, of = _parse(text, _DURATION_UNITS_MS, "duration")
    return value_ms / (1000 * of)


def format_size(size_bytes: float) -> str:
    """`size_bytes` for people: `0 B`, `1.5 KiB`, `7.8 TiB`."""
    for unit, factor in (("TiB", TIB), ("GiB", GIB), ("MiB", MIB), ("KiB", KIB)):
        if size_bytes >= factor - factor / 2048:  # what rounds to 1024 of the next smaller unit
            number = f"{size_bytes / factor:.1f}".removesuffix(".0")
            return f"{number} {unit}"
    return f"{size_bytes:.0f} B"


def format_duration(seconds: float) -> str:
    """`seconds` for people: `0.4 s`, `12 s`, `3 min 05 s`, `2 h 07 min`, `7 d 03 h`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 86400} d {whole % 86400 // 3600:02d} h"


def plural(count: int, noun: str) -> str:
    """`count` with its noun, thousands separated: `1 object`, `2,000 objects`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
