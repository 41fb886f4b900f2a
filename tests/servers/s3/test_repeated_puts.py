"""PUTs after a pattern: what is sent is what botocore sends, and what goes wrong is botocore's."""

from __future__ import annotations

import base64
import logging
import re
from collections.abc import Iterator
from datetime import datetime, timezone
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.awsrequest import AWSRequest, AWSResponse
from botocore.credentials import Credentials as FixedCredentials
from botocore.exceptions import CredentialRetrievalError

from streamtos3.errors import ConditionError, TransientError
from streamtos3.integrity.digests import part_md5
from streamtos3.model.object_settings import ObjectSettings
from streamtos3.model.options import Connection, Credentials
from streamtos3.s3.bodies import PartBody
from streamtos3.s3.bucket import Bucket
from streamtos3.s3.clients import Clients
from streamtos3.s3.repeated_puts import _RepeatedPuts, repeat_puts
from streamtos3.s3.responses import Answer, object_metadata
from tests.rig.fake_s3 import FakeS3
from tests.rig.quirks import Upload
from tests.rig.wire import S3Request

NOW = datetime.now(timezone.utc)
# What differs each time, and what botocore says only of its own retries.
_NOT_COMPARED = ("x-amz-date", "authorization", "amz-sdk-invocation-id", "amz-sdk-request")
KEYS = (
    "plain",
    "d/ä x~+%?&=#.bin",
    "a//b/",
    "./dots/../x",
    "d/\t\n",
    "/slash",
    "🙂" * 9,
    "e=1;f,g",
)


@pytest.fixture
def fake() -> Iterator[FakeS3]:
    with FakeS3() as fake:
        yield fake


def bucket_of(fake: FakeS3, clients: Clients | None = None, **settings: Any) -> Bucket:
    connection = connection_to(fake)
    clients = clients or Clients(connection, 2)
    return Bucket("b", connection, client=clients, settings=ObjectSettings(**settings))


def connection_to(fake: FakeS3) -> Connection:
    keys = Credentials("AKIA", "secret", "session-token")
    return Connection(endpoint_url=fake.endpoint_url, region="us-east-1", credentials=keys)


def put(bucket: Bucket, key: str, data: bytes = b"some bytes", **options: Any) -> Answer:
    body = PartBody(memoryview(data), lambda: None)
    metadata = object_metadata(f"token-{len(key)}", "8388608/2500/750")
    return bucket.put_object(
        key, body, part_md5(data), metadata, **{"if_none_match": True, **options}
    )


def put_part(bucket: Bucket, number: int) -> Answer:
    data = bytes([number]) * 9
    body = PartBody(memoryview(data), lambda: None)
    return bucket.put_part(KEYS[1], "id+/=", number, body, part_md5(data))


def puts_of(bucket: Bucket) -> _RepeatedPuts:
    puts = bucket._sender._clients.get("body").put_object
    assert isinstance(puts, _RepeatedPuts), "botocore is built differently by now"
    return puts


def plain(request: S3Request) -> tuple[str, bytes, list[tuple[str, str]]]:
    headers = {n: v for n, v in request.headers.items() if n not in _NOT_COMPARED}
    name = f"{request.verb} {request.key} {request.query}"
    return name, request.body, sorted(headers.items())


@pytest.fixture
def repeats(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses of what was sent after a pattern."""
    sent: list[str] = []
    send = _RepeatedPuts._send

    def noted(self: _RepeatedPuts, request: Any) -> Any:
        sent.append(request.url)
        return send(self, request)

    monkeypatch.setattr(_RepeatedPuts, "_send", noted)
    return sent


SETTINGS: list[dict[str, Any]] = [
    {},
    {"metadata": {"site": "Zürich", "a-b": ""}, "tags": {"k": "v w"}, "storage_class": "GLACIER"},
    {"content_type": "text/plain", "cache_control": "no-store"},
    {"sse_c_key": b"k" * 32},
]


@pytest.mark.parametrize("settings", SETTINGS)
def test_a_repeated_request_is_what_botocore_sends(
    settings: dict[str, Any], fake: FakeS3, repeats: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def put_all(bucket: Bucket) -> list[Any]:
        fake.requests.clear()
        fake.objects.clear()
        for key in KEYS:
            put(bucket, key, key.encode() * 3)
        put(bucket, "empty", b"")
        fake.uploads["id+/="] = Upload("id+/=", "b", KEYS[1], {}, NOW)
        for number in range(1, 4):
            put_part(bucket, number)
        return [plain(each) for each in fake.requests]

    repeated = put_all(bucket_of(fake, **settings))
    # All but the first of an object and of a part, and the one with the slash.
    assert len(repeats) == len(KEYS) - 1 + 2
    with monkeypatch.context() as without:
        without.setattr(_RepeatedPuts, "__call__", lambda self, **how: self._ordinary(**how))
        assert put_all(bucket_of(fake, **settings)) == repeated


def test_types_of_content_and_conditions_share_the_clients(
    fake: FakeS3, repeats: list[str]
) -> None:
    clients = Clients(connection_to(fake), 2)
    types = ("text/html", None, "image/png", None)
    for number, content_type in enumerate(types):
        put(bucket_of(fake, clients, content_type=content_type), f"k{number}")
    assert len(repeats) == 3
    assert [each.headers.get("content-type") for each in fake.requests] == list(types)
    answer = put(bucket_of(fake, clients), "other")
    put(bucket_of(fake, clients), "other", b"new", if_none_match=False, if_match=answer.etag)
    assert fake.requests[-1].headers["if-match"] == f'"{answer.etag}"'
    assert "if-none-match" not in fake.requests[-1].headers
    assert fake.objects["b", "other"].body == b"new"


def test_the_answer_is_that_of_an_ordinary_request(fake: FakeS3, repeats: list[str]) -> None:
    bucket = bucket_of(fake)
    first = put(bucket, "a")
    bucket._sender._clock = None
    second = put(bucket, "b")
    assert len(repeats) == 1
    assert first == second
    assert bucket.server_time is not None


def test_a_refusal_is_reported_as_ever_and_sent_once(fake: FakeS3, repeats: list[str]) -> None:
    bucket = bucket_of(fake)
    put(bucket, "a")
    with pytest.raises(ConditionError) as repeated:
        put(bucket, "a")
    assert len(repeats) == 1
    assert len(fake.requests) == 2
    with pytest.raises(ConditionError) as ordinary:
        put(bucket, "a")  # the one after a refusal
    assert len(repeats) == 1
    told, told_before = vars(ordinary.value), vars(repeated.value)
    assert told.pop("request_id") == "FAKE000000000003"
    assert told_before.pop("request_id") == "FAKE000000000002"
    assert told["message"].replace("3)", "2)") == told_before["message"]
    del told["message"], told_before["message"]
    assert told == told_before
    put(bucket, "b")
    put(bucket, "c")
    assert len(repeats) == 2


def test_an_error_in_a_success_is_one(fake: FakeS3, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = bucket_of(fake)
    put(bucket, "a")
    page = b"<?xml version='1.0'?><Error><Code>SlowDown</Code></Error>"
    raw: Any = SimpleNamespace(stream=lambda: [page])
    headers: Any = {"ETag": '"e"'}
    answer = AWSResponse("http://x/", 200, headers, raw)
    monkeypatch.setattr(puts_of(bucket), "_session", SimpleNamespace(send=lambda _: answer))
    with pytest.raises(TransientError):
        put(bucket, "b")
    assert ("b", "b") not in fake.objects


def test_a_redirection_to_another_region_is_followed(
    fake: FakeS3, repeats: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = bucket_of(fake)
    put(bucket, "a")
    page = b"<?xml version='1.0'?><Error><Code>PermanentRedirect</Code></Error>"
    send = puts_of(bucket)._session.send

    def sent(request: Any) -> AWSResponse:
        send(request)
        headers: Any = {"x-amz-bucket-region": "eu-west-1"}
        raw: Any = SimpleNamespace(stream=lambda: [page])
        fake.objects.clear()
        return AWSResponse(request.url, 301, headers, raw)

    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(puts_of(bucket), "_session", SimpleNamespace(send=sent))
        put(bucket, "b", b"all of it")
    assert fake.objects["b", "b"].body == b"all of it"
    put(bucket, "c")
    assert len(repeats) == 2
    regions = [each.headers["authorization"].split("/")[2] for each in fake.requests]
    assert regions == ["us-east-1", "us-east-1", "eu-west-1", "eu-west-1"]


def test_of_a_redirection_that_cannot_be_learned_no_pattern_is_left(
    fake: FakeS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = bucket_of(fake)
    put(bucket, "a")
    puts = puts_of(bucket)
    learned = puts._pattern
    puts._here.parameters, puts._here.pattern = {"Key": "b"}, learned
    puts._learn(AWSRequest("PUT", "http://x/b"), "v4a")
    assert puts._here.pattern is None


def test_credentials_that_were_renewed_sign_the_next(fake: FakeS3, repeats: list[str]) -> None:
    bucket = bucket_of(fake)
    put(bucket, "a")
    client: Any = bucket._sender._clients.get("body")
    client._request_signer._credentials = FixedCredentials("AKIANEW", "secret", "new-token")
    put(bucket, "b")
    assert len(repeats) == 1
    assert "Credential=AKIANEW/" in fake.requests[-1].headers["authorization"]
    assert fake.requests[-1].headers["x-amz-security-token"] == "new-token"


def test_an_answer_counts_though_the_credentials_are_gone_by_then(
    fake: FakeS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone() -> None:
        raise CredentialRetrievalError(provider="role", error_msg="nobody answers")

    def sent(request: Any) -> AWSResponse:
        monkeypatch.setattr(signer, "_credentials", SimpleNamespace(get_frozen_credentials=gone))
        raw: Any = SimpleNamespace(stream=lambda: [b""])
        return AWSResponse(request.url, 504, {}, raw)  # type: ignore[arg-type]

    bucket = bucket_of(fake)
    put(bucket, "a")
    signer = puts_of(bucket)._signer
    monkeypatch.setattr(puts_of(bucket), "_session", SimpleNamespace(send=sent))
    with pytest.raises(TransientError) as lost:
        put(bucket, "b")
    assert (lost.value.http_status, lost.value.sent) == (504, True)


@pytest.mark.parametrize(
    "endpoint_url",
    [None, "https://s3.example.com", "https://x:443", "http://x:80", "https://[::1]"],
)
@pytest.mark.parametrize("addressing", ["path", "virtual"])
def test_addresses_of_every_kind_are_those_of_botocore(
    endpoint_url: str | None, addressing: Any, repeats: list[str]
) -> None:
    sent: list[Any] = []

    def send(request: Any) -> AWSResponse:
        sent.append(request)
        headers: Any = {"ETag": '"e"'}
        raw: Any = SimpleNamespace(stream=list)
        return AWSResponse(request.url, 200, headers, raw)

    def essence(request: Any) -> tuple[str, list[tuple[str, str]]]:
        headers = {name.lower(): _text(value) for name, value in request.headers.items()}
        signed = re.search("SignedHeaders=([^,]*)", headers["authorization"])
        headers["authorization"] = signed[1] if signed else ""
        told = {n: v for n, v in headers.items() if n not in ("x-amz-date", *_NOT_COMPARED[2:])}
        return request.url, sorted(told.items())

    keys = Credentials("AKIA", "secret")
    connection = Connection(
        endpoint_url=endpoint_url, region="eu-west-1", credentials=keys, addressing=addressing
    )
    clients = Clients(connection, 2)
    bucket = Bucket("bucket", connection, client=clients)
    client: Any = clients.get("body")
    client._endpoint.http_session = client.put_object._session = SimpleNamespace(send=send)
    put(bucket, "a")
    put(bucket, "d/ä b")
    assert len(repeats) == 1
    client.put_object._pattern = None
    put(bucket, "d/ä b")
    assert essence(sent[1]) == essence(sent[2])


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def test_a_lost_connection_is_reported_as_ever(fake: FakeS3, repeats: list[str]) -> None:
    bucket = bucket_of(fake)
    put(bucket, "a")
    fake.__exit__(None, None, None)
    errors = []
    for key in ("b", "c"):
        with pytest.raises(TransientError) as lost:
            put(bucket, key)
        errors.append((type(lost.value.__cause__), lost.value.answered))
    assert len(repeats) == 2
    puts_of(bucket)._pattern = None
    with pytest.raises(TransientError) as lost:
        put(bucket, "d")
    assert errors[-1] == (type(lost.value.__cause__), lost.value.answered)


def test_the_log_shows_ordinary_requests(fake: FakeS3, repeats: list[str]) -> None:
    bucket = bucket_of(fake)
    put(bucket, "a")
    log = logging.getLogger("botocore")
    level = log.level
    log.setLevel(logging.DEBUG)
    try:
        put(bucket, "b")
    finally:
        log.setLevel(level)
    assert repeats == []


def test_a_pattern_holds_nothing_of_its_object(fake: FakeS3) -> None:
    bucket = bucket_of(fake)
    put(bucket, "needle", b"needle")
    pattern = puts_of(bucket)._pattern
    assert pattern is not None
    assert "needle" not in str(vars(pattern))
    assert "PartBody" not in str(vars(pattern))
    assert vars(puts_of(bucket)._here) == {}


def test_a_pattern_does_not_show_a_key(fake: FakeS3) -> None:
    bucket = bucket_of(fake, sse_c_key=b"k" * 32)
    put(bucket, "a")
    pattern = puts_of(bucket)._pattern
    shown = base64.b64encode(b"k" * 32).decode()
    assert shown in str(vars(pattern))
    assert shown not in repr(pattern)


def test_other_signatures_leave_no_pattern(fake: FakeS3, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamtos3.s3.repeated_puts._SIGNATURE", "v4a")
    bucket = bucket_of(fake)
    put(bucket, "a")
    assert puts_of(bucket)._pattern is None


@pytest.mark.parametrize("gone", ["_request_signer", "_endpoint"])
def test_a_client_that_is_built_differently_is_left_alone(
    gone: str, fake: FakeS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    client: Any = Clients(connection_to(fake), 2).get("body")
    client.put_object = client.upload_part = None
    monkeypatch.delattr(client, gone)
    repeat_puts(client)
    assert (client.put_object, client.upload_part) == (None, None)
