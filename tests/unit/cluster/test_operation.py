"""What is shared out to the processes of this machine."""

from __future__ import annotations

from streamtos3.cluster import operation
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
