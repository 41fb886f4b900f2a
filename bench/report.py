"""Tables, targets, JSON and a picture of what was measured."""

from __future__ import annotations

import json
import math
import os
import platform
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from .cases import START, Outcome
from .measure import Figures
from .programs import LIMIT_MIB_PER_S, LIMITED, LIMITED_GETTERS

__all__ = ["as_json", "from_json", "save_plot", "table", "targets"]

MIB = 1 << 20
_OURS, _BARE = "streamtos3", "streamtos3 --digest none"
_MD5, _CURL, _HELP = "openssl md5", "curl -T", "streamtos3 --help"


def _cpu(figures: Figures) -> float:
    return figures.cpu_s


def _wall(figures: Figures) -> float:
    return figures.wall_s


def _peak(figures: Figures) -> float:
    return figures.peak_bytes / MIB


def _after_end(figures: Figures) -> float:
    return math.nan if figures.after_end_s is None else figures.after_end_s


_COLUMNS: Mapping[str, Callable[[Figures], float]] = {
    "CPU s": _cpu,
    "wall s": _wall,
    "peak MiB": _peak,
    "end to exit s": _after_end,
}


@dataclass(frozen=True)
class Target:
    """One line of what the program must reach."""

    text: str
    value: float
    limit: float

    @property
    def met(self) -> bool:
        return self.value <= self.limit

    def __str__(self) -> str:
        verdict = "met" if self.met else "MISSED"
        return f"{verdict:7} {self.text}: {self.value:.2f} (at most {self.limit:.2f})"


def table(outcome: Outcome) -> str:
    """Medians, an org table."""
    rows = [["", *_COLUMNS, "rounds"]]
    for name, runs in outcome.runs.items():
        values = [median(map(column, runs)) for column in _COLUMNS.values()]
        rows.append([name, *map(_shown, values), str(len(runs))])
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in rows
    ]
    lines.insert(1, "|-" + "-+-".join("-" * width for width in widths) + "-|")
    lines += [f"failed: {name}: {why}" for name, why in outcome.failures.items()]
    return "\n".join(lines)


def _shown(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.0f}" if value >= 20 else f"{value:.2f}"


def targets(outcomes: Mapping[int, Outcome]) -> list[Target]:
    """What the outcomes say about the targets; those of cases that did not run are left out."""
    found: list[Target] = []
    for number, judge in _JUDGES.items():
        if number in outcomes:
            found += judge(outcomes[number])
    return found


def _ratio(
    outcome: Outcome, name: str, others: tuple[str, ...], column: Callable[[Figures], float]
) -> float | None:
    """Median over the rounds of `name` beside the sum of `others`; None where one is missing.

    Round by round, because two runs of one round met the same machine.
    """
    if not all(each in outcome.runs for each in (name, *others)):
        return None
    ratios = [
        column(ours) / sum(map(column, theirs))
        for ours, *theirs in zip(
            outcome.runs[name], *(outcome.runs[other] for other in others), strict=True
        )
    ]
    return median(ratios)


def _beside(
    outcome: Outcome,
    what: str,
    column: Callable[[Figures], float],
    name: str,
    others: tuple[str, ...],
    limit: float,
) -> list[Target]:
    ratio = _ratio(outcome, name, others, column)
    text = f"{outcome.title.split(':')[0]}: {what} of {name} beside {' + '.join(others)}"
    return [] if ratio is None else [Target(text, ratio, limit)]


def _fastest(outcome: Outcome) -> str:
    walls = {
        name: median(map(_wall, runs))
        for name, runs in outcome.runs.items()
        if not name.startswith(_OURS) and name not in (_MD5, _CURL)
    }
    return min(walls, key=lambda name: walls[name], default="")


def _judge_near(outcome: Outcome) -> list[Target]:
    return [
        *_beside(outcome, "CPU", _cpu, _OURS, ("rclone rcat",), 0.7),
        *_beside(outcome, "CPU", _cpu, _OURS, ("aws s3 cp",), 0.95),
        *_beside(outcome, "CPU", _cpu, _BARE, (_MD5, _CURL), 1.3),
        *_beside(outcome, "CPU", _cpu, _BARE, ("aws s3 cp",), 0.75),
        *_beside(outcome, "wall", _wall, _OURS, ("aws s3 cp",), 0.72),
        *_beside(outcome, "wall", _wall, _OURS, (_fastest(outcome),), 1.0),
        *_beside(outcome, "peak memory", _peak, _OURS, ("aws s3 cp",), 1.0),
    ]


def _judge_get(outcome: Outcome) -> list[Target]:
    return _beside(outcome, "CPU", _cpu, "streamtos3 get", ("rclone cat",), 1.2)


def _judge_hashing(outcome: Outcome) -> list[Target]:
    """Three times the bytes for a second of a processor."""
    return [
        target
        for ours in ("streamtos3 etag", "streamtos3 verify FILE")
        for target in _beside(outcome, "CPU", _cpu, ours, (_MD5,), 1 / 3)
    ]


def _judge_far(outcome: Outcome) -> list[Target]:
    return [
        *_beside(outcome, "wall", _wall, _OURS, (_fastest(outcome),), 0.6),
        *_beside(outcome, "peak memory", _peak, _OURS, ("aws s3 cp",), 1.3),
    ]


def _judge_start(outcome: Outcome) -> list[Target]:
    found = _beside(outcome, "wall", _wall, _OURS, ("aws s3 cp",), 0.65)
    if _HELP in outcome.runs:
        seconds = median(map(_wall, outcome.runs[_HELP]))
        found.append(Target("start-up: --help, seconds", seconds, 0.15))
    return found


def _judge_growth(outcome: Outcome) -> list[Target]:
    """Flat: the longest stream costs per GiB, and holds, what the second shortest does."""
    if len(outcome.runs) < 3:
        return []
    lengths = {name: float(name.split()[0]) for name in outcome.runs}
    _, second, *_, last = outcome.runs
    per_gib = {
        name: median(map(_cpu, outcome.runs[name])) / lengths[name] for name in (second, last)
    }
    peaks = {name: median(map(_peak, outcome.runs[name])) for name in (second, last)}
    return [
        Target(
            f"growth: CPU per GiB, {last} beside {second}", per_gib[last] / per_gib[second], 1.1
        ),
        Target(f"growth: peak memory, {last} beside {second}", peaks[last] / peaks[second], 1.1),
    ]


def _judge_slow(outcome: Outcome) -> list[Target]:
    """One part of 8 MiB at 20 MiB/s, and three answers after 30 ms each: the part's and two."""
    if _OURS not in outcome.runs:
        return []
    seconds = median(map(_after_end, outcome.runs[_OURS]))
    return [Target("slow producer: end of input to exit, seconds", seconds, 8 / 20 + 3 * 0.03)]


def _judge_limited(outcome: Outcome) -> list[Target]:
    """How far a run, less one of 10 bytes, is from the time that the limit prescribes."""
    if START not in outcome.runs:
        return []
    start_s = median(map(_wall, outcome.runs[START]))
    due_s = outcome.size_mib / LIMIT_MIB_PER_S
    ours = (programs[0].name for programs in (LIMITED, LIMITED_GETTERS))
    return [
        Target(
            f"limited: {name}, off its rate",
            abs((median(map(_wall, runs)) - start_s) / due_s - 1),
            0.05,
        )
        for name in ours
        if (runs := outcome.runs.get(name))
    ]


def _judge_files(outcome: Outcome) -> list[Target]:
    ours = "streamtos3 publish"
    return [
        target
        for other, limit in (("aws s3 cp --recursive", 1.0), ("rclone copy", 2.5))
        for what, column in (("wall", _wall), ("CPU", _cpu))
        for target in _beside(outcome, what, column, ours, (other,), limit)
    ]


def _judge_second_run(outcome: Outcome) -> list[Target]:
    names = "streamtos3 publish --resume", ("rclone copy, again",)
    return _beside(outcome, "wall", _wall, *names, 1.5)


def _judge_dask_file(outcome: Outcome) -> list[Target]:
    ours = "streamtos3 put --dask local:2"
    return _beside(outcome, "wall", _wall, ours, ("streamtos3 put FILE",), 1.1)


def _judge_dask_files(outcome: Outcome) -> list[Target]:
    ours = "streamtos3 publish --dask local:2"
    return _beside(outcome, "wall", _wall, ours, ("streamtos3 publish",), 1.0)


def _judge_dask_workers(outcome: Outcome) -> list[Target]:
    """How much longer n workers take than an n-th of what one takes."""
    walls = {
        int(name.partition(":")[2]): median(map(_wall, runs)) for name, runs in outcome.runs.items()
    }
    return [
        Target(
            f"{outcome.title.split(':')[0]}: wall of {count} times {count}, beside 1", ratio, 1.15
        )
        for count, wall_s in walls.items()
        if count > 1 and 1 in walls and (ratio := wall_s * count / walls[1])
    ]


_JUDGES: Mapping[int, Callable[[Outcome], list[Target]]] = {
    1: _judge_near,
    2: _judge_far,
    3: _judge_start,
    4: _judge_growth,
    5: _judge_slow,
    6: _judge_get,
    8: _judge_files,
    9: _judge_files,
    10: _judge_second_run,
    11: _judge_limited,
    12: _judge_hashing,
    13: _judge_dask_file,
    14: _judge_dask_files,
    15: _judge_dask_workers,
}


def as_json(outcomes: Mapping[int, Outcome], versions: Mapping[str, str]) -> str:
    """All runs, not only their medians."""
    return json.dumps(
        {
            "machine": {
                "processors": os.cpu_count(),
                "system": platform.platform(),
                "python": platform.python_version(),
            },
            "versions": dict(versions),
            "cases": {str(number): asdict(outcome) for number, outcome in outcomes.items()},
            "targets": [{**asdict(target), "met": target.met} for target in targets(outcomes)],
        },
        indent=1,
    )


def from_json(text: str) -> dict[int, Outcome]:
    """What `as_json` wrote."""
    return {
        int(number): Outcome(
            case["title"],
            case["size_mib"],
            {name: [Figures(**run) for run in runs] for name, runs in case["runs"].items()},
            case["failures"],
            case["endpoint_cpu_s"],
        )
        for number, case in json.loads(text)["cases"].items()
    }


def save_plot(outcomes: Mapping[int, Outcome], path: Path) -> None:
    """One picture of the medians: a row for each case; CPU, wall time and memory side by side.

    The end of the name chooses the form. An SVG is the same for the same figures.
    """
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "bench", "font.size": 8})
    from matplotlib import pyplot

    shown = {
        number: [name for name in outcome.runs if name not in (_MD5, _CURL)]
        for number, outcome in outcomes.items()
    }
    heights = [0.6 + 0.22 * len(names) for names in shown.values()]
    figure, rows = pyplot.subplots(
        len(outcomes),
        3,
        figsize=(9, sum(heights)),
        height_ratios=heights,
        squeeze=False,
        layout="constrained",
    )
    for axes, (number, outcome) in zip(rows, outcomes.items(), strict=True):
        for place, (title, column) in enumerate(list(_COLUMNS.items())[:3]):
            axis = axes[place]
            names = shown[number]
            values = [median(map(column, outcome.runs[name])) for name in names]
            colors = ["tab:orange" if name.startswith(_OURS) else "tab:gray" for name in names]
            bars = axis.barh(names, values, color=colors)
            axis.bar_label(bars, [_shown(value) for value in values], padding=2)
            axis.margins(x=0.15)
            axis.invert_yaxis()
            axis.set_title(title)
            axis.spines[["top", "right", "bottom"]].set_visible(False)
            axis.tick_params(left=False, bottom=False, labelbottom=False, labelleft=place == 0)
        size = f", {outcome.size_mib:g} MiB" if outcome.size_mib else ""
        axes[0].set_ylabel(f"{outcome.title.split(':')[0]}{size}")
    figure.savefig(path, dpi=100, metadata={"Date": None} if path.suffix == ".svg" else None)
