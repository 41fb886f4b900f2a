"""One file into one object by three workers: what is stored, recorded, and refused."""

from __future__ import annotations

import base64
import hashlib
import os
import threading
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from streamtos3.cluster.address import parse_address
from streamtos3.cluster.dispatch import Dispatcher
from streamtos3.cluster.processes import ClusterOptions
from streamtos3.errors import (
    ExistsError,
    IntegrityError,
    SourceError,
    UnreachableError,
    UsageError,
)
from streamtos3.integrity.checksums import checksum_of
from streamtos3.model.events import PartStored, WorkersCounted
from tests.rig.client import composite
from tests.rig.cluster_site import KEY, PART, Site, pieces_of
from tests.rig.dask_cluster import DaskCluster
from tests.rig.fault_rig import Bench
from tests.rig.proxy import Fault

pytestmark = pytest.mark.slow  # a cluster takes seconds to start


@pytest.fixture
def site(on_fake: Bench, cluster: DaskCluster, tmp_path: Path) -> Site:
    return Site(on_fake, cluster, tmp_path)


def test_a_file_is_stored_by_several_workers_and_the_receipt_names_them(site: Site) -> None:
    data = site.write(50 * PART + 7)
    receipt = site.put()
    assert site.stored == data
    assert site.bench.open_uploads == []
    assert receipt.etag_found == composite(*pieces_of(data))
    assert receipt.proof.object == "composite-etag"
    workers = {part.worker for part in receipt.parts}
    assert len(workers) == 3
    assert all("tcp://127.0.0.1:" in (worker or "") for worker in workers)
    assert [part.sha256 for part in receipt.parts] == [
        hashlib.sha256(piece).hexdigest() for piece in pieces_of(data)
    ]
    assert receipt.digests == {}
    assert receipt.checksums == {"crc64nvme": checksum_of("crc64nvme")(data)}


def test_progress_comes_from_the_workers_with_their_number(site: Site) -> None:
    data = site.write(20 * PART)
    site.put()
    told = [event.part.size_bytes for event in site.events if isinstance(event, PartStored)]
    assert sum(told) == len(data)
    assert [event.workers for event in site.events if isinstance(event, WorkersCounted)][-1] == 3


def test_a_part_is_shown_before_its_run_is_done(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first run is parts 1 to 3; the last of them waits until another one is shown."""
    monkeypatch.setattr("streamtos3.cluster.put._TELL_S", 0.0)
    monkeypatch.setattr("streamtos3.cluster.put._MOST_TOLD_A_SECOND", float("inf"))
    is_shown = threading.Event()

    class Listening(list[Any]):
        def append(self, event: Any) -> None:
            super().append(event)
            if isinstance(event, PartStored) and event.part.number < 3:
                is_shown.set()

    site.events = Listening()
    waited: list[bool] = []
    site.bench.proxy.faults.append(
        Fault("put-part", "callback", part=3, callback=lambda _: waited.append(is_shown.wait(30)))
    )
    data = site.write(20 * PART)
    receipt = site.put()
    assert waited == [True]
    assert site.stored == data
    shown = [event.part for event in site.events if isinstance(event, PartStored)]
    assert sorted(shown, key=lambda part: part.number) == list(receipt.parts)


def test_a_run_within_the_interval_is_shown_by_its_report_alone(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The interval is one that no run here can outlast, however busy this machine is."""
    told: list[Any] = []
    monkeypatch.setattr("streamtos3.cluster.put._TELL_S", 600.0)
    monkeypatch.setattr(Dispatcher, "_hear", lambda _, message: told.append(message))
    site.write(20 * PART)
    site.put()
    assert told == []
    assert len([event for event in site.events if isinstance(event, PartStored)]) == 20


def test_without_awscrt_the_checksum_of_the_whole_is_a_crc32(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamtos3.cluster.put.free_checksum_of", lambda data: None)
    data = site.write(5 * PART)
    expected = base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()
    assert site.put().checksums == {"crc32": expected}


@pytest.mark.parametrize("digests", [("sha256",), ("md5",)])
@pytest.mark.parametrize("size_bytes", [0, 1, PART])
def test_a_file_that_fits_one_part_is_one_request(
    site: Site, size_bytes: int, digests: tuple[str, ...]
) -> None:
    data = site.write(size_bytes)
    receipt = site.put(digests=digests)
    assert site.stored == data
    assert receipt.upload_id is None
    assert receipt.digests == {name: hashlib.new(name, data).hexdigest() for name in digests}
    (part,) = receipt.parts
    assert part.sha256 == hashlib.sha256(data).hexdigest()
    assert part.worker is None  # the client sent it
    assert receipt.checksums == {"crc64nvme": checksum_of("crc64nvme")(data)}


def test_a_digest_of_the_whole_is_computed_by_one_worker(site: Site) -> None:
    data = site.write(7 * PART)
    receipt = site.put(digests=("sha256", "md5"))
    assert receipt.digests == {
        "sha256": hashlib.sha256(data).hexdigest(),
        "md5": hashlib.md5(data).hexdigest(),
    }


def test_another_sha256_than_expected_stores_nothing(site: Site) -> None:
    site.write(7 * PART)
    site.refuses(SourceError, "was expected", expect_sha256="0" * 64)


@pytest.mark.parametrize("wanted", [{"expect_size_bytes": 5}, {"min_size_bytes": 10**6}])
def test_another_size_than_expected_stores_nothing(site: Site, wanted: dict[str, int]) -> None:
    site.write(7 * PART)
    site.refuses(SourceError, "expected", **wanted)


def test_an_object_that_exists_is_not_replaced(site: Site) -> None:
    site.write(3 * PART)
    site.bench.s3.put_object(Bucket=site.bench.bucket, Key=KEY, Body=b"old")
    with pytest.raises(ExistsError):
        site.put()
    assert site.stored == b"old"
    assert site.bench.open_uploads == []


@pytest.mark.parametrize("status", ["500", "503"])
def test_a_part_that_fails_is_sent_again_by_its_worker(site: Site, status: str) -> None:
    data = site.write(6 * PART)
    site.bench.proxy.faults.append(Fault("put-part", status))
    receipt = site.put()
    assert site.stored == data
    assert receipt.retries == 1
    assert max(part.tries for part in receipt.parts) == 2


def test_s3s_own_checksum_is_sent_with_every_part(site: Site) -> None:
    data = site.write(6 * PART)
    receipt = site.put(checksum="crc32")
    assert site.stored == data
    assert all(part.checksum for part in receipt.parts)


def test_a_resumed_upload_sends_only_what_is_missing(site: Site) -> None:
    data = site.write(6 * PART)
    s3, bucket = site.bench.s3, site.bench.bucket
    upload_id = s3.create_multipart_upload(Bucket=bucket, Key=KEY)["UploadId"]
    for number in (1, 2, 5):
        piece = pieces_of(data)[number - 1]
        s3.upload_part(Bucket=bucket, Key=KEY, UploadId=upload_id, PartNumber=number, Body=piece)
    receipt = site.put(resume=True)
    assert site.stored == data
    assert [part.number for part in receipt.parts if part.resumed] == [1, 2, 5]
    assert site.bench.open_uploads == []


def test_the_object_is_read_back_by_the_workers(site: Site) -> None:
    site.write(6 * PART)
    assert site.put(verify="readback").proof.object == "readback"


# The source


@pytest.mark.parametrize(
    ("change", "after"),
    [
        (lambda path: path.write_bytes(path.read_bytes() + b"x"), 0),
        (lambda path: os.utime(path, (1, 1)), 0),
        (lambda path: path.unlink(), 11),  # when all tasks have opened it
        (lambda path: os.replace(_copy(path), path), 0),
    ],
    ids=["longer", "touched", "removed", "replaced"],
)
def test_a_file_that_changes_meanwhile_stores_nothing(
    site: Site, change: Callable[[Path], object], after: int
) -> None:
    site.write(12 * PART)
    site.bench.proxy.faults.append(
        Fault("put-part", "callback", skip=after, callback=lambda _: change(site.path))
    )
    site.refuses(SourceError, "changed while it was read")


def _copy(path: Path) -> Path:
    copy = path.with_suffix(".copy")
    copy.write_bytes(path.read_bytes())
    return copy


@pytest.mark.parametrize("kind", ["directory", "pipe", "absent"])
def test_what_is_no_file_is_refused(site: Site, kind: str) -> None:
    if kind == "directory":
        site.path.mkdir()
    elif kind == "pipe":
        os.mkfifo(site.path)
    site.refuses(SourceError, f"cannot read {site.path}")


# The cluster


def test_an_address_where_nobody_listens(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamtos3.cluster.connection._CONNECT_S", 1.0)
    site.write(3 * PART)
    how = ClusterOptions(parse_address("tcp://127.0.0.1:9"))
    site.refuses(UnreachableError, "cannot reach the Dask scheduler tcp://127.0.0.1:9", how=how)


def test_tls_without_dasks_settings(site: Site) -> None:
    site.write(3 * PART)
    how = ClusterOptions(parse_address("tls://127.0.0.1:9"))
    site.refuses(UsageError, "cannot use the Dask scheduler", how=how)


def test_a_scheduler_file_that_is_not_there(site: Site, tmp_path: Path) -> None:
    site.write(3 * PART)
    how = ClusterOptions(parse_address(str(tmp_path / "nothing")))
    site.refuses(UsageError, "neither an address nor a scheduler file", how=how)


# --cross-check


def test_sampled_parts_are_read_again_by_a_second_worker(site: Site) -> None:
    data = site.write(20 * PART)
    receipt = site.put(how=replace(site.how, cross_check=1.0))
    assert site.stored == data
    assert receipt.proof.object == "composite-etag"


def test_a_worker_that_reads_something_else_is_found_out(on_fake: Bench, tmp_path: Path) -> None:
    """Its part is stored as it read it, with the right MD5 of the wrong bytes."""
    with DaskCluster(tmp_path, workers=2) as cluster:
        cluster.start_worker("--preload", "tests.rig.lying_worker")
        site = Site(on_fake, cluster, tmp_path)
        site.write(30 * PART)
        cluster.wait_for_workers(3)
        how = replace(site.how, cross_check=1.0)
        error = site.refuses(IntegrityError, "has the MD5", "on worker", how=how)
        assert error.hint is not None
