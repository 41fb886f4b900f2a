"""What Prometheus is told: the figures of the store, and the counters of the receiver.

The registry is our own, so that nothing else of the process shows up in it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, exposition
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ..results import SinkFigures
from .batcher import Batcher, ByteBudget, RecordStore

__all__ = ["SinkMetrics"]

_PREFIX = "streamtos3_sink_"
_COUNTERS = {
    "received_records": "Records that are durable here.",
    "received_bytes": "Their bytes, before compression.",
    "stored_records": "Records in objects that are proved.",
    "stored_bytes": "Their bytes, before compression.",
    "stored_objects": "Objects that are proved.",
}


class SinkMetrics(Collector):
    """Collected anew for each scrape.

    `rejected` counts requests by the reason of refusal, `closed` connections that were ended
    before there was a request to answer. `connections` says how many are open.
    """

    def __init__(
        self,
        store: RecordStore,
        batcher: Batcher,
        budget: ByteBudget,
        connections: Callable[[], int] = lambda: 0,
    ) -> None:
        self._store = store
        self._batcher = batcher
        self._budget = budget
        self._connections = connections
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        self.accepted = 0
        self.rejected: Counter[str] = Counter()
        self.closed: Counter[str] = Counter()

    def figures(self) -> SinkFigures:
        """The store's, as they are now."""
        return self._store.figures()

    def text(self, accept: str) -> tuple[bytes, str]:
        """The exposition, and its content type, in the form that `accept` asks for."""
        encode, content_type = exposition.choose_encoder(accept)
        return encode(self._registry), content_type

    def describe(self) -> list[Metric]:
        """Nothing: names need not be known before the first scrape (see Collector)."""
        return []

    def collect(self) -> Iterator[Metric]:
        """All metrics, with their values now."""
        figures = self._store.figures()
        for name, help_text in _COUNTERS.items():
            yield CounterMetricFamily(_PREFIX + name, help_text, value=getattr(figures, name))
        yield CounterMetricFamily(
            _PREFIX + "upload_retries", "Requests to S3 that were tried again.", figures.retries
        )
        yield GaugeMetricFamily(
            _PREFIX + "spool_bytes", "What the spool takes on the disk.", figures.spool_bytes
        )
        yield GaugeMetricFamily(
            _PREFIX + "oldest_record_age_seconds",
            "Age of the oldest record that is not in S3 yet; 0 where all are.",
            figures.oldest_age_s or 0.0,
        )
        yield from self._of_the_server()

    def _of_the_server(self) -> Iterator[Metric]:
        yield CounterMetricFamily(
            _PREFIX + "accepted_requests", "Requests that were answered with 2xx.", self.accepted
        )
        rejected = CounterMetricFamily(
            _PREFIX + "rejected_requests",
            "Requests of which nothing is stored.",
            labels=["reason"],
        )
        for reason, count in sorted(self.rejected.items()):
            rejected.add_metric([reason], count)
        yield rejected
        closed = CounterMetricFamily(
            _PREFIX + "closed_connections",
            "Connections that were closed without an answer.",
            labels=["reason"],
        )
        for reason, count in sorted(self.closed.items()):
            closed.add_metric([reason], count)
        yield closed
        yield GaugeMetricFamily(
            _PREFIX + "open_connections", "Connections that are open.", self._connections()
        )
        yield CounterMetricFamily(
            _PREFIX + "appends",
            "Times that what was waiting was made durable at once.",
            self._batcher.appends,
        )
        yield GaugeMetricFamily(
            _PREFIX + "pending_request_bytes",
            "Request bodies that are being held.",
            self._budget.held_bytes,
        )
