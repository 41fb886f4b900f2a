"""`get` as people run it: pipes, files that are never half made, and what it says."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import stat
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from streamtos3.receipts.file import write_receipt
from tests.rig.command import (
    PROGRAM,
    Outcome,
    account,
    anonymous,
    assert_refused,
    invoke,
    run,
    shell,
)
from tests.rig.peak import peak_bytes
from tests.rig.proxy import Fault, FaultProxy
from tests.rig.seaweed import SeaweedFS
from tests.rig.shelf import P, Shelf, shelf
from tests.rig.support import MIB, payload
from tests.rig.terminal import Terminal

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


@pytest.fixture
def shelves() -> Iterator[Shelf]:
    with shelf() as each:
        yield each


def get(each: Shelf, *words: object) -> Outcome:
    """`get` of `bkt/k` in this process."""
    env = anonymous(each.proxy.endpoint_url)
    return invoke("get", "-s", "0.01", "-r", "3", "s3://bkt/k", *words, env=env)


# Pipes, on a real server


@pytest.mark.slow
def test_a_big_object_goes_through_pipes_both_ways(
    seaweed: SeaweedFS, bucket: str, tmp_path: Path
) -> None:
    """64 MiB and a bit; parts that are read whole, and a receipt that lets nothing else out."""
    data = payload(64 * MIB + 7)
    url, env = f"s3://{bucket}/big", account(seaweed)
    receipt = tmp_path / "receipt.json"
    assert run("--receipt", receipt, url, env=env, stdin=data).status == 0
    for words in ([], ["--receipt", str(receipt)]):
        done = subprocess.run(
            [*PROGRAM, "get", *words, url],
            env={**os.environ, **env},
            capture_output=True,
            timeout=60,
            check=True,
        )
        assert hashlib.sha256(done.stdout).digest() == hashlib.sha256(data).digest()
        assert b"proved by" in done.stderr


@pytest.mark.slow
def test_memory_stays_bounded_in_a_real_process(
    seaweed: SeaweedFS, s3: S3Client, bucket: str
) -> None:
    """Peak memory hardly differs between a small object and one many times --memory."""
    peaks = []
    for size_bytes in (MIB, 64 * MIB):
        s3.put_object(Bucket=bucket, Key="k", Body=payload(MIB) * (size_bytes // MIB))
        words = ["get", "--memory", "8MiB", "-c", "2MiB", f"s3://{bucket}/k"]
        peaks.append(peak_bytes([*PROGRAM, *words], {**os.environ, **account(seaweed)}))
    assert peaks[1] - peaks[0] < 24 * MIB


def test_a_reader_who_leaves_ends_it_quietly_with_141(
    seaweed: SeaweedFS, s3: S3Client, bucket: str
) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=payload(12 * MIB))
    line = '{ "$@"; echo "status $?" >&2; } | head -c 10 | wc -c'
    done = shell(line, "get", f"s3://{bucket}/k", env=account(seaweed))
    assert (done.stdout.strip(), done.stderr) == ("10", "status 141\n")


def test_objects_of_other_programs_are_proved(
    seaweed: SeaweedFS, s3: S3Client, bucket: str, tmp_path: Path
) -> None:
    """boto3's own upload with parts of 5 MiB, and one with uneven parts."""
    from boto3.s3.transfer import TransferConfig

    data = payload(16 * MIB + 3)
    source = tmp_path / "source"
    source.write_bytes(data)
    config = TransferConfig(multipart_chunksize=5 * MIB, multipart_threshold=5 * MIB)
    s3.upload_file(str(source), bucket, "equal", Config=config)
    created = s3.create_multipart_upload(Bucket=bucket, Key="uneven")
    where = {"Bucket": bucket, "Key": "uneven", "UploadId": created["UploadId"]}
    parts = []
    for number, (first, end) in enumerate([(0, 5), (5, 12), (12, 17)], 1):
        body = data[first * MIB : end * MIB]
        answer = s3.upload_part(**where, PartNumber=number, Body=body)  # type: ignore[arg-type]
        parts.append({"PartNumber": number, "ETag": answer["ETag"]})
    s3.complete_multipart_upload(**where, MultipartUpload={"Parts": parts})  # type: ignore[typeddict-item,arg-type]
    for key in ("equal", "uneven"):
        out = tmp_path / key
        done = invoke("get", f"s3://{bucket}/{key}", out, env=account(seaweed))
        assert (done.status, out.read_bytes() == data) == (0, True), done
        assert "proved by composite-etag" in done.stderr


def test_a_version_is_read_to_its_end_though_a_newer_one_comes(
    seaweed: SeaweedFS, s3: S3Client, bucket: str, tmp_path: Path
) -> None:
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    old, new = payload(12 * MIB), payload(12 * MIB, 1)
    first = s3.put_object(Bucket=bucket, Key="k", Body=old)["VersionId"]

    def replace(_: FaultProxy) -> None:
        s3.put_object(Bucket=bucket, Key="k", Body=new)

    with FaultProxy(seaweed.endpoint_url) as proxy:
        proxy.faults.append(Fault("get", "callback", skip=1, callback=replace))
        env = {**account(seaweed), "AWS_ENDPOINT_URL": proxy.endpoint_url}
        for name, words in (("a", []), ("b", ["--version-id", first])):
            out = tmp_path / name
            done = invoke("get", "-j", "1", "-c", "4MiB", *words, f"s3://{bucket}/k", out, env=env)
            assert (done.status, out.read_bytes() == old) == (0, True), done
    assert invoke("get", f"s3://{bucket}/k", tmp_path / "c", env=account(seaweed)).status == 0
    assert (tmp_path / "c").read_bytes() == new


def test_an_object_replaced_half_way_is_noticed_on_a_real_server(
    seaweed: SeaweedFS, s3: S3Client, bucket: str, tmp_path: Path
) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=payload(12 * MIB))

    def replace(_: FaultProxy) -> None:
        s3.put_object(Bucket=bucket, Key="k", Body=payload(12 * MIB, 1))

    with FaultProxy(seaweed.endpoint_url) as proxy:
        proxy.faults.append(Fault("get", "callback", skip=1, callback=replace))
        env = {**account(seaweed), "AWS_ENDPOINT_URL": proxy.endpoint_url}
        done = invoke("get", "-j", "1", "-c", "4MiB", f"s3://{bucket}/k", tmp_path / "out", env=env)
    assert_refused(done, 9, "was replaced while it was being read")
    assert os.listdir(tmp_path) == []


# OUTFILE


def test_outfile_has_the_bytes_and_the_modes_of_a_new_file(shelves: Shelf, tmp_path: Path) -> None:
    data = payload(3 * P)
    shelves.store(data)
    out = tmp_path / "out"
    done = get(shelves, out)
    assert (done.status, done.stdout, out.read_bytes()) == (0, "", data)
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(out.stat().st_mode) == 0o666 & ~umask
    assert os.listdir(tmp_path) == ["out"]


def test_outfile_is_never_overwritten_unless_asked(shelves: Shelf, tmp_path: Path) -> None:
    shelves.store(payload(3 * P))
    out = tmp_path / "out"
    out.write_text("mine")
    assert_refused(get(shelves, out), 6, "already exists", "--overwrite")
    assert out.read_text() == "mine"
    assert shelves.ranges == []
    assert get(shelves, out, "--overwrite").status == 0
    assert out.read_bytes() == payload(3 * P)


def test_a_file_that_appears_meanwhile_is_not_overwritten(shelves: Shelf, tmp_path: Path) -> None:
    shelves.store(payload(3 * P))
    out = tmp_path / "out"
    shelves.fail("callback", callback=lambda _: out.write_text("mine"))
    assert_refused(get(shelves, out), 6, "already exists")
    assert (out.read_text(), os.listdir(tmp_path)) == ("mine", ["out"])


def test_a_link_stays_and_what_it_names_is_replaced(shelves: Shelf, tmp_path: Path) -> None:
    shelves.store(payload(3 * P))
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_text("old")
    link.symlink_to("target")
    assert get(shelves, link, "--overwrite").status == 0
    assert link.is_symlink()
    assert target.read_bytes() == payload(3 * P)


def test_what_is_not_what_was_stored_never_gets_its_name(shelves: Shelf, tmp_path: Path) -> None:
    shelves.store(payload(3 * P))
    shelves.rot(1500)
    old = tmp_path / "old"
    old.write_text("old")
    assert_refused(get(shelves, tmp_path / "out"), 9, "is not what was stored")
    assert_refused(get(shelves, old, "--overwrite"), 9, "is not what was stored")
    assert (os.listdir(tmp_path), old.read_text()) == (["old"], "old")


def test_what_nothing_proves_is_kept_under_a_name_that_says_so(tmp_path: Path) -> None:
    data = payload(3 * P)
    with shelf(etag="opaque") as each:
        receipt = each.store(data)
        done = get(each, tmp_path / "out", "--json")
        assert (done.status, json.loads(done.stdout.splitlines()[0])["proof"]) == (10, None)
        assert "nothing proves" in done.said("error")[0]
        assert done.said("left behind") == [f"{tmp_path}/out.unproved, all that was read"]
        assert os.listdir(tmp_path) == ["out.unproved"]
        assert (tmp_path / "out.unproved").read_bytes() == data
        assert_refused(get(each, tmp_path / "out"), 6, "out.unproved already exists")
        write_receipt(receipt, str(tmp_path / "receipt.json"))
        words = ("--overwrite", "--receipt", tmp_path / "receipt.json")
        done = get(each, tmp_path / "out", *words)
        assert (done.status, (tmp_path / "out").read_bytes()) == (0, data)
        assert "proved by receipt (part MD5s, sha256), sha256 " in done.stderr


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM])
def test_who_dies_half_way_leaves_no_outfile(
    shelves: Shelf, tmp_path: Path, signum: signal.Signals
) -> None:
    shelves.store(payload(3 * P))
    arrived = threading.Event()
    shelves.fail("callback", skip=1, callback=lambda _: arrived.set(), times=-1)
    shelves.proxy.faults.insert(0, Fault("get", "stop-answering", skip=2, times=-1))
    process = subprocess.Popen(
        [*PROGRAM, "get", "-j", "1", "s3://bkt/k", str(tmp_path / "out")],
        env={**os.environ, **anonymous(shelves.proxy.endpoint_url)},
        stderr=subprocess.PIPE,
    )
    assert arrived.wait(30)
    assert not (tmp_path / "out").exists()
    process.send_signal(signum)
    _, said = process.communicate(timeout=30)
    left = os.listdir(tmp_path)
    if signum == signal.SIGKILL:
        assert [name.startswith(".streamtos3-") for name in left] == [True]
    else:
        assert (process.returncode, left) == (143, []), said


def test_devices_and_named_pipes_are_written_to_directly(shelves: Shelf, tmp_path: Path) -> None:
    data = payload(3 * P)
    shelves.store(data)
    said = "cannot write /dev/full at byte 0: no space left on device"
    assert_refused(get(shelves, "/dev/full"), 11, said)
    assert stat.S_ISCHR(os.stat("/dev/full").st_mode)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(fifo.read_bytes()))
    reader.start()
    assert get(shelves, fifo).status == 0
    reader.join()
    assert got == [data]
    assert fifo.is_fifo()


def test_json_with_outfile_is_the_report(shelves: Shelf, tmp_path: Path) -> None:
    receipt = shelves.store(payload(3 * P))
    report = json.loads(get(shelves, tmp_path / "out", "--json").stdout)
    assert report["etag"] == receipt.etag_found
    assert (report["proof"], report["size_bytes"]) == ("composite-etag", 3 * P)


# What it says, and what it refuses


def test_one_line_says_what_was_read_and_what_proved_it(shelves: Shelf, tmp_path: Path) -> None:
    receipt = shelves.store(payload(3 * P))
    done = get(shelves, tmp_path / "out")
    assert done.stderr.startswith("streamtos3: read 2.9 KiB of s3://bkt/k in ")
    assert done.stderr.endswith(f"proved by composite-etag {receipt.etag_found}\n")
    assert get(shelves, tmp_path / "again", "-q").stderr == ""


def test_retries_are_reported(shelves: Shelf, tmp_path: Path) -> None:
    shelves.store(payload(3 * P))
    shelves.fail("503")
    done = get(shelves, tmp_path / "out")
    assert done.status == 0
    assert "SlowDown" in done.stderr and "trying again in" in done.stderr


def test_progress_is_shown_where_it_is_asked_for(shelves: Shelf, tmp_path: Path) -> None:
    shelves.store(payload(3 * P))
    with Terminal() as terminal:
        env = anonymous(shelves.proxy.endpoint_url)
        process = terminal.start([*PROGRAM, "get", "s3://bkt/k", str(tmp_path / "out")], env)
        assert "read" in terminal.wait_for("proved by")
        process.communicate(timeout=30)


def test_a_terminal_gets_no_object_unless_asked(shelves: Shelf) -> None:
    shelves.store(b"plain text")
    with Terminal() as terminal:
        env = {**os.environ, **anonymous(shelves.proxy.endpoint_url)}
        for words, status in ((["s3://bkt/k"], 2), (["s3://bkt/k", "-"], 0)):
            process = subprocess.run(
                [*PROGRAM, "get", *words],
                env=env,
                stdin=subprocess.PIPE,
                stdout=terminal.slave,
                stderr=subprocess.PIPE,
                timeout=30,
            )
            assert process.returncode == status, process.stderr
            refused = b"standard output is a terminal" in process.stderr
            assert refused == (status == 2)
        assert terminal.painted() == "plain text"


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        ([], 2, "missing argument"),
        (["file"], 2, "is not a destination"),
        (["s3://bkt"], 2, "names no key"),
        (["s3://bkt/k", "--json"], 2, "--json needs OUTFILE"),
        (["s3://bkt/k", "-", "--json"], 2, "--json needs OUTFILE"),
        (["s3://bkt/k", "--range", "9-1"], 2, "is not a range"),
        (["s3://bkt/k", "--range", "-"], 2, "is not a range"),
        (["s3://bkt/k", "--range", "a-b"], 2, "is not a range"),
        (["s3://bkt/k", "--receipt", "/etc/hostname"], 2, "the receipt /etc/hostname"),
        (["s3://bkt/k", "/"], 2, "is a directory"),
        (["s3://bkt/k", "/nowhere/out"], 11, "cannot write /nowhere/out"),
        (["s3://bkt/absent"], 5, "NoSuchKey"),
        (["s3://absent/k"], 5, "NoSuchBucket"),
    ],
)
def test_bad_input_has_its_status(shelves: Shelf, words: list[str], status: int, said: str) -> None:
    shelves.store(payload(10))
    assert_refused(invoke("get", *words, env=anonymous(shelves.fake.endpoint_url)), status, said)


def test_a_range_is_what_http_means_by_it(shelves: Shelf, tmp_path: Path) -> None:
    data = payload(3 * P)
    receipt = tmp_path / "receipt.json"
    write_receipt(shelves.store(data), str(receipt))
    for text, wanted in (("0-9", data[:10]), ("2990-", data[2990:]), ("bytes=-5", data[-5:])):
        out = tmp_path / text
        done = get(shelves, out, "--range", text, "--receipt", receipt)
        assert (done.status, out.read_bytes()) == (0, wanted), done


def test_an_archived_object_says_that_it_must_be_restored(
    moto_server: str, moto_s3: S3Client, moto_bucket: str, tmp_path: Path
) -> None:
    moto_s3.put_object(Bucket=moto_bucket, Key="k", Body=b"cold", StorageClass="GLACIER")
    done = invoke("get", f"s3://{moto_bucket}/k", tmp_path / "out", env=anonymous(moto_server))
    assert_refused(done, 5, "is archived (GLACIER) and must be restored first", "restore-object")
    assert os.listdir(tmp_path) == []


def test_an_account_without_the_right_to_read_and_a_wrong_key_are_told_apart(
    seaweed: SeaweedFS, s3: S3Client, bucket: str, tmp_path: Path
) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"secret")
    words = ("get", f"s3://{bucket}/k", tmp_path / "out")
    assert_refused(invoke(*words, env=account(seaweed, "denied")), 5, "AccessDenied")
    wrong = {**account(seaweed), "AWS_SECRET_ACCESS_KEY": "wrong"}
    assert_refused(invoke(*words, env=wrong), 3, "SignatureDoesNotMatch")
