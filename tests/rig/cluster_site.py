"""A file that all workers of a cluster see, and the server it goes to: both ways it may end."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest

from streamtos3.cluster.address import parse_address
from streamtos3.cluster.processes import ClusterOptions
from streamtos3.cluster.put import put_file
from streamtos3.results import Receipt
from streamtos3.runtime.cancel import CancelScope
from tests.rig.dask_cluster import DaskCluster
from tests.rig.fault_rig import Bench
from tests.rig.support import assert_nothing_left, payload

__all__ = ["KEY", "PART", "Site", "pieces_of"]

E = TypeVar("E", bound=BaseException)
KEY = "image"
PART = 10_000


class Site:
    """A file that the workers see, and the server that it goes to."""

    def __init__(self, bench: Bench, cluster: DaskCluster, directory: Path) -> None:
        self.bench = bench
        self.cluster = cluster
        self.path = directory / "image"
        self.how = ClusterOptions(parse_address(str(cluster.scheduler_file)))
        self.events: list[Any] = []

    def write(self, size_bytes: int) -> bytes:
        data = payload(size_bytes)
        self.path.write_bytes(data)
        return data

    def put(
        self,
        how: ClusterOptions | None = None,
        scope: CancelScope | None = None,
        **changes: Any,
    ) -> Receipt:
        options = replace(self.bench.options, chunk_bytes=PART, digests=())
        return put_file(
            str(self.path),
            self.bench.bucket,
            KEY,
            how=how or self.how,
            options=replace(options, **changes),
            on_event=self.events.append,
            scope=scope,
        )

    def refuses(self, kind: type[E], *said: str, **changes: Any) -> E:
        """It must end by this error, and leave neither an object nor an upload."""
        with pytest.raises(kind) as caught:
            self.put(**changes)
        for each in said:
            assert each in str(caught.value)
        self.bench.proxy.faults.clear()
        assert_nothing_left(self.bench.s3, self.bench.bucket, KEY)
        return caught.value

    @property
    def stored(self) -> bytes:
        return self.bench.s3.get_object(Bucket=self.bench.bucket, Key=KEY)["Body"].read()


def pieces_of(data: bytes) -> list[bytes]:
    return [data[at : at + PART] for at in range(0, len(data), PART)]
