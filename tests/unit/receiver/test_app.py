"""The HTTP interface, called as an ASGI application: no server, no socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest

from streamtos3.errors import SpoolFullError, SpoolTooSmallError
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
        self.is_crowded = False
        self.sessions = Sessions(token, secure=False)
        self.activity = Activity()
        self.app = ReceiverApp(
            self.batcher,
            self.budget,
            self.metrics,
            ReceiverLimits(**limits),
            self.sessions,
            self.activity,
            lambda: self.is_crowded,
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


def test_how_many_events_were_taken_is_said(receiver: Receiver) -> None:
    status, fields, body = receiver.post(AUTHORIZED)
    assert (status, fields["content-type"], json.loads(body)) == (
        202,
        "application/json",
        {"accepted": 1},
    )
    batch = (b"content-type", b"application/cloudevents-batch+json")
    events = json.dumps([event(1), event(2)]).encode()
    for sent, count in ((events, 2), (b"[]", 0)):
        _, _, body = receiver.ask("POST", "/", batch, AUTHORIZED, body=sent)
        assert json.loads(body) == {"accepted": count}


def test_what_the_spool_could_never_hold_is_too_large(receiver: Receiver) -> None:
    receiver.store.error = SpoolTooSmallError("never")
    status, fields, body = receiver.post(AUTHORIZED)
    assert (status, "retry-after" in fields) == (413, False)
    assert "fewer at a time" in json.loads(body)["error"]
    assert receiver.metrics.rejected == {"too_large": 1}


def test_while_there_is_no_room_who_comes_is_told_at_once_and_health_says_so(
    receiver: Receiver,
) -> None:
    """A small event there may still be room for, as long as none so small was refused."""
    size = len(json.dumps(event(1)))
    receiver.store.refused_bytes = size
    status, fields, _ = receiver.post(AUTHORIZED)
    assert (status, fields["retry-after"], receiver.store.appends) == (503, "1", [])
    assert receiver.ask("GET", "/healthz")[::2] == (503, b"full\n")
    assert b"full: events are refused" in receiver.ask("GET", "/", AUTHORIZED)[2]
    assert receiver.metrics.rejected == {"spool_full": 1}
    receiver.store.refused_bytes = size + 1
    assert receiver.post(AUTHORIZED)[0] == 202
    receiver.store.refused_bytes = None
    assert receiver.ask("GET", "/healthz")[::2] == (200, b"ok\n")


def test_beyond_the_connections_that_are_served_all_are_told_to_come_again(
    receiver: Receiver,
) -> None:
    receiver.is_crowded = True
    for answer in (receiver.post(AUTHORIZED), receiver.ask("GET", "/healthz")):
        status, fields, _ = answer
        assert (status, fields["retry-after"], fields["connection"]) == (503, "1", "close")
    assert receiver.metrics.rejected == {"connections": 2}


@pytest.mark.parametrize(
    ("method", "path", "status", "label"),
    [
        ("POST", "/other", 404, "not_found"),
        ("GET", "/healthz/", 404, "not_found"),
        ("PUT", "/", 405, "method"),
        ("POST", "/healthz", 405, "method"),
    ],
)
def test_other_paths_and_methods_are_counted(
    receiver: Receiver, method: str, path: str, status: int, label: str
) -> None:
    found, fields, body = receiver.ask(method, path)
    assert (found, list(json.loads(body))) == (status, ["error"])
    assert ("allow" in fields) == (status == 405)
    assert receiver.metrics.rejected == {label: 1}


@pytest.mark.parametrize("host", ["http://example.com:8080", "HTTPS://[::1]", "http://u@h"])
def test_a_target_may_name_the_host_as_well(receiver: Receiver, host: str) -> None:
    body = json.dumps(event(1)).encode()
    assert receiver.ask("POST", f"{host}/", JSON, AUTHORIZED, body=body)[0] == 202
    assert receiver.ask("POST", host, JSON, AUTHORIZED, body=body)[0] == 202
    assert receiver.ask("GET", f"{host}/healthz")[0] == 200
    assert receiver.ask("GET", f"{host}/other")[0] == 404


def test_after_a_length_that_was_said_twice_the_connection_is_closed(receiver: Receiver) -> None:
    """Another server before this one may have believed the other, and have sent more."""
    status, fields, _ = receiver.post((b"transfer-encoding", b"chunked"), AUTHORIZED)
    assert (status, fields["connection"]) == (202, "close")


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
