"""`verify` and `checksum`: what proves an object, server by server, and what disproves it."""

from __future__ import annotations

import io
from collections.abc import Mapping

import pytest
from mypy_boto3_s3.client import S3Client

from streamtos3 import Connection, Options, Receipt, Retries, upload
from streamtos3.errors import IntegrityError, UnprovedError
from streamtos3.integrity.checksums import CHECKSUMS, checksum_of
from streamtos3.integrity.etag import judge_checksum
from streamtos3.model.options import Verify
from streamtos3.model.parts import Limits
from streamtos3.results import Proof
from streamtos3.uploader import confirm
from tests.rig.client import plain_client
from tests.rig.fake_s3 import FakeS3, Quirks
from tests.rig.seaweed import SeaweedFS
from tests.rig.support import MIB, open_uploads, payload

KEY = "object"
RETRIES = Retries(first_wait_s=0.01, tries=2)


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")


def store(
    endpoint_url: str,
    bucket: str,
    data: bytes,
    *,
    verify: Verify = "auto",
    checksum: str | None = None,
    digests: tuple[str, ...] = ("sha256",),
    part_bytes: int = 5 * MIB,
) -> Receipt:
    options = Options(
        connection=Connection(endpoint_url=endpoint_url, region="us-east-1"),
        chunk_bytes=part_bytes,
        limits=Limits(min_part_bytes=part_bytes),
        retries=RETRIES,
        verify=verify,
        checksum=checksum,
        digests=digests,
    )
    return upload(io.BytesIO(data), bucket, KEY, options=options)


@pytest.mark.parametrize("size_bytes", [10, 11 * MIB])
@pytest.mark.parametrize("name", CHECKSUMS)
def test_seaweedfs_proves_every_checksum(
    seaweed: SeaweedFS,
    s3: S3Client,
    bucket: str,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    size_bytes: int,
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", seaweed.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", seaweed.secret_key)
    data = payload(size_bytes)
    receipt = store(seaweed.endpoint_url, bucket, data, verify="checksum", checksum=name)
    assert receipt.proof.object == f"{name}-checksum"
    assert receipt.parts[0].checksum == checksum_of(name)(data[: 5 * MIB])
    assert s3.get_object(Bucket=bucket, Key=KEY)["Body"].read() == data
    assert open_uploads(s3, bucket) == []


@pytest.mark.parametrize("name", ["crc32", "sha1", "sha256"])
def test_moto_proves_a_multipart_checksum_in_its_own_form(
    moto_server: str, moto_bucket: str, name: str
) -> None:
    """It combines the parts' values whatever was declared, and leaves out their number."""
    data = payload(11 * MIB)
    receipt = store(moto_server, moto_bucket, data, verify="checksum", checksum=name)
    assert receipt.proof.object == f"{name}-checksum"


def test_the_etag_comes_first_and_can_be_demanded(moto_server: str, moto_bucket: str) -> None:
    receipt = store(moto_server, moto_bucket, b"data", verify="etag", checksum="crc32")
    assert receipt.proof.object == "md5-etag"


def test_without_a_checksum_in_the_answers_the_demand_is_not_met() -> None:
    with FakeS3(Quirks(), buckets=("bucket",)) as fake:
        with pytest.raises(UnprovedError) as caught:
            store(fake.endpoint_url, "bucket", b"data", verify="checksum", checksum="crc32")
        assert "nothing that this endpoint answers proves it" in caught.value.message
        assert fake.objects["bucket", KEY].body == b"data"


def test_none_proves_nothing_and_says_so() -> None:
    with FakeS3(Quirks(), buckets=("bucket",)) as fake:
        with pytest.raises(UnprovedError) as caught:
            store(fake.endpoint_url, "bucket", b"data", verify="none")
        assert caught.value.message == "s3://bucket/object is stored, and no proof was asked for"
        assert caught.value.receipt.proof.object is None


def test_an_opaque_etag_alone_is_status_10_with_what_would_help() -> None:
    with FakeS3(Quirks(min_part_bytes=1, etag="opaque"), buckets=("bucket",)) as fake:
        with pytest.raises(UnprovedError) as caught:
            store(fake.endpoint_url, "bucket", payload(2500), verify="etag", part_bytes=1000)
        assert "--checksum" in (caught.value.hint or "")
        assert caught.value.exit_status == 10


@pytest.mark.parametrize("size_bytes", [10, 2500])
def test_what_nothing_else_proves_is_read_back_unasked_up_to_a_size(
    monkeypatch: pytest.MonkeyPatch, size_bytes: int
) -> None:
    monkeypatch.setattr(confirm, "READ_BACK_UNASKED_BYTES", size_bytes)
    quirks = Quirks(min_part_bytes=1, etag="opaque")
    with FakeS3(quirks, buckets=("bucket",)) as fake:
        receipt = store(fake.endpoint_url, "bucket", payload(size_bytes), part_bytes=1000)
        assert receipt.proof.object == "readback"
    with FakeS3(quirks, buckets=("bucket",)) as fake:
        with pytest.raises(UnprovedError):
            store(fake.endpoint_url, "bucket", payload(size_bytes + 1), part_bytes=1000)
        assert fake.count("get") == 0


def test_what_is_read_back_unasked_and_is_not_what_was_read_is_status_9() -> None:
    quirks = Quirks(min_part_bytes=1, etag="opaque", damage=frozenset({2}))
    with FakeS3(quirks, buckets=("bucket",)) as fake:
        with pytest.raises(IntegrityError) as caught:
            store(fake.endpoint_url, "bucket", payload(2500), part_bytes=1000)
        assert caught.value.left_behind == "s3://bucket/object is there and is not what was read"


def test_what_nobody_asked_to_read_and_may_not_be_read_is_status_10_as_before() -> None:
    quirks = Quirks(etag="opaque", head_forbidden=True)
    with (
        FakeS3(quirks, buckets=("bucket",)) as fake,
        pytest.raises(UnprovedError, match="nothing that this endpoint answers proves it"),
    ):
        store(fake.endpoint_url, "bucket", b"data")


def test_the_md5_of_the_whole_proves_where_the_etag_is_that() -> None:
    quirks = Quirks(min_part_bytes=1, complete_etag="whole-md5", head_etag="whole-md5")
    with FakeS3(quirks, buckets=("bucket",)) as fake:
        receipt = store(
            fake.endpoint_url, "bucket", payload(2500), part_bytes=1000, digests=("md5",)
        )
        assert receipt.proof.object == "whole-md5-etag"


@pytest.mark.parametrize("damage", [False, True])
@pytest.mark.parametrize("size_bytes", [10, 2500])
def test_what_aws_computes_unasked_proves_under_kms(size_bytes: int, damage: bool) -> None:
    """The answer to the commit names the CRC64NVME of the whole object, as AWS's does."""
    data = payload(size_bytes)
    crc = checksum_of("crc64nvme")(data[:-1] if damage else data)

    def answer_as_aws_does(parsed: dict[str, str], **_: object) -> None:
        parsed["ChecksumCRC64NVME"] = crc

    with FakeS3(Quirks(min_part_bytes=1, etag="opaque"), buckets=("bucket",)) as fake:
        client = plain_client(fake.endpoint_url)
        for operation in ("PutObject", "CompleteMultipartUpload"):
            client.meta.events.register(f"after-call.s3.{operation}", answer_as_aws_does)
        options = Options(chunk_bytes=1000, limits=Limits(min_part_bytes=1), retries=RETRIES)
        if damage:
            with pytest.raises(IntegrityError, match="its CRC64NVME is"):
                upload(io.BytesIO(data), "bucket", KEY, options=options, client=client)
        else:
            receipt = upload(io.BytesIO(data), "bucket", KEY, options=options, client=client)
            assert receipt.proof == Proof(parts=None, object="crc64nvme-checksum")


@pytest.mark.parametrize("size_bytes", [0, 10, 2500])
def test_reading_back_proves_where_nothing_else_does(size_bytes: int) -> None:
    with FakeS3(Quirks(min_part_bytes=1, etag="opaque"), buckets=("bucket",)) as fake:
        data = payload(size_bytes)
        receipt = store(fake.endpoint_url, "bucket", data, verify="readback", part_bytes=1000)
        assert receipt.proof.object == "readback"
        assert fake.objects["bucket", KEY].body == data


@pytest.mark.parametrize(("damaged", "size_bytes"), [(0, 10), (2, 2500)])
def test_reading_back_finds_what_rotted_inside_the_service(damaged: int, size_bytes: int) -> None:
    """Its ETags stay honest, so that nothing else could find it."""
    quirks = Quirks(min_part_bytes=1, damage=frozenset({damaged}))
    with FakeS3(quirks, buckets=("bucket",)) as fake:
        with pytest.raises(IntegrityError) as caught:
            store(
                fake.endpoint_url,
                "bucket",
                payload(size_bytes),
                verify="readback",
                part_bytes=1000,
            )
        assert caught.value.left_behind == "s3://bucket/object is there and is not what was read"
        assert fake.uploads == {}


def test_an_object_that_may_not_be_read_is_stored_but_unproved() -> None:
    with (
        FakeS3(Quirks(head_forbidden=True), buckets=("bucket",)) as fake,
        pytest.raises(UnprovedError, match="could not be read back"),
    ):
        store(fake.endpoint_url, "bucket", b"data", verify="readback")


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ({}, None),
        ({"ChecksumCRC32": "aaaa"}, "crc32-checksum"),
        ({"ChecksumCRC32": "bbbb-2"}, "crc32-checksum"),
        ({"ChecksumSHA1": "other"}, None),
    ],
)
def test_a_checksum_proves_in_either_form(found: Mapping[str, str], expected: str | None) -> None:
    assert judge_checksum("x", CHECKSUMS["crc32"], ("aaaa", "bbbb-2"), found) == expected


def test_another_checksum_disproves() -> None:
    with pytest.raises(IntegrityError, match="its CRC32 is cccc"):
        judge_checksum("x", CHECKSUMS["crc32"], ("aaaa", "bbbb-2"), {"ChecksumCRC32": "cccc"})
