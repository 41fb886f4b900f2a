"""A cluster of three worker processes, shared by the tests that kill none of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.rig.dask_cluster import DaskCluster


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaskCluster]:
    """Three workers that know the keys of the fake."""
    with DaskCluster(tmp_path_factory.mktemp("dask"), workers=3) as running:
        yield running
