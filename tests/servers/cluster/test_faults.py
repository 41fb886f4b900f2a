"""Whatever dies: the object is what the file holds, or there is none and no upload is left."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from streamtos3.cluster.orders import Order
from streamtos3.cluster.put import _FileFeed
from streamtos3.errors import Interrupted, RetriesUsedUpError, SourceError, UsageError
from streamtos3.model.events import PartStored, Warned
from streamtos3.model.options import Retries
from streamtos3.runtime.cancel import CancelScope
from tests.rig.cluster_site import KEY, PART, Site
from tests.rig.dask_cluster import DaskCluster
from tests.rig.fault_rig import Bench
from tests.rig.proxy import Fault
from tests.rig.support import assert_nothing_left

pytestmark = pytest.mark.slow  # a cluster takes seconds to start

SEEDS = int(os.environ.get("CLUSTER_SEEDS", "12"))
HASTY = Retries(first_wait_s=0.01, retry_for_s=3.0, check_for_s=2.0)


@pytest.fixture(scope="module")
def mortal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaskCluster]:
    """Three workers, any of which may die; who kills one starts another."""
    with DaskCluster(tmp_path_factory.mktemp("mortal"), workers=3) as running:
        yield running


def striking(act: Callable[[], object], after: int, operation: str = "put-part") -> Fault:
    """Do something just when so many parts were sent, or other requests."""
    return Fault(operation, "callback", skip=after, callback=lambda _: act())


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_worker_that_is_killed_at_random(
    seed: int,
    on_fake: Bench,
    mortal: DaskCluster,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It succeeds, with the right object: its parts are sent again by the two others.

    What it told before it died is not shown again.
    """
    monkeypatch.setattr("streamtos3.cluster.put._TELL_S", 0.0)
    monkeypatch.setattr("streamtos3.cluster.put._MOST_TOLD_A_SECOND", float("inf"))
    dice = random.Random(seed)
    site = Site(on_fake, mortal, tmp_path)
    data = site.write(dice.randint(30, 80) * PART + dice.randint(1, PART))
    victim = dice.choice(mortal.workers)
    when = dice.choice([("put-part", dice.randint(0, 25))] * 8 + [("create", 0), ("complete", 0)])
    on_fake.proxy.faults.append(striking(lambda: mortal.kill(victim), when[1], when[0]))
    receipt = site.put()
    mortal.start_worker()
    mortal.wait_for_workers(3)
    assert site.stored == data
    assert receipt.proof.object == "composite-etag"
    assert receipt.size_bytes == len(data)
    assert on_fake.open_uploads == []
    shown = [event.part.number for event in site.events if isinstance(event, PartStored)]
    assert sorted(shown) == [part.number for part in receipt.parts]


def test_a_worker_that_joins_late_takes_part(on_fake: Bench, tmp_path: Path) -> None:
    """While there is none, the client waits, and says so."""
    with DaskCluster(tmp_path, workers=0) as cluster:
        site = Site(on_fake, cluster, tmp_path)
        data = site.write(10 * PART)
        events = site.events

        class StartsOne(list[Any]):
            def append(self, event: Any) -> None:
                super().append(event)
                if isinstance(event, Warned) and "has no worker" in event.message:
                    cluster.start_worker()

        site.events = StartsOne(events)
        site.put(retries=replace(HASTY, retry_for_s=60.0))
        assert site.stored == data


def test_all_workers_gone_for_good(on_fake: Bench, tmp_path: Path) -> None:
    with DaskCluster(tmp_path, workers=1) as cluster:
        site = Site(on_fake, cluster, tmp_path)
        site.write(40 * PART)
        (worker,) = cluster.workers
        on_fake.proxy.faults.append(striking(worker.kill, 3))
        site.refuses(RetriesUsedUpError, "had no worker for", retries=HASTY)


def test_all_workers_gone_for_a_while(on_fake: Bench, tmp_path: Path) -> None:
    with DaskCluster(tmp_path, workers=1) as cluster:
        site = Site(on_fake, cluster, tmp_path)
        data = site.write(40 * PART)
        (worker,) = cluster.workers

        def replace_it() -> None:
            worker.kill()
            cluster.start_worker()

        on_fake.proxy.faults.append(striking(replace_it, 3))
        site.put(retries=replace(HASTY, retry_for_s=60.0))
        assert site.stored == data
        assert on_fake.open_uploads == []


def test_a_scheduler_that_is_killed(on_fake: Bench, tmp_path: Path) -> None:
    with DaskCluster(tmp_path, workers=2) as cluster:
        site = Site(on_fake, cluster, tmp_path)
        site.write(60 * PART)
        on_fake.proxy.faults.append(striking(cluster.scheduler.kill, 3))
        error = site.refuses(RetriesUsedUpError, "the connection to the Dask scheduler")
        assert error.exit_status == 8


def test_a_scheduler_that_hangs(on_fake: Bench, tmp_path: Path) -> None:
    """It is there, and answers nothing: as long as the retries may take, and no minute more."""
    with DaskCluster(tmp_path, workers=2) as cluster:
        site = Site(on_fake, cluster, tmp_path)
        site.write(60 * PART)
        stopped_at_s: list[float] = []

        def stop() -> None:
            cluster.scheduler.send_signal(signal.SIGSTOP)
            stopped_at_s.append(time.monotonic())

        on_fake.proxy.faults.append(striking(stop, 3))
        error = site.refuses(RetriesUsedUpError, "does not answer", retries=HASTY)
        assert error.exit_status == 8
        assert time.monotonic() - stopped_at_s[0] < 30.0


def test_a_signal_stops_the_workers_and_leaves_nothing(
    on_fake: Bench, cluster: DaskCluster, tmp_path: Path
) -> None:
    site = Site(on_fake, cluster, tmp_path)
    site.write(60 * PART)
    with CancelScope() as scope:
        interrupt = Interrupted(signal.SIGTERM)
        on_fake.proxy.faults.append(striking(lambda: scope.fail(interrupt), 3))
        error = site.refuses(Interrupted, scope=scope)
    assert error.exit_status == 143
    sent = on_fake.proxy.count("put-part")
    site.put()
    assert on_fake.proxy.count("put-part") == sent + 60, "a worker went on sending"


def test_a_part_that_two_workers_send(
    on_fake: Bench, cluster: DaskCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when Dask takes a worker for lost that is not: each order is performed twice."""
    orders = _FileFeed._orders

    def twice(self: Any, *arguments: Any, **named: Any) -> Iterator[Order]:
        for order in orders(self, *arguments, **named):
            yield order
            yield order

    monkeypatch.setattr(_FileFeed, "_orders", twice)
    monkeypatch.setattr("streamtos3.cluster.put._TELL_S", 0.0)
    monkeypatch.setattr("streamtos3.cluster.put._MOST_TOLD_A_SECOND", float("inf"))
    site = Site(on_fake, cluster, tmp_path)
    data = site.write(20 * PART)
    receipt = site.put()
    assert site.stored == data
    assert receipt.size_bytes == len(data)
    assert on_fake.proxy.count("put-part") == 40
    shown = [event.part.number for event in site.events if isinstance(event, PartStored)]
    assert sorted(shown) == list(range(1, 21))


def test_a_failure_that_all_tries_do_not_pass(
    on_fake: Bench, cluster: DaskCluster, tmp_path: Path
) -> None:
    site = Site(on_fake, cluster, tmp_path)
    site.write(20 * PART)
    on_fake.proxy.faults.append(Fault("put-part", "500", part=7, times=-1))
    site.refuses(RetriesUsedUpError, "part 7", "(worker ")


def test_a_resumable_upload_is_kept_for_the_next_run(
    on_fake: Bench, cluster: DaskCluster, tmp_path: Path
) -> None:
    site = Site(on_fake, cluster, tmp_path)
    data = site.write(20 * PART)
    on_fake.proxy.faults.append(Fault("put-part", "500", part=20, times=-1))
    with pytest.raises(RetriesUsedUpError) as caught:
        site.put(resume=True)
    assert "kept for --resume" in (caught.value.left_behind or "")
    on_fake.proxy.faults.clear()
    receipt = site.put(resume=True)
    assert site.stored == data
    assert any(part.resumed for part in receipt.parts)
    assert on_fake.open_uploads == []


# Workers that are not as they should be


def test_a_worker_that_sees_another_file(on_fake: Bench, tmp_path: Path) -> None:
    """Its file system is not the client's: the name is there, the content is not."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    with DaskCluster(tmp_path, workers=1) as cluster:
        env = {"SITE": str(tmp_path), "ELSEWHERE": str(elsewhere)}
        cluster.start_worker("--preload", "tests.rig.elsewhere_worker", env=env)
        cluster.wait_for_workers(2)
        site = Site(on_fake, cluster, tmp_path)
        site.write(20 * PART)
        site.refuses(SourceError, "no such file", "(worker tcp://127.0.0.1:")
        (elsewhere / "image").write_bytes(b"x" * 20 * PART)
        site.refuses(SourceError, "its first part is another one", "(worker tcp://127.0.0.1:")
        assert on_fake.proxy.count("create") == 0


@pytest.mark.parametrize("look", [1, 2], ids=["in the beginning", "in the end"])
def test_a_worker_that_dies_when_it_is_to_look_at_the_file(
    look: int, on_fake: Bench, tmp_path: Path
) -> None:
    """The others have looked, and what it has read was looked at after each of its tasks."""
    with DaskCluster(tmp_path, workers=1) as cluster:
        env = {"DIES_AT": str(look)}
        dying = cluster.start_worker("--preload", "tests.rig.dying_worker", env=env)
        cluster.wait_for_workers(2)
        site = Site(on_fake, cluster, tmp_path)
        data = site.write(20 * PART)
        site.put()
        assert site.stored == data
        assert dying.wait(timeout=60) != 0


def test_a_worker_with_another_version(
    on_fake: Bench, cluster: DaskCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamtos3.cluster.operation.__version__", "99")
    site = Site(on_fake, cluster, tmp_path)
    site.write(20 * PART)
    error = site.refuses(UsageError, "has streamtos3", "here it is 99")
    assert "the same version" in (error.hint or "")
    assert_nothing_left(on_fake.s3, on_fake.bucket, KEY)
