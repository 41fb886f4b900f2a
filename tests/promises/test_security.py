"""Secrets stay secret, and nothing that a server says can play with a terminal."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import logging
import os
import subprocess
import sys
import threading
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from streamtos3.cli.console import escaped, line, redacted, say
from streamtos3.cli.debug_log import RedactingLog
from streamtos3.cli.progress import BarProgress
from streamtos3.errors import CredentialsError
from streamtos3.model.events import Started
from streamtos3.model.options import Connection, Credentials, Options
from streamtos3.s3.bucket import Bucket
from streamtos3.s3.clients import Clients
from streamtos3.s3.credentials import read_keyfile
from tests.rig.fake_s3 import FakeS3, Quirks
from tests.rig.quirks import Upload
from tests.rig.seaweed import SeaweedFS, free_ports
from tests.rig.support import payload

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
TOKEN = "IQoJb3JpZ2luX2VjEXAMPLE//////////wEaCXVzLWVhc3QtMSJHMEUCIQ=="
CUSTOMER_KEY = base64.b64encode(bytes(range(32))).decode()
EVIL = "x\x1b]0;owned\x07\x9b31m\r\u202e\u2028y"
TERMINAL_CONTROLS = set("\x1b\x07\x9b\r\u202e\u2028")


def run(*words: str, stdin: bytes = b"", **environment: str) -> subprocess.CompletedProcess[str]:
    """The program, as a user starts it, with `environment` on top of ours."""
    done = subprocess.run(
        [sys.executable, "-m", "streamtos3", *words],
        input=stdin,
        capture_output=True,
        env={**os.environ, **environment},
        timeout=60,
    )
    return subprocess.CompletedProcess(
        words, done.returncode, done.stdout.decode(), done.stderr.decode()
    )


def keyfile_of(directory: Path, *fields: str) -> str:
    path = directory / "keys"
    path.write_text(":".join(fields) + "\n")
    path.chmod(0o600)
    return str(path)


# --debug, as users see it


def test_a_debug_log_of_a_real_upload_holds_the_story_but_no_secret(
    seaweed: SeaweedFS, bucket: str, tmp_path: Path
) -> None:
    keyfile = keyfile_of(tmp_path, seaweed.access_key, seaweed.secret_key)
    url = f"s3://{bucket}/k"
    done = run(
        *("--debug", "-c", "5MiB", "-k", keyfile, "--endpoint-url", seaweed.endpoint_url),
        *("--region", "us-east-1", "--addressing", "path", url),
        stdin=payload(6 * 1024**2),
    )
    assert done.returncode == 0, done.stderr
    assert seaweed.secret_key not in done.stdout + done.stderr
    for told in ("CompleteMultipartUpload", "Content-MD5", "streamtos3-token': '", '"PUT /'):
        assert told in done.stderr
    assert "Credential=" not in done.stderr  # of the header Authorization nothing is shown


@pytest.mark.parametrize("how", ["keyfile", "environment", "profile"])
def test_no_way_of_giving_a_session_token_shows_it_in_the_debug_log(
    how: str, tmp_path: Path, home: Path
) -> None:
    environment: dict[str, str] = {}
    words: tuple[str, ...] = ()
    if how == "keyfile":
        words = ("-k", keyfile_of(tmp_path, "AKIDEXAMPLE", SECRET, TOKEN))
    elif how == "environment":
        environment = {
            "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_SESSION_TOKEN": TOKEN,
        }
    else:
        (home / ".aws").mkdir()
        (home / ".aws" / "credentials").write_text(
            "[default]\naws_access_key_id = AKIDEXAMPLE\n"
            f"aws_secret_access_key = {SECRET}\naws_session_token = {TOKEN}\n"
        )
    with FakeS3(buckets=("bkt",)) as fake:
        done = run(
            *("--debug", *words, "--endpoint-url", fake.endpoint_url, "--region", "us-east-1"),
            *("--addressing", "path", "--json", "s3://bkt/k"),
            stdin=b"data",
            **environment,
        )
        sent = [each.headers.get("x-amz-security-token") for each in fake.requests]
    assert done.returncode == 0, done.stderr
    assert set(sent) == {TOKEN}
    assert "X-Amz-Security-Token" in done.stderr
    for secret in (SECRET, TOKEN):
        assert secret not in done.stdout + done.stderr


def test_a_proxys_password_shows_neither_in_the_debug_log_nor_in_the_receipt() -> None:
    (port,) = free_ports(1)
    for proxy in (f"http://me:pa%40ss@127.0.0.1:{port}", f"me:pass%40x@127.0.0.1:{port}"):
        done = run(
            *("--debug", "--proxy", proxy, "--endpoint-url", "http://s3.invalid", "-r", "1"),
            *("--region", "us-east-1", "--addressing", "path", "--json", "s3://bkt/k"),
            stdin=b"data",
            AWS_ACCESS_KEY_ID="AKIDEXAMPLE",
            AWS_SECRET_ACCESS_KEY=SECRET,
        )
        assert done.returncode == 4, done.stderr
        for secret in ("pa%40ss", "pa@ss", "pass%40x", "pass@x", SECRET):
            assert secret not in done.stdout + done.stderr
        encoded = [base64.b64encode(pair).decode() for pair in (b"me:pa@ss", b"me:pass@x")]
        assert not any(each in done.stderr for each in encoded)


# --debug, record by record, as botocore and urllib3 write them


def shown(record: logging.LogRecord, handler: RedactingLog | None = None) -> str:
    stream = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stderr", stream)
        (handler or RedactingLog()).emit(record)
    return stream.getvalue()


def record_of(logger: str, message: str, *args: Any) -> logging.LogRecord:
    return logging.LogRecord(logger, logging.DEBUG, "", 0, message, args, None)


STS_XML = (
    '<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult>'
    f"<Credentials><AccessKeyId>ASIAEXAMPLE</AccessKeyId><SecretAccessKey>{SECRET}"
    f"</SecretAccessKey><SessionToken>{TOKEN}</SessionToken></Credentials>"
    "</AssumeRoleResult></AssumeRoleResponse>"
)
SSO_JSON = json.dumps({"roleCredentials": {"secretAccessKey": SECRET, "sessionToken": TOKEN}})
IMDS_JSON = json.dumps({"Code": "Success", "SecretAccessKey": SECRET, "Token": TOKEN}, indent=1)
HEADERS = {
    "X-Amz-Security-Token": TOKEN.encode(),
    "Authorization": f"AWS4-HMAC-SHA256 Credential=A/b, SignedHeaders=x, Signature={SECRET}",
}
REQUEST = "Making request for %s with params: %s"

RECORDS = {
    "an STS answer": record_of("botocore.parsers", "Response body:\n%r", STS_XML.encode()),
    "an SSO answer": record_of("botocore.parsers", "Response body:\n%r", SSO_JSON.encode()),
    "an answer in no known form": record_of("botocore.parsers", "Response body:\n%r", SECRET),
    "an S3 Express session": record_of(
        "botocore.parsers",
        "Response body:\n%r",
        f"<CreateSessionResult><SessionToken>{TOKEN}</SessionToken>".encode(),
    ),
    "an STS answer elsewhere": record_of("x", "got %s", STS_XML),
    "JSON elsewhere": record_of("x", "got %r", SSO_JSON.encode()),
    "JSON within JSON": record_of("x", "got %s", json.dumps({"body": SSO_JSON})),
    "the metadata service": record_of(
        "botocore.utils",
        "Metadata service returned %s response with status code of %s for url: %s, "
        "content body: %s",
        *("bad", 200, "http://169.254.169.254/", IMDS_JSON),
    ),
    "its dictionary": record_of(
        "botocore.utils",
        "Error response received when retrievingcredentials: %s.",
        json.loads(IMDS_JSON),
    ),
    "its token": record_of(
        "x", "Sending http request: %s", {"x-aws-ec2-metadata-token": TOKEN, "User-Agent": "x"}
    ),
    "the container's token": record_of("x", "%s", {"Authorization": TOKEN}),
    "an SSO request": record_of(
        *("botocore.endpoint", REQUEST, "GetRoleCredentials"),
        {"headers": {"x-amz-sso_bearer_token": TOKEN}},
    ),
    "an OIDC request": record_of(
        "botocore.endpoint",
        REQUEST,
        "CreateToken",
        {"body": json.dumps({"clientSecret": SECRET, "refreshToken": TOKEN}), "headers": {}},
    ),
    "a web identity request": record_of(
        "botocore.endpoint",
        REQUEST,
        "AssumeRoleWithWebIdentity",
        {"body": {"Action": "AssumeRoleWithWebIdentity", "WebIdentityToken": TOKEN}},
    ),
    "a query": record_of("urllib3", '%s "GET %s"', "h", f"/?WebIdentityToken={TOKEN}&b=c"),
    "a prepared request": record_of(
        "botocore.endpoint",
        "Sending http request: %s",
        f"<AWSPreparedRequest stream_output=False, method=GET, url=http://h/, headers={HEADERS}>",
    ),
    "header lines": record_of("x", f"send: 'Authorization: AWS4 A=A/b, Signature={SECRET}'"),
    "header pairs": record_of("x", "%r", [("X-Amz-Security-Token", TOKEN)]),
    "a canonical request": record_of(
        "botocore.auth",
        "CanonicalRequest:\n%s",
        f"GET\n/\n\nhost:h\nx-amz-security-token:{TOKEN}\n\nhost;x-amz-security-token\nUNSIGNED",
    ),
    "a signature": record_of("botocore.auth", "Signature:\n%s", SECRET),
    "a signed address": record_of(
        "x", f"http://h/?X-Amz-Security-Token={TOKEN}&X-Amz-Signature={SECRET}"
    ),
    "a customer's key": record_of(
        "botocore.endpoint",
        REQUEST,
        "OperationModel(name=PutObject)",
        {"headers": {"x-amz-server-side-encryption-customer-key": CUSTOMER_KEY}, "body": object()},
    ),
    "a customer's key as a parameter": record_of("x", "%r", {"SSECustomerKey": CUSTOMER_KEY}),
    "a proxy": record_of("x", "no proxy http://me:%s@proxy:3128/", SECRET.replace("/", "")),
    "a value of botocore's": record_of(
        "x", f"ReadOnlyCredentials(access_key='A', secret_key='{SECRET}', token='{TOKEN}')"
    ),
    "an ini file": record_of("x", f"aws_secret_access_key = {SECRET}\naws_session_token={TOKEN}\n"),
}


@pytest.mark.parametrize("name", RECORDS)
def test_no_record_shows_a_secret(name: str) -> None:
    text = shown(RECORDS[name])
    assert text
    for secret in (SECRET, TOKEN, CUSTOMER_KEY, SECRET.replace("/", "")):
        assert secret not in text
        assert secret[:20] not in text


@pytest.mark.parametrize("name", RECORDS)
def test_each_of_these_records_would_show_one_if_nothing_were_done(name: str) -> None:
    message = RECORDS[name].getMessage()
    secrets = (SECRET, TOKEN, CUSTOMER_KEY, SECRET.replace("/", ""))
    assert any(secret in message for secret in secrets)


def test_a_secret_once_found_by_its_name_is_known_everywhere() -> None:
    handler = RedactingLog()
    shown(record_of("x", f'{{"SecretAccessKey": "{SECRET}"}}'), handler)
    assert shown(record_of("x", f"unnamed {SECRET} here"), handler) == "unnamed *** here\n"


def test_a_secret_known_from_the_start_is_hidden_in_every_spelling() -> None:
    handler = RedactingLog([SECRET])
    said = shown(record_of("x", f"{SECRET} wJalrXUtnFEMI%2FK7MDENG%2BbPxRfiCYEXAMPLEKEY"), handler)
    assert said == "*** ***\n"


def test_a_secret_in_a_traceback_is_hidden() -> None:
    try:
        raise ValueError(f"bad answer: <SessionToken>{TOKEN}</SessionToken>")
    except ValueError:
        record = record_of("x", "failed")
        record.exc_info = sys.exc_info()
    text = shown(record)
    assert "ValueError" in text
    assert TOKEN not in text


def test_what_helps_to_find_a_fault_is_still_shown() -> None:
    error = b"<?xml version='1.0'?>\n<Error><Code>SlowDown</Code><RequestId>R1</RequestId></Error>"
    assert "SlowDown" in shown(record_of("botocore.parsers", "Response body:\n%r", error))
    request = {"headers": {"Content-MD5": "abc", "User-Agent": "u"}, "url": "http://h/b/k"}
    text = shown(record_of("botocore.endpoint", REQUEST, "PutObject", request))
    for told in ("Content-MD5", "abc", "http://h/b/k", "User-Agent"):
        assert told in text


def test_a_record_that_cannot_be_formatted_does_not_end_the_work() -> None:
    assert shown(record_of("x", "%d", "no number")) == "a record of x could not be shown\n"


def test_the_debug_log_escapes_what_a_server_says() -> None:
    text = shown(record_of("x", "%s", EVIL))
    assert not set(text) & TERMINAL_CONTROLS
    assert r"\x1b]0;owned" in text


def test_botocores_own_warnings_stay_out_of_the_talk() -> None:
    """Without --debug a failing refresh was once told by a bare traceback of botocore's."""
    code = """
import logging, sys
from streamtos3 import cli

def warn(**_: object) -> None:
    logging.getLogger("botocore").warning("refresh failed")
    sys.exit(0)

cli.program.main = warn
cli.main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60)
    assert (done.stderr, done.returncode) == (b"", 0)


# Values, receipts and messages


def test_secrets_show_in_no_repr() -> None:
    connection = Connection(keyfile="f", proxy=f"http://me:{SECRET}@proxy:3128")
    for value in (
        Credentials("AKIDEXAMPLE", SECRET, TOKEN),
        connection,
        Options(connection=connection),
        Clients(connection, 1),
        Bucket("bkt", connection),
    ):
        assert SECRET not in repr(value)
        assert TOKEN not in repr(value)


def test_a_receipt_carries_no_secret(tmp_path: Path) -> None:
    with FakeS3(buckets=("bkt",)) as fake:
        port = fake.endpoint_url.rpartition(":")[2]
        done = run(
            *("--json", "--receipt", str(tmp_path / "receipt"), "--region", "us-east-1"),
            *("-k", keyfile_of(tmp_path, "AKIDEXAMPLE", SECRET, TOKEN), "--addressing", "path"),
            *("--endpoint-url", f"http://127.0.0.1:{port}", "s3://bkt/k"),
            stdin=b"data",
        )
    assert done.returncode == 0, done.stderr
    receipt = (tmp_path / "receipt").read_text()
    assert json.loads(receipt)["endpoint"] == f"http://127.0.0.1:{port}"
    for secret in (SECRET, TOKEN):
        assert secret not in receipt + done.stdout + done.stderr


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("http://me:pass@proxy:3128", "http://***@proxy:3128"),
        ("--proxy=http://me:p@ss@proxy:3128/", "--proxy=http://***@proxy:3128/"),
        ("me:pass@proxy:3128", "***@proxy:3128"),
        ("--proxy=me:pass@proxy", "--proxy=***@proxy"),
        ("https://s3.example.org/a@b", "https://s3.example.org/a@b"),
        ("s3://bucket/mail:me@home", "s3://bucket/mail:me@home"),
        ("me@home", "me@home"),
    ],
)
def test_arguments_lose_their_passwords_and_nothing_else(argument: str, expected: str) -> None:
    assert redacted(argument) == expected


def test_messages_lose_passwords_in_addresses(capsys: pytest.CaptureFixture[str]) -> None:
    say("no answer from http://me:pass@proxy:3128 (refused)")
    assert capsys.readouterr().err == (
        "streamtos3: no answer from http://***@proxy:3128 (refused)\n"
    )


# Terminals


def test_everything_by_which_a_terminal_can_be_played_with_is_escaped() -> None:
    for number in [*range(0x20), *range(0x7F, 0xA0), 0x202E, 0x2028, 0x2066, 0xFEFF, 0xDC80]:
        assert escaped(chr(number)).isascii()
        assert escaped(chr(number)).startswith("\\")
    assert escaped("Grüße, 世界 🙂 ~!") == "Grüße, 世界 🙂 ~!"


class Terminal(io.StringIO):
    """A stream that a progress bar takes for a terminal."""

    def isatty(self) -> bool:
        return True


def test_lines_above_the_bar_are_escaped_and_bear_the_programs_name() -> None:
    """What a server says in a retry or a warning passes by the bar, and once did so untouched."""
    terminal = Terminal()
    bar = BarProgress(terminal, line)
    bar(Started(10, 5, 10, False))
    before = len(terminal.getvalue())
    bar.write(f"warning: {EVIL}")
    bar.close()
    lines = [each.rpartition("\r")[2] for each in terminal.getvalue()[before:].split("\n")]
    assert f"streamtos3: warning: {escaped(EVIL)}" in lines


def test_a_servers_message_and_a_metadatas_value_reach_no_terminal_unescaped() -> None:
    """XML carries C1 controls and changes of direction as they are."""
    message = "go away\x9b31m\u202eevil"

    class Rude(FakeS3):
        def _do_head(self, asked: Any) -> Any:
            from tests.rig.quirks import Refusal

            raise Refusal(403, "AccessDenied", message)

        def _do_get(self, asked: Any) -> Any:
            from tests.rig.quirks import Refusal

            raise Refusal(400, "InvalidRequest\x9b", message)

    with Rude(Quirks(), buckets=("bkt",)) as fake:
        done = run(
            *("--endpoint-url", fake.endpoint_url, "--region", "us-east-1", "s3://bkt/k"),
            *("--addressing", "path", "--debug"),
            AWS_ACCESS_KEY_ID="a",
            AWS_SECRET_ACCESS_KEY="b",
        )
    assert done.returncode == 5
    assert r"go away\x9b31m\u202eevil" in done.stderr
    assert not set(done.stderr) & TERMINAL_CONTROLS


def test_keys_of_others_are_escaped_in_questions_and_reports() -> None:
    with FakeS3(buckets=("bkt",)) as fake:
        then = datetime.now(timezone.utc) - timedelta(days=9)
        fake.uploads["id"] = Upload("id", "bkt", EVIL, {}, then)
        done = run(
            *("uploads", "abort", "s3://bkt/", "--yes", "--endpoint-url", fake.endpoint_url),
            *("--region", "us-east-1", "--addressing", "path"),
            AWS_ACCESS_KEY_ID="a",
            AWS_SECRET_ACCESS_KEY="b",
        )
        assert fake.uploads == {}
    assert (done.returncode, done.stdout) == (0, "")
    assert not set(done.stderr) & TERMINAL_CONTROLS


# Keyfiles


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660])
def test_a_keyfile_that_others_can_read_is_refused_unless_that_is_meant(
    tmp_path: Path, mode: int
) -> None:
    path = keyfile_of(tmp_path, "AKIDEXAMPLE", SECRET)
    os.chmod(path, mode)
    with pytest.raises(CredentialsError, match=f"{mode:04o}") as raised:
        read_keyfile(path)
    assert SECRET not in f"{raised.value} {raised.value.hint}"
    assert read_keyfile(path, allow_insecure=True).secret_key == SECRET


def test_a_symbolic_link_counts_by_what_it_points_to(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(keyfile_of(tmp_path, "AKIDEXAMPLE", SECRET))
    assert read_keyfile(str(link)).secret_key == SECRET
    (tmp_path / "keys").chmod(0o644)
    with pytest.raises(CredentialsError, match="read by others"):
        read_keyfile(str(link))
    (tmp_path / "keys").unlink()
    with pytest.raises(CredentialsError, match="no such file"):
        read_keyfile(str(link))


def test_a_directory_is_no_keyfile(tmp_path: Path) -> None:
    with pytest.raises(CredentialsError, match="is a directory"):
        read_keyfile(str(tmp_path))


@pytest.mark.parametrize("content", ["", ":", "a", "a:", ":b", "a:b:c:d", "a: b", "a\nb:c", "\xff"])
def test_a_malformed_keyfile_is_status_3_and_never_quoted(tmp_path: Path, content: str) -> None:
    path = tmp_path / "keys"
    path.write_bytes(content.encode("latin-1"))
    path.chmod(0o600)
    with pytest.raises(CredentialsError, match="is malformed") as raised:
        read_keyfile(str(path))
    assert raised.value.exit_status == 3


def test_a_keyfile_may_be_a_pipe_that_can_be_read_only_once(tmp_path: Path) -> None:
    """`-k <(pass show s3)`: the second client must not find it empty."""
    path = tmp_path / "pipe"
    os.mkfifo(path, 0o600)
    writer = threading.Thread(target=path.write_text, args=(f"AKIDEXAMPLE:{SECRET}",), daemon=True)
    writer.start()
    clients = Clients(Connection("http://127.0.0.1:9", "us-east-1", keyfile=str(path)), 1)
    first, second = clients.get("question"), clients.get("body")
    clients.forget_session()
    third = clients.get("body")
    writer.join(5)
    assert first is not second is not third


def test_a_regular_keyfile_is_read_again_for_fresh_credentials(tmp_path: Path) -> None:
    connection = Connection(
        "http://127.0.0.1:9", "us-east-1", keyfile=keyfile_of(tmp_path, "OLDKEY", SECRET)
    )
    clients = Clients(connection, 1)
    before = access_key_of(clients.get("question"))
    keyfile_of(tmp_path, "NEWKEY", SECRET)
    clients.forget_session()
    assert (before, access_key_of(clients.get("question"))) == ("OLDKEY", "NEWKEY")


def access_key_of(client: S3Client) -> str:
    """Whose request it would be."""
    url = client.generate_presigned_url("get_object", Params={"Bucket": "bkt", "Key": "k"})
    return next(key for key in ("OLDKEY", "NEWKEY") if key in url)


def test_credentials_keep_their_repr_when_they_are_copied() -> None:
    copy = dataclasses.replace(Credentials("AKIDEXAMPLE", SECRET, TOKEN), access_key="B")
    assert repr(copy) == "Credentials(access_key='B')"
