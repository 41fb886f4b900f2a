"""How many parts a worker hashes at a time."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from streamtos3.cluster import orders
from streamtos3.cluster.orders import StoreOrder
from streamtos3.cluster.runs import spans_of
from streamtos3.cluster.shared_file import SharedFile
from streamtos3.integrity.md5 import Md5Method
from streamtos3.runtime.buffers import BufferPool
from streamtos3.runtime.cancel import CancelScope


@pytest.mark.parametrize(
    ("lanes", "allowed", "batches"),
    [(16, 10, [8, 4]), (4, 10, [4, 4, 4]), (16, 5, [3, 3, 3, 3]), (1, 10, [1] * 12)],
)
def test_a_batch_is_what_lanes_and_memory_allow(
    lanes: int, allowed: int, batches: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(orders, "md5_method", lambda: Md5Method("avx512", lanes))
    path = tmp_path / "file"
    path.write_bytes(bytes(12 * 5))
    nothing: Any = None
    order = StoreOrder(
        operation=nothing,
        path=str(path),
        identity=nothing,
        key="k",
        upload_id="u",
        etags_are_md5=True,
        spans=spans_of([5] * 12),
        crc="crc32",
        tell_every_s=1.0,
    )
    with CancelScope() as scope, SharedFile(str(path)) as file:
        pool = BufferPool(1000, allowed, scope)
        pool.allow(allowed)
        session: Any = SimpleNamespace(pool=pool)
        found = []
        for batch in order._batches(session, file):
            found.append(len(batch))
            for part in batch:
                pool.release(part.buffer)
    assert found == batches
