"""Each action of the proxy does what its name says, and no more."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import (
    ClientError,
    ConnectionClosedError,
    EndpointConnectionError,
    HTTPClientError,
    ReadTimeoutError,
)

from tests.rig.client import Uploading, composite, md5, plain_client, refused
from tests.rig.fake_s3 import FakeS3, Quirks
from tests.rig.faults import ACTIONS
from tests.rig.proxy import Fault, FaultProxy

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

PARTS = [b"one" * 1000, b"two" * 1000, b"three" * 1000]
HARMLESS = {"slow", "trickle", "duplicate-late", "callback", "callback-after"}
RESETS = (ConnectionClosedError, HTTPClientError)


@dataclass
class Bench:
    """A client, the proxy in front of the fake, and the fake behind it."""

    fake: FakeS3
    proxy: FaultProxy
    client: S3Client

    def upload(self, *faults: Fault) -> Uploading:
        """An upload with its first part stored; the faults come after that."""
        upload = Uploading(self.client)
        upload.put(1, PARTS[0])
        self.proxy.faults.extend(faults)
        return upload

    @property
    def stored_parts(self) -> list[int]:
        return [part.number for upload in self.fake.uploads.values() for part in upload.parts]


@pytest.fixture
def bench() -> Iterator[Bench]:
    quirks = Quirks(min_part_bytes=1, keeps_resent_parts=True)
    with FakeS3(quirks) as fake, FaultProxy(fake.endpoint_url) as proxy:
        yield Bench(fake, proxy, plain_client(proxy.endpoint_url))


def test_without_faults_all_verbs_pass_and_are_seen(bench: Bench) -> None:
    client = bench.client
    where: Any = {"Bucket": "b", "Key": "k"}
    client.head_bucket(Bucket="b")
    client.put_object(**where, Body=b"")
    client.delete_object(**where)
    upload = bench.upload()
    upload.put(2, PARTS[1])
    assert len(upload.listed()) == 2
    assert upload.complete(IfNoneMatch="*") == composite(*PARTS[:2])
    assert client.head_object(**where)["ContentLength"] == 6000
    assert client.get_object(**where)["Body"].read() == b"".join(PARTS[:2])
    client.abort_multipart_upload(**Uploading(client).where)
    assert "Uploads" not in client.list_multipart_uploads(Bucket="b")
    assert [(seen.verb, seen.part, seen.status) for seen in bench.proxy.seen] == [
        ("head-bucket", None, 200),
        ("put-object", None, 200),
        ("delete", None, 204),
        ("create", None, 200),
        ("put-part", 1, 200),
        ("put-part", 2, 200),
        ("list-parts", None, 200),
        ("complete", None, 200),
        ("head", None, 200),
        ("get", None, 200),
        ("create", None, 200),
        ("abort", None, 204),
        ("list-uploads", None, 200),
    ]
    assert bench.proxy.seen[7].headers["if-none-match"] == "*"
    assert bench.proxy.seen[0].headers["host"] in bench.proxy.endpoint_url
    assert bench.proxy.count("put-part", part=2) == 1


def test_a_fault_strikes_what_it_names_as_often_as_it_says(bench: Bench) -> None:
    fault = Fault("put-part", "503", part=2, key="k", skip=1, times=2)
    upload = bench.upload(Fault("put-part", "500", key="other"), Fault("head", "500"), fault)
    for refuses in [False, True, True, False]:
        upload.put(3, b"x")
        if refuses:
            with refused("SlowDown"):
                upload.put(2, b"x")
        else:
            upload.put(2, b"x")
    assert (fault.struck, bench.proxy.count("put-part", 2)) == (2, 4)
    bench.proxy.faults.append(Fault("any", "500", times=-1))
    for _ in range(3):
        with refused("InternalError"):
            upload.listed()


def test_a_fault_with_a_misspelt_name_is_an_error() -> None:
    for wrong in [("put-prat", "500"), ("put-part", "501")]:
        with pytest.raises(AssertionError):
            Fault(*wrong)


# Answers instead of the server's


@pytest.mark.parametrize(
    ("action", "status", "code"),
    [
        ("500", 500, "InternalError"),
        ("502", 502, "502"),
        ("503", 503, "SlowDown"),
        ("429", 429, "TooManyRequests"),
        ("request-timeout", 400, "RequestTimeout"),
        ("bad-digest", 400, "BadDigest"),
        ("incomplete-body", 400, "IncompleteBody"),
        ("access-denied", 403, "AccessDenied"),
        ("expired-token", 400, "ExpiredToken"),
        ("clock-skew", 403, "RequestTimeTooSkewed"),
        ("no-such-upload", 404, "NoSuchUpload"),
        ("invalid-part", 400, "InvalidPart"),
        ("precondition-failed", 412, "PreconditionFailed"),
        ("conflict", 409, "ConditionalRequestConflict"),
    ],
)
def test_refusals_reach_the_client_and_not_the_server(
    bench: Bench, action: str, status: int, code: str
) -> None:
    upload = bench.upload(Fault("put-part", action), Fault("head", action))
    with refused(code):
        upload.put(2, PARTS[1])
    with pytest.raises(ClientError):
        bench.client.head_object(Bucket="b", Key="k")
    assert bench.stored_parts == [1]
    struck = [seen.status for seen in bench.proxy.seen if seen.fault == action]
    assert struck == [status, status]
    assert upload.put(2, PARTS[1]) == md5(PARTS[1])


@pytest.mark.parametrize("action", ["empty-200", "xhtml-200"])
def test_a_status_of_200_that_means_nothing_and_passes_for_success(
    bench: Bench, action: str
) -> None:
    upload = bench.upload(Fault("put-part", action), Fault("complete", action))
    assert upload.put(2, PARTS[1]) is None
    assert upload.complete() is None
    assert (bench.stored_parts, bench.fake.objects) == ([1], {})


@pytest.mark.parametrize(("action", "code"), [("html-200", "500"), ("error-200", "InternalError")])
def test_a_status_of_200_that_means_an_error(bench: Bench, action: str, code: str) -> None:
    upload = bench.upload(Fault("put-part", action), Fault("complete", action))
    with refused(code):
        upload.put(2, PARTS[1])
    with refused(code):
        upload.complete()
    assert (bench.stored_parts, bench.fake.objects) == ([1], {})


@pytest.mark.parametrize("action", ["internal-after", "error-200-after"])
def test_an_applied_complete_is_called_an_error(bench: Bench, action: str) -> None:
    upload = bench.upload(Fault("complete", action))
    with refused("InternalError"):
        upload.complete()
    assert ("b", "k") in bench.fake.objects


def test_a_redirect_names_its_place(bench: Bench) -> None:
    bench.upload(Fault("get", "redirect", location="http://127.0.0.1:1/elsewhere"))
    with pytest.raises(ClientError) as caught:
        bench.client.get_object(Bucket="b", Key="k")
    metadata = caught.value.response["ResponseMetadata"]
    assert metadata["HTTPStatusCode"] == 307
    assert metadata["HTTPHeaders"]["location"] == "http://127.0.0.1:1/elsewhere"


# Damage


def test_a_flipped_byte_is_rejected(bench: Bench) -> None:
    upload = bench.upload(Fault("put-part", "flip-request"))
    with refused("BadDigest"):
        upload.put(2, PARTS[1])
    assert bench.stored_parts == [1]


def test_a_flipped_byte_without_its_md5_is_stored(bench: Bench) -> None:
    upload = bench.upload(Fault("put-part", "flip-request-no-md5"))
    etag = upload.put(2, PARTS[1])
    body = next(iter(bench.fake.uploads.values())).parts[1].body
    assert sum(a != b for a, b in zip(body, PARTS[1], strict=True)) == 1
    assert etag == md5(body) != md5(PARTS[1])


def test_etags_are_falsified_in_headers_and_in_xml(bench: Bench) -> None:
    upload = bench.upload()
    fine = composite(PARTS[0])
    for action, part_etag, complete_etag in [
        (
            "wrong-etag",
            f"{(md5(b'x')[0] == '0'):d}{md5(b'x')[1:]}",
            f"{(fine[0] == '0'):d}{fine[1:]}",
        ),
        ("no-etag", None, None),
        ("foreign-etag", md5(PARTS[0]), md5(PARTS[0])),
    ]:
        bench.proxy.faults = [Fault("put-part", action, part=2), Fault("complete", action)]
        assert upload.put(2, b"x") == part_etag
        upload.parts = upload.parts[:1]
        assert upload.complete() == complete_etag
        upload = bench.upload()


# Connections


@pytest.mark.parametrize("action", ["reset-before", "reset-middle", "reset-after", "lost-answer"])
def test_resets(bench: Bench, action: str) -> None:
    upload = bench.upload(Fault("put-part", action))
    with pytest.raises(RESETS):
        upload.put(2, PARTS[1] * 1000)
    assert bench.stored_parts == ([1, 2] if action == "lost-answer" else [1])
    assert bench.proxy.seen[-1].status is None
    assert upload.put(3, b"3") == md5(b"3")


def test_a_cut_answer_lacks_headers_or_half_of_its_body(bench: Bench) -> None:
    upload = bench.upload(Fault("put-part", "cut-answer"), Fault("complete", "cut-answer"))
    assert upload.put(2, PARTS[1]) == md5(PARTS[1])[:16]
    upload.parts.pop()
    with pytest.raises(ClientError):
        upload.complete()
    assert ("b", "k") in bench.fake.objects
    bench.proxy.faults.append(Fault("get", "cut-answer"))
    body = bench.client.get_object(Bucket="b", Key="k")["Body"]
    with pytest.raises(Exception, match="1500 bytes read"):
        body.read()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("action", "more", "applied"),
    [
        ("stop-reading", {}, False),
        ("stop-answering", {}, False),
        ("stop-answering", {"forward": True}, True),
    ],
)
def test_a_silent_server_holds_until_it_lets_go(
    bench: Bench, action: str, more: Any, applied: bool
) -> None:
    upload = bench.upload(Fault("put-part", action, delay_s=0.03, **more))
    bench.proxy.faults.append(Fault("put-part", action, **more))
    started = time.monotonic()
    with pytest.raises(RESETS):
        upload.put(2, PARTS[1])
    assert time.monotonic() - started >= 0.03
    released = threading.Timer(0.03, bench.proxy.release)
    released.start()
    with pytest.raises(RESETS):
        upload.put(2, PARTS[1] * 1000)
    released.join()
    assert bench.stored_parts == ([1, 2, 2] if applied else [1])


def test_a_client_that_gives_up_leaves_no_thread_behind() -> None:
    before = threading.active_count()
    with FakeS3() as fake, FaultProxy(fake.endpoint_url) as proxy:
        client = plain_client(proxy.endpoint_url, read_timeout_s=0.05)
        proxy.faults = [Fault("any", "stop-answering", times=2), Fault("any", "slow")]
        for _ in range(3):
            with pytest.raises(ReadTimeoutError):
                client.head_bucket(Bucket="b")
        assert threading.active_count() > before
    assert threading.active_count() == before


def test_a_server_that_stops_reading_stops_the_sender() -> None:
    with FakeS3() as fake, FaultProxy(fake.endpoint_url) as proxy:
        proxy.faults.append(Fault("any", "stop-reading"))
        client = plain_client(proxy.endpoint_url, connect_timeout_s=0.2)
        with pytest.raises(HTTPClientError):
            client.put_object(Bucket="b", Key="k", Body=bytes(64 * 1024**2))


def test_slow_and_trickling_answers_are_whole(bench: Bench) -> None:
    upload = bench.upload(Fault("put-part", "slow", delay_s=0.03))
    started = time.monotonic()
    assert upload.put(2, PARTS[1]) == md5(PARTS[1])
    assert time.monotonic() - started >= 0.03
    bench.proxy.faults.append(Fault("put-part", "trickle", delay_s=0.0001))
    assert upload.put(3, PARTS[2]) == md5(PARTS[2])


# Other hands


def test_callbacks_run_before_and_after_the_server(bench: Bench) -> None:
    upload = bench.upload()

    def abort(proxy: FaultProxy) -> None:
        bench.fake.uploads.clear()

    def replace(proxy: FaultProxy) -> None:
        plain_client(proxy.endpoint_url).put_object(Bucket="b", Key="k", Body=b"replaced")

    bench.proxy.faults.append(Fault("complete", "callback-after", callback=replace))
    assert upload.complete() == composite(PARTS[0])
    assert bench.fake.objects["b", "k"].body == b"replaced"
    upload = bench.upload(Fault("put-part", "callback", callback=abort))
    with refused("NoSuchUpload"):
        upload.put(2, b"x")


def test_a_callback_that_fails_fails_the_test() -> None:
    def fail(proxy: FaultProxy) -> None:
        raise ZeroDivisionError

    with FakeS3() as fake, pytest.raises(ZeroDivisionError), FaultProxy(fake.endpoint_url) as proxy:
        proxy.faults.append(Fault("any", "callback", callback=fail))
        with pytest.raises(RESETS):
            plain_client(proxy.endpoint_url).head_bucket(Bucket="b")


def test_a_late_duplicate_arrives_behind_the_answer(bench: Bench) -> None:
    upload = bench.upload(Fault("put-part", "duplicate-late", delay_s=0.02))
    assert upload.put(2, PARTS[1]) == md5(PARTS[1])
    _until(lambda: bench.proxy.count("replay", part=2) == 1)
    assert bench.stored_parts == [1, 2, 2]
    assert bench.proxy.seen[-1].status == 200


def test_a_server_that_is_down_refuses_and_comes_back_on_its_port(bench: Bench) -> None:
    upload = bench.upload()
    bench.proxy.down()
    # What comes first, the reset of the old connection or the refusal of a new one, is a race.
    for _ in range(2):
        with pytest.raises((EndpointConnectionError, *RESETS)):
            upload.put(2, PARTS[1])
    bench.proxy.up()
    assert upload.put(2, PARTS[1]) == md5(PARTS[1])
    bench.proxy.faults.append(Fault("put-part", "callback", callback=FaultProxy.down))
    with pytest.raises(RESETS):
        upload.put(3, PARTS[2])
    assert bench.stored_parts == [1, 2]


def test_going_down_breaks_what_is_held(bench: Bench) -> None:
    upload = bench.upload(Fault("put-part", "slow"))
    gone = threading.Timer(0.03, bench.proxy.down)
    gone.start()
    with pytest.raises(RESETS):
        upload.put(2, PARTS[1])
    gone.join()
    assert bench.stored_parts == [1]


def test_a_server_that_is_not_there_is_a_reset() -> None:
    with FakeS3() as fake:
        gone = fake.endpoint_url
    with FaultProxy(gone) as proxy, pytest.raises(RESETS):
        plain_client(proxy.endpoint_url).head_bucket(Bucket="b")


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


# A real server


@pytest.mark.slow
def test_every_action_in_front_of_a_real_server(
    seaweed: Any, bucket: str, subtests: pytest.Subtests
) -> None:
    """One part under the fault, then the same part again: it must be stored in the end."""
    keys = seaweed.access_key, seaweed.secret_key
    with FaultProxy(seaweed.endpoint_url, credentials=keys) as proxy:
        client = plain_client(proxy.endpoint_url, *keys)
        for action in sorted(ACTIONS):
            with subtests.test(action=action):
                upload = Uploading(client, bucket, key=action)
                fault = Fault("put-part", action, delay_s=0.001, callback=FaultProxy.release)
                proxy.faults = [fault]
                try:
                    etag = upload.put(1, PARTS[0])
                except (ClientError, *RESETS) as error:
                    code = error.response["Error"]["Code"] if isinstance(error, ClientError) else ""
                    # SeaweedFS may close before its BadDigest has been read.
                    damaged = code == "BadDigest" or (not code and action == "flip-request")
                    assert damaged == (action in ("flip-request", "bad-digest"))
                else:
                    assert (etag == md5(PARTS[0])) == (action in HARMLESS)
                assert fault.struck == 1
                upload.parts.clear()
                assert upload.put(1, PARTS[0]) == md5(PARTS[0])
                assert upload.complete(IfNoneMatch="*") == composite(PARTS[0])
                stored = client.get_object(Bucket=bucket, Key=action)["Body"].read()
                assert stored == PARTS[0]
