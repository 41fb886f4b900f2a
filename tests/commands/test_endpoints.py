"""Endpoints that are not what they were taken for: each said in one line, with what to do."""

from __future__ import annotations

import json
import socketserver
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.rig.client import md5
from tests.rig.command import Outcome, anonymous, assert_refused, invoke, run
from tests.rig.fake_s3 import Answer, FakeS3, Quirks
from tests.rig.quirks import Stored
from tests.rig.seaweed import free_ports
from tests.rig.support import MIB, payload
from tests.rig.tls import new_certificate
from tests.rig.wire import Connection, S3Request

QUICKLY = ("-s", "0.01")


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small"
    path.write_bytes(b"few bytes")
    return path


@pytest.fixture
def large(tmp_path: Path) -> Path:
    path = tmp_path / "large"
    path.write_bytes(payload(6 * MIB))
    return path


@contextmanager
def serving(handler: type[socketserver.BaseRequestHandler]) -> Iterator[str]:
    """A port whose connections the handler answers, as an http:// address."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()


@contextmanager
def answering(first_bytes: bytes) -> Iterator[str]:
    """A port where every connection is answered with these bytes, after its request's head."""

    class Client(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            with suppress(OSError):
                while self.rfile.readline() not in (b"\r\n", b""):
                    pass
                self.wfile.write(first_bytes)

    with serving(Client) as url:
        yield url


@contextmanager
def speaking_tls(certificate: Path) -> Iterator[str]:
    """A port that begins a TLS handshake, as an http:// address."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    class Client(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with suppress(OSError):
                context.wrap_socket(self.request, server_side=True).recv(1)

    with serving(Client) as url:
        yield url


# What cannot be sent


@pytest.mark.parametrize(
    "words",
    [
        ("--content-type", "text/plain\r\nX: y"),
        ("--content-encoding", "gzip\n"),
        ("--cache-control", "no-cache\x00"),
        ("--cache-control", "größer"),
        ("--storage-class", "A\nB"),
        ("--acl", "private\r"),
        ("--expected-bucket-owner", "1\n2"),
        ("--metadata", "a=b\r\nX: y"),
        ("--tag", "a=b\r\nX: y"),
    ],
)
def test_a_header_that_cannot_be_sent_is_refused_before_the_first_byte(
    small: Path, words: tuple[str, ...]
) -> None:
    with FakeS3() as fake:
        outcome = invoke(small, "s3://bkt/k", *words, env=anonymous(fake.endpoint_url))
        assert outcome.status == 2, outcome
        assert len(outcome.said("error")) == 1
        assert fake.requests == []


def test_what_a_destination_brings_is_looked_at_too(small: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text('[destination.d]\nbucket = "bkt"\ncontent_type = "text/plain\\r\\nX: y"\n')
    with FakeS3() as fake:
        env = anonymous(fake.endpoint_url)
        outcome = invoke("put", "--config", config, "-D", "d", small, "k", env=env)
        assert_refused(outcome, 2, "--content-type 'text/plain\\r\\nX: y' cannot be sent")
        assert fake.requests == []


@pytest.mark.parametrize("command", ["get", "verify"])
def test_readers_never_take_such_a_header_for_the_network(command: str) -> None:
    with FakeS3() as fake:
        env = anonymous(fake.endpoint_url)
        words = (command, "s3://bkt/k", "--expected-bucket-owner", "1\r\nX: y")
        outcome = invoke(*words, *(("-",) if command == "get" else ()), env=env)
        assert_refused(outcome, 2, "a header holds a line break", "what is set for the object")


def test_an_access_key_with_a_line_break_is_no_usable_key(small: Path) -> None:
    with FakeS3() as fake:
        env = {**anonymous(fake.endpoint_url), "AWS_ACCESS_KEY_ID": "AKIA\n"}
        outcome = invoke(small, "s3://bkt/k", env=env)
        assert_refused(outcome, 3, "the access key begins or ends with white space")


@pytest.mark.parametrize("url", ["http://a..b", "http://" + 70 * "a" + ".b"])
def test_an_address_that_cannot_be_is_not_waited_for(small: Path, url: str) -> None:
    outcome = invoke(small, "s3://bkt/k", env=anonymous(url))
    assert outcome.status == 2, outcome
    assert len(outcome.said("error")) == 1


# Refusals that are not S3's


class WithoutMultipart(FakeS3):
    """Refuses to begin an upload, with a body that is not S3's."""

    refusal = Answer(400, b'{"error": "no multipart here"}', {"Content-Type": "application/json"})

    def _do_create(self, asked: S3Request) -> Answer:
        return self.refusal


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"error": "no multipart here"}\n{"more": 1}', '400 without an S3 error code: {"error"'),
        (b"<html><head><title>Bad\n Request</title></head></html>", "error code: Bad Request"),
        (b"<html><body><h1>Go away</h1></body></html>", "error code: Go away"),
        (b"", "HTTP 400 without an S3 error code; gave up"),
    ],
)
def test_a_refusal_without_a_code_is_tried_five_times(large: Path, body: bytes, said: str) -> None:
    server = WithoutMultipart(buckets=("bkt",))
    server.refusal = Answer(400, body)
    with server as fake:
        env = anonymous(fake.endpoint_url)
        outcome = invoke(large, "s3://bkt/k", *QUICKLY, "-c", "5MiB", env=env)
        assert outcome.status == 5, outcome
        assert said in outcome.said("error")[0]
        assert "gave up after 5 tries" in outcome.said("error")[0]
        assert fake.count("create") == 5
        assert (fake.objects, fake.uploads) == ({}, {})


@pytest.mark.parametrize(
    ("status", "code"), [(501, None), (500, "NotImplemented"), (400, "NotImplemented")]
)
def test_what_is_not_implemented_is_asked_for_once(
    large: Path, status: int, code: str | None
) -> None:
    server = WithoutMultipart(buckets=("bkt",))
    xml = f"<Error><Code>{code}</Code><Message>not here</Message></Error>"
    server.refusal = Answer(status, xml.encode() if code else b"not here")
    with server as fake:
        outcome = invoke(large, "s3://bkt/k", "-c", "5MiB", env=anonymous(fake.endpoint_url))
        assert_refused(outcome, 5, "not here")
        assert fake.count("create") == 1


class RefusingInside200(FakeS3):
    """Says at `complete` that it went well, and in the body that it did not."""

    def _do_complete(self, asked: S3Request) -> Answer:
        return Answer(200, b"<Error><Code>AccessDenied</Code><Message>not you</Message></Error>")


def test_a_final_refusal_inside_a_200_is_not_tried_for_long(large: Path) -> None:
    with RefusingInside200(Quirks(min_part_bytes=1), buckets=("bkt",)) as fake:
        env = anonymous(fake.endpoint_url)
        outcome = invoke(large, "s3://bkt/k", *QUICKLY, "-c", "5MiB", env=env)
        assert outcome.status == 5, outcome
        assert "not you (AccessDenied, HTTP " in outcome.said("error")[0]
        assert fake.count("complete") == 5
        assert (fake.objects, fake.uploads) == ({}, {})


# Proxies


def refused_proxy() -> str:
    return f"127.0.0.1:{free_ports(1)[0]}"


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("origin", ["--proxy", "STREAMTOS3_PROXY", "PROXY", "destination d"])
def test_a_proxy_that_is_down_is_named_without_its_password(
    small: Path, tmp_path: Path, scheme: str, origin: str
) -> None:
    host = refused_proxy()
    url = f"http://user:s3cret@{host}"
    env = anonymous(f"{scheme}://s3.example:1")
    words: list[object] = [small, "s3://bkt/k", "-r", "1"]
    if origin == "--proxy":
        words += ["--proxy", url]
    elif origin == "destination d":
        config = tmp_path / "config.toml"
        config.write_text(f'[destination.d]\nbucket = "bkt"\nproxy = "{url}"\n')
        config.chmod(0o600)
        words = ["--config", config, "-D", "d", small, "k", "-r", "1"]
    else:
        origin = f"{scheme.upper()}_PROXY" if origin == "PROXY" else origin
        env[origin] = url
    outcome = invoke(*words, env=env)
    assert_refused(outcome, 4, f"the proxy http://{host} (from {origin}) (connection refused)")
    assert "s3cret" not in outcome.stderr


def test_a_proxy_that_wants_a_password_is_named(small: Path) -> None:
    with answering(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n") as proxy:
        for scheme in ("http", "https"):
            env = anonymous(f"{scheme}://s3.example:1")
            outcome = invoke(small, "s3://bkt/k", "-r", "1", "--proxy", proxy, env=env)
            assert outcome.status == 4, outcome
            assert f"the proxy {proxy} (from --proxy)" in outcome.said("error")[0]
            assert "407" in outcome.said("error")[0]


# TLS where there is none, and none where there is


def test_https_to_a_port_that_speaks_http(small: Path) -> None:
    with FakeS3(buckets=("bkt",)) as fake:
        secure = fake.endpoint_url.replace("http:", "https:")
        outcome = invoke(small, "s3://bkt/k", env=anonymous(secure))
        assert_refused(outcome, 4, "no secure connection", f"HTTP: write {fake.endpoint_url}")


def test_http_to_a_port_that_speaks_tls(small: Path, tmp_path: Path) -> None:
    with speaking_tls(new_certificate(tmp_path)) as url:
        outcome = invoke(small, "s3://bkt/k", "-r", "1", env=anonymous(url))
        assert_refused(outcome, 4, "no answer from", f"write {url.replace('http:', 'https:')}")


@pytest.mark.parametrize(
    "text",
    [
        b"Client sent an HTTP request to an HTTPS server.\n",
        b"<html><title>400 The plain HTTP request was sent to HTTPS port</title></html>",
    ],
)
def test_http_to_a_port_that_says_it_speaks_tls(small: Path, text: bytes) -> None:
    with answering(b"HTTP/1.0 400 Bad Request\r\n\r\n" + text) as url:
        outcome = invoke(small, "s3://bkt/k", "-r", "1", env=anonymous(url))
        assert_refused(outcome, 4, "HTTP", f"write {url.replace('http:', 'https:')}")


# Credentials


@pytest.mark.parametrize("variable", ["AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID"])
def test_white_space_around_a_key_is_in_the_hint(small: Path, variable: str) -> None:
    with answering(
        b"HTTP/1.0 403 Forbidden\r\n\r\n<Error><Code>SignatureDoesNotMatch</Code></Error>"
    ) as url:
        env = {**anonymous(url), variable: "secret "}
        outcome: Outcome = invoke(small, "s3://bkt/k", env=env)
        assert_refused(outcome, 3, "SignatureDoesNotMatch", "begins or ends with white space")


# Buckets that are in the endpoint already, and access points


def test_an_endpoint_that_ends_in_the_bucket_is_warned_of_once(small: Path) -> None:
    with FakeS3(buckets=("demo",)) as fake:
        url = fake.endpoint_url + "/demo"
        outcome = invoke(small, "s3://demo/k", env=anonymous(url))
        assert outcome.status == 0, outcome
        assert outcome.said("warning") == [
            f"the endpoint {url} ends in the bucket's name, so that objects may be stored as "
            "demo/KEY; an endpoint is given without the bucket"
        ]
        assert list(fake.objects) == [("demo", "demo/k")]


@pytest.mark.parametrize("words", [("get", "s3://demo/k", "-"), ("verify", "s3://demo/k")])
def test_readers_warn_of_it_even_where_nothing_is_found(words: tuple[str, ...]) -> None:
    with FakeS3(buckets=("demo",)) as fake:
        outcome = invoke(*words, env=anonymous(fake.endpoint_url + "/demo"))
        assert outcome.status == 5, outcome
        assert "ends in the bucket's name" in outcome.said("warning")[0]


def test_a_publication_warns_of_it_once(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / name).write_text(name)
    with FakeS3(buckets=("demo",)) as fake:
        url = fake.endpoint_url + "/demo"
        outcome = invoke("publish", tmp_path, "s3://demo/p", env=anonymous(url))
        assert outcome.status == 0, outcome
        assert len([line for line in outcome.lines if "bucket's name" in line]) == 1


ARN = "arn:aws:s3:eu-west-1:123456789012:accesspoint/point"


@pytest.mark.parametrize("words", [("-b", ARN, "-o", "k"), (f"s3://{ARN}/k",)])
@pytest.mark.parametrize("by_option", [True, False])
def test_an_access_point_excludes_an_endpoint(
    small: Path, words: tuple[str, ...], by_option: bool
) -> None:
    url = "http://127.0.0.1:1"
    env = anonymous(url)
    if by_option:
        del env["AWS_ENDPOINT_URL"]
        words += ("--endpoint-url", url)
    assert_refused(invoke(small, *words, env=env), 2, "excludes the endpoint", "leave out")


# Directories


class MakesDirectories(FakeS3):
    """Makes a directory of a key that ends in a slash, as SeaweedFS and Alluxio do."""

    answers_etag = True

    def _do_put_object(self, asked: S3Request) -> Answer:
        answer = super()._do_put_object(asked)
        self.objects[asked.bucket, asked.key] = Stored(b"", md5(b""), {})
        return answer if self.answers_etag else answer._replace(headers={})


@pytest.mark.parametrize("answers_etag", [True, False])
def test_a_key_of_which_a_directory_is_made(small: Path, answers_etag: bool) -> None:
    server = MakesDirectories(buckets=("bkt",))
    server.answers_etag = answers_etag
    with server as fake:
        outcome = invoke(small, "s3://bkt/k/", env=anonymous(fake.endpoint_url))
        assert_refused_with_left_behind(outcome, 9, "makes a directory of a key that ends in /")
        assert (fake.count("put-object"), fake.count("head")) == (1, 2)


def assert_refused_with_left_behind(outcome: Outcome, status: int, hint: str) -> None:
    assert outcome.status == status, outcome
    assert hint in outcome.said("hint")[0]
    assert outcome.said("left behind") == ["s3://bkt/k/ is there and is not what was read"]


# Versions


class Versions(FakeS3):
    """Answers a HEAD with this version id, whatever was asked for."""

    version_id: str | None = None

    def _do_get(self, asked: S3Request) -> Answer:
        answer = super()._do_get(asked)
        named = {"x-amz-version-id": self.version_id} if self.version_id else {}
        return answer._replace(headers={**answer.headers, **named})

    _do_head = _do_get


@pytest.mark.parametrize("command", ["get", "verify"])
@pytest.mark.parametrize(
    ("asked", "answered", "status"),
    [
        ("v1", None, 9),
        ("v1", "v2", 9),
        ("v1", "null", 9),
        ("v1", "v1", 0),
        ("null", None, 0),
        ("null", "null", 0),
        ("null", "v2", 9),
    ],
)
def test_an_answer_of_another_version_is_not_what_was_asked_for(
    tmp_path: Path, command: str, asked: str, answered: str | None, status: int
) -> None:
    server = Versions(buckets=("bkt",))
    server.version_id = answered
    with server as fake:
        fake.objects["bkt", "k"] = Stored(b"data", md5(b"data"), {})
        words = [command, "s3://bkt/k", "--version-id", asked]
        words += [str(tmp_path / "out")] if command == "get" else []
        outcome = invoke(*words, env=anonymous(fake.endpoint_url))
        assert outcome.status == status, outcome
        assert (tmp_path / "out").exists() == (command == "get" and status == 0)
        assert list(tmp_path.iterdir()) == (
            [tmp_path / "out"] if command + str(status) == "get0" else []
        )
        if status:
            assert asked in outcome.said("error")[0]


# Metadata that is not ASCII


def test_metadata_that_is_not_ascii_is_stored_encoded_and_read_back_decoded(
    small: Path, tmp_path: Path
) -> None:
    with FakeS3(buckets=("bkt",)) as fake:
        env = anonymous(fake.endpoint_url)
        given = ("--metadata", "who=José", "--metadata", "what=plain", "--examiner", "日本")
        outcome = invoke(small, "s3://bkt/k", *given, env=env)
        assert outcome.status == 0, outcome
        assert outcome.said("warning") == [
            "metadata is not ASCII and is stored encoded as S3 does, by RFC 2047: who, examiner"
        ]
        assert fake.objects["bkt", "k"].metadata["who"] == "=?utf-8?b?Sm9zw6k=?="
        read = {"who": "José", "what": "plain", "examiner": "日本"}
        for words in (
            ("get", "s3://bkt/k", tmp_path / "out", "--json"),
            ("verify", "s3://bkt/k", small, "--json"),
        ):
            outcome = invoke(*words, env=env)
            assert json.loads(outcome.stdout)["metadata"] == read, outcome


def test_a_sink_says_so_once_for_all_its_objects() -> None:
    with FakeS3(buckets=("bkt",)) as fake:
        env = anonymous(fake.endpoint_url)
        words = ("sink", "s3://bkt/p", "--flush-count", "1", "--metadata", "who=José")
        outcome = run(*words, env=env, stdin=b"one\ntwo\nthree\n")
        assert outcome.status == 0, outcome
        assert len(fake.objects) == 3
        assert len(outcome.said("warning")) == 1


# ETags in capitals


def test_etags_in_capitals_are_the_same_md5s(small: Path, large: Path, tmp_path: Path) -> None:
    """As Aliyun OSS writes them; nothing is taken for damage, and parts are resumed."""
    with FakeS3(Quirks(etag="MD5"), buckets=("bkt",)) as fake:
        env = anonymous(fake.endpoint_url)
        receipt = tmp_path / "receipt"
        for infile, proof in ((small, "md5-etag"), (large, "composite-etag")):
            url = f"s3://bkt/{infile.name}"
            words = ("-c", "5MiB", "--receipt", receipt, infile, url)
            outcome = invoke(*words, env=env)
            assert outcome.status == 0, outcome
            assert f"proved by {proof}" in outcome.stderr
            assert fake.objects["bkt", infile.name].etag.isupper()
            for again in (
                ("get", url, tmp_path / f"{infile.name}.out"),
                ("verify", url, infile),
                ("verify", url, "--receipt", receipt),
            ):
                outcome = invoke(*again, env=env)
                assert outcome.status == 0, outcome


def test_a_part_that_a_proxy_finds_too_large_has_its_own_hint(small: Path) -> None:
    class TooLarge(FakeS3):
        def _do_put_object(self, asked: S3Request) -> Answer:
            return Answer(413, b"<title>413 Request Entity Too Large</title>")

    with TooLarge(buckets=("bkt",)) as fake:
        outcome = invoke(small, "s3://bkt/k", *QUICKLY, env=anonymous(fake.endpoint_url))
        assert outcome.status == 5, outcome
        assert "413 Request Entity Too Large" in outcome.said("error")[0]
        assert "a smaller -c" in outcome.said("hint")[0]


# Answers that leave something out


class Undated(FakeS3):
    """Lists an upload without its date, and parts without anything."""

    def _do_list_uploads(self, asked: S3Request) -> Answer:
        upload = "<Upload><Key>k</Key><UploadId>1</UploadId></Upload><Upload><Key>x</Key></Upload>"
        root = "ListMultipartUploadsResult"
        return Answer(200, f"<{root}><Bucket>bkt</Bucket>{upload}</{root}>".encode())

    def _do_list_parts(self, asked: S3Request) -> Answer:
        return Answer(
            200,
            b"<ListPartsResult><Part><PartNumber>1</PartNumber></Part><Part/></ListPartsResult>",
        )


def test_an_upload_without_a_date_is_listed_and_is_not_known_to_be_old() -> None:
    with Undated(buckets=("bkt",)) as fake:
        env = anonymous(fake.endpoint_url)
        outcome = invoke("uploads", "list", "--json", "s3://bkt/", env=env)
        assert outcome.status == 0, outcome
        (listed,) = [json.loads(line) for line in outcome.stdout.splitlines()]
        assert (listed["key"], listed["upload_id"], listed["parts"]) == ("k", "1", 1)
        outcome = invoke("uploads", "abort", "--yes", "s3://bkt/", env=env)
        assert outcome.status == 0, outcome
        assert fake.count("abort") == 0


class Sizeless(FakeS3):
    """A HEAD's answer has no Content-Length, as behind a proxy that compresses."""

    def _answer_to(self, client: Connection) -> Answer:
        answer = super()._answer_to(client)
        kept = {k: v for k, v in answer.headers.items() if k != "Content-Length"}
        return answer._replace(headers=kept) if client.command == "HEAD" else answer


def test_a_head_without_a_size_is_not_waited_for(large: Path) -> None:
    with Sizeless(buckets=("bkt",)) as fake:
        env = anonymous(fake.endpoint_url)
        outcome = invoke(*QUICKLY, "-c", "5MiB", large, "s3://bkt/k", env=env)
        assert outcome.status == 0, outcome
        assert "proved by composite-etag" in outcome.stderr
        assert "could not be inspected" in outcome.said("warning")[0]
        outcome = invoke("get", *QUICKLY, "s3://bkt/k", "-", env=env)
        assert outcome.status == 5, outcome
        assert "names no size" in outcome.said("error")[0]


@pytest.mark.parametrize("url", ["127.0.0.1:9000", "ftp://127.0.0.1", "http://127.0.0.1?x=1"])
def test_an_endpoint_that_is_no_url_has_its_form_in_the_hint(small: Path, url: str) -> None:
    outcome = invoke(small, "s3://bkt/k", env=anonymous(url))
    assert_refused(outcome, 2, url, "https://HOST[:PORT]")
