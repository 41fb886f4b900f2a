"""The cases: what is run, on what stream, over what link.

Rounds are interleaved: every program runs once before any runs again, so that a machine that
grows slower or faster meanwhile does so for all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from .ground import Files, Ground, Link, Place
from .measure import Figures, ProgramFailed
from .programs import (
    COPIERS,
    DASK_COPIERS,
    FILE_PUTTERS,
    FLOOR,
    GETTERS,
    LIMITED,
    LIMITED_GETTERS,
    PUTTERS,
    RECOPIERS,
    STREAMTOS3,
    WORKERS,
    Copier,
    Program,
)

__all__ = ["CASES", "START", "Case", "Outcome", "Scale", "prove_programs", "run_case"]

MIB = 1 << 20
START = "streamtos3 of 10 bytes, limited"
_NEAR = Link()
_FAR = Link(latency_ms=30, mib_per_s=20)
_LIMITED = Link(mib_per_s=20)
_OURS = PUTTERS[0]
_PRODUCER_MIB_PER_S = 20
_PROOF_BYTES = 60 * MIB

Run = Callable[[Ground], Figures]
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Scale:
    """How much is measured."""

    size_mib: int = 1024
    rounds: int = 5
    growth_mib: Sequence[int] = (256, 1024, 4096, 16384)
    slow_mib: int = 104
    limited_mib: int = 600
    small_files: Files = Files(5000, 8 << 10)
    larger_files: Files = Files(200, 4 * MIB)
    one_file: Files = Files(1, 2048 * MIB)
    file_of_cluster: Files = Files(1, 4096 * MIB)


@dataclass
class Outcome:
    """What a case gave: the runs of each program in the order of the rounds."""

    title: str
    size_mib: float
    runs: dict[str, list[Figures]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    endpoint_cpu_s: float = 0.0


@dataclass(frozen=True)
class Case:
    """`runs` gives, for a scale, what is measured under which name; a round is one of each."""

    title: str
    link: Link
    size_mib: Callable[[Scale], float]
    runs: Callable[[Scale], Mapping[str, Run]]
    rounds_factor: float = 1.0


def _puts(programs: Sequence[Program], size_mib: int, mib_per_s: float = 0) -> dict[str, Run]:
    return {
        program.name: lambda ground, program=program: ground.put(  # type: ignore[misc]
            program, size_mib * MIB, mib_per_s
        )
        for program in programs
    }


def _starts(scale: Scale) -> dict[str, Run]:
    runs: dict[str, Run] = {
        program.name: lambda ground, program=program: ground.put(program, 10)  # type: ignore[misc]
        for program in PUTTERS
    }
    return {**runs, "streamtos3 --help": lambda ground: ground.call([*STREAMTOS3, "--help"])}


def _growth(scale: Scale) -> dict[str, Run]:
    return {
        f"{size_mib / 1024:g} GiB": lambda ground, size_mib=size_mib: ground.put(  # type: ignore[misc]
            _OURS, size_mib * MIB
        )
        for size_mib in scale.growth_mib
    }


def _gets(scale: Scale) -> dict[str, Run]:
    return {
        program.name: lambda ground, program=program: ground.get(  # type: ignore[misc]
            program, scale.size_mib * MIB
        )
        for program in GETTERS
    }


def _limited(scale: Scale) -> dict[str, Run]:
    gets: dict[str, Run] = {
        program.name: lambda ground, program=program: ground.get(  # type: ignore[misc]
            program, scale.limited_mib * MIB
        )
        for program in LIMITED_GETTERS
    }

    def start(ground: Ground) -> Figures:
        return ground.put(_OURS, 10)

    return {START: start, **_puts(LIMITED, scale.limited_mib), **gets}


def _copies(copiers: Sequence[Copier], files: Files, *, again: bool = False) -> dict[str, Run]:
    return {
        copier.name: lambda ground, copier=copier: ground.copy(  # type: ignore[misc]
            copier, files, again=again
        )
        for copier in copiers
    }


def _hashes(scale: Scale) -> dict[str, Run]:
    size_bytes = 2 * scale.size_mib * MIB
    return {
        "streamtos3 etag": lambda ground: ground.call(
            [*STREAMTOS3, "etag", str(ground.file(size_bytes))]
        ),
        "streamtos3 verify FILE": lambda ground: ground.verify(size_bytes),
        "openssl md5": lambda ground: ground.call(["openssl", "md5", str(ground.file(size_bytes))]),
    }


CASES: dict[int, Case] = {
    1: Case(
        "near: over TLS, unlimited",
        _NEAR,
        lambda scale: scale.size_mib,
        lambda scale: _puts([*PUTTERS, *FLOOR], scale.size_mib),
    ),
    2: Case(
        "far: 30 ms a request, 20 MiB/s a connection",
        _FAR,
        lambda scale: scale.size_mib,
        lambda scale: _puts(PUTTERS, scale.size_mib),
        rounds_factor=0.6,
    ),
    3: Case("start-up: a stream of 10 bytes", _NEAR, lambda scale: 0, _starts, rounds_factor=3),
    4: Case("growth: streamtos3 alone", _NEAR, lambda scale: 0, _growth, rounds_factor=0.2),
    5: Case(
        "slow producer: 20 MiB/s, to the far endpoint",
        _FAR,
        lambda scale: scale.slow_mib,
        lambda scale: _puts(PUTTERS, scale.slow_mib, _PRODUCER_MIB_PER_S),
        rounds_factor=0.6,
    ),
    6: Case("get: over TLS, unlimited", _NEAR, lambda scale: scale.size_mib, _gets),
    7: Case(
        "floor: openssl md5 and curl -T",
        _NEAR,
        lambda scale: scale.size_mib,
        lambda scale: _puts(FLOOR, scale.size_mib),
    ),
    8: Case(
        "small files: 5,000 of 8 KiB",
        _NEAR,
        lambda scale: 0,
        lambda scale: _copies(COPIERS, scale.small_files),
    ),
    9: Case(
        "larger files: 200 of 4 MiB",
        _NEAR,
        lambda scale: 0,
        lambda scale: _copies(COPIERS, scale.larger_files),
    ),
    10: Case(
        "second run: 5,000 files of 8 KiB that are there",
        _NEAR,
        lambda scale: 0,
        lambda scale: _copies(RECOPIERS, scale.small_files, again=True),
        rounds_factor=0.6,
    ),
    11: Case(
        "limited: to 20 MiB/s by the programs themselves",
        _NEAR,
        lambda scale: scale.limited_mib,
        _limited,
        rounds_factor=0.2,
    ),
    12: Case(
        "hashing: a file that is in memory",
        _NEAR,
        lambda scale: 2 * scale.size_mib,
        _hashes,
    ),
    13: Case(
        "Dask: one file by one process and by two",
        _NEAR,
        lambda scale: scale.one_file.size_bytes / MIB,
        lambda scale: _copies(FILE_PUTTERS, scale.one_file),
        rounds_factor=0.6,
    ),
    14: Case(
        "Dask: small files by one process and by two",
        _NEAR,
        lambda scale: 0,
        lambda scale: _copies(DASK_COPIERS, scale.small_files),
        rounds_factor=0.6,
    ),
    15: Case(
        "Dask: one file by 1 to 8 workers of 20 MiB/s, their start included",
        _LIMITED,
        lambda scale: scale.file_of_cluster.size_bytes / MIB,
        lambda scale: _copies(WORKERS, scale.file_of_cluster),
        rounds_factor=0.2,
    ),
}


def run_case(case: Case, place: Place, scale: Scale, only: Sequence[str], tell: Tell) -> Outcome:
    """Run `case`; with `only`, the programs whose name contains one of these words."""
    outcome = Outcome(case.title, case.size_mib(scale))
    runs = {name: run for name, run in case.runs(scale).items() if _is_wanted(name, only)}
    rounds = max(1, round(scale.rounds * case.rounds_factor))
    with place.endpoint(case.link) as ground:
        for number in range(1, rounds + 1):
            for name, run in runs.items():
                if name in outcome.failures:
                    continue
                tell(f"{case.title}: round {number} of {rounds}, {name}")
                try:
                    outcome.runs.setdefault(name, []).append(run(ground))
                except ProgramFailed as error:
                    outcome.failures[name] = str(error)
                    outcome.runs.pop(name)
    outcome.endpoint_cpu_s = ground.endpoint_cpu_s
    return outcome


def prove_programs(place: Place, only: Sequence[str], tell: Tell) -> dict[str, str]:
    """Have every program store a stream at an endpoint that checks all MD5s; name the failures."""
    failures = {}
    with place.endpoint(Link(checks=True)) as ground:
        for program in (each for each in PUTTERS if _is_wanted(each.name, only)):
            tell(f"checking what {program.name} stores")
            try:
                ground.prove(program, _PROOF_BYTES)
            except ProgramFailed as error:
                failures[program.name] = str(error)
    return failures


def _is_wanted(name: str, only: Sequence[str]) -> bool:
    return not only or any(word in name for word in only)
