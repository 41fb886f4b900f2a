"""How long a listening sink takes to answer while large batches are posted without pause.

`python -m bench.sink_answers http://127.0.0.1:8080 --senders 8` posts batches from that many
connections, and meanwhile asks for health and metrics and sends single events, each from a
connection of its own. Prints median, 99th percentile and longest wait of each kind as JSON.
Status 1 if anything was not answered as it should be.
"""

from __future__ import annotations

import argparse
import http.client
import json
import statistics
import sys
import threading
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit

from .sink_load import Plan

__all__ = ["Answers", "ask"]

_BATCH = "application/cloudevents-batch+json"
_SINGLE = "application/cloudevents+json"
_TIMEOUT_S = 60.0


@dataclass
class Answers:
    """The waits of each kind of request in seconds, and how often each status came."""

    waits_s: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    statuses: Counter[str] = field(default_factory=Counter)


def ask(url: str, *, senders: int, seconds: float, events: int, text_bytes: int) -> Answers:
    """Post batches of so many events with so much text for so long, and ask beside them."""
    plan = Plan(url, batch=events, text_bytes=text_bytes)
    batch = plan.body(0)
    single = replace(plan, batch=1, text_bytes=200).body(1)[1:-1]
    found = Answers()
    lock = threading.Lock()
    end_s = time.monotonic() + seconds

    def client(kind: str, method: str, path: str, body: bytes, content_type: str) -> None:
        parts = urlsplit(url)
        connection = http.client.HTTPConnection(
            parts.hostname or "", parts.port, timeout=_TIMEOUT_S
        )
        while time.monotonic() < end_s:
            began_s = time.monotonic()
            try:
                connection.request(method, path, body, {"content-type": content_type})
                answer = connection.getresponse()
                answer.read()
                status = str(answer.status)
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                status = type(error).__name__
            with lock:
                found.waits_s[kind].append(time.monotonic() - began_s)
                found.statuses[f"{kind} {status}"] += 1
            time.sleep(0.0 if kind == "batch" else 0.02)
        connection.close()

    requests = [("batch", "POST", "/", batch, _BATCH)] * senders
    requests.append(("health", "GET", "/healthz", b"", ""))
    requests.append(("metrics", "GET", "/metrics", b"", ""))
    requests.append(("event", "POST", "/", single, _SINGLE))
    clients = [threading.Thread(target=client, args=each, daemon=True) for each in requests]
    for each in clients:
        each.start()
    for each in clients:
        each.join(seconds + 2 * _TIMEOUT_S)
    return found


def _figures(found: Answers) -> dict[str, Any]:
    figures: dict[str, Any] = {"answers": dict(found.statuses)}
    for kind, waits_s in found.waits_s.items():
        waits_ms = sorted(1000 * each for each in waits_s)
        figures[kind] = {
            "median_ms": round(statistics.median(waits_ms), 1),
            "p99_ms": round(waits_ms[int(0.99 * (len(waits_ms) - 1))], 1),
            "longest_ms": round(waits_ms[-1], 1),
        }
    return figures


def main() -> int:
    """Send, ask, and print the figures."""
    parser = argparse.ArgumentParser(prog="python -m bench.sink_answers", description=__doc__)
    parser.add_argument("url", help="where the sink listens")
    parser.add_argument("--senders", type=int, default=4, help="connections with batches (4)")
    parser.add_argument("--seconds", type=float, default=15, help="how long to send (15)")
    parser.add_argument("--events", type=int, default=2300, help="events in a batch (2300)")
    parser.add_argument("--text-bytes", type=int, default=3000, help="text in each (3000)")
    how = parser.parse_args()
    found = ask(
        how.url,
        senders=how.senders,
        seconds=how.seconds,
        events=how.events,
        text_bytes=how.text_bytes,
    )
    print(json.dumps(_figures(found), indent=2))
    good = {"batch 202", "event 202", "health 200", "metrics 200"}
    return 0 if set(found.statuses) == good else 1


if __name__ == "__main__":
    sys.exit(main())
