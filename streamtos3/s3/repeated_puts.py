"""PUTs of objects and of parts, after the pattern of the first one.

What botocore makes of a PUT, up to the signature, differs from one to the next in the address and
in a few headers, and making it costs as much as signing and sending it. So the first request of a
kind goes the ordinary way and leaves a pattern, and those after it are that pattern filled in:
signed by botocore's signer and sent over its HTTP session, with the hooks of both.

Skipped are the check and the serialization of the parameters, the endpoint rules, and the headers
that count botocore's own retries, which are off. An answer that is not a plain success is handed
to botocore as if it had just come in, and so is read, reported and redirected as ever; the request
after a failure is an ordinary one again.
"""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from botocore import UNSIGNED
from botocore.awsrequest import AWSPreparedRequest, AWSRequest

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

__all__ = ["repeat_puts"]

_OPERATIONS = {"put_object": "PutObject", "upload_part": "UploadPart"}
_SIGNATURE = "s3v4"  # those of directory buckets and of several regions depend on more
# The parameters that differ from request to request, and where in it they are and nothing else is.
_HEADERS = {
    "ContentLength": "Content-Length",
    "ContentMD5": "Content-MD5",
    "ContentType": "Content-Type",
}
_METADATA = "x-amz-meta-"
_QUERY = {"UploadId": "uploadId", "PartNumber": "partNumber"}
_OF_ONE = {"Key", "Body", "Metadata", *_HEADERS, *_QUERY}
# These hold the parameters, and so the memory of a body; only a redirection needs them.
_NOT_FOR_SIGNING = ("s3_redirect", "input_params", "retries")
_log = logging.getLogger("botocore")


def repeat_puts(client: S3Client) -> None:
    """Have a new `client` repeat its PUTs after the first, if its internals are as expected."""
    for method, operation in _OPERATIONS.items():
        with suppress(AttributeError):
            setattr(client, method, _RepeatedPuts(client, method, operation))


class _Request(AWSRequest):
    """An unsigned request whose body is what it was given: botocore's is prepared at each look."""

    @property
    def body(self) -> Any:
        return self.data


@dataclass(frozen=True)
class _Pattern:
    """All of a request that is the same in the next; `common` are the parameters behind it.

    The key of SSE-C is among them, and shows nowhere.
    """

    common: Mapping[str, Any] = field(repr=False)
    address: str
    headers: Mapping[str, str] = field(repr=False)
    context: Mapping[str, Any]

    def fits(self, parameters: Mapping[str, Any]) -> bool:
        # How a slash at the beginning is joined with the address is botocore's business.
        return _common(parameters) == self.common and not parameters["Key"].startswith("/")

    def fill(self, parameters: Mapping[str, Any]) -> AWSRequest:
        """The request with these parameters, unsigned."""
        url = self.address + _ending(parameters)
        headers = {**self.headers, **_headers(parameters)}
        request = _Request("PUT", url, headers, parameters["Body"])
        request.context = dict(self.context)
        return request


class _RepeatedPuts:
    """Stands for a `method` of a client. Thread-safe."""

    def __init__(self, client: Any, method: str, operation: str) -> None:
        self._ordinary = getattr(client, method)
        self._operation = operation
        self._signer = client._request_signer
        self._session = client._endpoint.http_session
        self._events = client.meta.events
        self._model = client.meta.service_model
        self._pattern: _Pattern | None = None
        # In this thread: the parameters of an ordinary request, and the answer that it is given.
        self._here = threading.local()
        self._events.register(f"choose-signer.s3.{operation}", self._choose_signer)
        self._events.register(f"before-sign.s3.{operation}", self._learn)
        self._events.register(f"before-send.s3.{operation}", self._hand_over)

    def __call__(self, **parameters: Any) -> Mapping[str, Any]:
        """As the method. Of a success only what is text is returned."""
        pattern = self._pattern
        # The log shows each step of an ordinary request.
        if pattern is None or not pattern.fits(parameters) or _log.isEnabledFor(logging.DEBUG):
            return self._put(parameters)
        answer = self._send(pattern.fill(parameters))
        if answer.status_code == 200 and not answer.content:
            return self._read(answer)
        self._pattern = None
        return self._put(parameters, answer)

    def _put(self, parameters: Mapping[str, Any], answer: Any = None) -> Mapping[str, Any]:
        """Put the ordinary way, but send nothing if there is an `answer` already."""
        here = self._here
        here.parameters, here.pattern, here.answer = parameters, None, answer
        try:
            result: Mapping[str, Any] = self._ordinary(**parameters)
            self._pattern = here.pattern or self._pattern
        finally:
            here.__dict__.clear()
        return result

    def _send(self, request: Any) -> Any:
        self._signer.sign(self._operation, request)
        headers: Any = {
            name: value.encode() if isinstance(value, str) else value
            for name, value in request.headers.items()
        }
        signed = AWSPreparedRequest(request.method, request.url, headers, request.data, False)
        self._events.emit(f"before-send.s3.{self._operation}", request=signed)
        return self._session.send(signed)

    def _read(self, answer: Any) -> dict[str, Any]:
        headers = {name.lower(): value for name, value in answer.headers.items()}
        result: dict[str, Any] = {
            member: headers[name] for name, member in self._names.items() if name in headers
        }
        result["ResponseMetadata"] = {"HTTPStatusCode": 200, "HTTPHeaders": headers}
        return result

    @functools.cached_property  # most clients send one PUT, or none
    def _names(self) -> dict[str, str]:
        """The headers of an answer that are text, in lower case, and what botocore calls them."""
        output = self._model.operation_model(self._operation).output_shape
        return {
            shape.serialization["name"].lower(): name
            for name, shape in output.members.items()
            if shape.serialization.get("location") == "header" and shape.type_name == "string"
        }

    def _learn(self, request: Any, signature_version: Any, **_: Any) -> None:
        """Keep the pattern of an ordinary request, if filling it in gives just this request."""
        parameters = getattr(self._here, "parameters", None)
        if parameters is None:
            return
        self._here.pattern = None  # of a redirection, the second request is the one to learn from
        if signature_version != _SIGNATURE:
            return
        host = urlsplit(request.url).netloc.lower()
        own = {name.lower() for name in _headers(parameters)}
        pattern = _Pattern(
            common=_common(parameters),
            address=request.url.removesuffix(_ending(parameters)),
            headers={n: v for n, v in request.headers.items() if n.lower() not in own},
            context={n: v for n, v in request.context.items() if n not in _NOT_FOR_SIGNING},
        )
        made = pattern.fill(parameters)
        is_same = made.url == request.url and _plain(made) == _plain(request)
        if is_same and pattern.fits(parameters):
            # Given, because the signers take the whole address apart for it. A standard port is
            # no part of it.
            given = {} if host.endswith((":80", ":443")) else {"host": host}
            self._here.pattern = replace(pattern, headers={**pattern.headers, **given})

    def _choose_signer(self, **_: Any) -> Any:
        """For botocore: do not sign what will not be sent.

        To ask for the credentials may fail, and the error would take the place of the answer.
        """
        return UNSIGNED if getattr(self._here, "answer", None) is not None else None

    def _hand_over(self, **_: Any) -> Any:
        """For botocore: the answer that there is already, once."""
        return self._here.__dict__.pop("answer", None)


def _common(parameters: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in parameters.items() if name not in _OF_ONE}


def _headers(parameters: Mapping[str, Any]) -> dict[str, str]:
    headers = {_HEADERS[n]: str(value) for n, value in parameters.items() if n in _HEADERS}
    for name, value in parameters.get("Metadata", {}).items():
        headers[_METADATA + name] = value
    return headers


def _ending(parameters: Mapping[str, Any]) -> str:
    """The key and the query, which end the address."""
    query = [f"{_QUERY[n]}={quote(str(v), safe='')}" for n, v in parameters.items() if n in _QUERY]
    return quote(parameters["Key"], safe="/~") + ("?" + "&".join(query) if query else "")


def _plain(request: AWSRequest) -> list[tuple[str, str]]:
    return sorted((name.lower(), value) for name, value in request.headers.items())
