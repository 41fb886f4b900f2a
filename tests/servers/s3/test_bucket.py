"""The S3 verbs on the wire: what each request carries, and what its answer becomes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from streamtos3.errors import (
    AbsentError,
    ConditionError,
    CredentialsError,
    RefusedError,
    StoreError,
    TransientError,
)
from streamtos3.integrity.digests import content_md5, part_md5
from streamtos3.model.options import Connection, Credentials
from streamtos3.model.parts import ListedPart, requires_equal_parts
from streamtos3.results import StoredPart
from streamtos3.s3.bodies import PartBody
from streamtos3.s3.bucket import Bucket
from streamtos3.s3.clients import Clients
from streamtos3.s3.responses import new_token, object_metadata
from tests.rig.client import composite, md5
from tests.rig.fake_s3 import FakeS3, Quirks
from tests.rig.support import payload
from tests.rig.wire import S3Request, reserved_port

DATA = payload(300_000)
TOKEN = object_metadata("t0", "8388608/2500/750")


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIA")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")


@pytest.fixture
def fake() -> Iterator[FakeS3]:
    with FakeS3(Quirks(min_part_bytes=1, page_size=3)) as fake:
        yield fake


def store_of(fake: FakeS3, **connection: Any) -> Bucket:
    how = Connection(endpoint_url=fake.endpoint_url, region="us-east-1", **connection)
    return Bucket("b", how)


@pytest.fixture
def store(fake: FakeS3) -> Bucket:
    return store_of(fake)


def body_of(data: bytes = DATA) -> PartBody:
    return PartBody(memoryview(data), lambda: None)


def put_part(store: Bucket, upload_id: str, number: int, data: bytes) -> StoredPart:
    answer = store.put_part("k", upload_id, number, body_of(data), part_md5(data))
    assert answer.etag is not None
    return StoredPart(number, 0, len(data), md5(data), answer.etag, 1)


def last(fake: FakeS3) -> S3Request:
    return fake.requests[-1]


# What is sent

CHECKSUM_HEADERS = ("x-amz-checksum", "x-amz-trailer", "x-amz-sdk-checksum", "x-amz-decoded")


def assert_plain(asked: S3Request, data: bytes) -> None:
    """One plain body whose MD5 the server checks, and nothing that servers stumble over."""
    headers = asked.headers
    assert headers["content-length"] == str(len(data))
    assert headers["content-md5"] == content_md5(hashlib.md5(data).digest())
    for absent in ("expect", "transfer-encoding", "content-encoding"):
        assert absent not in headers
    assert [name for name in headers if name.startswith(CHECKSUM_HEADERS)] == []
    assert "streaming" not in headers["x-amz-content-sha256"].lower()


def test_a_part_goes_with_its_md5_and_a_plain_length(fake: FakeS3, store: Bucket) -> None:
    upload_id, _ = store.create("k", TOKEN)
    answer = store.put_part("k", upload_id, 7, body_of(), part_md5(DATA))
    assert answer.etag == md5(DATA)
    asked = last(fake)
    assert (asked.verb, asked.part, asked.query["uploadId"]) == ("put-part", 7, upload_id)
    assert_plain(asked, DATA)
    assert fake.uploads[upload_id].parts[0].body == DATA


@pytest.mark.parametrize("data", [b"", b"x", DATA], ids=["empty", "one byte", "large"])
def test_a_whole_object_goes_in_the_same_way(fake: FakeS3, store: Bucket, data: bytes) -> None:
    answer = store.put_object("k", body_of(data), part_md5(data), TOKEN, if_none_match=True)
    assert answer.etag == md5(data)
    assert_plain(last(fake), data)
    assert last(fake).headers["if-none-match"] == "*"
    assert last(fake).headers["x-amz-meta-streamtos3-token"] == "t0"
    assert fake.objects["b", "k"].body == data


def test_overwriting_sends_no_condition(fake: FakeS3, store: Bucket) -> None:
    for _ in range(2):
        store.put_object("k", body_of(b"x"), part_md5(b"x"), {}, if_none_match=False)
        assert {"if-none-match", "if-match"} & set(last(fake).headers) == set()


def test_only_a_certain_object_may_be_replaced(fake: FakeS3, store: Bucket) -> None:
    store.put_object("k", body_of(b"old"), part_md5(b"old"), {}, if_none_match=True)

    def replace(etag: str) -> None:
        new, new_md5 = body_of(b"new"), part_md5(b"new")
        store.put_object("k", new, new_md5, {}, if_none_match=False, if_match=etag)

    with pytest.raises(ConditionError):
        replace(md5(b"other"))
    replace(md5(b"old"))
    assert last(fake).headers["if-match"] == f'"{md5(b"old")}"'
    assert fake.objects["b", "k"].body == b"new"


def test_an_upload_is_begun_filled_and_completed(fake: FakeS3, store: Bucket) -> None:
    upload_id, etags_are_md5 = store.create("k", TOKEN)
    assert etags_are_md5
    parts = [put_part(store, upload_id, n, body) for n, body in enumerate((b"one", b"2"), 1)]
    answer = store.complete("k", upload_id, parts, if_none_match=True)
    assert answer.etag == composite(b"one", b"2")
    assert last(fake).headers["if-none-match"] == "*"
    info = store.head("k")
    assert (info.size_bytes, info.etag) == (4, answer.etag)
    assert (info.token, info.part_plan) == ("t0", "8388608/2500/750")


def test_an_object_that_appeared_meanwhile_is_never_replaced(fake: FakeS3, store: Bucket) -> None:
    upload_id, _ = store.create("k", TOKEN)
    parts = [put_part(store, upload_id, 1, b"one")]
    store.put_object("k", body_of(b"theirs"), part_md5(b"theirs"), {}, if_none_match=True)
    with pytest.raises(ConditionError):
        store.complete("k", upload_id, parts, if_none_match=True)
    assert fake.objects["b", "k"].body == b"theirs"


def test_an_aborted_upload_is_gone(fake: FakeS3, store: Bucket) -> None:
    upload_id, _ = store.create("k", TOKEN)
    store.abort("k", upload_id)
    assert fake.uploads == {}
    with pytest.raises(AbsentError) as caught:
        store.abort("k", upload_id)
    assert caught.value.code == "NoSuchUpload"


def test_one_failure_is_one_request(fake: FakeS3, store: Bucket) -> None:
    """botocore's own retries are off, or the numbers would multiply."""
    upload_id, _ = store.create("k", TOKEN)
    fake.requests.clear()
    wrong_md5 = part_md5(b"other")
    with pytest.raises(TransientError) as caught:
        store.put_part("k", upload_id, 1, body_of(), wrong_md5)
    assert (caught.value.code, caught.value.damaged) == ("BadDigest", True)
    assert [asked.verb for asked in fake.requests] == ["put-part"]


def test_a_part_is_read_once_more_only_for_its_signature(fake: FakeS3, store: Bucket) -> None:
    """Over http botocore signs the body; it must not be copied or hashed a third time."""
    upload_id, _ = store.create("k", TOKEN)
    read_bytes = 0

    class Counting(PartBody):
        def read(self, size: int | None = -1) -> memoryview:
            nonlocal read_bytes
            piece = super().read(size)
            read_bytes += len(piece)
            return piece

    counting = Counting(memoryview(DATA), lambda: None)
    store.put_part("k", upload_id, 1, counting, part_md5(DATA))
    assert read_bytes == 2 * len(DATA)


# What is answered


def test_nothing_is_stored_under_an_absent_key(store: Bucket) -> None:
    with pytest.raises(AbsentError):
        store.head("none")
    with pytest.raises(AbsentError) as caught:
        store.peek("none")
    assert caught.value.code == "NoSuchKey"
    store.head_bucket()


def test_an_absent_bucket_is_told_from_an_absent_key(fake: FakeS3, store: Bucket) -> None:
    fake.buckets.clear()
    with pytest.raises(AbsentError):
        store.head_bucket()
    with pytest.raises(AbsentError) as caught:
        store.peek("k")
    assert caught.value.code == "NoSuchBucket"


def test_one_byte_is_asked_for_where_only_the_code_matters(fake: FakeS3, store: Bucket) -> None:
    store.put_object("k", body_of(), part_md5(DATA), {}, if_none_match=True)
    store.peek("k")
    assert last(fake).headers["range"] == "bytes=0-0"


def test_metadata_is_found_however_the_server_spells_it() -> None:
    with FakeS3(Quirks(capitalises_metadata=True)) as fake:
        store = store_of(fake)
        store.put_object("k", body_of(b"x"), part_md5(b"x"), TOKEN, if_none_match=True)
        assert store.head("k").token == "t0"


def test_an_object_of_somebody_else_has_no_token(store: Bucket) -> None:
    store.put_object("k", body_of(b"x"), part_md5(b"x"), {}, if_none_match=True)
    info = store.head("k")
    assert (info.token, info.part_plan) == (None, None)


@pytest.mark.parametrize("sse, expected", [("aws:kms", False), ("aws:kms:dsse", False), ("", True)])
def test_encryption_that_makes_etags_opaque_is_seen_in_every_answer(
    sse: str, expected: bool
) -> None:
    with FakeS3(Quirks(min_part_bytes=1, sse=sse)) as fake:
        store = store_of(fake)
        upload_id, etags_are_md5 = store.create("k", TOKEN)
        answer = store.put_part("k", upload_id, 1, body_of(), part_md5(DATA))
        put = store.put_object("o", body_of(), part_md5(DATA), {}, if_none_match=True)
        seen = (etags_are_md5, answer.etag_is_md5, put.etag_is_md5, store.head("o").etag_is_md5)
        assert seen == (expected,) * 4


def test_the_version_of_an_object_is_kept_and_can_be_asked_for() -> None:
    with FakeS3(Quirks(versioned=True)) as fake:
        store = store_of(fake)
        answer = store.put_object("k", body_of(b"x"), part_md5(b"x"), {}, if_none_match=True)
        assert answer.version_id == store.head("k").version_id
        store.head("k", answer.version_id)
        assert last(fake).query["versionId"] == answer.version_id


def test_an_empty_etag_is_none(store: Bucket) -> None:
    with FakeS3(Quirks(min_part_bytes=1, complete_etag="empty")) as fake:
        store = store_of(fake)
        upload_id, _ = store.create("k", TOKEN)
        parts = [put_part(store, upload_id, 1, b"one")]
        assert store.complete("k", upload_id, parts, if_none_match=True).etag is None


def test_the_clock_of_the_service_is_noted_from_answers_and_refusals() -> None:
    with FakeS3(Quirks(clock_offset_s=-3600)) as fake:
        store = store_of(fake)
        assert store.server_time is None
        with pytest.raises(AbsentError):
            store.head("none")
        assert store.server_time is not None
        behind_s = (datetime.now(timezone.utc) - store.server_time).total_seconds()
        assert behind_s == pytest.approx(3600, abs=30)


# Listings, three a page


def test_parts_are_listed_over_all_pages(fake: FakeS3, store: Bucket) -> None:
    upload_id, _ = store.create("k", TOKEN)
    bodies = [payload(number) for number in range(1, 9)]
    for number, body in enumerate(bodies, 1):
        put_part(store, upload_id, number, body)
    expected = [ListedPart(n, n, md5(body)) for n, body in enumerate(bodies, 1)]
    assert expected == list(store.list_parts("k", upload_id))
    assert fake.count("list-parts") == 3


def test_uploads_are_listed_over_all_pages_by_their_prefix(fake: FakeS3, store: Bucket) -> None:
    mine = [store.create(f"mine/{n}", TOKEN)[0] for n in range(7)]
    store.create("theirs", TOKEN)
    listed = list(store.list_uploads("mine/"))
    assert mine == [upload.upload_id for upload in listed]
    assert [upload.key for upload in listed] == [f"mine/{n}" for n in range(7)]
    age_s = (datetime.now(timezone.utc) - listed[0].initiated).total_seconds()
    assert abs(age_s) < 60
    assert len(list(store.list_uploads())) == 8


def test_the_parts_of_an_absent_upload_are_absent(store: Bucket) -> None:
    with pytest.raises(AbsentError) as caught:
        list(store.list_parts("k", "none"))
    assert caught.value.code == "NoSuchUpload"


# Errors at the border


def test_an_endpoint_that_refuses_connections_gave_no_answer() -> None:
    with reserved_port(0) as reserved:
        url = f"http://127.0.0.1:{reserved.getsockname()[1]}"
        store = Bucket("b", Connection(endpoint_url=url, region="us-east-1"))
        with pytest.raises(TransientError) as caught:
            store.head("k")
    assert not caught.value.answered
    assert caught.value.message == (
        f"cannot look at s3://b/k: no answer from {url} (connection refused)"
    )


def test_without_credentials_it_says_so(fake: FakeS3, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(CredentialsError, match="cannot look at s3://b/k: "):
        store_of(fake).head("k")
    assert fake.requests == []


def test_an_unknown_profile_is_a_matter_of_credentials(fake: FakeS3) -> None:
    with pytest.raises(CredentialsError, match="nobody"):
        store_of(fake, profile="nobody").head("k")


# Clients and sessions


def stubbed(operation: str, code: str, status: int) -> tuple[Bucket, Any]:
    client = boto3.session.Session(region_name="us-east-1").client("s3")
    stubber = Stubber(client)
    stubber.add_client_error(operation, code, "said the stub", status)
    stubber.activate()
    return Bucket("b", Connection(), client=client), client


def test_a_given_client_is_used_as_it_is() -> None:
    store, client = stubbed("head_object", "403", 403)
    with pytest.raises(RefusedError) as caught:
        store.head("k")
    assert caught.value.code == "403"
    assert store.endpoint_url == client.meta.endpoint_url
    assert store.region == "us-east-1"


def expire_once(fake: FakeS3, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next request is answered with ExpiredToken."""
    from tests.rig.quirks import Refusal

    dispatch, answered = fake._dispatch, 0

    def once(asked: S3Request) -> Any:
        nonlocal answered
        answered += 1
        if answered == 1:
            raise Refusal(400, "ExpiredToken")
        return dispatch(asked)

    monkeypatch.setattr(fake, "_dispatch", once)


def access_key(asked: S3Request) -> str:
    return asked.headers["authorization"].partition("Credential=")[2].partition("/")[0]


def test_given_credentials_are_used_unless_a_keyfile_is_named(fake: FakeS3, tmp_path: Path) -> None:
    given = Credentials("GIVEN", "secret")
    store_of(fake, credentials=given).head_bucket()
    assert access_key(last(fake)) == "GIVEN"
    keyfile = tmp_path / "keyfile"
    keyfile.write_text("FILED:secret")
    keyfile.chmod(0o600)
    store_of(fake, credentials=given, keyfile=str(keyfile)).head_bucket()
    assert access_key(last(fake)) == "FILED"


def test_an_expired_token_makes_a_new_session_that_reads_the_keyfile_again(
    fake: FakeS3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keyfile = tmp_path / "keyfile"
    keyfile.write_text("OLD:secret:token-1")
    keyfile.chmod(0o600)
    store = store_of(fake, keyfile=str(keyfile))
    upload_id, _ = store.create("k", TOKEN)
    assert access_key(last(fake)) == "OLD"
    assert last(fake).headers["x-amz-security-token"] == "token-1"
    expire_once(fake, monkeypatch)
    keyfile.write_text("NEW:secret:token-2")
    with pytest.raises(TransientError) as caught:
        put_part(store, upload_id, 1, b"one")
    assert caught.value.expired
    put_part(store, upload_id, 1, b"one")
    assert access_key(last(fake)) == "NEW"
    assert last(fake).headers["x-amz-security-token"] == "token-2"


def test_an_expired_token_reads_the_shared_credentials_file_again(
    fake: FakeS3, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    shared = home / ".aws" / "credentials"
    shared.parent.mkdir()
    form = "[default]\naws_access_key_id={}\naws_secret_access_key=s\n"
    shared.write_text(form.format("OLD"))
    store = store_of(fake)
    store.head_bucket()
    shared.write_text(form.format("NEW"))
    store.head_bucket()
    assert access_key(last(fake)) == "OLD"
    expire_once(fake, monkeypatch)
    with pytest.raises(StoreError):
        store.peek("k")
    store.head_bucket()
    assert access_key(last(fake)) == "NEW"


def test_a_token_that_is_expired_from_the_start_is_no_reason_to_wait(
    fake: FakeS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    expire_once(fake, monkeypatch)
    with pytest.raises(CredentialsError):
        store_of(fake).peek("k")


# Small things


def test_tokens_are_random_and_fit_metadata() -> None:
    tokens = {new_token() for _ in range(100)}
    assert len(tokens) == 100
    assert all(len(token) == 32 and token.isascii() for token in tokens)


@pytest.mark.parametrize(
    "url, expected",
    [
        ("https://account.r2.cloudflarestorage.com", True),
        ("https://account.eu.r2.cloudflarestorage.com/", True),
        ("https://r2.cloudflarestorage.com.example", False),
        ("https://s3.amazonaws.com", False),
        ("", False),
        (None, False),
    ],
)
def test_endpoints_that_refuse_unequal_parts_are_known(url: str | None, expected: bool) -> None:
    assert expected == requires_equal_parts(url)


def test_clients_are_shared_by_many_stores(fake: FakeS3) -> None:
    """What one store learnt, that the service accepts us, the next one need not learn again."""
    connection = Connection(endpoint_url=fake.endpoint_url, region="us-east-1")
    clients = Clients(connection, 4)
    first = Bucket("b", connection, client=clients)
    with pytest.raises(AbsentError):
        first.head("k")
    assert not clients.accepted
    first.head_bucket()
    assert clients.accepted
    made = clients.get("question")
    Bucket("b", connection, client=clients).head_bucket()
    assert clients.get("question") is made
