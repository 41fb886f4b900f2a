"""What goes wrong around the requests: outages, names, TLS, redirects, credentials.

None of it may cost a stream that cannot be read twice, as long as it passes.
"""

from __future__ import annotations

import io
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from streamtos3 import Connection, Retries
from streamtos3.cli import program
from streamtos3.errors import (
    CredentialsError,
    RetriesUsedUpError,
    TransientError,
    UnreachableError,
)
from streamtos3.model.events import Event, PartStored, Retrying
from streamtos3.runtime.cancel import CancelScope
from streamtos3.runtime.retry import Retrier
from tests.rig.fake_s3 import FakeS3, Quirks
from tests.rig.fault_rig import KEY, Bench, slowly
from tests.rig.proxy import Fault, FaultProxy
from tests.rig.tls import new_certificate
from tests.rig.tls_front import TlsFront

_SPEED = 500  # seconds of the injected clock in one real second


# Outages


@pytest.fixture
def fast_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the retry policy live 500 times as fast."""

    class FastRetrier(Retrier):
        def __init__(
            self,
            policy: Retries,
            scope: CancelScope,
            on_retry: Callable[[Retrying, TransientError], None],
            **_: object,
        ) -> None:
            super().__init__(
                policy,
                scope,
                on_retry,
                clock=lambda: time.monotonic() * _SPEED,
                sleep=lambda seconds: scope.sleep(seconds / _SPEED),
            )

    monkeypatch.setattr("streamtos3.s3.context.Retrier", FastRetrier)


def gone_for(seconds: float, then: Callable[[], object] = lambda: None) -> Callable[..., None]:
    """A fault's callback: the server is gone for so long, of real time."""

    def callback(proxy: FaultProxy) -> None:
        def come_back() -> None:
            then()
            proxy.up()

        proxy.down()
        threading.Timer(seconds, come_back).start()

    return callback


@pytest.mark.slow
@pytest.mark.usefixtures("fast_clock")
@pytest.mark.parametrize(
    ("verb", "part", "parts"),
    [
        *(("put-part", part, 3) for part in (1, 2, 3)),
        *(("create", None, 3), ("complete", None, 3), ("put-object", None, 1)),
    ],
)
def test_a_server_gone_for_five_minutes_is_survived_with_default_options(
    on_fake: Bench, verb: str, part: int | None, parts: int
) -> None:
    five_minutes = gone_for(300 / _SPEED)
    receipt = on_fake.stores(
        Fault(verb, "callback", part=part, callback=five_minutes), parts=parts, retries=Retries()
    )
    assert receipt.retries > 3


class CountingReader(io.BytesIO):
    """Knows how far it has been read, from any thread."""

    read_bytes = 0

    def readinto(self, buffer: Any) -> int:
        count = super().readinto(buffer)
        self.read_bytes += count
        return count


@pytest.mark.usefixtures("fast_clock")
def test_an_outage_holds_the_producer_back(on_fake: Bench) -> None:
    from streamtos3 import upload

    reader = CountingReader(on_fake.data(50))
    stored_bytes: list[int] = []

    def note(event: Event) -> None:
        if isinstance(event, PartStored):
            stored_bytes.append(event.part.size_bytes)

    waiting_bytes: list[int] = []
    outage = gone_for(
        300 / _SPEED, lambda: waiting_bytes.append(reader.read_bytes - sum(stored_bytes))
    )
    on_fake.proxy.faults.append(Fault("put-part", "callback", part=10, callback=outage))
    options = on_fake.options
    receipt = upload(
        reader,
        on_fake.bucket,
        KEY,
        options=type(options)(
            connection=options.connection,
            chunk_bytes=options.chunk_bytes,
            limits=options.limits,
            jobs=2,
            memory_bytes=3 * options.chunk_bytes,
        ),
        on_event=note,
    )
    on_fake.check_stored(receipt, 50)
    (waiting,) = waiting_bytes
    assert 2 * options.chunk_bytes <= waiting <= 3 * options.chunk_bytes


@pytest.mark.slow
@pytest.mark.usefixtures("fast_clock")
def test_a_server_that_never_comes_back_ends_the_upload_and_names_what_is_left(
    on_fake: Bench,
) -> None:
    gone = Fault("put-part", "callback", part=2, callback=lambda proxy: proxy.down())
    started_s = time.monotonic()
    error = on_fake.raises(RetriesUsedUpError, gone, retries=Retries())
    assert time.monotonic() - started_s >= 15 * 60 / _SPEED
    on_fake.proxy.up()
    ((_, upload_id),) = on_fake.open_uploads
    assert upload_id in (error.left_behind or "")
    assert not on_fake.exists


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_server_gone_for_a_minute_of_real_time_is_survived(on_seaweed: Bench) -> None:
    outage = Fault("put-part", "callback", part=2, callback=gone_for(60))
    assert on_seaweed.stores(outage, retries=Retries()).retries > 3


@pytest.mark.parametrize("first_failing", [1, 2, 3, 4])
def test_names_that_do_not_resolve_for_a_while_are_survived(
    on_fake: Bench, monkeypatch: pytest.MonkeyPatch, first_failing: int
) -> None:
    resolve, calls = socket.getaddrinfo, 0

    def flaky(host: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        if host != "localhost":
            return resolve(host, *args, **kwargs)
        calls += 1
        if first_failing <= calls < first_failing + 3:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return resolve("127.0.0.1", *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", flaky)
    receipt = on_fake.stores(
        # Broken connections, so that the name is looked up again in mid-stream, however few of
        # them the requests would need.
        *(Fault("put-part", "reset-before", part=part) for part in (1, 2, 3)),
        connection=Connection(on_fake.proxy.endpoint_url.replace("127.0.0.1", "localhost"), "r"),
        retries=Retries(first_wait_s=0.01, tries=8),
    )
    assert calls > first_failing
    assert receipt.retries > 3


# TLS


@pytest.fixture
def front(on_fake: Bench, tmp_path: Path) -> Iterator[TlsFront]:
    port = urlsplit(on_fake.proxy.endpoint_url).port
    assert port
    with TlsFront(port, new_certificate(tmp_path)) as front:
        yield front


@pytest.mark.parametrize("parts", [1, 3])
def test_a_tls_server_that_answers_early_and_hangs_up_is_survived(
    on_fake: Bench, front: TlsFront, tmp_path: Path, parts: int
) -> None:
    """The client, still sending, sees a broken connection or an SSLError and not the answer."""
    on_fake.part_bytes = 3_000_000
    front.answer_early = 1
    bundle = str(tmp_path / "certificate.pem")
    connection = Connection(front.endpoint_url, "us-east-1", ca_bundle=bundle)
    data = b"x" * 2_000_000
    if parts == 1:
        from streamtos3 import upload

        options = on_fake.options
        receipt = upload(
            io.BytesIO(data),
            on_fake.bucket,
            KEY,
            options=type(options)(connection=connection, retries=options.retries),
        )
        assert on_fake.stored == data
    else:
        receipt = on_fake.stores(connection=connection)
    assert front.answer_early == 0
    assert receipt.retries == 1


def test_a_certificate_that_nobody_trusts_is_final_and_clear(
    on_fake: Bench, front: TlsFront
) -> None:
    connection = Connection(front.endpoint_url, "us-east-1")
    error = on_fake.fails(UnreachableError, connection=connection)
    assert "certificate not accepted" in error.message
    assert "--ca-bundle" in (error.hint or "")


# Redirects


@pytest.mark.parametrize("times", [1, -1])
@pytest.mark.parametrize(
    ("verb", "parts"),
    [
        *(("head", 3), ("head-bucket", 3), ("create", 3), ("put-part", 3), ("complete", 3)),
        ("put-object", 1),
    ],
)
def test_a_redirect_to_another_host_is_never_followed(
    on_fake: Bench, verb: str, parts: int, times: int
) -> None:
    with FakeS3(Quirks(min_part_bytes=1), buckets=("bucket",)) as other:
        target = f"{other.endpoint_url}/bucket/{KEY}"
        fault = Fault(verb, "redirect", location=target, times=times)
        # The looks are not needed where they are answered by a stranger; the writes are.
        if times == 1 or verb.startswith("head"):
            on_fake.stores(fault, parts=parts)
        else:
            on_fake.fails(RetriesUsedUpError, fault, parts=parts)
        assert other.requests == []


# Credentials


@pytest.fixture
def keyfile(tmp_path: Path) -> Path:
    path = tmp_path / "keyfile"
    path.write_text("OLD:secret")
    path.chmod(0o600)
    return path


def access_key(bench: Bench, verb: str, part: int | None = None) -> str:
    """Who the last such request was signed for."""
    seen = [each for each in bench.proxy.seen if (each.verb, each.part) == (verb, part)]
    return seen[-1].headers["authorization"].partition("Credential=")[2].partition("/")[0]


@pytest.mark.parametrize("part", [2, *slowly(1, 3)])
@pytest.mark.parametrize("meanwhile", ["renewed", "gone", "torn"])
def test_a_token_that_expires_in_mid_stream_is_renewed_from_the_keyfile(
    on_fake: Bench, keyfile: Path, part: int, meanwhile: str
) -> None:
    """Even if the file is just then being written anew."""
    on_fake.proxy.faults.append(Fault("put-part", "expired-token", part=part))
    retries = 0

    def renew(event: Event) -> None:
        nonlocal retries
        if not isinstance(event, Retrying):
            return
        retries += 1
        if retries == 1 and meanwhile != "renewed":
            keyfile.unlink() if meanwhile == "gone" else keyfile.write_text("NEW:")
        else:
            keyfile.write_text("NEW:secret")
            keyfile.chmod(0o600)

    from streamtos3 import upload

    connection = Connection(on_fake.proxy.endpoint_url, "us-east-1", keyfile=str(keyfile))
    options = on_fake.options
    receipt = upload(
        io.BytesIO(on_fake.data()),
        on_fake.bucket,
        KEY,
        options=type(options)(
            connection=connection,
            chunk_bytes=options.chunk_bytes,
            jobs=1,  # or another part reads the keyfile between the answer and `renew`
            limits=options.limits,
            retries=options.retries,
        ),
        on_event=renew,
    )
    on_fake.check_stored(receipt)
    assert retries >= (1 if meanwhile == "renewed" else 2)
    assert access_key(on_fake, "put-part", part) == "NEW"


@pytest.mark.parametrize("verb", ["create", "put-part", "complete", "put-object"])
def test_an_access_key_that_is_unknown_for_a_moment_is_survived(on_fake: Bench, verb: str) -> None:
    """As while a service starts again, or a key is rotated."""
    on_fake.stores(Fault(verb, "access-key"), parts=1 if verb == "put-object" else 3)


def write_process_profile(home: Path, failing: int) -> None:
    """A credential process that must be asked before each request, and fails the n-th time."""
    (home / ".aws").mkdir(exist_ok=True)
    script, count = home / "process.sh", home / "count"
    soon = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 300))
    script.write_text(
        f"echo x >> {count}\n"
        f"[ $(wc -l < {count}) = {failing} ] && {{ echo gone fishing >&2; exit 1; }}\n"
        'echo \'{"Version": 1, "AccessKeyId": "K", "SecretAccessKey": "S", '
        f'"SessionToken": "T", "Expiration": "{soon}"}}\'\n'
    )
    (home / ".aws" / "config").write_text(f"[default]\ncredential_process = sh {script}\n")


@pytest.mark.parametrize("failing", [4, 6, *slowly(5, 7, 8)])
def test_credentials_that_fail_to_refresh_once_are_survived(
    on_fake: Bench, home: Path, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    write_process_profile(home, failing)
    on_fake.stores()
    assert len((home / "count").read_text().split()) > failing


@pytest.mark.parametrize("failing", [1, 2, 3])
def test_credentials_that_do_not_come_before_anything_was_read_are_status_3(
    on_fake: Bench, home: Path, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    write_process_profile(home, failing)
    error = on_fake.fails(CredentialsError)
    assert "gone fishing" in error.message
    assert error.exit_status == 3


@pytest.fixture
def failing_provider(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, int], None]:
    """Let the credentials' own connection break, as of one time that they are asked for."""

    def install(first: int, times: int) -> None:
        from botocore.credentials import Credentials

        frozen, calls = Credentials.get_frozen_credentials, 0

        def ask(self: Credentials) -> Any:
            nonlocal calls
            calls += 1
            if first <= calls < first + times:
                raise ConnectionRefusedError(111, "Connection refused")
            return frozen(self)

        monkeypatch.setattr(Credentials, "get_frozen_credentials", ask)

    return install


@pytest.mark.parametrize("first", [1, 3, 5, *slowly(2, 4, 6, 7, 8)])
def test_a_provider_that_raises_what_is_not_botocores_is_survived(
    on_fake: Bench, failing_provider: Callable[[int, int], None], first: int
) -> None:
    failing_provider(first, 2)
    assert on_fake.stores().retries > 0


def test_a_commit_that_was_never_sent_is_no_undecided_one(
    on_fake: Bench, failing_provider: Callable[[int, int], None]
) -> None:
    failing_provider(3, 1_000_000)  # the first two requests are the check's
    error = on_fake.raises(RetriesUsedUpError, parts=1)
    assert error.left_behind is None
    assert [seen.verb for seen in on_fake.proxy.seen] == ["head", "head-bucket"]


def test_a_provider_that_always_fails_is_a_clear_message(
    on_fake: Bench, failing_provider: Callable[[int, int], None]
) -> None:
    failing_provider(1, 1_000_000)
    error = on_fake.raises(UnreachableError)
    assert on_fake.proxy.seen == []
    assert "connection refused, before http://127.0.0.1" in error.message
    assert "credentials" in (error.hint or "")


# On the command line


@pytest.mark.parametrize(
    ("fault", "status", "says"),
    [
        (Fault("any", "redirect", location="/", times=-1), 5, "redirects"),
        (Fault("any", "html-200", times=-1), 4, "does not speak S3"),
        (Fault("any", "expired-token", times=-1), 3, "ExpiredToken"),
        (Fault("any", "reset-before", times=-1), 4, "no answer from http://127.0.0.1"),
        (Fault("any", "503", times=-1), 8, "(503); gave up after 2 tries"),
        (Fault("put-object", "bad-digest", times=-1), 9, "BadDigest"),
        (Fault("put-object", "access-denied", times=-1), 5, "AccessDenied"),
        (Fault("put-object", "reset-after", times=-1), 8, "not known"),
    ],
)
def test_the_status_is_right_and_the_message_clear(
    on_fake: Bench,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    fault: Fault,
    status: int,
    says: str,
) -> None:
    infile = tmp_path / "in"
    infile.write_bytes(b"some bytes")
    on_fake.proxy.faults.append(fault)
    fault.matched = fault.struck = 0
    words = ["--endpoint-url", on_fake.proxy.endpoint_url, "--region", "r", "-r", "2", "-s", "0.01"]
    with pytest.raises(SystemExit) as ended:
        program.main(["put", *words, str(infile), f"s3://bucket/{KEY}"])
    told = capsys.readouterr().err
    assert ended.value.code == status
    assert says in told
    assert "Traceback" not in told
    assert "unexpected" not in told
    assert told.count("error: ") == 1
    assert not on_fake.exists
