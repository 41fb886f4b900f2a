"""The HTTP interface, called as an ASGI application: no server, no socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest

from streamtos3.errors import SpoolFullError
from streamtos3.receiver.activity import Activity
from streamtos3.receiver.app import ReceiverApp
from streamtos3.receiver.batcher import Batcher, ByteBudget, ReceiverLimits
from streamtos3.receiver.metrics import SinkMetrics
from streamtos3.receiver.session import Sessions
from tests.rig.receiver_rig import ListStore, event

JSON = (b"content-type", b"application/cloudevents+json")


class Receiver:
    """A ReceiverApp over a store that keeps a list."""

    def __init__(self, token: str | None = None, **limits: Any) -> None:
        self.store = ListStore()
        self.batcher = Batcher(self.store)
        self.budget = ByteBudget(1000)
        self.metrics = SinkMetrics(self.store, self.batcher, self.budget)
        self.sessions = Sessions(token, secure=False)
        self.activity = Activity()
        self.app = ReceiverApp(
            self.batcher,
            self.budget,
            self.metrics,
            ReceiverLimits(**limits),
            self.sessions,
            self.activity,
        )

    def ask(
        self,
        method: str = "POST",
        path: str = "/",
        *headers: tuple[bytes, bytes],
        body: bytes = b"",
        is_gone: bool = False,
    ) -> tuple[int, dict[str, str], bytes]:
        """The status, the headers and the body of the answer."""
        incoming = [{"type": "http.request", "body": body, "more_body": is_gone}]
        sent: list[Any] = []

        async def receive() -> Any:
            return incoming.pop(0) if incoming else {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        length = (b"content-length", str(len(body)).encode())
        scope: Any = {
            "type": "http",
            "http_version": "1.1",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "headers": [length, *headers],
        }
        asyncio.run(self.app.application()(scope, receive, send))
        fields = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        return sent[0]["status"], fields, b"".join(part.get("body", b"") for part in sent[1:])

    def post(
        self, *headers: tuple[bytes, bytes], **options: Any
    ) -> tuple[int, dict[str, str], bytes]:
        body = json.dumps(event(1)).encode()
        return self.ask("POST", "/", JSON, *headers, **{"body": body, **options})


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver(token="secret")
    yield receiver
    receiver.batcher.close()


AUTHORIZED = (b"authorization", b"Bearer secret")


def test_an_event_is_accepted_once_it_is_durable(receiver: Receiver) -> None:
    assert receiver.post(AUTHORIZED)[0] == 202
    assert (receiver.store.ids, receiver.metrics.accepted, receiver.budget.held_bytes) == (
        ["1"],
        1,
        0,
    )


@pytest.mark.parametrize("header", [(b"authorization", b"Bearer wrong"), (b"x", b"y")])
def test_a_wrong_token_stores_nothing(receiver: Receiver, header: tuple[bytes, bytes]) -> None:
    status, fields, _ = receiver.post(header)
    assert (status, fields["www-authenticate"]) == (401, 'Bearer realm="streamtos3"')
    assert (receiver.store.appends, receiver.metrics.rejected) == ([], {"unauthorized": 1})


def test_a_full_spool_says_when_to_try_again(receiver: Receiver) -> None:
    receiver.store.error = SpoolFullError("full")
    status, fields, _ = receiver.post(AUTHORIZED)
    assert (status, fields["retry-after"]) == (503, "1")
    assert receiver.metrics.rejected == {"spool_full": 1}


def test_a_body_beyond_the_budget_is_refused_for_now(receiver: Receiver) -> None:
    status, fields, _ = receiver.post(AUTHORIZED, body=b" " * 1001)
    assert (status, fields["retry-after"], receiver.budget.held_bytes) == (503, "1", 0)
    assert receiver.metrics.rejected == {"busy": 1}


def test_a_sender_who_leaves_gives_back_what_it_held(receiver: Receiver) -> None:
    receiver.post(AUTHORIZED, is_gone=True)
    assert (receiver.store.appends, receiver.budget.held_bytes) == ([], 0)
    assert receiver.metrics.rejected == {"disconnected": 1}


def test_an_ending_receiver_refuses_and_says_so_to_health_checks(receiver: Receiver) -> None:
    assert receiver.ask("GET", "/healthz")[0] == 200
    receiver.app.end()
    assert receiver.ask("GET", "/healthz")[::2] == (503, b"ending\n")
    status, fields, _ = receiver.post(AUTHORIZED)
    assert (status, fields["connection"], receiver.store.appends) == (503, "close", [])


def test_the_webhook_handshake_allows_any_origin_and_rate(receiver: Receiver) -> None:
    status, fields, _ = receiver.ask("OPTIONS", "/", (b"webhook-request-origin", b"example.org"))
    assert (status, fields["webhook-allowed-origin"], fields["webhook-allowed-rate"]) == (
        200,
        "*",
        "*",
    )
