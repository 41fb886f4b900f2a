"""CloudEvents as they come over HTTP, turned into lines: one JSON event each (pure).

Structured and batched mode are stored in the sender's own JSON, only without white space where
it held a line break: no number, no string and no order is changed by being parsed and written
again. Binary mode becomes the same JSON format. The attributes are validated by the CloudEvents
SDK; what it leaves unchecked, or would fill in by itself, is checked here.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import unquote_to_bytes

from cloudevents.core.exceptions import BaseCloudEventException, CloudEventValidationError
from cloudevents.core.v03.event import CloudEvent as CloudEventV03
from cloudevents.core.v1.event import CloudEvent as CloudEventV1

from .errors import InvalidEventError

__all__ = ["event_lines"]

_Headers = Iterable[tuple[bytes, bytes]]

_STRUCTURED = "application/cloudevents+json"
_BATCHED = "application/cloudevents-batch+json"
_VERSIONS: dict[str, Callable[[dict[str, Any]], object]] = {
    "1.0": CloudEventV1,
    "0.3": CloudEventV03,
}
_REQUIRED = ("id", "source", "type")
_URIS = {"1.0": ("source", "dataschema"), "0.3": ("source", "schemaurl")}
_CORE_V1 = {
    *("specversion", "id", "source", "type"),
    *("subject", "time", "datacontenttype", "dataschema"),
}
_UTF_8 = ("utf-8", "utf8", "us-ascii")
_LONGEST_REASON = 300
_LONGEST_INTEGER = 18  # digits; longer ones are kept as they are, but not computed

_BLANKS = re.compile(r'("[^"\\]*(?:\\.[^"\\]*)*")|[ \t\r\n]+')
_BLANK = re.compile(r"[ \t\r\n]*")
# What the type String of the specification leaves out, lone surrogates included.
_FORBIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")
_NO_URI = re.compile(r'[\s<>"\\^`{|}]')
_MEDIA_TYPE = re.compile(r"[^\s/;,]+/[^\s/;,]+\s*(;.*)?")
_CHARSET = re.compile(r';\s*charset\s*=\s*"?([^\s;"]+)', re.IGNORECASE)
_TIME = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.\d+)?(?:[Zz]|([+-])(\d\d):(\d\d))",
    re.ASCII,
)


def event_lines(headers: _Headers, body: bytes, *, max_record_bytes: int) -> list[bytes]:
    """The events of one request, each as one line of JSON that ends in a newline.

    InvalidEventError where a single one is not valid, or longer than `max_record_bytes` without
    its newline; its `http_status` is what the sender should be answered. An empty batch holds
    no events.
    """
    fields = _fields(headers)
    encoding = fields.get("content-encoding", b"identity").decode("latin-1").strip().lower()
    if encoding not in ("identity", ""):
        raise InvalidEventError(
            f"the body is encoded as {encoding!r}; send it as it is", http_status=415
        )
    content_type = fields.get("content-type", b"").decode("latin-1").strip()
    media_type = content_type.partition(";")[0].strip().lower()
    foreign = media_type.startswith("application/cloudevents")
    if media_type == _STRUCTURED:
        lines = [_structured(_text(body, content_type))]
    elif media_type == _BATCHED:
        lines = list(_batched(_text(body, content_type), max_record_bytes))
    elif any(name.startswith("ce-") for name in fields) and not foreign:
        lines = [_binary(fields, content_type, media_type, body)]
    else:
        raise InvalidEventError(
            f"no CloudEvent: the content type is {content_type or 'missing'!r}, neither"
            f" {_STRUCTURED} nor {_BATCHED}, and there is no header ce-specversion",
            http_status=415,
        )
    for line in lines:
        _check_length(line, max_record_bytes)
    return lines


def _check_length(line: bytes, max_record_bytes: int) -> None:
    if len(line) - 1 > max_record_bytes:
        raise InvalidEventError(
            f"the event has {len(line) - 1} bytes; at most {max_record_bytes} are taken",
            http_status=413,
        )


def _fields(headers: _Headers) -> dict[str, bytes]:
    """The headers that matter, by lower-case name; none of them may come twice."""
    found: dict[str, bytes] = {}
    for raw_name, value in headers:
        name = raw_name.decode("latin-1").lower()
        if name.startswith("ce-") or name in ("content-type", "content-encoding"):
            if name in found:
                raise InvalidEventError(f"the header {name} comes more than once")
            found[name] = value
    return found


def _text(body: bytes, content_type: str) -> str:
    charset = _charset(content_type)
    if charset not in _UTF_8:
        raise InvalidEventError(f"the charset {charset!r} is not UTF-8", http_status=415)
    try:
        return body.removeprefix(b"\xef\xbb\xbf").decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidEventError(f"the body is not UTF-8: {error.reason}") from error


def _charset(content_type: str) -> str:
    found = _CHARSET.search(content_type)
    return found[1].lower() if found else "utf-8"


# JSON


def _integer(digits: str) -> int:
    """Its value where that can matter; Python refuses to compute very long ones."""
    return int(digits[:_LONGEST_INTEGER])


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is no JSON")


# Objects become tuples of pairs, so that an attribute that comes twice is seen.
_DECODER = json.JSONDecoder(
    object_pairs_hook=tuple, parse_int=_integer, parse_constant=_no_constant
)


def _parsed(text: str, start: int) -> tuple[Any, int]:
    """The JSON value at `start`, behind white space, and the place of what follows it."""
    try:
        return _DECODER.raw_decode(text, _behind_blanks(text, start))
    except RecursionError:
        raise InvalidEventError("the JSON is nested too deeply") from None
    except ValueError as error:
        raise InvalidEventError(f"the body is no JSON: {error}") from error


def _behind_blanks(text: str, start: int) -> int:
    found = _BLANK.match(text, start)
    assert found is not None
    return found.end()


def _whole(text: str) -> Any:
    """The one JSON value that `text` is."""
    value, end = _parsed(text, 0)
    if _behind_blanks(text, end) != len(text):
        raise InvalidEventError(f"the body is no JSON: extra data at character {end}")
    return value


def _on_one_line(text: str) -> str:
    """JSON `text` without line breaks: a string holds none, so they are white space."""
    if "\n" in text or "\r" in text:
        return _BLANKS.sub(r"\1", text)
    return text.strip(" \t")


def _structured(text: str) -> bytes:
    _check_event(_whole(text))
    return _on_one_line(text).encode() + b"\n"


def _batched(text: str, max_record_bytes: int) -> Iterator[bytes]:
    for index, (event, own_text) in enumerate(_elements(text)):
        try:
            _check_event(event)
            line = _on_one_line(own_text).encode() + b"\n"
            _check_length(line, max_record_bytes)
        except InvalidEventError as error:
            raise error.at(index) from error
        yield line


def _elements(text: str) -> Iterator[tuple[Any, str]]:
    """What the JSON array `text` holds, each value with its own text."""
    place = _behind_blanks(text, 0)
    if text[place : place + 1] != "[":
        raise InvalidEventError("a batch is a JSON array of events, and the body is none")
    end = start = _behind_blanks(text, place + 1)
    more = text[start : start + 1] != "]"
    while more:
        value, end = _parsed(text, start)
        yield value, text[start:end]
        end = _behind_blanks(text, end)
        more = text[end : end + 1] == ","
        start = _behind_blanks(text, end + 1)
    if text[end : end + 1] != "]" or _behind_blanks(text, end + 1) != len(text):
        raise InvalidEventError(f"the body is no JSON: the array does not end at character {end}")


# Binary mode


def _binary(fields: dict[str, bytes], content_type: str, media_type: str, body: bytes) -> bytes:
    event: dict[str, str] = {
        name.removeprefix("ce-"): _header_value(name, value)
        for name, value in fields.items()
        if name.startswith("ce-")
    }
    if "datacontenttype" in event:
        raise InvalidEventError("in binary mode Content-Type is the data's, not ce-datacontenttype")
    if content_type:
        event["datacontenttype"] = content_type
    _check_attributes(dict(event))
    line = json.dumps(event, ensure_ascii=False, separators=(",", ":"))
    data = _data_member(event, media_type, _charset(content_type), body)
    return (line[:-1] + data + "}\n").encode()


def _header_value(name: str, value: bytes) -> str:
    """What a header says: quotes removed, percent-decoded, UTF-8, as the HTTP binding has it."""
    if len(value) >= 2 and value[:1] == value[-1:] == b'"':
        value = re.sub(rb"\\(.)", rb"\1", value[1:-1])
    try:
        return unquote_to_bytes(value).decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidEventError(f"the header {name} is not UTF-8: {error.reason}") from error


def _data_member(event: dict[str, str], media_type: str, charset: str, body: bytes) -> str:
    """The member of the JSON format that holds the body, with the comma before it."""
    if not body:
        return ""
    if event.get("datacontentencoding", "").lower() == "base64" and event["specversion"] == "0.3":
        _check_base64(body.decode("latin-1"))
        return f',"data":{json.dumps(body.decode("ascii"))}'
    subtype = media_type.rpartition("/")[2]
    declared = subtype == "json" or subtype.endswith("+json")
    if declared or not media_type:
        found = _json_data(body, charset, declared)
        if found is not None:
            return f',"data":{found}'
    is_text = media_type.startswith("text/") or subtype == "xml" or subtype.endswith("+xml")
    if is_text and charset in _UTF_8:
        try:
            return f',"data":{json.dumps(body.decode("utf-8"), ensure_ascii=False)}'
        except UnicodeDecodeError:
            pass  # so it is no text, whatever its type says
    encoded = base64.b64encode(body).decode("ascii")
    if event["specversion"] == "0.3":
        return f',"datacontentencoding":"base64","data":"{encoded}"'
    return f',"data_base64":"{encoded}"'


def _json_data(body: bytes, charset: str, declared: bool) -> str | None:
    """The JSON that the body is. None where nobody has said that it is JSON, and it is not."""
    try:
        text = _text(body, f";charset={charset}")
        _whole(text)
    except InvalidEventError as error:
        if declared:
            raise InvalidEventError(f"the data is said to be JSON: {error.message}") from error
        return None
    return _on_one_line(text)


# Attributes


def _check_event(pairs: Any) -> None:
    """What the JSON format asks of an event."""
    if not isinstance(pairs, tuple):
        raise InvalidEventError("an event is a JSON object, and this is none")
    attributes = dict(pairs)
    if len(attributes) != len(pairs):
        raise InvalidEventError(f"{_repeated(pairs)!r} comes more than once")
    data = attributes.pop("data", None)
    if attributes.get("specversion") == "1.0":
        encoded = attributes.pop("data_base64", None)
        if encoded is not None and data is not None:
            raise InvalidEventError("there are both data and data_base64")
        if encoded is not None:
            _check_base64(encoded)
    elif str(attributes.get("datacontentencoding", "")).lower() == "base64" and data is not None:
        _check_base64(data)
    _check_attributes(attributes)


def _repeated(pairs: tuple[tuple[str, Any], ...]) -> str:
    names = sorted(name for name, _ in pairs)
    return next(name for name, other in zip(names, names[1:], strict=False) if name == other)


def _check_base64(encoded: Any) -> None:
    try:
        base64.b64decode(encoded if isinstance(encoded, str) else "?", validate=True)
    except ValueError as error:
        raise InvalidEventError("the data is said to be Base64, and is not") from error


def _check_attributes(attributes: dict[str, Any]) -> None:
    """Raise InvalidEventError where they break the specification; null means unset."""
    given = {name: value for name, value in attributes.items() if value is not None}
    version = given.get("specversion")
    if version is None:
        raise InvalidEventError("the required attribute 'specversion' is missing")
    if not isinstance(version, str) or version not in _VERSIONS:
        raise InvalidEventError(f"specversion is {version!r}; known are 0.3 and 1.0")
    for name in _REQUIRED:  # the SDK would invent an id
        if name not in given:
            raise InvalidEventError(f"the required attribute {name!r} is missing")
    _check_values(given, version)
    if "time" in given:
        given["time"] = _time(given["time"])
    try:
        _VERSIONS[version](given)
    except BaseCloudEventException as error:
        raise InvalidEventError(_reason(error)) from error


def _check_values(given: dict[str, Any], version: str) -> None:
    """What the SDK takes without looking at it."""
    texts = [value for value in given.values() if isinstance(value, str)]
    if _FORBIDDEN.search("".join((*given, *texts))):
        raise InvalidEventError("an attribute holds a control character, or what is no character")
    if version == "1.0":
        for name in given.keys() - _CORE_V1:
            value = given[name]
            number = isinstance(value, int) and -(2**31) <= value < 2**31
            if not number and not isinstance(value, str):
                raise InvalidEventError(
                    f"the attribute {name!r} is neither text, nor true or false, nor an integer"
                    " of 32 bits"
                )
    for name in _URIS[version]:
        if isinstance(given.get(name), str) and _NO_URI.search(given[name]):
            raise InvalidEventError(f"the attribute {name!r} is no URI")
    content_type = given.get("datacontenttype")
    if isinstance(content_type, str) and not _MEDIA_TYPE.fullmatch(content_type):
        raise InvalidEventError("the attribute 'datacontenttype' is no media type")


def _time(value: Any) -> datetime:
    """An RFC 3339 timestamp; to the second, as nothing but its being one matters."""
    found = _TIME.fullmatch(value) if isinstance(value, str) else None
    if found is not None:
        year, month, day, hour, minute, second = map(int, found.groups()[:6])
        offset = timedelta(hours=int(found[8] or 0), minutes=int(found[9] or 0))
        try:
            zone = timezone(-offset if found[7] == "-" else offset)
            if second <= 60:  # a leap second is one; Python's clock has none
                return datetime(year, month, day, hour, minute, min(second, 59), tzinfo=zone)
        except ValueError:
            pass  # the 31st of February
    raise InvalidEventError("the attribute 'time' is no timestamp such as 2026-11-21T13:11:34Z")


def _reason(error: BaseCloudEventException) -> str:
    """What the SDK objects to, in one line of bounded length."""
    found = [error]
    if isinstance(error, CloudEventValidationError):
        found = [each for errors in error.errors.values() for each in errors]
    text = "; ".join(dict.fromkeys(str(each) for each in found))
    return text[:1].lower() + text[1:_LONGEST_REASON]
