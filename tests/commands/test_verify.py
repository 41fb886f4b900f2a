"""`verify` and `etag`, library and program: proved equal, different, or nothing proves it."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from streamtos3 import CancelScope, ReadReport, Receipt, read_receipt, verify_object
from streamtos3.downloader.local_etag import etag_as_stored
from streamtos3.errors import (
    AbsentError,
    IntegrityError,
    SourceError,
    UnprovedReadError,
    UsageError,
)
from streamtos3.model.parts import Limits
from streamtos3.receipts.file import write_receipt
from streamtos3.results import CommandReport, RetriedRequest
from streamtos3.sources.open import open_file
from tests.rig.client import composite, md5
from tests.rig.command import Outcome, account, anonymous, assert_refused, invoke, run
from tests.rig.seaweed import SeaweedFS
from tests.rig.shelf import OPTIONS, P, Shelf, bodies_of, shelf
from tests.rig.support import MIB, payload

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


@pytest.fixture
def shelves() -> Iterator[Shelf]:
    with shelf() as each:
        yield each


def verified(each: Shelf, **how: Any) -> ReadReport:
    if isinstance(how.get("source"), bytes):
        how["source"] = io.BytesIO(how["source"])
    return verify_object("bkt", "k", options=OPTIONS, client=each.client, **how)


# A local stream


@pytest.mark.parametrize("size_bytes", [0, 1, P - 1, P, P + 1, 3 * P + 7, 9 * P + 1])
def test_the_same_bytes_are_proved_without_a_download(shelves: Shelf, size_bytes: int) -> None:
    data = payload(size_bytes)
    shelves.store(data)
    report = verified(shelves, source=data)
    assert report.proof == ("md5-etag" if size_bytes <= P else "composite-etag")
    assert report.compared == ("size", "etag")
    assert shelves.ranges == []


@pytest.mark.parametrize("size_bytes", [1, P, 3 * P + 7])
def test_one_bit_one_byte_less_and_one_more_are_different(shelves: Shelf, size_bytes: int) -> None:
    data = payload(size_bytes)
    shelves.store(data)
    for other in (bytes([data[0] ^ 1]) + data[1:], data[:-1], data + b"!"):
        with pytest.raises(IntegrityError):
            verified(shelves, source=other)


def test_a_file_of_another_size_is_different_before_it_is_read(
    shelves: Shelf, tmp_path: Path
) -> None:
    shelves.store(payload(3 * P))
    path = tmp_path / "file"
    path.write_bytes(b"short")
    source = open_file(path)
    with pytest.raises(IntegrityError, match="has 3000 bytes, .*file has 5"):
        verified(shelves, source=source)


def test_foreign_parts_are_asked_for(shelves: Shelf) -> None:
    data = shelves.place(bodies_of(500, 600, 200))
    assert verified(shelves, source=data).proof == "composite-etag"


def test_parts_that_only_look_equal_are_no_false_alarm(shelves: Shelf) -> None:
    data = shelves.place(bodies_of(500, 600, 400, 200))
    with pytest.raises(UnprovedReadError, match="only its size could be compared"):
        verified(shelves, source=data)
    assert verified(shelves, source=data, readback=True).proof == "readback"


def test_an_opaque_etag_proves_nothing_and_reading_back_does() -> None:
    with shelf(etag="opaque") as each:
        data = payload(3 * P)
        each.store(data)
        with pytest.raises(UnprovedReadError) as caught:
            verified(each, source=data)
        assert "--readback" in (caught.value.hint or "")
        report = verified(each, source=data, readback=True)
        assert (report.proof, report.compared) == ("readback", ("size", "sha256", "bytes"))
        with pytest.raises(IntegrityError, match="its sha256 is"):
            verified(each, source=bytes(3 * P), readback=True)


def test_reading_back_finds_what_the_etag_hides(shelves: Shelf) -> None:
    """The server's disk is rotten, its ETag is what it was."""
    data = payload(3 * P)
    receipt = shelves.store(data)
    shelves.rot(2500)
    assert verified(shelves, source=data).proof == "composite-etag"
    assert verified(shelves, receipt=receipt).proof == "receipt-etag"
    for how in ({"source": data}, {"receipt": receipt}, {"source": data, "receipt": receipt}, {}):
        with pytest.raises(IntegrityError):
            verified(shelves, **how, readback=True)


def test_a_source_that_fails_is_a_source_error(shelves: Shelf, tmp_path: Path) -> None:
    shelves.store(b"data")
    with pytest.raises(SourceError):
        verified(shelves, source=tmp_path / "absent")


# A receipt, and nothing


def test_a_receipt_is_compared_without_a_download(shelves: Shelf) -> None:
    receipt = shelves.store(payload(3 * P))
    report = verified(shelves, receipt=receipt)
    assert (report.proof, report.compared) == ("receipt-etag", ("size", "etag"))
    assert shelves.ranges == []


def test_the_version_is_compared_too() -> None:
    with shelf(versioned=True) as each:
        receipt = each.store(payload(3 * P))
        assert verified(each, receipt=receipt).compared == ("size", "etag", "version id")
        each.store(payload(3 * P), overwrite=True)
        with pytest.raises(IntegrityError, match="its version id is"):
            verified(each, receipt=receipt)


@pytest.mark.parametrize("other", [payload(3 * P, seed=1), payload(3 * P + 1), b""])
def test_another_object_is_not_what_the_receipt_says(shelves: Shelf, other: bytes) -> None:
    receipt = shelves.store(payload(3 * P))
    shelves.store(other, overwrite=True)
    with pytest.raises(IntegrityError, match="is not what the receipt says"):
        verified(shelves, receipt=receipt)


def test_a_receipt_that_was_never_proved_needs_the_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    with shelf(etag="opaque") as each:
        receipt = each.store(payload(3 * P), verify="none")
        assert verified(each, receipt=receipt).proof == "receipt"  # read back unasked
        limit = "streamtos3.downloader.comparison.READ_BACK_UNASKED_BYTES"
        monkeypatch.setattr(limit, 3 * P - 1)
        with pytest.raises(UnprovedReadError, match="nothing proves") as caught:
            verified(each, receipt=receipt)
        assert caught.value.report.compared == ("size", "etag")
        assert "--readback" in (caught.value.hint or "")
        assert verified(each, receipt=receipt, readback=True).proof == "receipt"


def test_a_file_and_a_receipt_that_differ_are_told_apart_to_the_part(shelves: Shelf) -> None:
    data = payload(3 * P)
    receipt = shelves.store(data)
    assert verified(shelves, source=data, receipt=receipt).compared[-1] == "part MD5s"
    other = data[:1500] + b"?" + data[1501:]
    with pytest.raises(IntegrityError, match="part 2, from byte 1000 on"):
        verified(shelves, source=other, receipt=receipt)


def test_alone_it_reads_the_object_and_computes_its_etag(shelves: Shelf) -> None:
    shelves.store(payload(3 * P))
    report = verified(shelves)
    assert (report.proof, report.compared) == ("composite-etag", ("etag", "bytes"))
    assert len(shelves.ranges) == 3
    shelves.rot(10)
    with pytest.raises(IntegrityError):
        verified(shelves)


def test_alone_an_opaque_etag_leaves_it_unproved() -> None:
    with shelf(etag="opaque") as each:
        each.store(payload(3 * P))
        with pytest.raises(UnprovedReadError, match="there is nothing to compare it with"):
            verified(each)


def test_an_object_replaced_in_between_is_noticed(shelves: Shelf) -> None:
    """HEAD, then another writer, then the reading back."""
    data = payload(3 * P)
    shelves.store(data)

    class Replaces(io.BytesIO):
        def readinto(self, view: Any) -> int:
            shelves.store(payload(3 * P, 1), overwrite=True)
            return super().readinto(view)

    with pytest.raises(IntegrityError, match="was replaced while it was being compared"):
        verify_object(
            "bkt",
            "k",
            source=Replaces(data),
            readback=True,
            options=OPTIONS,
            client=shelves.client,
        )


def test_a_missing_object_is_absent(shelves: Shelf) -> None:
    with pytest.raises(AbsentError, match="NoSuchKey"):
        verified(shelves, source=b"data")


# The ETag of a local stream


@pytest.mark.parametrize("size_bytes", [0, 1, P - 1, P, P + 1, 2 * P, 5 * P + 7])
def test_the_etag_is_what_an_upload_of_the_same_stream_gets(
    shelves: Shelf, size_bytes: int
) -> None:
    data = payload(size_bytes)
    expected = shelves.store(data).etag_expected
    found = etag_as_stored(
        _stream(data), CancelScope(), chunk_bytes=OPTIONS.chunk_bytes, limits=OPTIONS.limits
    )
    assert found == expected


def test_a_file_of_known_length_has_the_equal_parts_that_put_gives_it(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(payload(9 * P))
    limits = Limits(min_part_bytes=1, max_parts=9, growth_after_parts=2, growth_every_parts=2)
    source = open_file(path)
    assert etag_as_stored(source, CancelScope(), chunk_bytes=P, limits=limits) == composite(
        *bodies_of(*[P] * 9)
    )


def _stream(data: bytes) -> Any:
    from streamtos3.sources.base import ObjectSource

    return ObjectSource(io.BytesIO(data), "stream")


# The program


@pytest.fixture
def stored(shelves: Shelf, tmp_path: Path) -> Path:
    """A file, an object of it as `bkt/k`, and its receipt beside it."""
    data = payload(100)
    path = tmp_path / "file"
    path.write_bytes(data)
    write_receipt(shelves.store(data), str(tmp_path / "receipt.json"))
    return path


def verify(each: Shelf, *words: object) -> Outcome:
    return invoke("verify", "s3://bkt/k", *words, env=anonymous(each.fake.endpoint_url))


def test_one_line_says_what_was_compared(shelves: Shelf, stored: Path) -> None:
    done = verify(shelves, stored)
    etag = md5(payload(100))
    assert done.status == 0
    assert done.stderr == (
        f"streamtos3: s3://bkt/k (100 B) equals {stored}: compared size, etag; "
        f"proved by md5-etag {etag}\n"
    )
    receipt = stored.parent / "receipt.json"
    done = verify(shelves, "--receipt", receipt)
    assert f"equals {receipt}: compared size, etag; proved by receipt-etag {etag}" in done.stderr
    assert "equals its own ETag: compared etag, bytes" in verify(shelves).stderr
    assert verify(shelves, stored, "-q").stderr == ""


def test_json_is_the_report(shelves: Shelf, stored: Path) -> None:
    done = verify(shelves, stored, "--json", "--readback")
    report = json.loads(done.stdout)
    assert report["compared"] == ["size", "etag", "sha256", "bytes"]
    assert (report["schema"], report["proof"]) == (1, "md5-etag")


def test_a_difference_is_status_9(shelves: Shelf, stored: Path) -> None:
    stored.write_bytes(b"?" * 100)
    assert_refused(verify(shelves, stored, "--json"), 9, "is not what")


def test_no_proof_is_status_10_with_its_report(stored: Path) -> None:
    with shelf(etag="opaque") as each:
        each.store(payload(100))
        done = verify(each, stored, "--json")
        assert (done.status, json.loads(done.stdout.splitlines()[0])["proof"]) == (10, None)
        assert "nothing proves" in done.said("error")[0]
        assert "--readback" in done.said("hint")[0]


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["verify"], 2, "missing argument"),
        (["verify", "file"], 2, "is not a destination"),
        (["verify", "s3://bkt/"], 2, "names no key"),
        (["verify", "s3://bkt/k", "/nowhere/file"], 7, "cannot read /nowhere/file"),
        (["verify", "s3://bkt/k", "--receipt", "/nowhere/r"], 2, "cannot read the receipt"),
        (["etag"], 2, "missing argument"),
        (["etag", "/nowhere/file"], 7, "cannot read /nowhere/file"),
        (["etag", "-c", "1MiB", "/etc/hostname"], 2, "chunk size"),
    ],
)
def test_bad_input_has_its_status(words: list[str], status: int, said: str) -> None:
    assert_refused(invoke(*words), status, said)


def test_etag_prints_what_put_would_store(tmp_path: Path) -> None:
    path = tmp_path / "file"
    data = payload(11 * MIB)
    path.write_bytes(data)
    assert invoke("etag", path).stdout == composite(data[: 8 * MIB], data[8 * MIB :]) + "\n"
    assert invoke("etag", "-c", "11MiB", path).stdout == md5(data) + "\n"
    piped = run("etag", "-c", "5MiB", "-", stdin=data)
    pieces = [data[at : at + 5 * MIB] for at in range(0, len(data), 5 * MIB)]
    assert (piped.status, piped.stdout) == (0, composite(*pieces) + "\n")


# On a real server


@pytest.mark.slow
def test_on_seaweedfs_with_a_file_a_stream_and_a_receipt(
    seaweed: SeaweedFS, s3: S3Client, bucket: str, tmp_path: Path
) -> None:
    data = payload(13 * MIB + 1)
    path = tmp_path / "file"
    path.write_bytes(data)
    receipt = tmp_path / "receipt.json"
    url, env = f"s3://{bucket}/k", account(seaweed)
    assert run("-c", "6MiB", "--receipt", receipt, url, env=env, stdin=data).status == 0
    assert invoke("verify", url, path, env=env).status == 0
    assert run("verify", url, "-", env=env, stdin=data).status == 0
    assert run("verify", url, "-", env=env, stdin=data[:-1]).status == 9
    assert invoke("verify", url, "--receipt", receipt, "--readback", env=env).status == 0
    etag = invoke("etag", "-c", "6MiB", path).stdout.strip()
    assert etag == s3.head_object(Bucket=bucket, Key="k")["ETag"].strip('"')


# Receipts as files


@pytest.fixture
def receipt(shelves: Shelf) -> Receipt:
    return shelves.store(payload(2 * P + 1), digests=("sha256", "md5"))


def test_a_receipt_that_was_written_is_read_again(receipt: Receipt, tmp_path: Path) -> None:
    path = str(tmp_path / "receipt.json")
    at = receipt.started_at.replace(microsecond=0)
    receipt = replace(
        receipt,
        started_at=at,
        first_byte_at=at,
        ended_at=at,
        parts=tuple(replace(part, stored_at=at) for part in receipt.parts),
        retried=(RetriedRequest(at, "part 1", 1, 0.5, "no answer"),),
        command=CommandReport(("dd", "if=/dev/sda"), 0, 1.5),
    )
    write_receipt(receipt, path)
    assert read_receipt(path) == receipt


def test_fields_of_a_later_version_are_passed_over(receipt: Receipt, tmp_path: Path) -> None:
    path = tmp_path / "receipt.json"
    write_receipt(receipt, str(path))
    before = read_receipt(str(path))
    values = json.loads(path.read_text())
    values["colour"] = "blue"
    values["parts"][0]["mood"] = "good"
    path.write_text(json.dumps(values))
    assert read_receipt(str(path)) == before


def test_a_receipt_of_an_earlier_version_is_read(receipt: Receipt, tmp_path: Path) -> None:
    path = tmp_path / "receipt.json"
    write_receipt(receipt, str(path))
    values = json.loads(path.read_text())
    for name in ("retried", "source", "utc_offset", "platform"):
        del values[name]
    for part in values["parts"]:
        del part["stored_at"]
    path.write_text(json.dumps(values))
    again = read_receipt(str(path))
    assert (again.retried, again.source, again.parts[0].stored_at) == ((), None, None)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"schema": 2}, "is not a receipt of this program"),
        ({"parts": []}, "its parts have 0 bytes"),
        ({"parts": 7}, "is damaged"),
        ({"size_bytes": 5}, "its parts have 2001 bytes, the whole 5"),
        ({"digests": {"sha256": "xyz"}}, "is not a sha256 digest"),
        ({"digests": {"crc": "0" * 64}}, "is not a crc digest"),
        ({"started_at": "yesterday"}, "is damaged"),
        ({"started_at": "2026-11-30T10:00:00"}, "started_at is .* without a zone"),
        ({"etag_expected": ""}, "has no ETag"),
        ({"etag_expected": "0" * 32 + "-3"}, "the MD5s of the parts give the ETag"),
        ({"host": ["h"]}, "host is \\['h'\\]"),
        ({"retries": True}, "retries is True"),
        ({"command": {}}, "no 'command'"),
    ],
)
def test_a_damaged_receipt_is_refused(
    receipt: Receipt, tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    path = tmp_path / "receipt.json"
    write_receipt(receipt, str(path))
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(UsageError, match=said):
        read_receipt(str(path))


@pytest.mark.parametrize(
    "change",
    [{"number": 3}, {"offset_bytes": 1}, {"md5": "0"}, {"size_bytes": -1}, {"size_bytes": "many"}],
)
def test_a_receipt_with_a_damaged_part_is_refused(
    receipt: Receipt, tmp_path: Path, change: dict[str, Any]
) -> None:
    path = tmp_path / "receipt.json"
    write_receipt(receipt, str(path))
    values = json.loads(path.read_text())
    values["parts"][1].update(change)
    path.write_text(json.dumps(values))
    with pytest.raises(UsageError, match="is damaged"):
        read_receipt(str(path))


@pytest.mark.parametrize("name", sorted({"bucket", "parts", "size_bytes", "ended_at", "proof"}))
def test_a_receipt_without_a_field_is_refused(receipt: Receipt, tmp_path: Path, name: str) -> None:
    path = tmp_path / "receipt.json"
    write_receipt(receipt, str(path))
    values = json.loads(path.read_text())
    del values[name]
    path.write_text(json.dumps(values))
    with pytest.raises(UsageError, match="is damaged"):
        read_receipt(str(path))


@pytest.mark.parametrize("text", ["", "[]", "{", "\0", '"receipt"'])
def test_what_is_no_receipt_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "receipt.json"
    path.write_text(text)
    with pytest.raises(UsageError):
        read_receipt(str(path))


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "receipt.json"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="is not JSON"):
        read_receipt(str(path))
