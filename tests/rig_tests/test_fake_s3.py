"""The fake is as strict as S3, and each of its quirks does what its name says."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from tests.rig.client import Uploading, composite, md5, plain_client, refused
from tests.rig.fake_s3 import FakeS3, Quirks

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

PARTS = [b"one", b"two", b"3"]


@contextmanager
def fake_and_client(**quirks: Any) -> Iterator[tuple[FakeS3, S3Client]]:
    with FakeS3(Quirks(**{"min_part_bytes": 1, **quirks})) as fake:
        yield fake, plain_client(fake.endpoint_url)


def upload_of(client: S3Client, bodies: list[bytes] = PARTS, **create: Any) -> Uploading:
    upload = Uploading(client, **create)
    for number, body in enumerate(bodies, 1):
        upload.put(number, body)
    return upload


def head(client: S3Client, **more: Any) -> Any:
    return client.head_object(Bucket="b", Key="k", **more)


# A strict S3


def test_an_upload_becomes_an_object_with_its_composite_etag() -> None:
    with fake_and_client() as (fake, client):
        upload = upload_of(client, Metadata={"streamtos3-token": "t"})
        assert upload.listed() == [(n, md5(body)) for n, body in enumerate(PARTS, 1)]
        assert upload.complete() == composite(*PARTS)
        assert fake.objects["b", "k"].body == b"onetwo3"
        assert head(client)["Metadata"] == {"streamtos3-token": "t"}
        assert head(client)["ETag"] == f'"{composite(*PARTS)}"'
        assert not fake.uploads
        assert [r.verb for r in fake.requests[:2]] == ["create", "put-part"]
        assert fake.requests[1].query["partNumber"] == "1"


def test_an_object_is_put_read_in_ranges_and_deleted() -> None:
    with fake_and_client() as (_, client):
        where: Any = {"Bucket": "b", "Key": "k"}
        assert client.put_object(**where, Body=b"0123456789")["ETag"] == f'"{md5(b"0123456789")}"'
        assert client.get_object(**where)["Body"].read() == b"0123456789"
        for wanted, expected in [("bytes=2-4", b"234"), ("bytes=7-", b"789"), ("bytes=-2", b"89")]:
            assert client.get_object(**where, Range=wanted)["Body"].read() == expected
        with refused("InvalidRange"):
            client.get_object(**where, Range="bytes=10-")
        with refused("PreconditionFailed"):
            client.get_object(**where, IfMatch="other")
        client.delete_object(**where)
        with refused("NoSuchKey"):
            client.get_object(**where)
        with refused("404"):
            head(client)
        with refused("404"):
            client.head_bucket(Bucket="missing")


def test_a_part_can_be_asked_for_by_its_number() -> None:
    with fake_and_client() as (_, client):
        upload_of(client).complete()
        second = head(client, PartNumber=2)
        assert (second["ContentLength"], second["PartsCount"]) == (3, 3)
        assert client.get_object(Bucket="b", Key="k", PartNumber=3)["Body"].read() == b"3"


@pytest.mark.parametrize(
    ("md5_sent", "code"),
    [("1B2M2Y8AsgTpgAmY7PhCfg==", "BadDigest"), ("short", "InvalidDigest"), ("", "InvalidDigest")],
)
def test_a_wrong_content_md5_is_refused(md5_sent: str, code: str) -> None:
    with fake_and_client() as (fake, client):
        upload = Uploading(client)
        with refused(code):
            client.upload_part(**upload.where, PartNumber=1, Body=b"x", ContentMD5=md5_sent)
        with refused(code):
            client.put_object(Bucket="b", Key="k", Body=b"x", ContentMD5=md5_sent)
        assert upload.listed() == []
        assert not fake.objects


def test_a_short_body_is_refused() -> None:
    with fake_and_client() as (fake, _):
        with socket.create_connection(("127.0.0.1", urlsplit(fake.endpoint_url).port or 0)) as raw:
            raw.sendall(b"PUT /b/k HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nshort")
            raw.shutdown(socket.SHUT_WR)
            answer = http.client.HTTPResponse(raw)
            answer.begin()
            assert (answer.status, b"IncompleteBody" in answer.read()) == (400, True)
        assert not fake.objects


def test_a_wrong_list_of_parts_is_refused() -> None:
    with fake_and_client(min_part_bytes=3) as (fake, client):
        upload = upload_of(client, [b"one", b"2", b"3"])
        first, second, third = upload.parts
        wrong: Any = [
            ("MalformedXML", []),
            ("InvalidPartOrder", [third, first]),
            ("InvalidPartOrder", [first, first]),
            ("InvalidPart", [first, {"PartNumber": 9, "ETag": "x"}]),
            ("InvalidPart", [{"PartNumber": 1, "ETag": second.get("ETag", "")}]),
            ("EntityTooSmall", [first, second, third]),
        ]
        for code, parts in wrong:
            upload.parts = parts
            with refused(code):
                upload.complete()
        with refused("InvalidRequest"):
            upload.parts = [first, third]
            upload.complete(MpuObjectSize=5)
        assert not fake.objects
        assert upload.complete(MpuObjectSize=4) == composite(b"one", b"3")


def test_conditions_are_honoured_and_a_refused_upload_stays() -> None:
    with fake_and_client() as (fake, client):
        upload = upload_of(client)
        with refused("NoSuchKey"):
            upload.complete(IfMatch="x")
        client.put_object(Bucket="b", Key="k", Body=b"old", IfNoneMatch="*")
        with refused("PreconditionFailed"):
            client.put_object(Bucket="b", Key="k", Body=b"new", IfNoneMatch="*")
        with refused("PreconditionFailed"):
            upload.complete(IfNoneMatch="*")
        with refused("PreconditionFailed"):
            upload.complete(IfMatch="other")
        assert (fake.objects["b", "k"].body, len(fake.uploads)) == (b"old", 1)
        upload.complete(IfMatch=md5(b"old"))
        assert fake.objects["b", "k"].body == b"onetwo3"


def test_an_aborted_upload_is_gone() -> None:
    with fake_and_client() as (fake, client):
        upload = upload_of(client)
        client.abort_multipart_upload(**upload.where)
        with refused("NoSuchUpload"):
            client.abort_multipart_upload(**upload.where)
        with refused("NoSuchUpload"):
            upload.put(4, b"4")
        with refused("NoSuchUpload"):
            upload.complete()
        assert not fake.uploads


def test_lists_come_in_pages() -> None:
    with fake_and_client(page_size=2) as (_, client):
        uploads = [upload_of(client) for _ in range(5)]
        pages = client.get_paginator("list_parts").paginate(**uploads[0].where)
        assert [[p["PartNumber"] for p in page["Parts"]] for page in pages] == [[1, 2], [3]]
        found = client.get_paginator("list_multipart_uploads").paginate(Bucket="b", Prefix="k")
        expected = [upload.where["UploadId"] for upload in uploads]
        assert [[u["UploadId"] for u in page["Uploads"]] for page in found] == [
            expected[:2],
            expected[2:4],
            expected[4:],
        ]
        assert "Uploads" not in client.list_multipart_uploads(Bucket="b", Prefix="other")
        assert upload_of(client).listed(MaxParts=1) == [(1, md5(b"one"))]


def test_each_answer_has_a_date_and_a_request_id() -> None:
    with fake_and_client(clock_offset_s=-7200) as (_, client):
        metadata = client.head_bucket(Bucket="b")["ResponseMetadata"]
        assert metadata["RequestId"].startswith("FAKE")
        behind = datetime.now(timezone.utc) - parsedate_to_datetime(metadata["HTTPHeaders"]["date"])
        assert 7199 < behind.total_seconds() < 7260


# The quirks


def test_a_lax_server_stores_what_comes() -> None:
    with fake_and_client(check_md5=False) as (fake, client):
        wrong = "1B2M2Y8AsgTpgAmY7PhCfg=="
        answer = client.put_object(Bucket="b", Key="k", Body=b"x", ContentMD5=wrong)
        assert answer["ETag"] == f'"{md5(b"x")}"'
        assert fake.objects["b", "k"].body == b"x"


def test_what_rots_inside_the_server_keeps_its_etag() -> None:
    with fake_and_client(damage=frozenset({0, 2})) as (fake, client):
        assert upload_of(client).complete() == composite(*PARTS)
        assert fake.objects["b", "k"].body == b"oneuwo3"
        client.put_object(Bucket="b", Key="k", Body=b"x")
        assert fake.objects["b", "k"].body == b"y"


@pytest.mark.parametrize(("style", "shape"), [("opaque", (32, 0)), ("uuid", (36, 4))])
def test_etags_need_not_be_md5s(style: str, shape: tuple[int, int]) -> None:
    with fake_and_client(etag=style) as (_, client):
        upload = Uploading(client)
        etag = upload.put(1, b"x") or ""
        assert (len(etag), etag.count("-")) == shape
        assert etag != md5(b"x")
        assert (upload.complete() or "").endswith("-1")
        assert head(client).get("ServerSideEncryption") == (
            "aws:kms" if style == "opaque" else None
        )


def test_encryption_can_be_declared_or_kept_secret() -> None:
    with fake_and_client(sse="AES256") as (_, client):
        upload = client.create_multipart_upload(Bucket="b", Key="k")
        assert upload["ServerSideEncryption"] == "AES256"
    with fake_and_client(etag="opaque", sse="") as (_, client):
        assert "ServerSideEncryption" not in client.create_multipart_upload(Bucket="b", Key="k")


def test_complete_may_answer_with_other_etags() -> None:
    with fake_and_client(complete_etag="empty") as (_, client):
        assert not upload_of(client).complete()
        assert head(client)["ETag"] == f'"{composite(*PARTS)}"'
    with fake_and_client(complete_etag="whole-md5") as (_, client):
        assert upload_of(client).complete() == md5(*PARTS)
    with fake_and_client(complete_etag="opaque-n") as (_, client):
        etag = upload_of(client).complete() or ""
        assert etag.endswith("-3")
        assert etag != composite(*PARTS)
    with fake_and_client(head_etag="whole-md5") as (_, client):
        assert upload_of(client).complete() == composite(*PARTS)
        assert head(client)["ETag"] == f'"{md5(*PARTS)}"'


def test_if_none_match_may_be_ignored_or_refused() -> None:
    where: Any = {"Bucket": "b", "Key": "k", "Body": b"", "IfNoneMatch": "*"}
    for quirk, on_put in [("ignored", None), ("put-only", "PreconditionFailed")]:
        with fake_and_client(if_none_match=quirk) as (fake, client):
            client.put_object(**where)
            if on_put:
                with refused(on_put):
                    client.put_object(**where)
            else:
                client.put_object(**where)
            upload_of(client).complete(IfNoneMatch="*")
            assert fake.objects["b", "k"].body == b"onetwo3"
    with fake_and_client(if_none_match="refused") as (_, client), refused("NotImplemented"):
        client.put_object(**where)


@pytest.mark.parametrize(
    ("quirk", "plain", "conditional"),
    [
        (True, None, None),
        (False, "NoSuchUpload", "NoSuchUpload"),
        ("412", None, "PreconditionFailed"),
    ],
)
def test_the_second_complete(quirk: Any, plain: str | None, conditional: str | None) -> None:
    with fake_and_client(complete_idempotent=quirk) as (_, client):
        upload = upload_of(client)
        upload.complete(IfNoneMatch="*")
        conditions: Any
        for conditions, code in [({}, plain), ({"IfNoneMatch": "*"}, conditional)]:
            if code:
                with refused(code):
                    upload.complete(**conditions)
            else:
                assert upload.complete(**conditions) == composite(*PARTS)


def test_unequal_parts_may_be_refused() -> None:
    with fake_and_client(equal_parts=True) as (_, client):
        assert upload_of(client, [b"aa", b"bb", b"c"]).complete()
        for bodies in [[b"a", b"bb", b"c"], [b"aa", b"bbb"]]:
            with refused("InvalidPart"):
                upload_of(client, bodies).complete()


def test_part_numbers_may_end_early() -> None:
    with fake_and_client(max_parts=2) as (_, client), refused("InvalidArgument"):
        upload_of(client)


def test_a_part_sent_again_replaces_the_first_or_is_listed_beside_it() -> None:
    for quirk, listed in [(False, [b"new"]), (True, [b"old", b"new"])]:
        with fake_and_client(keeps_resent_parts=quirk) as (fake, client):
            upload = upload_of(client, [b"old"])
            upload.parts.clear()
            upload.put(1, b"new")
            assert upload.listed() == [(1, md5(body)) for body in listed]
            upload.complete()
            assert fake.objects["b", "k"].body == b"new"


def test_metadata_may_be_dropped_or_capitalised() -> None:
    with fake_and_client(drops_metadata=True) as (_, client):
        client.put_object(Bucket="b", Key="k", Metadata={"streamtos3-token": "t"})
        assert head(client)["Metadata"] == {}
    with fake_and_client(capitalises_metadata=True) as (_, client):
        client.put_object(Bucket="b", Key="k", Metadata={"streamtos3-token": "t"})
        assert head(client)["Metadata"] == {"Streamtos3-Token": "t"}


def test_reading_may_be_forbidden() -> None:
    with fake_and_client(head_forbidden=True) as (_, client):
        with refused("403"):
            head(client)
        with refused("AccessDenied"):
            client.get_object(Bucket="b", Key="k")


def test_versions_are_named_where_the_bucket_has_them() -> None:
    with fake_and_client(versioned=True) as (fake, client):
        answer = client.put_object(Bucket="b", Key="k", Body=b"")
        assert answer["VersionId"] == fake.objects["b", "k"].version_id
        assert head(client)["VersionId"] == answer["VersionId"]


def test_a_missing_bucket_is_an_error_or_made_in_passing() -> None:
    with fake_and_client() as (_, client), refused("NoSuchBucket"):
        Uploading(client, bucket="missing")
    with fake_and_client(makes_missing_buckets=True) as (fake, client):
        Uploading(client, bucket="missing")
        client.put_object(Bucket="gone", Key="k", Body=b"")
        client.head_bucket(Bucket="missing")
        assert fake.buckets == {"b", "missing", "gone"}
