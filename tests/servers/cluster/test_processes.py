"""The processes of a local cluster get ready early, and are used once."""

from __future__ import annotations

import signal
from typing import Any

from streamtos3.cluster.address import ClusterAddress
from streamtos3.cluster.processes import ClusterOptions, LocalProcesses, processes_of

LOCAL = ClusterAddress(processes=1)


def test_those_that_were_not_used_end_although_they_still_load() -> None:
    with processes_of(ClusterOptions(LOCAL)) as processes:
        assert processes is not None
        assert not processes.has_ended
    assert processes._process.returncode == -signal.SIGKILL


def test_those_that_get_ready_serve_the_first_operation(monkeypatch: Any) -> None:
    monkeypatch.setattr("streamtos3.cluster.processes._BOOT", "input()")
    ready = LocalProcesses()
    how = ClusterOptions(LOCAL, processes=ready)
    with processes_of(how) as first:
        assert first is ready
        ready.begin({})
    with processes_of(how) as second:
        assert second not in (None, ready)
    ready.close(5.0)
    assert ready._process.returncode == 0


def test_another_cluster_has_none() -> None:
    with processes_of(ClusterOptions(ClusterAddress(url="tcp://h:1"))) as processes:
        assert processes is None
