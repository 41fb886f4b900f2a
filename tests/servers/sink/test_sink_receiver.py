"""A sink that listens, its spool and a real S3 server behind it: nothing lost, nothing twice."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bench.sink_load import Found, Plan, check, send
from streamtos3.model.options import Connection, Credentials, Options
from streamtos3.receiver.server import Address, serve
from streamtos3.sink.rotation import RotationRules, SinkOptions
from streamtos3.sink.sink import Sink
from streamtos3.sink.spool import Spool
from tests.rig.receiver_rig import WAIT_S
from tests.rig.seaweed import SeaweedFS

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


@contextmanager
def sink_that_listens(
    seaweed: SeaweedFS, bucket: str, spool: Path, limit_bytes: int
) -> Iterator[str]:
    """Its URL; at the end it is stopped as by a signal and everything is stored."""
    rules = RotationRules(max_records=200, max_bytes=2**20, interval_s=0.2, partition="none")
    connection = Connection(
        endpoint_url=seaweed.endpoint_url,
        region="us-east-1",
        credentials=Credentials(seaweed.access_key, seaweed.secret_key),
    )
    urls: list[str] = []
    ready = threading.Event()

    def listening(url: str) -> None:
        urls.append(url)
        ready.set()

    with Sink(
        SinkOptions(bucket=bucket, prefix="load", rules=rules),
        Options(connection=connection),
        spool=Spool(str(spool), limit_bytes),
    ) as sink:
        server = threading.Thread(
            target=lambda: serve(
                sink, address=Address("127.0.0.1", 0), scope=sink.reading, on_listening=listening
            )
        )
        server.start()
        try:
            with sink.ticking():
                assert ready.wait(WAIT_S)
                yield urls[0]
        finally:
            sink.stop(signal.SIGTERM)
            server.join(WAIT_S)
            sink.finish()


@pytest.mark.parametrize("limit_bytes", [2**30, 60_000])
def test_every_acknowledged_event_is_stored_once(
    limit_bytes: int, seaweed: SeaweedFS, s3: S3Client, bucket: str, tmp_path: Path
) -> None:
    """With little room in the spool most requests are refused at first, and sent again."""
    with sink_that_listens(seaweed, bucket, tmp_path / "spool", limit_bytes) as url:
        plan = Plan(url, rate=2000, batch=20, seconds=0.5, clients=4)
        sent = send(plan)
    found = check(s3, f"s3://{bucket}/load", plan, sent, settle_s=0)
    assert ("503" in sent.answers) == (limit_bytes < 2**20)
    assert len(sent.acknowledged) == plan.batches == 50
    assert found == Found(
        objects=found.objects,
        stored=1000,
        missing=0,
        duplicated=0,
        duplicated_unexplained=0,
        unacknowledged=0,
    )
    assert [path.name for path in (tmp_path / "spool").iterdir()] == ["lock"]
