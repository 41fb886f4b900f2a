"""`streamtos3 sink --listen` as a whole: what was answered with 2xx is stored, exactly once."""

from __future__ import annotations

import base64
import http.client
import json
import random
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from mypy_boto3_s3.client import S3Client

from tests.rig.process import Running, Store, account, wait_until
from tests.rig.proxy import FaultProxy
from tests.rig.seaweed import SeaweedFS
from tests.rig.small_disk import small_disk
from tests.rig.support import MIB, open_uploads

BATCH = {"Content-Type": "application/cloudevents-batch+json"}


@pytest.fixture
def store(seaweed: SeaweedFS, s3: S3Client, bucket: str) -> Store:
    return Store(seaweed, s3, bucket)


@contextmanager
def listening(
    store: Store, spool: Path, *options: object, proxy: FaultProxy | None = None
) -> Iterator[tuple[Running, str]]:
    """A sink that listens, and the host and port on which it does."""
    words = ("sink", "-s", "0.1s", "--listen", "127.0.0.1:0", "--spool", spool, *options)
    with store.start(*words, f"s3://{store.bucket}/p", proxy=proxy) as program:
        program.wait_until_said("listening on http://")
        found = re.search(r"listening on (http://\S+)", program.stderr)
        assert found
        yield program, urlsplit(found[1]).netloc


def event(identity: str) -> dict[str, Any]:
    return {"specversion": "1.0", "id": identity, "source": "/test", "type": "t", "data": {"n": 1}}


def post(
    netloc: str, identities: list[str], timeout_s: float = 30, **attributes: object
) -> tuple[int, str]:
    """Send a batch; the status, and the value of Retry-After."""
    connection = http.client.HTTPConnection(netloc, timeout=timeout_s)
    try:
        body = json.dumps([event(each) | attributes for each in identities])
        connection.request("POST", "/", body, BATCH)
        answer = connection.getresponse()
        answer.read()
        return answer.status, answer.headers.get("Retry-After", "")
    finally:
        connection.close()


def stored(store: Store) -> list[str]:
    """The ids of all stored events, in the order of the objects."""
    found = []
    pages = store.s3.get_paginator("list_objects_v2").paginate(Bucket=store.bucket)
    for page in pages:
        for each in page.get("Contents", []):
            body = store.s3.get_object(Bucket=store.bucket, Key=each["Key"])["Body"].read()
            found += [json.loads(line)["id"] for line in body.splitlines()]
    return found


def test_events_are_stored_and_a_signal_ends_it_with_status_0(store: Store, tmp_path: Path) -> None:
    with listening(store, tmp_path / "spool") as (program, netloc):
        for number in range(5):
            assert post(netloc, [f"{number}.{each}" for each in range(3)])[0] == 202
        program.send(signal.SIGTERM)
        assert program.wait() == 0, program.stderr
        assert "stored 15 records" in program.stderr
    assert stored(store) == [f"{number}.{each}" for number in range(5) for each in range(3)]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_after_kill_9_every_acknowledged_event_is_stored_exactly_once(
    store: Store, tmp_path: Path, seed: int
) -> None:
    _kill_9(store, tmp_path / "spool", seed, rounds=3)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 106))
def test_after_kill_9_again_and_again(store: Store, tmp_path: Path, seed: int) -> None:
    _kill_9(store, tmp_path / "spool", seed, rounds=12)


def _kill_9(store: Store, spool: Path, seed: int, rounds: int) -> None:
    """Several senders; what of them was not answered may be stored or not."""
    moment = random.Random(seed)
    acknowledged: list[str] = []
    options = ("--flush-count", 20, "--flush-interval", "0.2s")
    for number in range(rounds):
        with listening(store, spool, *options) as (program, netloc):
            sends = [partial(_send, netloc, f"{number}.{each}", acknowledged) for each in range(4)]
            _kill_while(sends, program, moment.uniform(0.05, 1.0))
    with listening(store, spool) as (program, _):
        program.send(signal.SIGTERM)
        assert program.wait() == 0, program.stderr
    found = stored(store)
    assert len(acknowledged) > rounds
    assert sorted(set(acknowledged) - set(found)) == []
    assert len(found) == len(set(found))
    assert list(spool.glob("*.spool")) == []
    assert open_uploads(store.s3, store.bucket) == []


def _kill_while(sends: Sequence[Callable[[], None]], program: Running, after_s: float) -> None:
    """Kill the program while all of them send; return when they have noticed."""
    senders = [threading.Thread(target=send) for send in sends]
    for sender in senders:
        sender.start()
    time.sleep(after_s)
    program.send(signal.SIGKILL)
    program.wait()
    for sender in senders:
        sender.join()


def _send(netloc: str, prefix: str, acknowledged: list[str]) -> None:
    """Batch after batch, each with ids of its own, until the other side is gone."""
    for number in range(1000):
        identities = [f"{prefix}.{number}.{each}" for each in range(5)]
        try:
            status, _ = post(netloc, identities)
        except (OSError, http.client.HTTPException):
            return
        if status == 202:
            acknowledged += identities


def test_while_the_service_is_away_events_are_taken_until_the_spool_is_full(
    store: Store, seaweed: SeaweedFS, tmp_path: Path
) -> None:
    with FaultProxy(seaweed.endpoint_url) as proxy:
        options = ("--spool-limit", "4KiB", "--flush-count", 2)
        with listening(store, tmp_path / "spool", *options, proxy=proxy) as (program, netloc):
            assert post(netloc, ["before"])[0] == 202
            proxy.down()
            taken = []
            for number in range(200):
                status, retry_after = post(netloc, [f"{number}"])
                if status != 202:
                    break
                taken.append(f"{number}")
            assert (status, retry_after) == (503, "1")
            assert len(taken) > 3
            proxy.up()
            wait_until(lambda: post(netloc, ["after"])[0] == 202, lambda: "room in the spool")
            program.send(signal.SIGTERM)
            assert program.wait() == 0, program.stderr
    assert stored(store) == ["before", *taken, "after"]


@pytest.mark.slow
def test_after_kill_9_on_a_full_disk_nothing_that_was_refused_is_stored(
    store: Store, seaweed: SeaweedFS, tmp_path: Path
) -> None:
    """S3 is away, the disk fills, and the sink is killed while some are taken and some refused."""
    moment = random.Random(3)
    acknowledged: list[str] = []
    refused: list[str] = []
    with small_disk(tmp_path / "disk", MIB) as disk, FaultProxy(seaweed.endpoint_url) as proxy:
        spool = disk / "spool"
        for number in range(4):
            if number:
                proxy.up()
            with listening(store, spool, "--flush-count", 7, proxy=proxy) as (program, netloc):
                proxy.down()
                fills = [
                    partial(_fill, netloc, f"{number}.{each}", acknowledged, refused)
                    for each in range(3)
                ]
                _kill_while(fills, program, moment.uniform(0.5, 2.5))
        proxy.up()
        with listening(store, spool, proxy=proxy) as (program, _):
            program.send(signal.SIGTERM)
            assert program.wait() == 0, program.stderr
        assert list(spool.glob("*.spool")) == []
    found = stored(store)
    assert refused and len(found) == len(set(found))
    assert (set(acknowledged) - set(found), set(refused) & set(found)) == (set(), set())
    assert open_uploads(store.s3, store.bucket) == []


def _fill(netloc: str, prefix: str, acknowledged: list[str], refused: list[str]) -> None:
    """Events of 3 kB in batches of three, each sent once, until the other side is gone."""
    for number in range(1000):
        identities = [f"{prefix}.{number}.{each}" for each in range(3)]
        try:
            status, _ = post(netloc, identities, data="x" * 3000)
        except (OSError, http.client.HTTPException):
            return
        (acknowledged if status == 202 else refused).extend(identities)


def test_the_references_own_configuration_is_all_it_needs(store: Store, tmp_path: Path) -> None:
    """Keys below the bucket itself, by the hour; the credentials come from the secret file."""
    given = account(store._seaweed)
    config, secret = tmp_path / "config.json", tmp_path / "secret.json"
    port = "0"
    config.write_text(
        json.dumps(
            {
                "v_port": port,
                "region": "us-east-1",
                "bucketName": store.bucket,
                "flushSize": "2",
                "scheduledInterval": "60",
                "timeInterval": "DAILY",
            }
        )
    )
    secret.write_text(
        json.dumps(
            {
                "awsAccessKeyID": base64.b64encode(given["AWS_ACCESS_KEY_ID"].encode()).decode(),
                "awsSecretAccessKey": base64.b64encode(
                    given["AWS_SECRET_ACCESS_KEY"].encode()
                ).decode(),
            }
        )
    )
    secret.chmod(0o600)
    env = {"AWS_ENDPOINT_URL": given["AWS_ENDPOINT_URL"]}
    words = ("--vance-config", config, "--vance-secret", secret, "--spool", tmp_path / "spool")
    with Running("sink", *words, env=env) as program:
        program.wait_until_said("listening on http://")
        found = re.search(r"listening on http://(\S+)", program.stderr)
        assert found
        assert post(found[1], ["a", "b", "c"])[0] == 202
        program.send(signal.SIGTERM)
        assert program.wait() == 0, program.stderr
    listed = store.s3.list_objects_v2(Bucket=store.bucket)["Contents"]
    assert len(listed) == 2
    day = time.strftime("%Y/%m/", time.gmtime())
    assert all(re.match(rf"{day}\d\d/events-", each["Key"]) for each in listed)
    assert stored(store) == ["a", "b", "c"]


def test_a_signal_before_s3_has_answered_is_128_and_nothing_has_listened(tmp_path: Path) -> None:
    env = {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    words = ("sink", "--listen", "127.0.0.1:0", "--spool", tmp_path / "spool", "s3://bkt/p")
    with Running(*words, env=env) as program:
        program.wait_until_said("no answer from http://127.0.0.1:1")
        program.send(signal.SIGTERM)
        assert program.wait() == 128 + signal.SIGTERM
        assert "listening on" not in program.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--listen", "127.0.0.1:0"), "--listen needs --spool"),
        (("--listen", "0.0.0.0:0", "--spool", "SPOOL"), "without a token"),
        (("--listen", "nonsense", "--spool", "SPOOL"), "not an address to listen on"),
        (("--token-file", "x", "--spool", "SPOOL"), "--token-file goes with --listen"),
    ],
)
def test_what_makes_no_sense_is_status_2_before_anything_is_opened(
    store: Store, tmp_path: Path, options: tuple[str, ...], said: str
) -> None:
    spool = tmp_path / "spool"
    words = [str(spool) if word == "SPOOL" else word for word in options]
    with store.start("sink", *words, f"s3://{store.bucket}/p") as program:
        assert program.wait() == 2
        assert said in program.stderr
    assert not spool.exists()


def test_an_address_in_use_is_said_before_anything_is_uploaded(
    store: Store, tmp_path: Path
) -> None:
    spool = tmp_path / "spool"
    with listening(store, tmp_path / "other") as (program, netloc):
        words = ("sink", "--listen", netloc, "--spool", spool, f"s3://{store.bucket}/p")
        with store.start(*words) as second:
            assert second.wait() == 2
            assert "address already in use" in second.stderr
        assert not spool.exists()
        program.send(signal.SIGTERM)
        assert program.wait() == 0
