"""What Prometheus is told: names, kinds and values, read back by its own parser."""

from __future__ import annotations

from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as open_metrics_families,
)
from prometheus_client.parser import text_string_to_metric_families

from streamtos3.errors import SpoolFullError
from streamtos3.results import SinkFigures
from tests.rig.receiver_rig import Listening, ListStore, event, listening

PREFIX = "streamtos3_sink_"


def scraped(sink: Listening) -> dict[str, float]:
    """All samples without the prefix; a label's value stands for the label."""
    answer = sink.request("GET", "/metrics")
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/plain")
    found = {}
    for family in text_string_to_metric_families(answer.body.decode()):
        assert family.documentation and family.type in ("counter", "gauge")
        for sample in family.samples:
            assert sample.name.startswith(PREFIX)
            assert sample.name.endswith("_total") == (family.type == "counter")
            labels = ":".join(sample.labels.values())
            found[sample.name.removeprefix(PREFIX) + (f":{labels}" if labels else "")] = (
                sample.value
            )
    return found


def test_the_figures_of_the_sink_are_told() -> None:
    with listening() as sink:
        sink.store.shown = SinkFigures(
            received_records=7,
            received_bytes=700,
            stored_records=5,
            stored_bytes=500,
            stored_objects=2,
            spool_bytes=1234,
            retries=3,
            oldest_age_s=100.5,
        )
        found = scraped(sink)
        assert found.pop("oldest_record_age_seconds") == 100.5
        assert found == {
            "received_records_total": 7,
            "received_bytes_total": 700,
            "stored_records_total": 5,
            "stored_bytes_total": 500,
            "stored_objects_total": 2,
            "spool_bytes": 1234,
            "upload_retries_total": 3,
            "accepted_requests_total": 0,
            "appends_total": 0,
            "pending_request_bytes": 0,
            "open_connections": 1,
        }


def test_requests_are_counted_by_what_became_of_them() -> None:
    with listening() as sink:
        sink.post(event(1), event(2))
        sink.post(event(3))
        sink.post({})
        sink.request("POST", "/", b"x")
        sink.store.error = SpoolFullError("full")
        sink.post(event(4))
        found = scraped(sink)
        assert {name: value for name, value in found.items() if value} == {
            "accepted_requests_total": 2,
            "appends_total": 2,
            "rejected_requests_total:invalid": 1,
            "rejected_requests_total:unsupported": 1,
            "rejected_requests_total:spool_full": 1,
            "open_connections": 1,
        }


def test_nothing_is_old_where_all_is_stored() -> None:
    with listening() as sink:
        assert scraped(sink)["oldest_record_age_seconds"] == 0


def test_open_metrics_are_told_to_who_asks_for_them() -> None:
    with listening() as sink:
        answer = sink.request("GET", "/metrics", accept="application/openmetrics-text")
        assert answer.headers["content-type"].startswith("application/openmetrics-text")
        told = open_metrics_families(answer.body.decode())  # type: ignore[no-untyped-call]
        names = [family.name for family in told]
        assert f"{PREFIX}stored_records" in names


def test_each_server_has_a_registry_of_its_own() -> None:
    with listening() as one, listening(ListStore()) as other:
        one.post(event())
        assert scraped(one)["accepted_requests_total"] == 1
        assert scraped(other)["accepted_requests_total"] == 0
