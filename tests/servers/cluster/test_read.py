"""Objects that three workers read: compared with a file, a receipt or themselves, or written."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from streamtos3.cluster.read import get_file, verify_on
from streamtos3.downloader.verify import verify_object
from streamtos3.errors import (
    AbsentError,
    IntegrityError,
    OutputError,
    SourceError,
    UnprovedReadError,
)
from streamtos3.model.events import RangeRead
from streamtos3.results import Proof, ReadReport, Receipt
from tests.rig.cluster_site import KEY, PART, Site
from tests.rig.dask_cluster import DaskCluster
from tests.rig.fault_rig import Bench
from tests.rig.proxy import Fault

pytestmark = pytest.mark.slow  # a cluster takes seconds to start

SIZE = 20 * PART + 5


@pytest.fixture
def site(on_fake: Bench, cluster: DaskCluster, tmp_path: Path) -> Site:
    return Site(on_fake, cluster, tmp_path)


@pytest.fixture
def receipt(site: Site) -> Receipt:
    site.write(SIZE)
    return site.put()


def verify(site: Site, **how: Any) -> ReadReport:
    return verify_on(
        site.bench.bucket,
        KEY,
        how=site.how,
        options=replace(site.bench.options, chunk_bytes=PART),
        on_event=site.events.append,
        **how,
    )


def get(site: Site, path: Path, **how: Any) -> ReadReport:
    path.touch()
    inode = how.pop("inode", path.stat().st_ino)
    options = replace(site.bench.options, chunk_bytes=PART)
    return get_file(site.bench.bucket, KEY, str(path), inode, how=site.how, options=options, **how)


def test_a_file_is_compared_without_a_download(site: Site, receipt: Receipt) -> None:
    site.events.clear()
    report = verify(site, path=str(site.path))
    assert (report.proof, report.compared) == ("composite-etag", ("size", "etag"))
    assert site.bench.proxy.count("get") == 0
    told = [event.size_bytes for event in site.events if isinstance(event, RangeRead)]
    assert sum(told) == SIZE


def test_an_object_is_compared_with_its_own_etag(site: Site, receipt: Receipt) -> None:
    report = verify(site)
    assert (report.proof, report.compared) == ("composite-etag", ("etag", "bytes"))


def test_an_object_is_compared_with_its_receipt(site: Site, receipt: Receipt) -> None:
    assert verify(site, receipt=receipt).proof == "receipt-etag"
    assert verify(site, receipt=receipt, readback=True).proof == "receipt"
    assert "part MD5s" in verify(site, receipt=receipt, path=str(site.path)).compared


def verify_here(site: Site, **how: Any) -> ReadReport:
    options = replace(site.bench.options, chunk_bytes=PART)
    return verify_object(site.bench.bucket, KEY, options=options, **how)


both = pytest.mark.parametrize("by", [verify_here, verify], ids=["one process", "workers"])
"""A receipt means the same to one process and to the workers of a cluster."""


@both
def test_a_receipt_with_the_md5_of_the_whole_proves_an_etag_that_is_it(
    site: Site, by: Callable[..., ReadReport]
) -> None:
    """As rclone's server shows it, whatever the parts were."""
    assert site.bench.fake is not None
    site.write(SIZE)
    receipt = site.put(digests=("md5",))
    site.bench.fake.quirks = replace(site.bench.fake.quirks, head_etag="whole-md5")
    report = by(site, receipt=receipt)
    assert (report.proof, report.compared) == ("whole-md5-etag", ("size", "etag"))
    assert site.bench.proxy.count("get") == 0


@both
def test_capitals_in_an_etag_do_not_matter(
    site: Site, receipt: Receipt, by: Callable[..., ReadReport]
) -> None:
    small, capital = replace(receipt, etag_found=None), (receipt.etag_found or "").upper()
    assert capital != receipt.etag_found
    for each in (small, replace(receipt, etag_found=capital)):
        assert by(site, receipt=each).proof == "receipt-etag"


@both
def test_a_file_is_compared_with_an_etag_in_capitals(
    site: Site, by: Callable[..., ReadReport]
) -> None:
    assert site.bench.fake is not None
    site.bench.fake.quirks = replace(site.bench.fake.quirks, etag="MD5")
    site.write(SIZE)
    receipt = site.put()
    how = {"source": str(site.path)} if by is verify_here else {"path": str(site.path)}
    assert by(site, **how).proof == "composite-etag"
    assert by(site, receipt=receipt).proof == "receipt-etag"
    assert by(site).proof == "composite-etag"


@both
def test_a_small_object_that_nothing_proves_is_read_back_unasked(
    site: Site, receipt: Receipt, by: Callable[..., ReadReport], monkeypatch: pytest.MonkeyPatch
) -> None:
    unproved = replace(receipt, proof=Proof(None, None))
    report = by(site, receipt=unproved)
    assert (report.proof, report.compared[-1]) == ("receipt", "bytes")
    assert site.bench.proxy.count("get") > 0
    monkeypatch.setattr("streamtos3.downloader.comparison.READ_BACK_UNASKED_BYTES", SIZE - 1)
    with pytest.raises(UnprovedReadError, match="only its size and etag could be compared") as no:
        by(site, receipt=unproved)
    assert "--readback" in (no.value.hint or "")


def test_a_file_and_the_object_are_both_read(site: Site, receipt: Receipt) -> None:
    report = verify(site, path=str(site.path), readback=True)
    assert (report.proof, report.compared) == ("composite-etag", ("size", "etag", "bytes"))


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data + b"x",
        lambda data: data[: 7 * PART] + b"x" + data[7 * PART + 1 :],
        lambda data: b"",
    ],
    ids=["longer", "one byte", "empty"],
)
def test_another_file_is_told(
    site: Site, receipt: Receipt, change: Callable[[bytes], bytes]
) -> None:
    site.path.write_bytes(change(site.path.read_bytes()))
    with pytest.raises(IntegrityError):
        verify(site, path=str(site.path))


def test_a_damaged_answer_is_read_again_and_damage_is_found(site: Site, receipt: Receipt) -> None:
    parts = list(receipt.parts)
    parts[3] = replace(parts[3], md5="0" * 32)
    wrong = replace(receipt, parts=tuple(parts))
    with pytest.raises(IntegrityError, match="part 4, from byte 30000 on"):
        verify(site, receipt=wrong, readback=True)
    assert site.bench.proxy.count("get") > len(parts)


def test_an_object_that_is_replaced_meanwhile(site: Site, receipt: Receipt) -> None:
    def replace_it(_: object) -> None:
        site.bench.s3.put_object(Bucket=site.bench.bucket, Key=KEY, Body=b"x" * SIZE)

    site.bench.proxy.faults.append(Fault("get", "callback", skip=2, callback=replace_it))
    with pytest.raises(IntegrityError, match=r"replaced.*\(worker "):
        verify(site)


def test_an_absent_object(site: Site) -> None:
    with pytest.raises(AbsentError):
        verify(site)


def test_an_object_whose_etag_proves_nothing(site: Site) -> None:
    assert site.bench.fake is not None
    data = site.write(SIZE)
    site.bench.fake.quirks = replace(site.bench.fake.quirks, etag="opaque")
    site.bench.s3.put_object(Bucket=site.bench.bucket, Key=KEY, Body=data)
    with pytest.raises(UnprovedReadError):
        verify(site)
    report = verify(site, path=str(site.path), readback=True)
    assert report.proof == "readback"


def test_a_file_that_only_the_client_sees(
    site: Site, receipt: Receipt, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe = site.path.with_name("pipe")
    os.mkfifo(pipe)
    with pytest.raises(SourceError, match="neither a file nor a block device"):
        verify(site, path=str(pipe))


# get


@pytest.mark.parametrize("size_bytes", [0, 1, PART, SIZE])
def test_an_object_is_written_by_the_workers(site: Site, tmp_path: Path, size_bytes: int) -> None:
    data = site.write(size_bytes)
    receipt = site.put()
    out = tmp_path / "out"
    assert get(site, out).proof in ("composite-etag", "md5-etag")
    assert out.read_bytes() == data
    out.unlink()
    assert get(site, out, receipt=receipt).proof == "receipt"
    assert out.read_bytes() == data


def test_a_worker_that_sees_another_file_of_that_name_does_not_write(
    site: Site, receipt: Receipt, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with pytest.raises(OutputError, match="it is not the same file there"):
        get(site, out, inode=1)
    assert out.read_bytes() == b""


def test_a_receipt_of_another_object_is_told_before_anything_is_read(
    site: Site, receipt: Receipt, tmp_path: Path
) -> None:
    other = replace(receipt, size_bytes=1, proof=Proof(None, None))
    with pytest.raises(IntegrityError, match="the receipt says 1"):
        get(site, tmp_path / "out", receipt=other)
    assert (tmp_path / "out").read_bytes() == b""
