"""What is shared out to the processes of this machine."""

from __future__ import annotations

import asyncio
import errno
from types import SimpleNamespace
from typing import Any

import pytest
from distributed.comm import CommClosedError

from streamtos3._version import __version__
from streamtos3.cluster import operation
from streamtos3.cluster.address import ClusterAddress
from streamtos3.cluster.processes import ClusterOptions
from streamtos3.cluster.shared_file import FileIdentity
from streamtos3.errors import SourceError
from streamtos3.model.options import Connection, Options
from streamtos3.units import MIB


def test_jobs_memory_and_the_rate_are_shared_out() -> None:
    given = Options(
        connection=Connection(limit_bytes_per_s=20 * MIB), jobs=16, memory_bytes=256 * MIB
    )
    shared = operation._share_out(given, 4)
    assert (shared.jobs, shared.memory_bytes) == (4, 64 * MIB)
    assert shared.connection.limit_bytes_per_s == 5 * MIB


def test_each_process_has_a_connection_and_room_for_two_parts() -> None:
    shared = operation._share_out(Options(jobs=2, memory_bytes=16 * MIB), 8)
    assert (shared.jobs, shared.memory_bytes) == (1, 16 * MIB)


def test_only_processes_of_one_machine_need_not_read_a_file_to_know_it() -> None:
    local, other = ClusterAddress(processes=2), ClusterAddress(url="tcp://h:1")
    assert operation.edges_of(ClusterOptions(local), Options(chunk_bytes=5 * MIB)) is None
    assert operation.edges_of(ClusterOptions(other), Options(chunk_bytes=5 * MIB)) == 5 * MIB


def answering(**answers: Any) -> Any:
    """A running operation whose workers answer so."""
    cluster = SimpleNamespace(run_on_all=lambda *_, **__: answers)
    return SimpleNamespace(cluster=cluster, operation=SimpleNamespace(id="id"))


def test_a_worker_that_is_gone_is_not_asked_for_its_file_or_version() -> None:
    running = answering(one=None, two=CommClosedError("in <TCP (closed)>"))
    identity = FileIdentity(3, None, 0, "", "")
    operation.check_sources(running, "/file", identity)
    found = answering(one=__version__, two=CommClosedError("in <TCP (closed)>"))
    operation._check_workers(found.cluster)


def test_a_worker_that_fails_in_any_other_way_ends_it() -> None:
    identity = FileIdentity(3, None, 0, "", "")
    with pytest.raises(SourceError, match=r"changed \(worker two\)"):
        operation.check_sources(answering(two=SourceError("changed")), "/file", identity)
    with pytest.raises(ZeroDivisionError):
        operation.check_sources(answering(two=ZeroDivisionError()), "/file", identity)
    with pytest.raises(ZeroDivisionError):
        operation._check_workers(answering(two=ZeroDivisionError()).cluster)


def test_a_failing_look_is_not_taken_for_a_worker_that_is_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(path: str) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(operation, "SharedFile", fail)
    look = operation._look_at_file("id", "/file", FileIdentity(3, None, 0, "", ""))
    found = asyncio.run(look)
    assert isinstance(found, SourceError)
    assert str(found) == "cannot read /file: input/output error"
