"""A proxy between a client and an S3 server that does harm on command.

Each request is read whole, matched against `FaultProxy.faults`, and relayed to the upstream on a
connection of its own; the first fault that strikes decides what goes wrong and when. The client's
Host header is passed on as it came, because SigV4 signs it. A fault that changes what the signature
covers signs anew where credentials were given; the fake and moto need none.
"""

from __future__ import annotations

import contextlib
import http.client
import re
import socket
import threading
from dataclasses import replace
from typing import NoReturn
from urllib.parse import urlsplit

from tests.rig.faults import (
    AFTERTHOUGHTS,
    BODIES_OF_200,
    REFUSALS,
    Answer,
    Fault,
    Request,
    Seen,
    damaged,
    refusal,
    with_a_digit_wrong,
    with_etag,
)
from tests.rig.wire import Connection, Listener, S3Request, reserved_port

__all__ = ["Fault", "FaultProxy", "Seen"]

_UPSTREAM_TIMEOUT_S = 60
_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "expect", "content-length"}


class _Reset(Exception):
    """The client's connection is to be reset."""


class FaultProxy:
    """`with FaultProxy(upstream_url, credentials=(key, secret)) as proxy: proxy.endpoint_url`."""

    def __init__(self, upstream_url: str, credentials: tuple[str, str] | None = None) -> None:
        self.upstream = urlsplit(upstream_url).netloc
        self.credentials = credentials
        self.faults: list[Fault] = []
        self.seen: list[Seen] = []
        self._etags: dict[int, str] = {}
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._released = threading.Event()
        self._failures: list[BaseException] = []
        self._replays: list[threading.Thread] = []

    def __enter__(self) -> FaultProxy:
        proxy = self

        class Client(_Client):
            pass

        Client.proxy = proxy
        self._handler = Client
        self._listeners = [Listener(Client)]
        self._reserved: socket.socket | None = None
        self.endpoint_url = f"http://127.0.0.1:{self._listeners[0].port}"
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        """Release and join everything; a callback that failed unseen fails the test here."""
        self._over.set()
        self._released.set()
        if self._reserved:
            self._reserved.close()
        for listener in self._listeners:
            listener.close()
        for replay in self._replays:
            replay.join()
        if self._failures and kind is None:
            raise self._failures[0]

    def count(self, verb: str = "any", part: int | None = None) -> int:
        """How many requests of this kind have arrived."""
        with self._lock:
            return sum(
                verb in ("any", seen.verb) and part in (None, seen.part) for seen in self.seen
            )

    def down(self) -> None:
        """Be gone: reset every connection and refuse new ones, until `up`."""
        assert self._reserved is None, "down() without up()"
        listener = self._listeners[-1]
        listener.stop_accepting(socket.SHUT_RD)
        self._reserved = reserved_port(listener.port)
        self.release()

    def up(self) -> None:
        """Listen again, on the same port."""
        assert self._reserved is not None, "up() without down()"
        self._listeners.append(Listener(self._handler, adopted=self._reserved))
        self._reserved = None

    def release(self) -> None:
        """Let go of the connections that stop-reading, stop-answering and slow hold now."""
        with self._lock:
            self._released.set()
            if not self._over.is_set():
                self._released = threading.Event()

    def hold(self, delay_s: float | None) -> None:
        with self._lock:
            released = self._released
        released.wait(delay_s)

    def admit(self, asked: S3Request) -> tuple[Seen, Fault | None]:
        """Note a request and find the fault that strikes it."""
        with self._lock:
            fault = next((fault for fault in self.faults if fault.strikes(asked)), None)
            action = fault.action if fault else None
            seen = Seen(
                *(asked.verb, asked.part, None, action),
                *(asked.headers, asked.key, asked.client_port),
            )
            self.seen.append(seen)
            return seen, fault

    def call(self, fault: Fault) -> None:
        assert fault.callback is not None
        try:
            fault.callback(self)
        except BaseException as error:
            self._failures.append(error)
            raise _Reset from error

    def replay_later(self, request: Request, seen: Seen, delay_s: float) -> None:
        """Send a request to the upstream once more, behind the client's back."""

        def replay() -> None:
            if self._over.wait(delay_s):
                return
            again = replace(seen, verb="replay", status=None)
            with contextlib.suppress(OSError, http.client.HTTPException):
                again.status = _forward(self.upstream, request).status
            with self._lock:
                self.seen.append(again)

        thread = threading.Thread(target=replay, daemon=True)
        self._replays.append(thread)
        thread.start()

    def remember_etag(self, asked: S3Request, answer: Answer) -> None:
        etag = dict(answer.headers).get("ETag")
        if asked.verb == "put-part" and asked.part and etag:
            with self._lock:
                self._etags[asked.part] = etag

    def foreign_etag(self, part: int | None) -> str:
        """The ETag of some other part, or of no bytes where none was seen yet."""
        with self._lock:
            others = [etag for number, etag in self._etags.items() if number != part]
        return others[0] if others else '"d41d8cd98f00b204e9800998ecf8427e"'


class _Client(Connection):
    """One client connection; `_relay` is the way of one request, stage by stage."""

    proxy: FaultProxy
    upstream: http.client.HTTPConnection | None = None

    def _serve(self) -> None:
        try:
            self._relay()
        except (_Reset, OSError, http.client.HTTPException):
            with contextlib.suppress(OSError):
                self.reset_on_close()

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _serve

    def doom(self, how: int) -> None:
        super().doom(how)
        if self.upstream and self.upstream.sock:
            with contextlib.suppress(OSError):
                self.upstream.sock.shutdown(socket.SHUT_RDWR)

    def _relay(self) -> None:
        asked = S3Request.parse(self)
        seen, fault = self.proxy.admit(asked)
        action = fault.action if fault else ""
        body = self._read_body(fault)
        request = Request(self.command, self.path, tuple(self.headers.items()), body)
        answer = self._instead(fault) if fault else None
        if answer is None:
            if action.startswith("flip-request") and body:
                keep_md5 = action == "flip-request"
                request = damaged(request, keep_md5, self.proxy.credentials)
            answer = _forward(self.proxy.upstream, request, self)
            self.proxy.remember_etag(asked, answer)
        if fault:
            answer = self._afterwards(fault, answer, asked.part)
        if self.doomed:
            raise _Reset
        seen.status = answer.status
        self._send(answer, fault)
        if fault and action == "duplicate-late":
            self.proxy.replay_later(request, seen, fault.delay_s or 0.0)

    def _read_body(self, fault: Fault | None) -> bytes:
        length = int(self.headers.get("Content-Length") or 0)
        match fault and fault.action:
            case "reset-before":
                raise _Reset
            case "stop-reading":
                # Buffers take up to some 3 MB: only the sender of more than that is stopped.
                self._hold_and_reset(fault)
            case "reset-middle":
                self.rfile.read(length // 2)
                raise _Reset
        body = self.rfile.read(length)
        if len(body) < length:
            raise _Reset
        return body

    def _instead(self, fault: Fault) -> Answer | None:
        """What happens instead of forwarding, or before it."""
        match fault.action:
            case "reset-after":
                raise _Reset
            case "stop-answering" if not fault.forward:
                self._hold_and_reset(fault)
            case "slow":
                self.proxy.hold(fault.delay_s)
            case "callback":
                self.proxy.call(fault)
            case "redirect":
                return Answer(307, b"", (("Location", fault.location),))
            case action if action in REFUSALS:
                return refusal(action)
            case action if action in BODIES_OF_200:
                return Answer(200, BODIES_OF_200[action], (("Content-Type", "text/html"),))
        return None

    def _afterwards(self, fault: Fault, answer: Answer, part: int | None) -> Answer:
        """What happens to the upstream's answer."""
        match fault.action:
            case "lost-answer":
                raise _Reset
            case "stop-answering":
                self._hold_and_reset(fault)
            case "callback-after":
                self.proxy.call(fault)
            case "wrong-etag":
                return with_etag(answer, with_a_digit_wrong)
            case "no-etag":
                return with_etag(answer, lambda etag: None)
            case "foreign-etag":
                return with_etag(answer, lambda etag: self.proxy.foreign_etag(part))
            case action if action in AFTERTHOUGHTS:
                return refusal(AFTERTHOUGHTS[action])
        return answer

    def _hold_and_reset(self, fault: Fault | None) -> NoReturn:
        self.proxy.hold(fault.delay_s if fault else None)
        raise _Reset

    def _send(self, answer: Answer, fault: Fault | None) -> None:
        body = b"" if self.command == "HEAD" else answer.body
        fields = [(k, v) for k, v in answer.headers if k.lower() not in _HOP_BY_HOP]
        lengths = [v for k, v in answer.headers if k.lower() == "content-length"]
        if answer.status not in (204, 304):
            kept = self.command == "HEAD" and lengths
            fields.append(("Content-Length", lengths[0] if kept else str(len(body))))
        lines = [f"HTTP/1.1 {answer.status} {answer.reason}", *(f"{k}: {v}" for k, v in fields)]
        head = "\r\n".join([*lines, "", ""]).encode("latin-1")
        match fault and fault.action:
            case "cut-answer":
                self.wfile.write(head + body[: len(body) // 2] if body else _cut(head))
                self.close_connection = True
            case "trickle":
                pause_s = 0.02 if fault is None or fault.delay_s is None else fault.delay_s
                for byte in head + body:
                    if self.doomed:
                        raise _Reset
                    self.wfile.write(bytes([byte]))
                    self.proxy.hold(pause_s)
            case _:
                self.wfile.write(head + body)


def _forward(netloc: str, request: Request, client: _Client | None = None) -> Answer:
    """Send a request to the upstream, on a connection that breaks when the client's is doomed."""
    with contextlib.closing(
        http.client.HTTPConnection(netloc, timeout=_UPSTREAM_TIMEOUT_S)
    ) as upstream:
        upstream.connect()
        if client:
            client.upstream = upstream
            if client.doomed:
                raise _Reset
        upstream.putrequest(request.method, request.target, True, True)
        for name, value in request.headers:
            if name.lower() not in _HOP_BY_HOP:
                upstream.putheader(name, value)
        if request.body or request.method in ("PUT", "POST"):
            upstream.putheader("Content-Length", str(len(request.body)))
        # A server that has seen enough answers and closes before it has read everything.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            upstream.endheaders(request.body)
        response = upstream.getresponse()
        return Answer(
            response.status, response.read(), tuple(response.getheaders()), response.reason
        )


def _cut(head: bytes) -> bytes:
    """Half of the headers, up to the middle of the ETag where there is one."""
    etag = re.search(rb'\netag: "?', head, re.IGNORECASE)
    return head[: etag.end() + 16 if etag else len(head) // 2]
