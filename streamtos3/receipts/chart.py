"""The throughput as the numbers of an SVG: where lines, steps and labels go (pure)."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..units import GIB, KIB, MIB, TIB
from .throughput import Throughput

__all__ = ["Chart", "Tick", "chart_of"]

_UNITS = (("TiB/s", TIB), ("GiB/s", GIB), ("MiB/s", MIB), ("KiB/s", KIB), ("B/s", 1))
_TIME_STEPS_S = (
    *(0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600),
    *(7200, 14400, 21600, 43200, 86400, 172800, 604800, 1209600, 2419200),
)
_MOST_TICKS = 8


@dataclass(frozen=True)
class Tick:
    """A mark of an axis: where, and what stands beside it."""

    at: float
    label: str


@dataclass(frozen=True)
class Chart:
    """A step curve in a box of `width` by `height`, from the top left.

    `path` is the area below it, `mean_y` the height of the mean, `retries` the places of retries.
    """

    width: int
    height: int
    path: str
    mean_y: float
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    retries: tuple[float, ...]


def chart_of(throughput: Throughput, width: int = 640, height: int = 130) -> Chart:
    """The picture of `throughput`."""
    unit, factor = next(each for each in _UNITS if throughput.peak >= each[1] or each[1] == 1)
    step = _nice(throughput.peak / factor / 4)
    top = step * math.ceil(throughput.peak / factor / step)

    def x(seconds: float) -> float:
        return round(width * seconds / throughput.length_s, 2)

    def y(rate: float) -> float:
        return round(height * (1 - rate / factor / top), 2)

    steps = "".join(
        f"V{y(rate)}H{x(throughput.bin_s * (index + 1))}"
        for index, rate in enumerate(throughput.rates)
    )
    count = round(top / step)
    return Chart(
        width=width,
        height=height,
        path=f"M0,{height}{steps}V{height}Z",
        mean_y=y(throughput.mean),
        x_ticks=tuple(Tick(x(at), label) for at, label in _times(throughput.length_s)),
        y_ticks=tuple(
            Tick(y(factor * step * index), f"{step * index:.6g}" + (f" {unit}" if index else ""))
            for index in range(count + 1)
        ),
        retries=tuple(sorted({x(each) for each in throughput.retries})),
    )


def _nice(value: float) -> float:
    """The next of 1, 2, 2.5 and 5, times a power of ten."""
    power: float = 10 ** math.floor(math.log10(value)) if value > 0 else 1.0
    return next(each * power for each in (1, 2, 2.5, 5, 10) if each * power >= value * 0.999999)


def _times(length_s: float) -> list[tuple[float, str]]:
    fitting = (each for each in _TIME_STEPS_S if length_s / each <= _MOST_TICKS)
    step_s = next(fitting, length_s)
    count = math.floor(length_s / step_s + 1e-9)
    return [(step_s * index, _time(step_s * index, step_s)) for index in range(count + 1)]


def _time(seconds: float, step_s: float) -> str:
    for name, unit_s in (("d", 86400), ("h", 3600), ("min", 60)):
        if step_s >= unit_s:
            return f"{seconds / unit_s:.6g} {name}"
    return f"{seconds:.6g} s"
