"""The faults that the proxy knows: what may go wrong, with which request, and how often.

Here is all that needs no socket: the table of actions, the matching, the canned answers, and the
changes to requests and answers. `proxy` decides when to apply them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.rig.wire import S3Request, error_xml

if TYPE_CHECKING:
    from tests.rig.proxy import FaultProxy

VERBS = {
    *("any", "create", "put-part", "complete", "abort", "list-parts", "list-uploads"),
    "list-objects",
    *("head", "head-bucket", "get", "put-object", "delete"),
}
# Answered by the proxy; the request is read but never forwarded.
REFUSALS = {
    "500": (500, "InternalError"),
    "502": (502, ""),
    "503": (503, "SlowDown"),
    "429": (429, "TooManyRequests"),
    "request-timeout": (400, "RequestTimeout"),
    "bad-digest": (400, "BadDigest"),
    "incomplete-body": (400, "IncompleteBody"),
    "access-denied": (403, "AccessDenied"),
    "access-key": (403, "InvalidAccessKeyId"),
    "expired-token": (400, "ExpiredToken"),
    "clock-skew": (403, "RequestTimeTooSkewed"),
    "no-such-upload": (404, "NoSuchUpload"),
    "invalid-part": (400, "InvalidPart"),
    "precondition-failed": (412, "PreconditionFailed"),
    "conflict": (409, "ConditionalRequestConflict"),
    "error-200": (200, "InternalError"),
}
BODIES_OF_200 = {
    "empty-200": b"",
    "html-200": b"<!DOCTYPE html><html><body>Please <b>sign in<br></body></html>",
    "xhtml-200": b"<html><body><p>Please sign in</p></body></html>",
}
# Forwarded and applied; the answer is replaced.
AFTERTHOUGHTS = {"internal-after": "500", "error-200-after": "error-200"}
OTHERS = {
    *("flip-request", "flip-request-no-md5", "wrong-etag", "no-etag", "foreign-etag"),
    *("reset-before", "reset-middle", "reset-after", "lost-answer", "cut-answer"),
    *("stop-reading", "stop-answering", "trickle", "slow", "redirect"),
    *("callback", "callback-after", "duplicate-late"),
}
ACTIONS = OTHERS | REFUSALS.keys() | BODIES_OF_200.keys() | AFTERTHOUGHTS.keys()

Headers = tuple[tuple[str, str], ...]


@dataclass
class Fault:
    """What goes wrong (`action`), with which requests, and how often (-1: for ever)."""

    verb: str
    action: str
    part: int | None = None
    key: str = ""  # a substring
    times: int = 1
    skip: int = 0  # requests that pass before the first strike
    delay_s: float | None = None
    forward: bool = False  # stop-answering: has the upstream seen the request?
    location: str = ""
    callback: Callable[[FaultProxy], object] | None = None
    matched: int = field(default=0, init=False)
    struck: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        assert self.verb in VERBS, self.verb
        assert self.action in ACTIONS, self.action
        assert self.callback or not self.action.startswith("callback")

    def strikes(self, asked: S3Request) -> bool:
        fits = self.verb in ("any", asked.verb) and self.part in (None, asked.part)
        if not fits or self.key not in asked.key:
            return False
        self.matched += 1
        if self.matched <= self.skip or 0 <= self.times <= self.struck:
            return False
        self.struck += 1
        return True


@dataclass
class Seen:
    """A request that reached the proxy; `status` is None where the client got no answer."""

    verb: str
    part: int | None
    status: int | None
    fault: str | None
    headers: dict[str, str]
    key: str = ""
    client_port: int = 0


class Request(NamedTuple):
    method: str
    target: str
    headers: Headers
    body: bytes


class Answer(NamedTuple):
    status: int
    body: bytes = b""
    headers: Headers = ()
    reason: str = "by the proxy"


def damaged(request: Request, keep_md5: bool, credentials: tuple[str, str] | None) -> Request:
    """A byte of the body flipped; signed anew, or the server would stop at its SHA-256."""
    body = bytearray(request.body)
    body[len(body) // 2] ^= 1
    kept = [(k, v) for k, v in request.headers if keep_md5 or k.lower() != "content-md5"]
    request = request._replace(headers=tuple(kept), body=bytes(body))
    return _signed_anew(request, Credentials(*credentials)) if credentials else request


def _signed_anew(request: Request, credentials: Credentials) -> Request:
    old_headers = {name.lower(): value for name, value in request.headers}
    old = old_headers["authorization"]
    scope, names = re.findall(r"Credential=([^,]+).*SignedHeaders=([^,]+)", old)[0]
    signed = names.split(";")
    url = "http://" + old_headers["host"] + request.target
    anew = AWSRequest(request.method, url, data=request.body)
    for name, value in request.headers:
        if name.lower() in signed and name.lower() != "host":
            anew.headers[name] = value
    S3SigV4Auth(credentials, "s3", scope.split("/")[2]).add_auth(anew)
    kept = [
        (k, v)
        for k, v in request.headers
        if k.lower() == "host" or k.lower() not in (*signed, "authorization")
    ]
    return request._replace(headers=(*kept, *anew.headers.items()))


def refusal(action: str) -> Answer:
    status, code = REFUSALS[action]
    body = error_xml(code, "by the proxy") if code else b"<html>Bad Gateway</html>"
    return Answer(status, body, (("Content-Type", "application/xml"),))


def with_etag(answer: Answer, change: Callable[[str], str | None]) -> Answer:
    """Change or remove the ETag, in the header and in the XML of a complete."""

    def in_xml(found: re.Match[bytes]) -> bytes:
        changed = change(found[1].decode())
        return b"" if changed is None else b"<ETag>" + changed.encode() + b"</ETag>"

    headers = [(k, change(v) if k.lower() == "etag" else v) for k, v in answer.headers]
    kept = tuple((k, v) for k, v in headers if v is not None)
    return answer._replace(body=re.sub(b"<ETag>(.*?)</ETag>", in_xml, answer.body), headers=kept)


def with_a_digit_wrong(etag: str) -> str:
    return re.sub("[0-9a-f]", lambda found: "1" if found[0] == "0" else "0", etag, count=1)
