"""The receiver's HTTP interface: events at `/`, `/healthz` and `/metrics`.

Everything here runs on the event loop. A request is answered with 202 when its events are
durable, and otherwise with a status that says whether trying again can help; a refused request
has stored nothing. What a refusal costs is bounded: see ReceiverLimits.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Coroutine, Mapping, MutableMapping
from datetime import datetime, timezone
from typing import Any
from urllib.parse import parse_qs

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from ..errors import InvalidEventError
from .activity import Activity
from .batcher import Batcher, ByteBudget, ByteShare, Outcome, ReceiverLimits
from .metrics import SinkMetrics
from .parser import EventParser, ParserDied
from .session import COOKIE, Sessions
from .status_page import PAGE_HEADERS, SinkState, login_page, status_page

__all__ = ["Application", "ReceiverApp"]

Application = Callable[..., Coroutine[Any, Any, None]]
_Message = MutableMapping[str, Any]
_Work = Callable[["Request", "_Body"], Awaitable[Response]]

_REASONS = {400: "invalid", 413: "too_large", 415: "unsupported"}
_UNKNOWN = {404: ("not_found", "there is no such path"), 405: ("method", "not with this method")}
_ABSOLUTE = re.compile(r"https?://[^/?#]*", re.IGNORECASE)
_LARGEST_FORM_BYTES = 4096
_WRONG_TOKEN_S = 1.0


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
    """The body of one request, read in chunks so that limits apply while it arrives."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self.is_complete = False

    async def chunk(self) -> bytes:
        """The next chunk. ClientDisconnect if the client is gone."""
        message = await self._request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        self.is_complete = not message.get("more_body", False)
        body: bytes = message.get("body", b"")
        return body

    async def drain(self) -> None:
        """Read and discard the rest: a client that is still sending would miss our answer."""
        while not self.is_complete:
            await self.chunk()


class ReceiverApp:
    """The application, and its counters.

    is_crowded: whether more connections are open than are served.
    """

    def __init__(
        self,
        batcher: Batcher,
        budget: ByteBudget,
        metrics: SinkMetrics,
        limits: ReceiverLimits,
        sessions: Sessions,
        activity: Activity,
        is_crowded: Callable[[], bool] = lambda: False,
    ) -> None:
        self._parser = EventParser(limits.max_record_bytes)
        self._is_crowded = is_crowded
        self._batcher = batcher
        self._budget = budget
        self._metrics = metrics
        self._limits = limits
        self._sessions = sessions
        self._activity = activity
        self._is_ending = False

    def end(self) -> None:
        """Refuse new requests; those under way continue."""
        self._is_ending = True

    async def close(self) -> None:
        """Release what parsing uses. No request may follow."""
        await self._parser.close()

    def application(self) -> Application:
        """The ASGI application."""
        starlette = Starlette(
            routes=[
                Route("/", self._endpoint(self._answer_events), methods=["POST", "OPTIONS"]),
                Route("/", self._endpoint(self._show_page), methods=["GET"]),
                Route("/login", self._endpoint(self._log_in), methods=["POST"]),
                Route("/logout", self._endpoint(self._log_out), methods=["POST"]),
                Route("/healthz", self._endpoint(self._show_health), methods=["GET"]),
                Route("/metrics", self._endpoint(self._show_metrics), methods=["GET"]),
            ],
            exception_handlers=dict.fromkeys(_UNKNOWN, self._answer_unknown),
        )
        starlette.router.redirect_slashes = False
        crowded = self._endpoint(self._answer_crowd)

        async def application(
            scope: _Message,
            receive: Callable[[], Awaitable[_Message]],
            send: Callable[[_Message], Awaitable[None]],
        ) -> None:
            scope = {**scope, "path": _origin_form(scope["path"])}
            if _is_ambiguous(scope["headers"]):
                send = _closing(send)
            if self._is_crowded():
                await (await crowded(Request(scope, receive)))(scope, receive, send)
            else:
                await starlette(scope, receive, send)

        return application

    async def _answer_events(self, request: Request, body: _Body) -> Response:
        if request.method == "OPTIONS":
            return self._answer_handshake(request)
        return await self._accept_events(request, body)

    async def _answer_crowd(self, request: Request, body: _Body) -> Response:
        refusal = self._busy_refusal("connections", "too many connections are open")
        refusal.headers["connection"] = "close"
        raise refusal

    async def _answer_unknown(self, request: Request, error: Exception) -> Response:
        """404 and 405 of the router."""
        assert isinstance(error, HTTPException)
        label, message = _UNKNOWN[error.status_code]

        async def refuse(request: Request, body: _Body) -> Response:
            raise _Refusal(error.status_code, label, message, error.headers)

        return await self._endpoint(refuse)(request)

    def _endpoint(self, work: _Work) -> Callable[[Request], Awaitable[Response]]:
        """An endpoint that does `work` and answers a refusal with its reason."""

        async def endpoint(request: Request) -> Response:
            body = _Body(request)
            try:
                return await work(request, body)
            except ClientDisconnect:
                self._metrics.rejected["disconnected"] += 1
                return Response(status_code=400)  # which no one receives
            except InvalidEventError as error:
                label = _REASONS[error.http_status]
                refusal = _Refusal(error.http_status, label, error.message)
            except _Refusal as error:
                refusal = error
            self._metrics.rejected[refusal.label] += 1
            return await self._refuse(request, body, refusal)

        return endpoint

    async def _refuse(self, request: Request, body: _Body, refusal: _Refusal) -> Response:
        headers = refusal.headers
        if not body.is_complete and _has_body(request):
            headers["connection"] = "close"
            if "expect" not in request.headers:
                await self._drain(body)
        return JSONResponse({"error": refusal.message}, refusal.http_status, headers)

    async def _drain(self, body: _Body) -> None:
        try:
            await asyncio.wait_for(body.drain(), self._limits.linger_s)
        except (asyncio.TimeoutError, ClientDisconnect):
            return

    async def _accept_events(self, request: Request, body: _Body) -> Response:
        """POST: the events of one request."""
        if self._is_ending or self._batcher.has_ended:
            raise self._ending_refusal()
        self._check_token(request)
        self._check_room(request)
        with self._budget.share() as share:
            content = await self._read(request, body, share)
            try:
                lines = await self._parser.lines(request.headers.raw, content)
            except ParserDied:
                raise self._busy_refusal("busy", "the events could not be parsed now") from None
            if lines:
                await self._store_lines(lines)
        self._metrics.accepted += 1
        return JSONResponse({"accepted": len(lines)}, 202)

    def _check_room(self, request: Request) -> None:
        """Refuse what was too much for the spool a moment ago, before it is sent."""
        refused_bytes = self._batcher.refused_bytes
        if refused_bytes is not None and _announced_bytes(request) >= refused_bytes:
            raise self._full_refusal()

    async def _store_lines(self, lines: list[bytes]) -> None:
        limit = self._limits.max_group_bytes
        if limit is not None and (size_bytes := sum(map(len, lines))) > limit:
            raise _Refusal(
                413, "too_large", f"{size_bytes} bytes would be stored, at most {limit} can be"
            )
        outcome = await asyncio.wrap_future(self._batcher.submit(lines))
        if outcome is Outcome.FULL:
            raise self._full_refusal()
        if outcome is Outcome.TOO_LARGE:
            raise _Refusal(
                413,
                "too_large",
                "the spool could not hold these events even if it were empty: send fewer at a time",
            )
        if outcome is Outcome.ENDING:
            raise self._ending_refusal()

    def _busy_refusal(self, label: str, message: str) -> _Refusal:
        wait_s = str(self._limits.retry_after_s)
        return _Refusal(503, label, message, {"retry-after": wait_s})

    def _full_refusal(self) -> _Refusal:
        return self._busy_refusal("spool_full", "the spool is full until some of it is uploaded")

    def _ending_refusal(self) -> _Refusal:
        refusal = self._busy_refusal("ending", "this sink is ending")
        refusal.headers["connection"] = "close"
        return refusal

    def _has_token(self, request: Request) -> bool:
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        knows = self._sessions.knows(given.strip())
        return knows and (scheme.lower() == "bearer" or not self._sessions.needed)

    def _check_token(self, request: Request) -> None:
        if not self._has_token(request):
            raise _Refusal(
                401,
                "unauthorized",
                "the bearer token is missing or wrong",
                {"www-authenticate": 'Bearer realm="streamtos3"'},
            )

    async def _read(self, request: Request, body: _Body, share: ByteShare) -> bytes:
        """The whole body, never more of it than is allowed, nor slower."""
        limits = self._limits
        self._check_size(_announced_bytes(request))
        loop = asyncio.get_running_loop()
        end_s = loop.time() + limits.body_timeout_s
        content = bytearray()
        while not body.is_complete:
            least_bytes = len(content) + limits.least_body_bytes
            window_s = min(limits.body_window_s, end_s - loop.time())
            try:
                await asyncio.wait_for(self._read_on(body, share, content), window_s)
            except asyncio.TimeoutError:
                if loop.time() >= end_s or len(content) < least_bytes:
                    raise self._slow_refusal() from None
        return bytes(content)

    async def _read_on(self, body: _Body, share: ByteShare, content: bytearray) -> None:
        while not body.is_complete:
            chunk = await body.chunk()
            size_bytes = len(content) + len(chunk)
            self._check_size(size_bytes)
            if not share.grow(size_bytes):
                raise self._busy_refusal("busy", "too many requests are in progress already")
            content += chunk

    def _check_size(self, size_bytes: int) -> None:
        limit = self._limits.max_request_bytes
        if size_bytes > limit:
            raise _Refusal(413, "too_large", f"a request may have {limit} bytes at most")

    def _slow_refusal(self) -> _Refusal:
        limits = self._limits
        return _Refusal(
            408,
            "timeout",
            f"the body did not arrive within {limits.body_timeout_s:g} s, with at least"
            f" {limits.least_body_bytes} bytes in each {limits.body_window_s:g} s",
            {"connection": "close"},
        )

    def _answer_handshake(self, request: Request) -> Response:
        """OPTIONS: the handshake of the CloudEvents webhook specification."""
        headers = {"allow": "POST, OPTIONS"}
        if "webhook-request-origin" in request.headers:
            headers |= {"webhook-allowed-origin": "*", "webhook-allowed-rate": "*"}
        return Response(status_code=200, headers=headers)

    async def _show_page(self, request: Request, body: _Body) -> Response:
        """GET /: the state for a browser, or the form that asks for the token."""
        has_cookie = self._sessions.is_open(request.cookies.get(COOKIE))
        if not has_cookie and not self._has_token(request):
            return Response(login_page(), 401, PAGE_HEADERS)
        page = status_page(
            self._metrics.figures(),
            self._activity,
            datetime.now(timezone.utc),
            state=self._state(),
            can_leave=self._sessions.needed,
        )
        return Response(page, headers=PAGE_HEADERS)

    async def _log_in(self, request: Request, body: _Body) -> Response:
        """POST /login: a cookie for who knows the token."""
        with self._budget.share() as share:
            size = request.headers.get("content-length", "")
            if not size.isdecimal() or int(size) > _LARGEST_FORM_BYTES:
                raise _Refusal(413, "too_large", "that is no token")
            content = await self._read(request, body, share)
        given = parse_qs(content.decode("latin-1"), encoding="utf-8").get("token", [""])[0]
        if not self._sessions.knows(given.strip()):
            self._metrics.rejected["unauthorized"] += 1
            await asyncio.sleep(_WRONG_TOKEN_S)  # whoever tries many has to wait
            return Response(login_page("This is not the token."), 401, PAGE_HEADERS)
        headers = {"location": "/", "set-cookie": self._sessions.begin()}
        return Response(status_code=303, headers=headers)

    async def _log_out(self, request: Request, body: _Body) -> Response:
        """POST /logout: the cookie is forgotten."""
        return Response(
            status_code=303, headers={"location": "/", "set-cookie": self._sessions.end()}
        )

    def _state(self) -> SinkState:
        if self._is_ending or self._batcher.has_ended:
            return "ending"
        return "ok" if self._batcher.refused_bytes is None else "full"

    async def _show_health(self, request: Request, body: _Body) -> Response:
        """200 as long as events are taken."""
        state = self._state()
        headers = {"retry-after": str(self._limits.retry_after_s)} if state == "full" else None
        return PlainTextResponse(f"{state}\n", 200 if state == "ok" else 503, headers)

    async def _show_metrics(self, request: Request, body: _Body) -> Response:
        self._check_token(request)
        accept = request.headers.get("accept", "")
        content, content_type = await asyncio.to_thread(self._metrics.text, accept)
        return Response(content, headers={"content-type": content_type})


def _has_body(request: Request) -> bool:
    fields: Any = request.headers
    return "transfer-encoding" in fields or fields.get("content-length", "0") != "0"


def _announced_bytes(request: Request) -> int:
    """What the sender says that the body has; 0 where it does not say."""
    return int(request.headers.get("content-length", "0"))


def _origin_form(path: str) -> str:
    """The path of a target that names the host as well, as to a proxy (RFC 9112, 3.2.2)."""
    found = _ABSOLUTE.match(path)
    return path if found is None else path[found.end() :] or "/"


def _is_ambiguous(headers: list[tuple[bytes, bytes]]) -> bool:
    """Whether two heads of one request say two things of its length (RFC 9112, 6.1)."""
    return {b"content-length", b"transfer-encoding"} <= {name for name, _ in headers}


def _closing(
    send: Callable[[_Message], Awaitable[None]],
) -> Callable[[_Message], Awaitable[None]]:
    """`send`, but the connection is closed after the answer: who knows what comes next on it."""

    async def send_and_close(message: _Message) -> None:
        if message["type"] == "http.response.start":
            others = [each for each in message["headers"] if each[0].lower() != b"connection"]
            message = {**message, "headers": [*others, (b"connection", b"close")]}
        await send(message)

    return send_and_close
