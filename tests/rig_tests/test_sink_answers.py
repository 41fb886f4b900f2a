"""The measurement of a sink's answers asks for all that it says, and tells what came."""

from __future__ import annotations

from bench.sink_answers import ask
from streamtos3.errors import SpoolFullError
from tests.rig.receiver_rig import listening


def test_all_kinds_are_asked_for_and_timed() -> None:
    with listening() as sink:
        found = ask(sink.url, senders=2, seconds=0.3, events=50, text_bytes=30)
        statuses = {"batch 202", "event 202", "health 200", "metrics 200"}
        assert set(found.statuses) == statuses
        assert {kind: len(waits) for kind, waits in found.waits_s.items()} == {
            said.split()[0]: count for said, count in found.statuses.items()
        }
        assert len(sink.store.ids) == (
            50 * found.statuses["batch 202"] + found.statuses["event 202"]
        )


def test_a_refusal_is_seen() -> None:
    with listening() as sink:
        sink.store.error = SpoolFullError("full")
        found = ask(sink.url, senders=1, seconds=0.1, events=1, text_bytes=1)
        assert found.statuses["event 503"] > 0
