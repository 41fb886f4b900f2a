"""A directory published by three workers: batches, large files, one specification, one manifest."""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from streamtos3.cluster.processes import ClusterOptions
from streamtos3.cluster.publish import ClusterPublication
from streamtos3.errors import ExistsError, RetriesUsedUpError, SourceError, UsageError
from streamtos3.runtime.cancel import CancelScope
from tests.rig.cluster_site import PART, Site
from tests.rig.dask_cluster import DaskCluster
from tests.rig.fault_rig import Bench
from tests.rig.proxy import Fault
from tests.rig.support import payload

pytestmark = pytest.mark.slow  # a cluster takes seconds to start

FILES = 40


class Results:
    """A directory that all workers see, and the publication of it below `run/`."""

    def __init__(self, site: Site, directory: Path) -> None:
        self.site = site
        self.bench = site.bench
        self.directory = directory
        directory.mkdir()

    def fill(self, files: int = FILES) -> dict[str, bytes]:
        data = {}
        for number in range(files):
            path = f"{number % 4}/file {number}"
            data[path] = payload(number * 50, seed=number)
            (self.directory / path).parent.mkdir(exist_ok=True)
            (self.directory / path).write_bytes(data[path])
        return data

    def publish(self, *, check: bool = True, **changes: Any) -> dict[str, Any]:
        more = {n: changes.pop(n) for n in ("manifest_key", "follow_links") if n in changes}
        how: ClusterOptions = changes.pop("how", self.site.how)
        options = replace(self.bench.options, chunk_bytes=PART, **changes)
        with CancelScope() as scope:
            publication = ClusterPublication(
                str(self.directory),
                self.bench.bucket,
                "run",
                options,
                how=how,
                files=4,
                scope=scope,
                on_event=self.site.events.append,
                **more,
            )
            publication.run()
            document: dict[str, Any] = json.loads("".join(publication.document))
            if check:
                publication.check()
            return document

    def stored(self, path: str) -> bytes:
        found = self.bench.s3.get_object(Bucket=self.bench.bucket, Key=f"run/{path}")
        return found["Body"].read()

    def check(self, data: dict[str, bytes], document: dict[str, Any]) -> None:
        assert {path: self.stored(path) for path in data} == data
        assert {entry["path"]: entry["sha256"] for entry in document["entries"]} == {
            path: hashlib.sha256(each).hexdigest() for path, each in data.items()
        }
        assert document["complete"]
        assert self.bench.open_uploads == []


@pytest.fixture
def results(on_fake: Bench, cluster: DaskCluster, tmp_path: Path) -> Results:
    return Results(Site(on_fake, cluster, tmp_path), tmp_path / "results")


def test_every_file_is_published_and_the_manifest_is_last(results: Results) -> None:
    data = results.fill()
    document = results.publish(manifest_key="run.json")
    results.check(data, document)
    s3, bucket = results.bench.s3, results.bench.bucket
    manifest = json.loads(s3.get_object(Bucket=bucket, Key="run.json")["Body"].read())
    assert manifest == document
    ends = ("put-object", "complete")
    puts = [each.key for each in results.bench.proxy.seen if each.verb in ends]
    assert puts[-1] == "run.json"
    assert document["size_bytes"] == sum(map(len, data.values()))


def test_a_large_file_is_shared_out_itself(results: Results) -> None:
    data = results.fill(5)
    data["large"] = payload(40 * PART)
    (results.directory / "large").write_bytes(data["large"])
    results.check(data, results.publish())


def test_resume_skips_what_is_there_and_equal(results: Results) -> None:
    data = results.fill() | {"large": payload(40 * PART)}
    (results.directory / "large").write_bytes(data["large"])
    results.publish()
    more = {"more": b"more", "another large one": payload(40 * PART, seed=1)}
    for path, each in more.items():
        (results.directory / path).write_bytes(each)
    document = results.publish(resume=True)
    results.check(data | more, document)
    assert document["already_there"] == len(data)
    assert document["objects"] == len(data | more)


def test_resume_never_replaces_a_large_file_that_differs(results: Results) -> None:
    old = payload(40 * PART)
    (results.directory / "large").write_bytes(old)
    results.publish()
    (results.directory / "large").write_bytes(payload(40 * PART, seed=1))
    with pytest.raises(ExistsError):
        results.publish(resume=True)
    assert results.stored("large") == old
    assert results.bench.open_uploads == []


def test_an_object_in_the_way_ends_it_before_the_first_byte(
    on_moto: Bench, cluster: DaskCluster, tmp_path: Path
) -> None:
    """Where the prefix can be listed; the fake knows no listing."""
    results = Results(Site(on_moto, cluster, tmp_path), tmp_path / "results")
    results.fill()
    s3, bucket = results.bench.s3, results.bench.bucket
    s3.put_object(Bucket=bucket, Key="run/3/file 7", Body=b"old")
    with pytest.raises(ExistsError, match=r"run/3/file 7 already exists"):
        results.publish()
    assert results.bench.proxy.count("put-object") == 0
    assert results.stored("3/file 7") == b"old"


def test_without_a_listing_the_object_in_the_way_ends_it_too(results: Results) -> None:
    results.fill()
    s3, bucket = results.bench.s3, results.bench.bucket
    s3.put_object(Bucket=bucket, Key="run/3/file 7", Body=b"old")
    with pytest.raises(ExistsError):
        results.publish()
    assert results.stored("3/file 7") == b"old"


def test_a_file_that_cannot_be_read_is_listed(results: Results) -> None:
    data = results.fill(10)
    os.mkfifo(results.directory / "pipe")
    document = results.publish(check=False)
    assert [each["path"] for each in document["not_published"]] == ["pipe"]
    assert document["objects"] == len(data)
    assert not document["complete"]
    with pytest.raises(SourceError, match="1 could not be read"):
        results.publish(resume=True)


def test_a_key_that_is_not_valid_is_told_before_the_first_byte(results: Results) -> None:
    results.fill(5)
    (results.directory / "a\x01b").write_bytes(b"")
    with pytest.raises(UsageError, match="control character"):
        results.publish()
    (results.directory / "a\x01b").unlink()
    (results.directory / "0\\file 0").write_bytes(b"")
    with pytest.raises(UsageError, match="to some services they are one key"):
        results.publish()
    assert results.bench.proxy.seen == []


def test_the_store_fails_for_good(results: Results) -> None:
    results.fill()
    results.bench.proxy.faults.append(Fault("put-object", "500", times=-1))
    with pytest.raises(RetriesUsedUpError, match=r"\(worker "):
        results.publish()
    assert results.bench.open_uploads == []


@pytest.mark.parametrize("seed", range(2))
def test_a_worker_that_is_killed(on_fake: Bench, tmp_path: Path, seed: int) -> None:
    """Its batch is published by another one, which finds what the first had stored."""
    with DaskCluster(tmp_path, workers=3) as cluster:
        results = Results(Site(on_fake, cluster, tmp_path), tmp_path / "results")
        data = results.fill(80)
        data["middle"] = payload(9 * PART)
        (results.directory / "middle").write_bytes(data["middle"])
        dice = random.Random(seed)
        victim = dice.choice(cluster.workers)
        act = Fault(
            "put-object",
            "callback",
            skip=dice.randint(0, 40),
            callback=lambda _: cluster.kill(victim),
        )
        on_fake.proxy.faults.append(act)
        document = results.publish()
        results.check(data, document)
        assert document["already_there"] == 0


# In the client's memory


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_million_entries_need_less_than_300_mib() -> None:
    """The whole program with a fake listing; the workers report at once, the first batch last."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.rig.million"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    objects, peak_mib = map(int, done.stdout.split())
    assert objects == 1_000_000
    assert peak_mib < 300
