"""The sink's HTTP interface: events in at `/`, `/healthz` and `/metrics` out.

Everything here runs on the event loop. A request is answered with 202 when its events are
durable, and otherwise with a status that says whether trying again can help; a refused request
has stored nothing. What it costs to be refused is bounded: see IntakeLimits.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from ..errors import InvalidEventError
from .batcher import Hold, Intake, IntakeLimits, Outcome, Room
from .cloudevents import event_lines
from .metrics import SinkMetrics

__all__ = ["Reception"]

_REASONS = {400: "invalid", 413: "too_large", 415: "unsupported"}


class _Refusal(Exception):
    """Why a request is not taken: for the sender, and as a label for the metrics."""

    def __init__(
        self, http_status: int, label: str, message: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.http_status = http_status
        self.label = label
        self.message = message
        self.headers = dict(headers or {})


class _Body:
    """The body of one request, read by us so that its limits are kept while it comes."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self.is_complete = False

    async def chunk(self) -> bytes:
        """What comes next."""
        message = await self._request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        self.is_complete = not message.get("more_body", False)
        body: bytes = message.get("body", b"")
        return body

    async def drop(self) -> None:
        """Read the rest and forget it: who is still sending would not hear our answer."""
        while not self.is_complete:
            await self.chunk()


class Reception:
    """The application, and what it counts."""

    def __init__(
        self,
        intake: Intake,
        room: Room,
        metrics: SinkMetrics,
        limits: IntakeLimits,
        token: str | None,
    ) -> None:
        self._intake = intake
        self._room = room
        self._metrics = metrics
        self._limits = limits
        self._token = None if token is None else token.encode()
        self._is_ending = False

    def end(self) -> None:
        """Refuse what comes from here on; what is under way goes on."""
        self._is_ending = True

    def application(self) -> Starlette:
        """What a server runs."""
        return Starlette(
            routes=[
                Route("/", self._answered(self._take), methods=["POST"]),
                Route("/", self._consent, methods=["OPTIONS"]),
                Route("/healthz", self._health, methods=["GET"]),
                Route("/metrics", self._answered(self._tell), methods=["GET"]),
            ]
        )

    def _answered(
        self, work: Callable[[Request, _Body], Awaitable[Response]]
    ) -> Callable[[Request], Awaitable[Response]]:
        """An endpoint that does `work` and answers a refusal with its reason."""

        async def endpoint(request: Request) -> Response:
            body = _Body(request)
            try:
                return await work(request, body)
            except ClientDisconnect:
                self._metrics.rejected["disconnected"] += 1
                return Response(status_code=400)  # which nobody hears
            except InvalidEventError as error:
                label = _REASONS[error.http_status]
                refusal = _Refusal(error.http_status, label, error.message)
            except _Refusal as error:
                refusal = error
            self._metrics.rejected[refusal.label] += 1
            return await self._refused(request, body, refusal)

        return endpoint

    async def _refused(self, request: Request, body: _Body, refusal: _Refusal) -> Response:
        headers = refusal.headers
        if not body.is_complete and _has_body(request):
            headers["connection"] = "close"
            if "expect" not in request.headers:
                await self._drop(body)
        return JSONResponse({"error": refusal.message}, refusal.http_status, headers)

    async def _drop(self, body: _Body) -> None:
        try:
            await asyncio.wait_for(body.drop(), self._limits.linger_s)
        except (asyncio.TimeoutError, ClientDisconnect):
            return

    async def _take(self, request: Request, body: _Body) -> Response:
        """POST: the events of one request."""
        if self._is_ending or self._intake.has_ended:
            raise self._ending()
        self._check_token(request)
        with self._room.hold() as hold:
            content = await self._read(request, body, hold)
            lines = event_lines(
                request.headers.raw, content, max_record_bytes=self._limits.max_record_bytes
            )
            if lines:
                await self._store(lines)
        self._metrics.accepted += 1
        return Response(status_code=202)

    async def _store(self, lines: list[bytes]) -> None:
        limit = self._limits.max_group_bytes
        if limit is not None and (size_bytes := sum(map(len, lines))) > limit:
            raise _Refusal(
                413, "too_large", f"{size_bytes} bytes would be stored, {limit} are possible"
            )
        outcome = await asyncio.wrap_future(self._intake.submit(lines))
        if outcome is Outcome.FULL:
            raise self._later("spool_full", "the spool is full until some of it is uploaded")
        if outcome is Outcome.ENDING:
            raise self._ending()

    def _later(self, label: str, message: str) -> _Refusal:
        wait_s = str(self._limits.retry_after_s)
        return _Refusal(503, label, message, {"retry-after": wait_s})

    def _ending(self) -> _Refusal:
        refusal = self._later("ending", "this sink is ending")
        refusal.headers["connection"] = "close"
        return refusal

    def _check_token(self, request: Request) -> None:
        if self._token is None:
            return
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        right = hmac.compare_digest(given.strip().encode("latin-1"), self._token)
        if scheme.lower() != "bearer" or not right:
            raise _Refusal(
                401,
                "unauthorized",
                "the bearer token is missing or wrong",
                {"www-authenticate": 'Bearer realm="streamtos3"'},
            )

    async def _read(self, request: Request, body: _Body, hold: Hold) -> bytes:
        """The whole body, never more of it than is allowed."""
        self._make_room(int(request.headers.get("content-length", "0")), hold)
        try:
            return await asyncio.wait_for(
                self._read_on(body, hold), timeout=self._limits.body_timeout_s
            )
        except asyncio.TimeoutError:
            limit = f"{self._limits.body_timeout_s:g} s"
            raise _Refusal(
                408, "timeout", f"the body did not come within {limit}", {"connection": "close"}
            ) from None

    async def _read_on(self, body: _Body, hold: Hold) -> bytes:
        content = bytearray()
        while not body.is_complete:
            chunk = await body.chunk()
            self._make_room(len(content) + len(chunk), hold)
            content += chunk
        return bytes(content)

    def _make_room(self, size_bytes: int, hold: Hold) -> None:
        limit = self._limits.max_request_bytes
        if size_bytes > limit:
            raise _Refusal(413, "too_large", f"a request may have {limit} bytes at most")
        if not hold.enlarge(size_bytes):
            raise self._later("busy", "too many requests are being held already")

    async def _consent(self, request: Request) -> Response:
        """OPTIONS: the handshake of the CloudEvents webhook specification."""
        headers = {"allow": "POST, OPTIONS"}
        if "webhook-request-origin" in request.headers:
            headers |= {"webhook-allowed-origin": "*", "webhook-allowed-rate": "*"}
        return Response(status_code=200, headers=headers)

    async def _health(self, request: Request) -> Response:
        if self._is_ending or self._intake.has_ended:
            return PlainTextResponse("ending\n", 503)
        return PlainTextResponse("ok\n")

    async def _tell(self, request: Request, body: _Body) -> Response:
        self._check_token(request)
        accept = request.headers.get("accept", "")
        content, content_type = await asyncio.to_thread(self._metrics.text, accept)
        return Response(content, headers={"content-type": content_type})


def _has_body(request: Request) -> bool:
    fields: Any = request.headers
    return "transfer-encoding" in fields or fields.get("content-length", "0") != "0"
