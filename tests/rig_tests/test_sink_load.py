"""The load generator counts rightly what a sink has lost, repeated and kept."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from bench.sink_load import Memory, Plan, Sent, check, send
from streamtos3.errors import SpoolFullError
from tests.rig.receiver_rig import ListStore, listening

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


def quick(url: str) -> Plan:
    return Plan(url, rate=2000, batch=10, seconds=0.2, clients=3)


def test_all_that_is_planned_is_sent_at_its_rate_and_acknowledged() -> None:
    with listening() as sink:
        plan = quick(sink.url)
        sent = send(plan)
        assert (plan.batches, sent.acknowledged) == (40, set(range(40)))
        assert dict(sent.answers) == {"202": 40}
        assert sent.took_s >= 0.19
        expected = sorted(f"{plan.run}-{number}" for number in range(400))
        assert sorted(sink.store.ids) == expected


def test_what_is_refused_for_a_while_is_sent_again() -> None:
    class Hesitant(ListStore):
        def append(self, records: object, *, wait: bool = True) -> None:
            assert isinstance(records, list)
            self.error = None if self.error else SpoolFullError("full")
            super().append(records, wait=wait)

    with listening(Hesitant()) as sink:
        plan = Plan(sink.url, rate=1000, batch=10, seconds=0.03, clients=1)
        sent = send(plan)
        assert sent.acknowledged == {0, 1, 2}
        assert dict(sent.answers) == {"202": 3, "503": 3}
        assert sent.resent == set()


def test_missing_and_repeated_events_are_counted(moto_s3: S3Client, moto_bucket: str) -> None:
    plan = Plan("", rate=10, batch=10, seconds=5)
    batches = [json.loads(plan.body(index)) for index in range(plan.batches)]
    sent = Sent(acknowledged={0, 1, 2, 3}, resent={3})
    stored = [
        [*batches[0], *batches[1][1:]],  # one is missing
        [*batches[2], batches[2][5]],  # one is there twice
        [*batches[3], *batches[3], *batches[4][:2]],  # sent twice; not acknowledged
        [{**batches[0][0], "id": "other-1"}],  # of another run
    ]
    for number, events in enumerate(stored):
        body = "".join(json.dumps(event) + "\n" for event in events)
        moto_s3.put_object(Bucket=moto_bucket, Key=f"load/{number}.ndjson", Body=body.encode())
    found = check(moto_s3, f"s3://{moto_bucket}/load/", plan, sent, settle_s=0)
    assert (found.objects, found.stored, found.missing) == (4, 41, 1)
    assert (found.duplicated, found.duplicated_unexplained, found.unacknowledged) == (11, 1, 2)


def test_memory_that_grows_is_seen() -> None:
    with Memory(os.getpid()) as memory:
        pass
    memory.samples = [(float(second), 100.0 + second / 6) for second in range(120)]
    assert memory.mib_per_minute == pytest.approx(10)
