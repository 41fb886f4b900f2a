"""A cluster that speaks TLS with its own certificates: scheduler, workers and client as typed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dask
import pytest

from tests.rig.command import anonymous, run
from tests.rig.dask_cluster import DaskCluster
from tests.rig.dask_tls import environment_of, new_authority
from tests.rig.fake_s3 import FakeS3
from tests.rig.support import payload

pytestmark = pytest.mark.slow  # a cluster takes seconds to start

DATA = payload(12 << 20)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return environment_of(*new_authority(tmp_path_factory.mktemp("tls") / "own"))


@pytest.fixture(scope="module")
def cluster(
    tmp_path_factory: pytest.TempPathFactory, settings: dict[str, str]
) -> Iterator[DaskCluster]:
    with pytest.MonkeyPatch.context() as environment:
        for name, value in settings.items():
            environment.setenv(name, value)
        dask.config.refresh()
        directory = tmp_path_factory.mktemp("secure")
        secure = ("--protocol", "tls")
        with DaskCluster(directory, workers=2, scheduler_arguments=secure) as running:
            environment.undo()
            dask.config.refresh()
            yield running


@pytest.fixture
def fake() -> Iterator[FakeS3]:
    with FakeS3(buckets=["bucket"]) as fake:
        yield fake


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "image"
    path.write_bytes(DATA)
    return path


def put(cluster: DaskCluster, image: Path) -> tuple[object, ...]:
    return ("put", "--dask", cluster.address, "-c", "5MiB", image, "s3://bucket/k")


def test_with_the_cluster_s_certificates_it_is_as_without_tls(
    fake: FakeS3, cluster: DaskCluster, image: Path, settings: dict[str, str]
) -> None:
    assert cluster.address.startswith("tls://")
    env = {**anonymous(fake.endpoint_url), **settings}
    done = run(*put(cluster, image), env=env)
    assert done.status == 0, done.stderr
    assert fake.objects["bucket", "k"].body == DATA
    same = run("verify", "--dask", cluster.address, "s3://bucket/k", image, env=env)
    assert same.status == 0, same.stderr


def test_by_the_scheduler_s_file(
    fake: FakeS3, cluster: DaskCluster, image: Path, settings: dict[str, str]
) -> None:
    words = ("put", "--dask", cluster.scheduler_file, "-c", "5MiB", image, "s3://bucket/k")
    done = run(*words, env={**anonymous(fake.endpoint_url), **settings})
    assert done.status == 0, done.stderr
    assert fake.objects["bucket", "k"].body == DATA


def test_without_certificates_it_says_what_is_needed(
    fake: FakeS3, cluster: DaskCluster, image: Path
) -> None:
    done = run(*put(cluster, image), env=anonymous(fake.endpoint_url))
    assert done.status == 2
    assert "distributed.comm.tls" in done.stderr
    assert "Traceback" not in done.stderr
    assert (fake.objects, fake.uploads) == ({}, {})


def test_with_certificates_of_another_authority_it_is_not_let_in(
    fake: FakeS3, cluster: DaskCluster, image: Path, tmp_path: Path
) -> None:
    foreign = environment_of(*new_authority(tmp_path / "foreign"))
    done = run(*put(cluster, image), env={**anonymous(fake.endpoint_url), **foreign})
    assert done.status == 4
    assert f"cannot reach the Dask scheduler {cluster.address}" in done.stderr
    assert "Traceback" not in done.stderr
    assert (fake.objects, fake.uploads) == ({}, {})
