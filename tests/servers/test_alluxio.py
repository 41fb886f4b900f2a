"""Every command against Alluxio's S3 endpoint: it works, or one line says what is lacking."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamtos3.uploader import confirm
from tests.rig.client import md5
from tests.rig.command import Outcome, anonymous, assert_refused, invoke, run
from tests.rig.fake_alluxio import PREFIX, FakeAlluxio, NoListing
from tests.rig.support import MIB, payload

LARGE = payload(11 * MIB)
PARTS = ("-c", "5MiB", "-s", "0.01")
NO_LISTING: list[NoListing] = ["lists-objects", "405", "501", "json"]


@pytest.fixture
def alluxio() -> Iterator[FakeAlluxio]:
    with FakeAlluxio() as fake:
        yield fake


@pytest.fixture
def large(tmp_path: Path) -> Path:
    path = tmp_path / "large"
    path.write_bytes(LARGE)
    return path


def call(fake: FakeAlluxio, *words: object) -> Outcome:
    return invoke(*words, env=anonymous(fake.endpoint_url))


def test_the_fake_is_below_a_path(alluxio: FakeAlluxio, large: Path) -> None:
    above = alluxio.endpoint_url.removesuffix(PREFIX)
    outcome = invoke(large, "s3://bkt/k", env=anonymous(above))
    assert_refused(outcome, 4, "does not speak S3", "check --endpoint-url")


# put


@pytest.mark.parametrize("size_bytes", [0, 10])
def test_a_short_object_is_proved_by_its_md5(
    alluxio: FakeAlluxio, tmp_path: Path, size_bytes: int
) -> None:
    infile = tmp_path / "short"
    infile.write_bytes(payload(size_bytes))
    outcome = call(alluxio, infile, "s3://bkt/k")
    assert outcome.status == 0, outcome
    assert "proved by md5-etag" in outcome.stderr


def test_a_multipart_object_is_read_back_unasked(alluxio: FakeAlluxio, large: Path) -> None:
    outcome = call(alluxio, *PARTS, large, "s3://bkt/k")
    assert outcome.status == 0, outcome
    assert "proved by readback" in outcome.stderr
    assert alluxio.objects["bkt", "k"].body == LARGE
    assert alluxio.uploads == {}


def test_with_the_md5_of_the_whole_nothing_is_downloaded(alluxio: FakeAlluxio, large: Path) -> None:
    digests = ("--digest", "sha256", "--digest", "md5")
    outcome = call(alluxio, *PARTS, *digests, large, "s3://bkt/k")
    assert outcome.status == 0, outcome
    assert f"proved by whole-md5-etag {md5(LARGE)}" in outcome.stderr
    assert alluxio.count("get") == 0


@pytest.mark.slow
def test_a_destination_sets_it_once(alluxio: FakeAlluxio, large: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text(
        f'[destination.d]\nbucket = "bkt"\nendpoint = "{alluxio.endpoint_url}"\n'
        'digest = ["sha256", "md5"]\n'
    )
    for words in (("put", large, "k"), ("publish", large.parent, "p")):
        command, *rest = words
        outcome = call(alluxio, command, "--config", config, "-D", "d", *PARTS, *rest)
        assert outcome.status == 0, outcome
    assert alluxio.count("get") == 0


@pytest.mark.slow
@pytest.mark.parametrize("command", ["put", "publish"])
def test_a_larger_object_is_status_10_with_the_option_that_costs_nothing(
    alluxio: FakeAlluxio, large: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setattr(confirm, "READ_BACK_UNASKED_BYTES", len(LARGE) - 1)
    what = large if command == "put" else large.parent
    outcome = call(alluxio, command, *PARTS, what, "s3://bkt/k")
    assert outcome.status == 10, outcome
    hint = outcome.said("hint")[0]
    assert hint.index("--digest sha256 --digest md5") < hint.index("--verify readback")
    assert alluxio.count("get") == 0


@pytest.mark.slow
def test_an_object_that_rotted_is_found(alluxio: FakeAlluxio, large: Path) -> None:
    alluxio.quirks = alluxio.quirks.__class__(
        complete_etag="whole-md5",
        if_none_match="ignored",
        drops_metadata=True,
        ignores_range=True,
        damage=frozenset({2}),
    )
    outcome = call(alluxio, *PARTS, large, "s3://bkt/k")
    assert outcome.status == 9, outcome
    assert outcome.said("left behind") == ["s3://bkt/k is there and is not what was read"]


@pytest.mark.slow
def test_what_is_there_is_not_replaced(alluxio: FakeAlluxio, large: Path) -> None:
    assert call(alluxio, large, "s3://bkt/k").status == 0
    assert_refused(call(alluxio, large, "s3://bkt/k"), 6, "already exists")


def test_a_bucket_that_is_not_there_is_said_at_once(alluxio: FakeAlluxio, large: Path) -> None:
    assert_refused(call(alluxio, large, "s3://nobucket/k"), 5, "NoSuchBucket")


class RefusingAtTheEnd(FakeAlluxio):
    """Forgets the upload before it is completed, and says so inside a 200."""

    def _do_complete(self, asked):  # type: ignore[no-untyped-def]
        self.uploads.clear()
        return super()._do_complete(asked)


def test_an_error_inside_a_200_is_one_line(large: Path) -> None:
    with RefusingAtTheEnd() as fake:
        outcome = call(fake, *PARTS, large, "s3://bkt/k")
        assert outcome.status == 5, outcome
        assert "NoSuchUpload" in outcome.said("error")[0]
        assert (fake.objects, fake.uploads) == ({}, {})
        assert fake.count("complete") == 5


def test_a_key_that_ends_in_a_slash(alluxio: FakeAlluxio, tmp_path: Path) -> None:
    infile = tmp_path / "short"
    infile.write_bytes(b"short")
    outcome = call(alluxio, infile, "s3://bkt/k/")
    assert outcome.status == 9, outcome
    assert "makes a directory" in outcome.said("hint")[0]
    assert alluxio.count("put-object") == 1


# get and verify


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 4])
@pytest.mark.parametrize("stored_by_us", [True, False])
def test_get_reads_one_stream_and_proves_it(
    alluxio: FakeAlluxio, large: Path, tmp_path: Path, jobs: int, stored_by_us: bool
) -> None:
    assert call(alluxio, *PARTS, large, "s3://bkt/k").status == 0
    alluxio.requests.clear()
    out = tmp_path / "out"
    outcome = call(alluxio, "get", "-j", jobs, "-c", "1MiB", "s3://bkt/k", out)
    assert outcome.status == 0, outcome
    assert f"proved by md5-etag {md5(LARGE)}" in outcome.stderr
    assert out.read_bytes() == LARGE
    whole = [
        each for each in alluxio.requests if each.verb == "get" and "range" not in each.headers
    ]
    assert len(whole) == 1


@pytest.mark.slow
def test_get_with_a_receipt_and_a_range(alluxio: FakeAlluxio, large: Path, tmp_path: Path) -> None:
    receipt, out = tmp_path / "receipt", tmp_path / "out"
    assert call(alluxio, *PARTS, "--receipt", receipt, large, "s3://bkt/k").status == 0
    words = ("get", "--receipt", receipt, "--range", "6000000-11000000", "s3://bkt/k", out)
    outcome = call(alluxio, *words)
    assert outcome.status == 0, outcome
    assert out.read_bytes() == LARGE[6000000:11000001]


def test_get_notices_a_flipped_bit(alluxio: FakeAlluxio, large: Path, tmp_path: Path) -> None:
    assert call(alluxio, *PARTS, large, "s3://bkt/k").status == 0
    stored = alluxio.objects["bkt", "k"]
    stored.body = LARGE[:-1] + bytes([LARGE[-1] ^ 1])
    outcome = call(alluxio, "get", "-c", "1MiB", "s3://bkt/k", tmp_path / "out")
    assert outcome.status == 9, outcome
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize("digests", [(), ("--digest", "md5")])
def test_verify_compares_with_a_file_and_a_receipt(
    alluxio: FakeAlluxio, large: Path, tmp_path: Path, digests: tuple[str, ...]
) -> None:
    receipt = tmp_path / "receipt"
    words = (*PARTS, *digests, "--receipt", receipt, large, "s3://bkt/k")
    assert call(alluxio, *words).status == 0
    for words in (("verify", "s3://bkt/k", large), ("verify", "s3://bkt/k", "--receipt", receipt)):
        outcome = call(alluxio, *words)
        assert outcome.status == 0, outcome


@pytest.mark.slow
def test_verify_reads_back_what_a_receipt_does_not_prove(
    alluxio: FakeAlluxio, large: Path, tmp_path: Path
) -> None:
    outcome = call(alluxio, *PARTS, "--verify", "etag", "--json", large, "s3://bkt/k")
    assert outcome.status == 10, outcome
    receipt = tmp_path / "receipt"
    receipt.write_text(outcome.stdout.splitlines()[0])
    outcome = call(alluxio, "verify", "s3://bkt/k", "--receipt", receipt)
    assert outcome.status == 0, outcome
    assert "part MD5s" in outcome.stderr


# resume, publish, sink, uploads


@pytest.mark.slow
@pytest.mark.parametrize("no_listing", NO_LISTING)
def test_resume_says_that_there_is_nothing_to_resume(large: Path, no_listing: NoListing) -> None:
    with FakeAlluxio(no_listing=no_listing) as fake:
        outcome = call(fake, *PARTS, "--resume", large, "s3://bkt/k")
        assert outcome.status == 0, outcome
        warnings = outcome.said("warning")
        assert len(warnings) == 1
        assert "cannot list unfinished uploads" in warnings[0]
        assert "nothing is resumed, and no parts are kept" in warnings[0]


@pytest.mark.slow
def test_a_failed_upload_with_resume_leaves_nothing_that_nobody_could_find(large: Path) -> None:
    with RefusingAtTheEnd() as fake:
        outcome = call(fake, *PARTS, "--resume", large, "s3://bkt/k")
        assert outcome.status == 5, outcome
        assert (fake.objects, fake.uploads, outcome.said("left behind")) == ({}, {}, [])


@pytest.mark.slow
def test_publish_and_publish_again(alluxio: FakeAlluxio, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    for number in range(4):
        (tree / str(number)).write_bytes(payload(number * 3 * MIB))
    words = ("publish", *PARTS, "--manifest", "m.json", tree, "s3://bkt/p")
    outcome = call(alluxio, *words)
    assert outcome.status == 0, outcome
    for number in range(4):
        assert alluxio.objects["bkt", f"p/{number}"].body == payload(number * 3 * MIB)
    outcome = call(alluxio, *words, "--resume")
    assert outcome.status == 0, outcome
    assert json.loads(outcome.stdout)["already_there"] == 4


@pytest.mark.slow
@pytest.mark.parametrize("spooled", [False, True])
def test_sink_stores_every_record(alluxio: FakeAlluxio, tmp_path: Path, spooled: bool) -> None:
    records = b"".join(b"%d\n" % number for number in range(100))
    words = ["sink", "--flush-count", "10", "s3://bkt/p"]
    words += ["--spool", str(tmp_path)] if spooled else []
    outcome = run(*words, env=anonymous(alluxio.endpoint_url), stdin=records)
    assert outcome.status == 0, outcome
    stored = [alluxio.objects[place].body for place in sorted(alluxio.objects)]
    assert (len(stored), b"".join(stored)) == (10, records)


@pytest.mark.slow
@pytest.mark.parametrize("no_listing", NO_LISTING)
def test_uploads_list_says_what_is_lacking(no_listing: NoListing) -> None:
    with FakeAlluxio(no_listing=no_listing) as fake:
        outcome = call(fake, "uploads", "list", "s3://bkt/")
        assert_refused(outcome, 5, "cannot list unfinished uploads", "--upload-id ID")
        outcome = call(fake, "uploads", "abort", "--yes", "s3://bkt/k")
        assert_refused(outcome, 5, "cannot list unfinished uploads", "--upload-id ID")


def test_uploads_abort_takes_one_that_is_named(alluxio: FakeAlluxio) -> None:
    import boto3

    client = boto3.client(
        "s3",
        endpoint_url=alluxio.endpoint_url,
        region_name="us-east-1",
        aws_access_key_id="any",
        aws_secret_access_key="any",
    )
    upload_id = client.create_multipart_upload(Bucket="bkt", Key="k")["UploadId"]
    client.upload_part(Bucket="bkt", Key="k", UploadId=upload_id, PartNumber=1, Body=b"data")
    client.close()
    assert upload_id == "1"
    words = ("uploads", "abort", "--yes", "--upload-id", upload_id, "s3://bkt/k")
    assert_refused(call(alluxio, *words), 2, "younger than")
    outcome = call(alluxio, *words, "--older-than", "0")
    assert outcome.status == 0, outcome
    assert alluxio.uploads == {}
