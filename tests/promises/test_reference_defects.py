"""The defects of the reference, `streamtos3.py` of 2021, each as a test that it would not pass.

Its way of proving an upload by three MD5s is ours; what it did where something went wrong is not.
"""

from __future__ import annotations

import io
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from streamtos3 import Receipt, upload
from streamtos3.errors import (
    ExistsError,
    RefusedError,
    RetriesUsedUpError,
    SourceError,
)
from streamtos3.model.events import Started
from streamtos3.model.options import Retries
from tests.rig.command import PROGRAM, Outcome, anonymous, invoke, run
from tests.rig.fake_s3 import FakeS3, Quirks
from tests.rig.proxy import Fault, FaultProxy
from tests.rig.support import MIB, payload, s3_client
from tests.rig.tiny import PART, InSteps, Seen, tiny

DATA = payload(4 * PART)
FIVE_TRIES = Retries(first_wait_s=0.001, longest_wait_s=0.001, tries=5)


@pytest.fixture
def fake() -> Iterator[FakeS3]:
    with FakeS3(Quirks(min_part_bytes=1), buckets=["bucket"]) as fake:
        yield fake


@pytest.fixture
def proxy(fake: FakeS3) -> Iterator[FaultProxy]:
    with FaultProxy(fake.endpoint_url) as proxy:
        yield proxy


def store(endpoint_url: str, data: bytes = DATA, **changes: Any) -> Receipt:
    client = s3_client(endpoint_url, "key", "secret")
    options = tiny(retries=FIVE_TRIES, **changes)
    return upload(InSteps(data), "bucket", "k", options=options, client=client)


def assert_nothing(fake: FakeS3) -> None:
    assert (fake.objects, fake.uploads) == ({}, {})


def test_a_connection_error_in_mid_upload_is_retried(proxy: FaultProxy, fake: FakeS3) -> None:
    """It caught only ClientError: a lost connection was a traceback and an orphaned upload."""
    proxy.faults = [
        Fault("put-part", "reset-before", part=2),
        Fault("put-part", "reset-middle", part=2),
        Fault("put-part", "lost-answer", part=3),
    ]
    store(proxy.endpoint_url)
    assert fake.objects["bucket", "k"].body == DATA


def test_a_connection_that_stays_lost_ends_in_order(proxy: FaultProxy, fake: FakeS3) -> None:
    """Likewise: now a status of its own, and nothing is left."""
    proxy.faults = [Fault("put-part", "reset-middle", part=2, times=-1)]
    with pytest.raises(RetriesUsedUpError, match="gave up after 5 tries"):
        store(proxy.endpoint_url)
    assert_nothing(fake)


def test_a_middle_part_out_of_tries_commits_nothing(proxy: FaultProxy, fake: FakeS3) -> None:
    """It read on, and committed 24 of 32 MiB as complete and verified."""
    proxy.faults = [Fault("put-part", "503", part=2, times=-1)]
    with pytest.raises(RetriesUsedUpError):
        store(proxy.endpoint_url)
    assert proxy.count("complete") == 0
    assert_nothing(fake)


@pytest.mark.parametrize("part", [1, 2, 4])
def test_success_on_the_last_allowed_try_is_success(
    part: int, proxy: FaultProxy, fake: FakeS3
) -> None:
    """`upload_try >= retry` took it for a failure and aborted a good upload."""
    proxy.faults = [Fault("put-part", "503", part=part, times=4)]
    store(proxy.endpoint_url)
    assert proxy.count("put-part", part=part) == 5
    assert fake.objects["bucket", "k"].body == DATA


def test_a_part_whose_etag_differed_once_is_listed_once(proxy: FaultProxy, fake: FakeS3) -> None:
    """It appended the part before it compared the ETag, and so twice."""
    proxy.faults = [Fault("put-part", "wrong-etag", part=2)]
    store(proxy.endpoint_url)
    (completed,) = fake.completed.values()
    assert [part.number for part in completed.parts] == [1, 2, 3, 4]
    # The strict fake refuses a list that names a number twice.
    assert fake.objects["bucket", "k"].part_sizes == (PART,) * 4


def test_an_empty_input_is_an_empty_object(fake: FakeS3) -> None:
    """UnboundLocalError: upload_try, and an orphaned upload."""
    outcome = run("s3://bucket/k", env=anonymous(fake.endpoint_url), stdin=b"")
    assert outcome.status == 0
    assert fake.objects["bucket", "k"].body == b""
    assert fake.uploads == {}


def test_a_head_that_is_refused_does_not_mean_absent(fake: FakeS3) -> None:
    """It read any error as "there is nothing", and wrote over what was there."""
    store(fake.endpoint_url, b"older")
    with FaultProxy(fake.endpoint_url) as proxy:
        proxy.faults = [
            Fault("head", "access-denied", times=-1),
            Fault("get", "access-denied", times=-1),
        ]
        with pytest.raises(ExistsError):
            store(proxy.endpoint_url, b"newer")
    assert fake.objects["bucket", "k"].body == b"older"


def test_a_head_that_fails_does_not_mean_absent(fake: FakeS3) -> None:
    store(fake.endpoint_url, b"older")
    with FaultProxy(fake.endpoint_url) as proxy:
        proxy.faults = [Fault("head", "500", times=-1)]
        with pytest.raises(RetriesUsedUpError, match="cannot look at s3://bucket/k"):
            store(proxy.endpoint_url, b"newer")
        assert proxy.count("put-object") == 0
    assert fake.objects["bucket", "k"].body == b"older"


def test_more_than_10000_parts_ends_in_order(fake: FakeS3) -> None:
    """It kept trying part 10,001 and read on to the end. Here with a ceiling of 3 parts."""
    with pytest.raises(SourceError, match="longer than 3 parts can hold"):
        store(fake.endpoint_url, max_parts=3)
    assert_nothing(fake)


def test_an_input_of_unknown_length_is_not_held_to_10000_parts_of_8_mib(fake: FakeS3) -> None:
    """Which end at 78 GiB; here the parts grow after 2,500."""
    seen = Seen()
    client = s3_client(fake.endpoint_url, "key", "secret")
    receipt = upload(io.BytesIO(b"x"), "bucket", "k", client=client, on_event=seen)
    assert receipt.part_plan == f"{8 * MIB}/2500/750"
    assert seen.of(Started)[0].capacity_bytes > 7 * 1024**4


@pytest.mark.parametrize("size_bytes", [5, 4 * PART])
def test_etags_under_kms_are_no_mismatch(size_bytes: int) -> None:
    """It refused every upload to a bucket with SSE-KMS; now the object is proved by reading."""
    with FakeS3(Quirks(min_part_bytes=1, etag="opaque"), buckets=["bucket"]) as fake:
        receipt = store(fake.endpoint_url, DATA[:size_bytes])
        assert fake.objects["bucket", "k"].body == DATA[:size_bytes]
    assert receipt.proof.object == "readback"
    assert receipt.size_bytes == size_bytes


@pytest.mark.parametrize("stdin", ["</dev/null", "<&-", "| cat"])
def test_a_file_can_be_stored_from_cron(stdin: str, fake: FakeS3, tmp_path: Path) -> None:
    """A file argument together with a standard input that is no terminal made it stop."""
    (tmp_path / "input").write_bytes(b"from cron")
    line = f'"$@" {stdin}' if stdin.startswith("<") else f'true | "$@" {stdin}'
    done = subprocess.run(
        ["sh", "-c", line, "sh", *PROGRAM, tmp_path / "input", "s3://bucket/k"],
        env={"PATH": "/usr/bin:/bin", **anonymous(fake.endpoint_url)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert Outcome(done.returncode, done.stdout, "") == Outcome(0, "", "")
    assert fake.objects["bucket", "k"].body == b"from cron"


def test_messages_are_never_on_standard_output(fake: FakeS3, tmp_path: Path) -> None:
    """All of its talk was."""
    (tmp_path / "input").write_bytes(payload(6 * MIB))
    env = anonymous(fake.endpoint_url)
    with FaultProxy(fake.endpoint_url) as proxy:
        proxy.faults = [Fault("put-part", "503", part=1)]
        env["AWS_ENDPOINT_URL"] = proxy.endpoint_url
        words = (tmp_path / "input", "s3://bucket/k", "-c", "5MiB", "-s", "0.1", "--progress")
        good = invoke(*words, env=env)
        bad = invoke(*words, env=env)
    assert (good.status, good.stdout) == (0, "")
    assert len(good.lines) == 2
    assert (bad.status, bad.stdout) == (6, "")


def test_an_upload_that_fails_for_good_is_aborted_whichever_part_it_was(fake: FakeS3) -> None:
    """It aborted only where the last part had failed."""
    for part in (1, 2, 4):
        with FaultProxy(fake.endpoint_url) as proxy:
            proxy.faults = [Fault("put-part", "access-denied", part=part)]
            with pytest.raises(RefusedError):
                store(proxy.endpoint_url)
            assert proxy.count("abort") == 1
        assert_nothing(fake)


def test_credentials_need_no_keyfile(fake: FakeS3, home: Path) -> None:
    """It knew nothing but `-k`; boto3's whole chain counts."""
    (home / ".aws").mkdir()
    (home / ".aws" / "credentials").write_text(
        "[default]\naws_access_key_id = key\naws_secret_access_key = secret\n"
    )
    (home / "input").write_bytes(b"few")
    words = (home / "input", "s3://bucket/k", "--endpoint-url", fake.endpoint_url)
    assert invoke(*words).status == 0
