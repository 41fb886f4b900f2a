"""A listening sink without the sink: `serve` in a thread, and a store that keeps a list."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from streamtos3.errors import Interrupted
from streamtos3.receiver.batcher import ReceiverLimits
from streamtos3.receiver.server import Address, TlsFiles, serve
from streamtos3.results import SinkFigures
from streamtos3.runtime.cancel import CancelScope

STRUCTURED = {"content-type": "application/cloudevents+json"}
BATCHED = {"content-type": "application/cloudevents-batch+json"}
WAIT_S = 20


def event(number: int = 0, **attributes: Any) -> dict[str, Any]:
    """A valid event whose id is `number`."""
    given = {"specversion": "1.0", "id": str(number), "source": "/tests", "type": "t"}
    return {**given, **attributes}


class ListStore:
    """Keeps what it is given; `gate` holds appends back, `error` fails them."""

    def __init__(self) -> None:
        self.appends: list[list[bytes]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Semaphore(0)
        self.error: BaseException | None = None
        self.refused_bytes: int | None = None
        self.shown = SinkFigures()

    def append(self, records: Sequence[bytes], *, wait: bool = True) -> None:
        """Keep the records, once the gate is open."""
        assert not wait
        self.entered.release()
        assert self.gate.wait(WAIT_S)
        if self.error is not None:
            raise self.error
        self.appends.append(list(records))

    def figures(self) -> SinkFigures:
        """Whatever the test says."""
        return self.shown

    @property
    def ids(self) -> list[str]:
        """The ids of all events that were kept, in order."""
        return [json.loads(line)["id"] for lines in self.appends for line in lines]


@dataclass
class Answer:
    """What the server said."""

    status: int
    body: bytes
    headers: dict[str, str] = field(repr=False)


@dataclass
class Listening:
    """A server under test."""

    url: str
    store: ListStore
    scope: CancelScope
    thread: threading.Thread

    @property
    def port(self) -> int:
        """The port that it chose."""
        return int(self.url.rpartition(":")[2])

    def request(self, method: str, path: str, body: bytes | str = b"", **headers: str) -> Answer:
        """One request on a connection of its own; `_` in names of headers stands for `-`."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=WAIT_S)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            connection.request(method, path, body, named)
            return answer_of(connection)
        finally:
            connection.close()

    def post(self, *events: object, **headers: str) -> Answer:
        """One structured event, or several as a batch."""
        if len(events) == 1:
            return self.request("POST", "/", json.dumps(events[0]), **STRUCTURED, **headers)
        return self.request("POST", "/", json.dumps(events), **BATCHED, **headers)

    def post_aside(self, *events: object) -> tuple[threading.Thread, list[Answer]]:
        """The same from a thread of its own, and where its answer will be."""
        answers: list[Answer] = []
        thread = threading.Thread(target=lambda: answers.append(self.post(*events)), daemon=True)
        thread.start()
        return thread, answers

    def raw(self, sent: bytes) -> socket.socket:
        """A connection on which these bytes were sent."""
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=WAIT_S)
        connection.sendall(sent)
        return connection

    def end(self) -> None:
        """What a signal does; waits until the server has ended."""
        self.scope.fail(Interrupted(signal.SIGTERM))
        self.thread.join(WAIT_S)
        assert not self.thread.is_alive()


def answer_of(connection: http.client.HTTPConnection) -> Answer:
    """The answer to the last request on a connection."""
    response = connection.getresponse()
    headers = {name.lower(): value for name, value in response.getheaders()}
    return Answer(response.status, response.read(), headers)


def received(connection: socket.socket) -> bytes:
    """All that comes until the other side closes."""
    pieces = []
    while piece := connection.recv(65536):
        pieces.append(piece)
    return b"".join(pieces)


@contextmanager
def listening(
    store: ListStore | None = None,
    *,
    token: str | None = None,
    tls: TlsFiles | None = None,
    host: str = "127.0.0.1",
    limits: ReceiverLimits | None = None,
) -> Iterator[Listening]:
    """A server on a free port, ended at the end."""
    store = store or ListStore()
    urls: list[str] = []
    failures: list[BaseException] = []
    ready = threading.Event()

    def started(url: str) -> None:
        urls.append(url)
        ready.set()

    def run() -> None:
        try:
            serve(
                store,
                address=Address(host, 0),
                scope=scope,
                token=token,
                tls=tls,
                limits=limits or ReceiverLimits(linger_s=0.2, grace_s=2),
                on_listening=started,
            )
        except BaseException as error:  # noqa: BLE001 - raised again in the test's thread
            failures.append(error)
        ready.set()

    with CancelScope() as scope:
        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        assert ready.wait(WAIT_S)
        if failures:
            raise failures[0]
        server = Listening(urls[0], store, scope, thread)
        try:
            yield server
        finally:
            store.gate.set()
            server.end()
    if failures:
        raise failures[0]
