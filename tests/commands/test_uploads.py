"""`uploads list` and `uploads abort`: what was left behind is shown, and goes only if it is old."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import shlex
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner, Result

from streamtos3.cli import program
from streamtos3.errors import RefusedError, UsageError
from streamtos3.model.events import Retrying
from streamtos3.model.names import split_s3_prefix
from streamtos3.model.options import Connection, Retries
from streamtos3.model.unfinished_upload import UnfinishedUpload
from streamtos3.runtime.cancel import CancelScope
from streamtos3.runtime.retry import Retrier
from streamtos3.s3.bucket import Bucket
from streamtos3.uploader.unfinished import (
    Listing,
    abort_each,
    list_unfinished,
    measure,
)
from tests.rig.fake_s3 import FakeS3, Quirks
from tests.rig.proxy import Fault, FaultProxy
from tests.rig.quirks import Part, Upload
from tests.rig.seaweed import SeaweedFS, free_ports
from tests.rig.support import MIB, open_uploads

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

DAY_S = 86_400.0
KEYS = ("--region", "us-east-1", "--addressing", "path", "-s", "0.01")


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fake looks at no signature."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")


def a_fake(**quirks: Any) -> FakeS3:
    """A fake S3 with the one bucket that the tests name."""
    return FakeS3(Quirks(**quirks), buckets=("bkt",))


def left(
    fake: FakeS3, key: str, *, age_s: float, sizes: tuple[int, ...] = (), bucket: str = "bkt"
) -> str:
    """Leave an unfinished upload behind on the fake, begun `age_s` ago; its id."""
    upload_id = f"{len(fake.uploads):06}-id"
    parts = [Part(number, bytes(size), "0" * 32) for number, size in enumerate(sizes, 1)]
    initiated = datetime.now(timezone.utc) - timedelta(seconds=age_s)
    fake.uploads[upload_id] = Upload(upload_id, bucket, key, {}, initiated, parts)
    return upload_id


def call(url: str, command: str, place: str, *options: str, said: str | None = None) -> Result:
    words = ["uploads", command, place, "--endpoint-url", url, *KEYS, *options]
    return CliRunner().invoke(program, words, input=said, prog_name="streamtos3")


def rows(result: Result) -> list[list[str]]:
    """The table below its heading, cell by cell."""
    return [line.split("  ") for line in result.stdout.splitlines()[1:]]


@contextlib.contextmanager
def place(url: str, bucket: str = "bkt") -> Iterator[tuple[Bucket, Retrier]]:
    """A store at `url` with a retrier that does not really wait."""
    with CancelScope() as scope:
        retrier = Retrier(Retries(tries=3), scope, lambda *_: None, sleep=lambda _: None)
        yield Bucket(bucket, Connection(url, "us-east-1", addressing="path")), retrier


def listing_of(fake: FakeS3, prefix: str = "") -> Listing:
    with place(fake.endpoint_url) as (store, retrier):
        return list_unfinished(store, retrier, prefix)


# The table and the JSON lines


def test_the_table_shows_age_key_parts_bytes_and_upload_id_oldest_first_and_aligned() -> None:
    with a_fake() as fake:
        young = left(fake, "young", age_s=90, sizes=(5,))
        old = left(fake, "much/longer", age_s=3 * DAY_S + 3600, sizes=(1024,) * 12)
        result = call(fake.endpoint_url, "list", "s3://bkt/")
    assert result.stderr == ""
    seconds = result.stdout.splitlines()[2][6:8]
    assert result.stdout.splitlines() == [
        "       AGE  KEY          PARTS   BYTES  UPLOAD ID",
        f"  3 d 01 h  much/longer     12  12 KiB  {old}",
        f"1 min {seconds} s  young            1     5 B  {young}",
    ]
    assert result.exit_code == 0


def test_json_gives_one_object_a_line_with_exact_numbers() -> None:
    with a_fake() as fake:
        ids = [left(fake, key, age_s=100, sizes=(3, 4)) for key in ("a", "ä\x9b\n")]
        result = call(fake.endpoint_url, "list", "s3://bkt", "--json")
        initiated = fake.uploads[ids[1]].initiated
    found = [json.loads(line) for line in result.stdout.splitlines()]
    assert [each["upload_id"] for each in found] == ids
    assert 98 <= found[1].pop("age_s") <= 110
    assert found[1] == {
        "bucket": "bkt",
        "key": "ä\x9b\n",
        "upload_id": ids[1],
        "initiated": f"{initiated:%Y-%m-%dT%H:%M:%S}.000Z",
        "parts": 2,
        "size_bytes": 7,
    }
    assert result.stdout.isascii()


@pytest.mark.parametrize("where", ["s3://bkt", "s3://bkt/", "s3://bkt/k", "s3://bkt/none"])
def test_bucket_and_prefix_choose_what_is_listed(where: str) -> None:
    with a_fake() as fake:
        for key in ("k1", "k2", "other"):
            left(fake, key, age_s=1)
        result = call(fake.endpoint_url, "list", where, "--json")
    prefix = where.removeprefix("s3://bkt").removeprefix("/")
    keys = [json.loads(line)["key"] for line in result.stdout.splitlines()]
    assert keys == [key for key in ("k1", "k2", "other") if key.startswith(prefix)]
    assert ("there are no unfinished uploads below s3://bkt/none" in result.stderr) == (not keys)
    assert result.exit_code == 0


def test_control_characters_in_keys_never_reach_the_terminal() -> None:
    """Also where XML cannot carry them and the plain listing is unreadable (\\x1b on S3)."""
    with a_fake(page_size=1) as fake:
        for key in ("plain+%20", "red\x1b[31m", "c1\x9b31m", "rtl\u202e", "line\u2028"):
            left(fake, key, age_s=1)
        result = call(fake.endpoint_url, "list", "s3://bkt/")
        exact = {each.key for each in listing_of(fake).uploads}
    for shown in ("plain+%20", r"red\x1b[31m", r"c1\x9b31m", r"rtl\u202e", r"line\u2028"):
        assert shown in result.stdout
    assert not any(bad in result.stdout for bad in "\x1b\x9b\u202e\u2028")
    assert exact == {"plain+%20", "red\x1b[31m", "c1\x9b31m", "rtl\u202e", "line\u2028"}


def test_more_uploads_and_parts_than_a_page_holds_are_all_counted() -> None:
    with a_fake(page_size=3) as fake:
        for number in range(10):
            left(fake, f"k{number:02}", age_s=number, sizes=(1,) * 7)
        result = call(fake.endpoint_url, "list", "s3://bkt/", "--json")
    found = [json.loads(line) for line in result.stdout.splitlines()]
    assert [each["key"] for each in found] == [f"k{number:02}" for number in reversed(range(10))]
    assert {(each["parts"], each["size_bytes"]) for each in found} == {(7, 7)}


def test_more_than_a_thousand_uploads_are_listed() -> None:
    with a_fake() as fake:
        ids = {left(fake, f"k{number}", age_s=1) for number in range(1_003)}
        assert {each.upload_id for each in listing_of(fake).uploads} == ids
        assert fake.count("list-uploads") == 2


def test_all_pages_are_aborted() -> None:
    with a_fake(page_size=3) as fake:
        for number in range(10):
            left(fake, f"k{number}", age_s=8 * DAY_S)
        result = call(fake.endpoint_url, "abort", "s3://bkt/", "--yes")
        assert fake.uploads == {}
    assert result.stderr.count("aborted upload") == 10


def test_more_than_a_thousand_parts_are_counted() -> None:
    with a_fake() as fake, place(fake.endpoint_url) as (store, retrier):
        left(fake, "k", age_s=1, sizes=(2,) * 1_003)
        (found,) = measure(store, retrier, list_unfinished(store, retrier).uploads)
    assert (found.parts, found.size_bytes) == (1_003, 2_006)


def test_a_service_that_repeats_the_same_page_for_ever_is_refused() -> None:
    class Circular(FakeS3):
        def _do_list_uploads(self, asked):  # type: ignore[no-untyped-def]
            asked.query.pop("key-marker", None)
            return super()._do_list_uploads(asked)

    with Circular(Quirks(page_size=1), buckets=("bkt",)) as fake:
        left(fake, "a", age_s=1)
        left(fake, "b", age_s=1)
        with pytest.raises(RefusedError, match="keeps returning one page"):
            listing_of(fake)


def test_parts_that_may_not_be_listed_are_shown_as_unknown() -> None:
    with a_fake() as fake, FaultProxy(fake.endpoint_url) as proxy:
        left(fake, "k", age_s=1, sizes=(1,))
        proxy.faults.append(Fault("list-parts", "access-denied", times=-1))
        result = call(proxy.endpoint_url, "list", "s3://bkt/", "--json")
    found = json.loads(result.stdout)
    assert (found["parts"], found["size_bytes"], result.exit_code) == (None, None, 0)


# Ages


@pytest.mark.parametrize("offset_s", [-3 * DAY_S, 0, 3 * DAY_S])
def test_age_is_by_the_services_clock_whatever_our_own_says(offset_s: float) -> None:
    """An upload that the service dated ten days before its own now is ten days old."""
    with a_fake(clock_offset_s=offset_s) as fake:
        left(fake, "k", age_s=10 * DAY_S - offset_s)
        listing = listing_of(fake)
        result = call(fake.endpoint_url, "list", "s3://bkt/")
    (found,) = listing.uploads
    assert found.age_s == pytest.approx(10 * DAY_S, abs=5)
    assert listing.clock_ahead_s == pytest.approx(-offset_s, abs=5)
    how = {-1: "3 d 00 h ahead of", 0: None, 1: "behind"}[(offset_s > 0) - (offset_s < 0)]
    assert (how in result.stderr) if how else (result.stderr == "")


def test_our_own_clock_is_injected_only_to_be_compared() -> None:
    with a_fake() as fake, place(fake.endpoint_url) as (store, retrier):
        left(fake, "k", age_s=60)
        wrong = datetime.now(timezone.utc) + timedelta(days=365)
        listing = list_unfinished(store, retrier, clock=lambda: wrong)
    assert listing.clock_ahead_s == pytest.approx(365 * DAY_S, abs=5)
    assert listing.uploads[0].age_s == pytest.approx(60, abs=5)


@pytest.mark.parametrize(
    ("age_s", "older_than_s", "goes"),
    [
        (7 * DAY_S + 2, 7 * DAY_S, True),
        (7 * DAY_S + 0.5, 7 * DAY_S, False),  # dates have a resolution of a second
        (7 * DAY_S - 1, 7 * DAY_S, False),
        (-5.0, 1.0, False),
        (None, 1.0, False),  # a service that does not tell the time
        (None, 0.0, True),
        (-5.0, 0.0, True),
    ],
)
def test_only_what_is_surely_old_enough_is_old_enough(
    age_s: float | None, older_than_s: float, goes: bool
) -> None:
    upload = UnfinishedUpload("k", "id", datetime.now(timezone.utc), age_s)
    assert upload.is_older_than(older_than_s) is goes


# Aborting


def test_abort_takes_seven_days_and_more_and_never_touches_the_younger() -> None:
    with a_fake() as fake:
        old = left(fake, "old", age_s=7 * DAY_S + 60, sizes=(1024, 5))
        young = left(fake, "young", age_s=7 * DAY_S - 60)
        result = call(fake.endpoint_url, "abort", "s3://bkt/", "--yes")
        assert list(fake.uploads) == [young]
        aborted = [each.query["uploadId"] for each in fake.requests if each.verb == "abort"]
    assert aborted == [old]
    assert f"aborted upload {old} of s3://bkt/old: 2 parts, 1 KiB, 7 d 00 h old" in result.stderr
    assert "aborted 1 upload (1 KiB)" in result.stderr
    assert (result.stdout, result.exit_code) == ("", 0)


def test_abort_takes_what_was_asked_for_by_prefix_and_age() -> None:
    with a_fake() as fake:
        left(fake, "p/old", age_s=7200)
        kept = [left(fake, "p/young", age_s=60), left(fake, "q/old", age_s=7200)]
        result = call(
            fake.endpoint_url, "abort", "s3://bkt/p/", "--older-than", "1h", "--yes", "-q"
        )
        assert sorted(fake.uploads) == sorted(kept)
    assert (result.output, result.exit_code) == ("", 0)


def test_abort_with_an_upload_id_takes_only_that_one() -> None:
    with a_fake() as fake:
        one, other = (left(fake, "k", age_s=8 * DAY_S) for _ in range(2))
        result = call(fake.endpoint_url, "abort", "s3://bkt/k", "--upload-id", one, "--yes")
        assert list(fake.uploads) == [other]
    assert result.exit_code == 0


def test_a_named_upload_that_is_too_young_is_status_2_and_stays() -> None:
    with a_fake() as fake:
        young = left(fake, "k", age_s=3600)
        refused = call(fake.endpoint_url, "abort", "s3://bkt/k", "--upload-id", young, "--yes")
        assert list(fake.uploads) == [young]
        zero = ("--older-than", "0", "--yes")
        done = call(fake.endpoint_url, "abort", "s3://bkt/k", "--upload-id", young, *zero)
        assert fake.uploads == {}
    assert refused.exit_code == UsageError.exit_status == 2
    assert "younger than 7 d 00 h" in refused.stderr
    assert done.exit_code == 0


def test_a_named_upload_that_is_not_there_is_status_5() -> None:
    with a_fake() as fake:
        left(fake, "k", age_s=8 * DAY_S)
        result = call(fake.endpoint_url, "abort", "s3://bkt/k", "--upload-id", "typo", "--yes")
        assert len(fake.uploads) == 1
    assert result.exit_code == 5
    assert "there is no unfinished upload typo below s3://bkt/k" in result.stderr


def test_without_terminal_and_yes_it_is_status_2_before_anything_is_asked() -> None:
    with a_fake() as fake:
        left(fake, "k", age_s=8 * DAY_S)
        result = call(fake.endpoint_url, "abort", "s3://bkt/", said="y\n")
        assert (fake.requests, len(fake.uploads)) == ([], 1)
    assert result.exit_code == 2
    assert "--yes" in result.stderr


def test_dry_run_lists_what_would_go_and_touches_nothing() -> None:
    with a_fake() as fake:
        old = left(fake, "old", age_s=8 * DAY_S, sizes=(5,))
        left(fake, "young", age_s=1)
        result = call(fake.endpoint_url, "abort", "s3://bkt/", "--dry-run")
        assert (len(fake.uploads), fake.count("abort")) == (2, 0)
    assert [row[-1] for row in rows(result)] == [old]
    assert "would abort 1 upload (5 B)" in result.stderr
    assert result.exit_code == 0


@pytest.mark.parametrize(("answer", "left_over"), [("y\n", 0), ("n\n", 1), ("\n", 1)])
def test_on_a_terminal_it_lists_what_would_go_and_asks(answer: str, left_over: int) -> None:
    with a_fake() as fake:
        upload_id = left(fake, "old\x9b", age_s=8 * DAY_S, sizes=(5,))
        status, said = on_a_terminal(fake.endpoint_url, answer)
        assert len(fake.uploads) == left_over
    assert f"old\\x9b      1    5 B  {upload_id}" in said
    assert "abort 1 upload (5 B)? [y/N]" in said
    assert ("nothing was aborted" in said) == bool(left_over)
    assert status == 0


def on_a_terminal(url: str, answer: str) -> tuple[int, str]:
    """The program with a real terminal as its standard streams, and what it showed there."""
    words = [sys.executable, "-m", "streamtos3", "uploads", "abort", "s3://bkt/"]
    terminal, theirs = pty.openpty()
    process = subprocess.Popen(
        [*words, "--endpoint-url", url, *KEYS], stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    said = b""
    asked = False
    try:
        with contextlib.suppress(OSError):  # how a terminal says that nobody is left
            while piece := os.read(terminal, 4096):
                said += piece
                if b"[y/N]" in said and not asked:
                    asked = True
                    os.write(terminal, answer.encode())
        return process.wait(10), said.decode()
    finally:
        process.kill()
        process.wait()
        os.close(terminal)


def test_an_upload_that_vanished_meanwhile_is_fine() -> None:
    with a_fake() as fake, FaultProxy(fake.endpoint_url) as proxy:
        left(fake, "k", age_s=8 * DAY_S)
        gone = Fault("abort", "callback", callback=lambda _: fake.uploads.clear())
        proxy.faults.append(gone)
        result = call(proxy.endpoint_url, "abort", "s3://bkt/", "--yes")
        assert gone.struck == 1
    assert result.exit_code == 0


def test_an_upload_that_vanishes_while_it_is_measured_is_left_out() -> None:
    with a_fake() as fake, FaultProxy(fake.endpoint_url) as proxy:
        left(fake, "k", age_s=8 * DAY_S)
        proxy.faults.append(Fault("list-parts", "no-such-upload"))
        result = call(proxy.endpoint_url, "list", "s3://bkt/")
    assert (result.stdout, result.exit_code) == ("", 0)


def test_one_that_cannot_be_aborted_does_not_stop_the_others_and_decides_the_status() -> None:
    with a_fake() as fake, FaultProxy(fake.endpoint_url) as proxy:
        for key in ("a", "b", "c"):
            left(fake, key, age_s=8 * DAY_S)
        proxy.faults.append(Fault("abort", "access-denied", key="a", times=-1))
        proxy.faults.append(Fault("abort", "500", key="b", times=-1))
        result = call(proxy.endpoint_url, "abort", "s3://bkt/", "--yes", "-r", "2")
        assert [each.key for each in fake.uploads.values()] == ["a", "b"]
    assert result.exit_code == 8
    assert "upload 000000-id of s3://bkt/a stays" in result.stderr
    assert "upload 000001-id of s3://bkt/b stays" in result.stderr
    assert "aborted 1 upload" in result.stderr


def test_a_passing_fault_is_tried_again_and_reported() -> None:
    with a_fake() as fake, FaultProxy(fake.endpoint_url) as proxy:
        left(fake, "k", age_s=8 * DAY_S)
        for verb in ("list-uploads", "list-parts", "abort"):
            proxy.faults.append(Fault(verb, "503"))
        result = call(proxy.endpoint_url, "abort", "s3://bkt/", "--yes")
        assert fake.uploads == {}
    assert result.stderr.count("trying again in") == 3
    assert result.exit_code == 0


def test_parts_that_arrive_after_the_abort_are_aborted_too() -> None:
    """A late part can bring an upload back, as AbortMultipartUpload's documentation warns."""
    with a_fake() as fake, FaultProxy(fake.endpoint_url) as proxy:
        upload_id = left(fake, "k", age_s=8 * DAY_S, sizes=(1,))
        upload = fake.uploads[upload_id]
        proxy.faults.append(
            Fault(
                "abort",
                "callback-after",
                callback=lambda _: fake.uploads.update({upload_id: upload}),
            )
        )
        result = call(proxy.endpoint_url, "abort", "s3://bkt/", "--yes")
        assert (fake.uploads, fake.count("abort")) == ({}, 2)
    assert result.exit_code == 0


def test_an_endpoint_that_is_gone_ends_the_loop_at_once() -> None:
    """The other uploads would each wait for as long, in vain."""
    retries: list[Retrying] = []
    with a_fake() as fake, CancelScope() as scope:
        for key in ("a", "b", "c"):
            left(fake, key, age_s=8 * DAY_S)
        store = Bucket("bkt", Connection(fake.endpoint_url, "us-east-1", addressing="path"))
        policy = Retries(tries=2)
        retrier = Retrier(policy, scope, lambda e, _: retries.append(e), sleep=lambda _: None)
        found = list_unfinished(store, retrier).uploads
        fake._listener.stop_accepting(2)
        with pytest.raises(Exception, match="gave up after 2 tries"):
            list(abort_each(store, retrier, found))
    assert len(retries) == 1


def test_the_command_that_a_failed_abort_names_removes_what_is_left() -> None:
    with a_fake(min_part_bytes=1) as fake, FaultProxy(fake.endpoint_url) as proxy:
        proxy.faults += [Fault(verb, "access-denied", times=-1) for verb in ("put-part", "abort")]
        connection = ["--endpoint-url", proxy.endpoint_url, *KEYS]
        words = ["put", *connection, "-c", "5MiB", "-", "s3://bkt/it's here"]
        failed = subprocess.run(
            [sys.executable, "-m", "streamtos3", *words], input=bytes(6 * MIB), capture_output=True
        )
        (upload_id,) = fake.uploads
        named = failed.stderr.decode().partition("billed until it is: streamtos3 ")[2]
        command = shlex.split(named.splitlines()[0])
        proxy.faults.clear()
        result = CliRunner().invoke(program, [*command, *connection, "--yes"])
        assert fake.uploads == {}
    assert (failed.returncode, result.exit_code) == (5, 0)
    assert upload_id in command


# Places that are not there


def test_a_missing_bucket_is_status_5() -> None:
    with a_fake() as fake:
        result = call(fake.endpoint_url, "list", "s3://nosuch/")
    assert result.exit_code == 5
    assert "NoSuchBucket" in result.stderr


def test_an_endpoint_that_does_not_answer_is_status_4() -> None:
    (port,) = free_ports(1)
    result = call(f"http://127.0.0.1:{port}", "list", "s3://bkt/", "-r", "1")
    assert result.exit_code == 4


@pytest.mark.parametrize("where", ["bkt/k", "s3:/bkt/k", "s3://", "s3:///k", "s3://a!/k"])
def test_a_malformed_place_is_status_2(where: str) -> None:
    result = call("http://127.0.0.1:9", "list", where)
    assert result.exit_code == 2
    assert "s3://BUCKET/PREFIX" in result.stderr


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("s3://bucket", ("bucket", "")),
        ("s3://bucket/", ("bucket", "")),
        ("s3://bucket/a//b/", ("bucket", "a//b/")),
    ],
)
def test_a_place_is_a_bucket_and_perhaps_a_prefix(url: str, expected: tuple[str, str]) -> None:
    assert split_s3_prefix(url) == expected


# A real server


def seaweed_call(seaweed: SeaweedFS, keys: tuple[str, str], tmp_path: Path, *words: str) -> Result:
    keyfile = tmp_path / "keys"
    keyfile.write_text(":".join(keys))
    keyfile.chmod(0o600)
    return call(seaweed.endpoint_url, *words, "-k", str(keyfile))


def test_on_a_real_server_what_was_left_is_listed_and_aborted(
    seaweed: SeaweedFS, s3: S3Client, bucket: str, tmp_path: Path
) -> None:
    keys = (seaweed.access_key, seaweed.secret_key)
    for key, sizes in (("a b+c%20é", (3, 4)), ("t\tab", (5,)), ("none", ())):
        created = s3.create_multipart_upload(Bucket=bucket, Key=key)
        for number, size in enumerate(sizes, 1):
            s3.upload_part(
                Bucket=bucket,
                Key=key,
                UploadId=created["UploadId"],
                PartNumber=number,
                Body=bytes(size),
            )
    url = f"s3://{bucket}"
    listed = seaweed_call(seaweed, keys, tmp_path, "list", url, "--json")
    found = [json.loads(line) for line in listed.stdout.splitlines()]
    assert {(each["key"], each["parts"], each["size_bytes"]) for each in found} == {
        ("a b+c%20é", 2, 7),
        ("t\tab", 1, 5),
        ("none", 0, 0),
    }
    assert all(0 <= each["age_s"] < 60 for each in found)
    kept = seaweed_call(seaweed, keys, tmp_path, "abort", url, "--yes")
    assert (kept.exit_code, len(open_uploads(s3, bucket))) == (0, 3)
    done = seaweed_call(seaweed, keys, tmp_path, "abort", url, "--yes", "--older-than", "0")
    assert (done.exit_code, open_uploads(s3, bucket)) == (0, [])


def test_on_a_real_server_missing_rights_and_buckets_are_told_apart(
    seaweed: SeaweedFS, s3: S3Client, bucket: str, tmp_path: Path
) -> None:
    upload_id = s3.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    denied = (seaweed.denied_access_key, seaweed.denied_secret_key)
    reader = (seaweed.reader_access_key, seaweed.reader_secret_key)
    url = f"s3://{bucket}/"
    for keys, words, status, code in (
        (denied, ("list", url), 5, "AccessDenied"),
        (reader, ("list", url), 0, upload_id),
        (reader, ("abort", url, "--yes", "--older-than", "0"), 5, "AccessDenied"),
        (("nobody", "secret"), ("list", url), 3, "InvalidAccessKeyId"),
        (reader, ("list", "s3://no-such-bucket-here/"), 5, "NoSuchBucket"),
    ):
        result = seaweed_call(seaweed, keys, tmp_path, *words)
        assert code in result.output
        assert result.exit_code == status
    assert open_uploads(s3, bucket) == [("k", upload_id)]
