"""What bad input gets: one status, one error line, one hint, nothing in the bucket."""

from __future__ import annotations

import http.server
import os
import pty
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

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
from tests.rig.fake_s3 import FakeS3
from tests.rig.seaweed import free_ports
from tests.rig.support import assert_nothing_left, open_uploads, unless_root
from tests.rig.tls import fake_over_tls, new_certificate

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from tests.rig.seaweed import SeaweedFS


@pytest.fixture
def admin(seaweed: SeaweedFS) -> dict[str, str]:
    return account(seaweed)


@pytest.fixture
def infile(tmp_path: Path) -> Path:
    path = tmp_path / "input"
    path.write_bytes(b"few bytes")
    return path


# The command line


@pytest.mark.parametrize(
    ("words", "error", "hint"),
    [
        ([], "no destination", "streamtos3 [INFILE] s3://BUCKET/KEY"),
        (["FILE"], "no destination", "streamtos3 [INFILE]"),
        (["FILE", "-b", "bucket"], "no destination", ""),
        (["FILE", "-o", "key"], "no destination", ""),
        (["FILE", "s3:/bucket/key"], "'s3:/bucket/key' is not a destination", "s3://BUCKET/KEY"),
        (["FILE", "s3:bucket/key"], "is not a destination", "s3://BUCKET/KEY"),
        (["FILE", "S3://bucket/key"], "is not a destination", "s3://BUCKET/KEY"),
        (["FILE", "s3:///key"], "'s3:///key' is not a destination", "s3://BUCKET/KEY"),
        (["FILE", "s3://bucket"], "'s3://bucket' names no key", "s3://BUCKET/KEY"),
        (["FILE", "s3://bucket/"], "'s3://bucket/' names no key", "s3://BUCKET/KEY"),
        (["FILE", "s3://b!/key"], "'b!' is not a valid bucket name", None),
        (["FILE", "-b", "bucket", "-o", ""], "the key is empty", "s3://BUCKET/KEY"),
        (["FILE", "s3://bucket/" + "ü" * 513], "the key has 1026 bytes; S3 allows 1024", None),
        (["FILE", "s3://bucket/a", "s3://bucket/b"], "too many arguments", None),
        (["FILE", "FILE", "s3://bucket/a"], "too many arguments", None),
        (["FILE", "s3://bucket/a", "-b", "bucket"], "either s3://BUCKET/KEY or -b and -o", None),
        (["FILE", "s3://bucket/a", "-o", "b"], "either s3://BUCKET/KEY or -b and -o", None),
        (["FILE", "s3://bucket/a", "-c", "5242879"], "chunk size 5242879 bytes is outside", None),
        (["FILE", "s3://bucket/a", "-c", "0"], "chunk size 0 bytes is outside", None),
        (
            ["FILE", "s3://bucket/a", "-c", "5368709121"],
            "chunk size 5368709121 bytes is outside",
            None,
        ),
        (["FILE", "s3://bucket/a", "-c", "8 elephants"], "is not a size", "--help"),
        (["FILE", "s3://bucket/a", "-j", "0"], "0 is not in the range", "--help"),
        (["FILE", "s3://bucket/a", "-r", "0"], "0 is not in the range", "--help"),
        (["FILE", "s3://bucket/a", "-s", "soon"], "is not a duration", "--help"),
        (["FILE", "s3://bucket/a", "--digest", "crc8"], "is not one of", "--help"),
        (["FILE", "s3://bucket/a", "--digest", "none", "--digest", "md5"], "--digest none", None),
        (["FILE", "s3://bucket/a", "--expect-sha256", "abc"], "is not a SHA-256", None),
        (["FILE", "s3://bucket/a", "--nonsense"], "no such option", "streamtos3 put --help"),
        (["FILE", "s3://bucket/a", "--endpoint-url", "nonsense"], "endpoint", None),
        (["FILE", "s3://bucket/a", "--receipt", "/nowhere/r"], "/nowhere is not a directory", None),
        (["FILE", "s3://bucket/a", "--receipt", "/"], "it is a directory", None),
    ],
)
def test_a_wrong_command_line_is_status_2(
    words: list[str], error: str, hint: str | None, infile: Path
) -> None:
    with FakeS3(buckets=["bucket"]) as fake:
        spelled = [str(infile) if word == "FILE" else word for word in words]
        outcome = invoke(*spelled, env=anonymous(fake.endpoint_url))
        assert_refused(outcome, 2, error, hint)
        assert fake.requests == []


def test_a_receipt_never_replaces_what_is_no_file(infile: Path, tmp_path: Path) -> None:
    """A FIFO here: with /dev/null, a failure of this test would be the end of the device."""
    os.mkfifo(tmp_path / "fifo")
    with FakeS3(buckets=["bucket"]) as fake:
        words = (infile, "s3://bucket/k", "--receipt", tmp_path / "fifo")
        outcome = invoke(*words, env=anonymous(fake.endpoint_url))
        assert_refused(outcome, 2, "not a regular file", "--json")
        assert fake.requests == []


def test_an_endpoint_with_a_password_is_refused_without_showing_it(infile: Path) -> None:
    env = anonymous("http://user:hunter2@127.0.0.1:1")
    outcome = invoke(infile, "s3://bucket/k", env=env)
    assert_refused(outcome, 2, "the endpoint's URL carries a user name or password", "--keyfile")
    assert "hunter2" not in outcome.stderr


# Credentials


@pytest.mark.parametrize(
    ("content", "mode", "error"),
    [
        (None, 0o600, "no such file or directory"),
        ("", 0o600, "is malformed"),
        ("onlyakey", 0o600, "is malformed"),
        ("a:b:c:d", 0o600, "is malformed"),
        ("key:hunter2 extra", 0o600, "is malformed"),
        ("key:hunter2", 0o640, "can be read by others (mode 0640)"),
        ("key:hunter2", 0o604, "can be read by others (mode 0604)"),
        pytest.param("key:hunter2", 0o200, "permission denied", marks=unless_root),
    ],
)
def test_an_unusable_keyfile_is_status_3(
    content: str | None, mode: int, error: str, infile: Path, tmp_path: Path
) -> None:
    keyfile = tmp_path / "keyfile"
    if content is not None:
        keyfile.write_text(content)
        keyfile.chmod(mode)
    with FakeS3() as fake:
        words = ("-k", keyfile, "--endpoint-url", fake.endpoint_url)
        outcome = invoke(infile, "s3://bkt/k", *words)
        assert_refused(outcome, 3, error)
        assert "hunter2" not in outcome.stderr
        assert fake.requests == []


def test_no_credentials_is_status_3(infile: Path) -> None:
    outcome = invoke(infile, "s3://bkt/k", "--endpoint-url", "http://127.0.0.1:1")
    assert_refused(outcome, 3, "Unable to locate credentials", "--keyfile")


def test_an_unknown_profile_is_status_3(infile: Path) -> None:
    outcome = invoke(infile, "s3://bkt/k", "--profile", "nobody")
    assert_refused(outcome, 3, "profile (nobody) could not be found", "--profile")


@pytest.mark.parametrize("wrong", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
def test_rejected_keys_are_status_3(
    wrong: str, infile: Path, s3: S3Client, bucket: str, admin: dict[str, str]
) -> None:
    outcome = invoke(infile, f"s3://{bucket}/k", env=admin | {wrong: "hunter2"})
    assert_refused(outcome, 3, f"cannot look at s3://{bucket}/k")
    assert_nothing_left(s3, bucket, "k")


# The endpoint


def test_an_endpoint_that_is_down_is_status_4(infile: Path) -> None:
    (port,) = free_ports(1)
    outcome = invoke(infile, "s3://bkt/k", "-r", "1", env=anonymous(f"http://127.0.0.1:{port}"))
    assert_refused(outcome, 4, "connection refused", "check --endpoint-url")


@contextmanager
def website(status: int, body: bytes = b"<html><p>hi</html>", *, length: bool) -> Iterator[str]:
    """The URL of a web server that gives everybody the same answer."""

    class Page(http.server.BaseHTTPRequestHandler):
        def _serve(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(status)
            if length:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_GET = do_HEAD = do_PUT = do_POST = _serve

        def log_message(self, format: str, *args: object) -> None:
            """Silent."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.mark.parametrize("length", [True, False])
@pytest.mark.parametrize("status", [200, 400, 404, 405, 501])
def test_a_web_server_that_speaks_no_s3_is_status_4(
    status: int, length: bool, infile: Path
) -> None:
    with website(status, length=length) as url:
        outcome = invoke(infile, "s3://bkt/k", "-r", "1", env=anonymous(url))
        assert_refused(outcome, 4, f"what answers at {url} does not speak S3", "--endpoint-url")


def test_a_web_server_that_forbids_everything_is_status_5(infile: Path) -> None:
    with website(403, length=True) as url:
        outcome = invoke(infile, "s3://bkt/k", "-r", "1", env=anonymous(url))
        assert_refused(outcome, 5, "Forbidden: hi (403)")


def test_a_server_that_speaks_no_http_is_status_4(infile: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def greet() -> None:
            client, _ = server.accept()
            with client:
                client.recv(65536)
                client.sendall(b"SSH-2.0-OpenSSH_9.9\r\n")

        thread = threading.Thread(target=greet, daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        outcome = invoke(infile, "s3://bkt/k", "-r", "1", env=anonymous(url))
        thread.join()
    assert_refused(outcome, 4, f"no answer from {url}", "check --endpoint-url")


def test_a_certificate_that_does_not_verify_is_status_4_at_once(
    infile: Path, tmp_path: Path
) -> None:
    """Without `-r`: nothing is gained by trying again."""
    certificate = new_certificate(tmp_path)
    with fake_over_tls(certificate) as fake:
        env = anonymous(fake.endpoint_url)
        fake.buckets.add("bkt")
        outcome = invoke(infile, "s3://bkt/k", env=env)
        assert_refused(outcome, 4, "certificate not accepted: self-signed", "--ca-bundle")
        assert fake.requests == []
        assert invoke(infile, "s3://bkt/k", "--ca-bundle", certificate, env=env).status == 0
        assert fake.objects["bkt", "k"].body == b"few bytes"


def test_no_verify_ssl_works_and_warns_each_time(infile: Path, tmp_path: Path) -> None:
    with fake_over_tls(new_certificate(tmp_path)) as fake:
        fake.buckets.add("bkt")
        for key in ("one", "two"):
            words = (infile, f"s3://bkt/{key}", "--no-verify-ssl", "-q")
            outcome = run(*words, env=anonymous(fake.endpoint_url))
            assert outcome.status == 0
            assert outcome.said("warning") == [
                "--no-verify-ssl: anyone on the way can read and change what is sent"
            ]
            assert len(outcome.lines) == 1, outcome.stderr


# The bucket


def test_a_missing_bucket_is_status_5_and_stays_missing(
    infile: Path, s3: S3Client, admin: dict[str, str]
) -> None:
    """SeaweedFS would create it."""
    outcome = invoke(infile, "s3://no-such-bucket/k", env=admin)
    assert_refused(outcome, 5, "NoSuchBucket", "streamtos3 never creates a bucket")
    assert "no-such-bucket" not in [each["Name"] for each in s3.list_buckets()["Buckets"]]


def test_a_missing_bucket_fails_while_the_producer_is_silent(admin: dict[str, str]) -> None:
    with subprocess.Popen(
        [*PROGRAM, "s3://no-such-bucket/k"],
        env=os.environ | admin,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        status = process.wait(timeout=30)
        assert process.stdout and process.stderr
        outcome = Outcome(status, process.stdout.read(), process.stderr.read())
    assert_refused(outcome, 5, "NoSuchBucket")


@pytest.mark.parametrize("who", ["denied", "reader"])
def test_access_denied_is_status_5(
    who: str, infile: Path, s3: S3Client, bucket: str, seaweed: SeaweedFS
) -> None:
    outcome = invoke(infile, f"s3://{bucket}/k", env=account(seaweed, who))
    assert_refused(outcome, 5, "AccessDenied", "IAM policy")
    assert_nothing_left(s3, bucket, "k")


def test_an_existing_object_is_status_6_and_untouched(
    infile: Path, s3: S3Client, bucket: str, admin: dict[str, str]
) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"older")
    outcome = invoke(infile, f"s3://{bucket}/k", env=admin)
    assert_refused(outcome, 6, f"s3://{bucket}/k already exists", "--overwrite")
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"older"
    assert open_uploads(s3, bucket) == []


# The input


def test_an_input_that_cannot_be_opened_is_status_7(tmp_path: Path) -> None:
    with FakeS3(buckets=["bkt"]) as fake:
        env = anonymous(fake.endpoint_url)
        outcome = invoke(tmp_path / "nothing", "s3://bkt/k", env=env)
        assert_refused(outcome, 7, "nothing: no such file or directory")
        outcome = invoke(tmp_path, "s3://bkt/k", env=env)
        assert_refused(outcome, 7, "it is a directory", "tar -c")
        assert fake.requests == []


@unless_root
def test_an_unreadable_input_is_status_7(infile: Path) -> None:
    infile.chmod(0)
    assert_refused(invoke(infile, "s3://bkt/k"), 7, "permission denied")


def test_an_input_longer_than_any_object_is_status_7(tmp_path: Path) -> None:
    with FakeS3(buckets=["bkt"]) as fake:
        words = ("/dev/null", "s3://bkt/k", "--expect-size", "50TiB")
        outcome = invoke(*words, env=anonymous(fake.endpoint_url))
        assert_refused(outcome, 7, "50 TiB does not fit one S3 object of at most 48.8 TiB")
        assert fake.requests == []


def test_a_file_that_fails_at_its_first_byte_is_status_7(
    s3: S3Client, bucket: str, admin: dict[str, str]
) -> None:
    outcome = invoke("/proc/self/mem", f"s3://{bucket}/k", env=admin)
    assert_refused(outcome, 7, "cannot read /proc/self/mem at byte 0: input/output error")
    assert_nothing_left(s3, bucket, "k")


def test_a_read_error_in_mid_stream_is_status_7_with_its_offset(
    s3: S3Client, bucket: str, admin: dict[str, str]
) -> None:
    """The master of a terminal whose other side is closed: EIO after the last byte."""
    master, slave = pty.openpty()
    os.write(slave, b"half of the input\n")
    with subprocess.Popen(
        [*PROGRAM, "-", f"s3://{bucket}/k"],
        env=os.environ | admin,
        stdin=master,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        os.close(slave)
        os.close(master)
        stdout, stderr = process.communicate(timeout=30)
    outcome = Outcome(process.returncode, stdout, stderr)
    assert_refused(outcome, 7, "cannot read standard input at byte 19: input/output error")
    assert_nothing_left(s3, bucket, "k")


def test_a_closed_standard_input_is_status_7() -> None:
    outcome = shell('"$@" <&-', "s3://bkt/k")
    assert_refused(outcome, 7, "cannot read standard input: it is closed")


def test_a_terminal_as_standard_input_is_status_2_unless_a_dash_asks_for_it() -> None:
    with FakeS3(buckets=["bkt"]) as fake:
        for words, status in ((["s3://bkt/k"], 2), (["-", "s3://bkt/k"], 0)):
            master, slave = pty.openpty()
            with os.fdopen(master, "wb", buffering=0) as keyboard:
                keyboard.write(b"typed\n\x04")
                done = subprocess.run(
                    [*PROGRAM, *words],
                    env=os.environ | anonymous(fake.endpoint_url),
                    stdin=slave,
                    capture_output=True,
                    text=True,
                    timeout=30,
                )
                os.close(slave)
            outcome = Outcome(done.returncode, done.stdout, done.stderr)
            assert outcome.status == status, outcome
            if status:
                assert_refused(outcome, 2, "standard input is a terminal", "say -")
                assert fake.requests == []
        assert fake.objects["bkt", "k"].body == b"typed\n"
