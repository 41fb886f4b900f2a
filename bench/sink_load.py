"""Send CloudEvents to a listening sink at a steady rate, then count what is in S3.

`python -m bench.sink_load http://127.0.0.1:8080 s3://BUCKET/PREFIX --pid PID`, with AWS_ variables
for the service as boto3 reads them. Every acknowledged event must be stored exactly once. Sending
is bounded in time and in number, waiting for the objects in time. Status 1 where an event is
missing, or more than once there although its batch was never sent twice.
"""

from __future__ import annotations

import argparse
import gzip
import http.client
import json
import os
import re
import statistics
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

__all__ = ["Found", "Memory", "Plan", "Sent", "check", "send"]

_TIMEOUT_S = 60.0
_PAUSE_S = 0.2
_EVENT = (
    '{{"specversion":"1.0","id":"{run}-{number}","source":"/bench/sink_load",'
    '"type":"com.example.load","time":"2026-11-21T13:11:34.123Z",'
    '"datacontenttype":"application/json","data":{{"number":{number},"text":"{text}"}}}}'
)


@dataclass(frozen=True)
class Plan:
    """What is sent: `seconds` long, `rate` events a second, by so many clients in batches."""

    url: str
    rate: int = 5000
    batch: int = 100
    seconds: float = 300.0
    clients: int = 8
    text_bytes: int = 200
    token: str | None = None
    run: str = field(default_factory=lambda: uuid.uuid4().hex[:8])

    @property
    def batches(self) -> int:
        """How many there are in all."""
        return max(1, round(self.rate * self.seconds / self.batch))

    def body(self, index: int) -> bytes:
        """The batch with this index."""
        first, text = index * self.batch, "x" * self.text_bytes
        numbers = range(first, first + self.batch)
        events = (_EVENT.format(run=self.run, number=each, text=text) for each in numbers)
        return f"[{','.join(events)}]".encode()


@dataclass
class Sent:
    """What became of the batches. `acknowledged` holds their indexes, `resent` likewise those
    that were sent again after a connection broke, so that they may be stored twice."""

    acknowledged: set[int] = field(default_factory=set)
    resent: set[int] = field(default_factory=set)
    answers: Counter[str] = field(default_factory=Counter)
    waits_s: list[float] = field(default_factory=list)
    took_s: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)


@dataclass(frozen=True)
class Found:
    """What is below the prefix. Numbers of events, but for `objects`."""

    objects: int
    stored: int
    missing: int
    duplicated: int
    duplicated_unexplained: int
    unacknowledged: int


def send(plan: Plan) -> Sent:
    """Send it all; a batch that is refused for a while is sent again until the time is over."""
    sent = Sent()
    start_s = time.monotonic()
    end_s = start_s + 2 * plan.seconds + _TIMEOUT_S
    clients = [
        threading.Thread(target=_client, args=(plan, sent, number, start_s, end_s), daemon=True)
        for number in range(plan.clients)
    ]
    for each in clients:
        each.start()
    for each in clients:
        each.join(max(0.0, end_s + _TIMEOUT_S - time.monotonic()))
    sent.took_s = time.monotonic() - start_s
    return sent


def _client(plan: Plan, sent: Sent, number: int, start_s: float, end_s: float) -> None:
    """Every so-manieth batch at its time, over one connection as long as that lives."""
    parts = urlsplit(plan.url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=_TIMEOUT_S)
    headers = {"content-type": "application/cloudevents-batch+json"}
    if plan.token:
        headers["authorization"] = f"Bearer {plan.token}"
    for index in range(number, plan.batches, plan.clients):
        due_s = start_s + index * plan.batch / plan.rate
        time.sleep(max(0.0, due_s - time.monotonic()))
        body = plan.body(index)
        while time.monotonic() < end_s:
            began_s = time.monotonic()
            status = _post(connection, body, headers)
            with sent.lock:
                sent.answers[status] += 1
                if status == "202":
                    sent.acknowledged.add(index)
                    sent.waits_s.append(time.monotonic() - began_s)
                    break
                if not status.isdecimal():
                    sent.resent.add(index)
            if status.startswith("4"):
                break
            time.sleep(_PAUSE_S)
    connection.close()


def _post(connection: http.client.HTTPConnection, body: bytes, headers: dict[str, str]) -> str:
    """The status, or the name of the error that came instead of one."""
    try:
        connection.request("POST", "/", body, headers)
        response = connection.getresponse()
        response.read()
    except (OSError, http.client.HTTPException) as error:
        connection.close()
        return type(error).__name__
    return str(response.status)


class Memory:
    """Samples of a process's resident memory, one a second, and its processor time."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._start_s = time.monotonic()
        self.samples: list[tuple[float, float]] = []
        self.processor_s = 0.0

    def __enter__(self) -> Memory:
        self._before_s = self._processor_s()
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._over.set()
        self._thread.join()
        self.processor_s = self._processor_s() - self._before_s

    @property
    def mib_per_minute(self) -> float:
        """How fast it grew in the second half, by least squares."""
        late = self.samples[len(self.samples) // 2 :]
        if len(late) < 2:
            return 0.0
        times, sizes = zip(*late, strict=True)
        return 60 * statistics.linear_regression(times, sizes).slope

    def _run(self) -> None:
        while not self._over.wait(1.0):
            try:
                with open(f"/proc/{self._pid}/status") as file:
                    found = re.search(r"VmRSS:\s+(\d+) kB", file.read())
            except OSError:  # it has ended, and its absence is seen by the clients
                return
            if found:
                self.samples.append((time.monotonic() - self._start_s, int(found[1]) / 1024))

    def _processor_s(self) -> float:
        try:
            with open(f"/proc/{self._pid}/stat") as file:
                fields = file.read().rpartition(")")[2].split()
        except OSError:
            return 0.0
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def check(s3: S3Client, place: str, plan: Plan, sent: Sent, *, settle_s: float = 120.0) -> Found:
    """Read all objects below `place`, again until all is there or `settle_s` are over."""
    bucket, _, prefix = place.removeprefix("s3://").partition("/")
    counts = bytearray(plan.batches * plan.batch)
    seen: set[str] = set()
    deadline_s = time.monotonic() + settle_s
    while True:
        for key in _keys(s3, bucket, prefix):
            if key not in seen:
                seen.add(key)
                _count(s3, bucket, key, plan.run, counts)
        found = _found(len(seen), counts, plan, sent)
        if not found.missing or time.monotonic() > deadline_s:
            return found
        time.sleep(1.0)


def _keys(s3: S3Client, bucket: str, prefix: str) -> list[str]:
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    return [each["Key"] for page in pages for each in page.get("Contents", [])]


def _count(s3: S3Client, bucket: str, key: str, run: str, counts: bytearray) -> None:
    body = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    for number in _numbers(gzip.decompress(body) if key.endswith(".gz") else body, run):
        counts[number] = min(255, counts[number] + 1)


def _numbers(content: bytes, run: str) -> Iterator[int]:
    for line in content.splitlines():
        event_run, _, number = json.loads(line)["id"].rpartition("-")
        if event_run == run:
            yield int(number)


def _found(objects: int, counts: bytearray, plan: Plan, sent: Sent) -> Found:
    totals: Counter[str] = Counter()
    for index in range(plan.batches):
        own = counts[index * plan.batch : (index + 1) * plan.batch]
        several = sum(count > 1 for count in own)
        present = plan.batch - own.count(0)
        totals["stored"] += present
        totals["duplicated"] += several
        totals["unexplained"] += 0 if index in sent.resent else several
        if index in sent.acknowledged:
            totals["missing"] += plan.batch - present
        else:
            totals["unacknowledged"] += present
    return Found(
        objects=objects,
        stored=totals["stored"],
        missing=totals["missing"],
        duplicated=totals["duplicated"],
        duplicated_unexplained=totals["unexplained"],
        unacknowledged=totals["unacknowledged"],
    )


def _figures(plan: Plan, sent: Sent, memory: Memory | None, found: Found | None) -> dict[str, Any]:
    acknowledged = len(sent.acknowledged) * plan.batch
    waits_ms = sorted(1000 * each for each in sent.waits_s) or [0.0]
    figures: dict[str, Any] = {
        "sent_events": plan.batches * plan.batch,
        "acknowledged_events": acknowledged,
        "events_per_s": round(acknowledged / sent.took_s, 1),
        "answers": dict(sent.answers),
        "resent_batches": len(sent.resent),
        "wait_median_ms": round(statistics.median(waits_ms), 1),
        "wait_p99_ms": round(waits_ms[int(0.99 * (len(waits_ms) - 1))], 1),
        "wait_longest_ms": round(waits_ms[-1], 1),
    }
    if memory is not None and memory.samples:
        sizes = [size for _, size in memory.samples]
        figures["rss_mib"] = {
            "first": round(sizes[0], 1),
            "median": round(statistics.median(sizes), 1),
            "largest": round(max(sizes), 1),
            "last": round(sizes[-1], 1),
            "grows_per_minute": round(memory.mib_per_minute, 2),
        }
        figures["cores"] = round(memory.processor_s / sent.took_s, 2)
    return {**figures, **(asdict(found) if found else {})}


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.sink_load", description=__doc__)
    parser.add_argument("url", help="where the sink listens")
    parser.add_argument("place", nargs="?", help="s3://BUCKET/PREFIX; without it nothing is read")
    parser.add_argument("--pid", type=int, help="the sink's process, whose memory is watched")
    parser.add_argument("--rate", type=int, default=5000, help="events a second (5000)")
    parser.add_argument("--batch", type=int, default=100, help="events in a request (100)")
    parser.add_argument("--seconds", type=float, default=300, help="how long to send (300)")
    parser.add_argument("--clients", type=int, default=8, help="connections (8)")
    parser.add_argument("--settle-s", type=float, default=120, help="wait for objects (120)")
    parser.add_argument("--token", help="bearer token")
    return parser.parse_args()


def main() -> int:
    """Send, watch, count, and print all figures as JSON."""
    how = _parse()
    plan = Plan(how.url, how.rate, how.batch, how.seconds, how.clients, token=how.token)
    memory = Memory(how.pid) if how.pid else None
    if memory is not None:
        with memory:
            sent = send(plan)
    else:
        sent = send(plan)
    found = None
    if how.place:
        import boto3

        found = check(boto3.client("s3"), how.place, plan, sent, settle_s=how.settle_s)
    print(json.dumps(_figures(plan, sent, memory, found), indent=2))
    lost = found is not None and (found.missing or found.duplicated_unexplained)
    return 1 if lost or not sent.acknowledged else 0


if __name__ == "__main__":
    sys.exit(main())
