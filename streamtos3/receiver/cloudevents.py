"""CloudEvents as they arrive over HTTP, turned into lines: one JSON event each (pure).

Structured and batched mode are stored in the sender's own JSON, only without white space where
it held a line break: no number, no string and no order is changed by being parsed and written
again. Binary mode becomes the same JSON format. `event_rules` defines what a valid event is.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import unquote_to_bytes

from ..errors import InvalidEventError
from .event_rules import check_attributes, check_base64, check_event

__all__ = ["event_lines"]

_Headers = Iterable[tuple[bytes, bytes]]

_STRUCTURED = "application/cloudevents+json"
_BATCHED = "application/cloudevents-batch+json"
_UTF_8 = ("utf-8", "utf8", "us-ascii")
_LONGEST_INTEGER = 18  # digits; longer ones are kept as they are, but not computed

_BLANKS = re.compile(r'("[^"\\]*(?:\\.[^"\\]*)*")|[ \t\r\n]+')
_BLANK = re.compile(r"[ \t\r\n]*")
_CHARSET = re.compile(r';\s*charset\s*=\s*"?([^\s;"]+)', re.IGNORECASE)


def event_lines(headers: _Headers, body: bytes, *, max_record_bytes: int) -> list[bytes]:
    """The events of one request, each as one line of JSON that ends in a newline.

    InvalidEventError if any of them is not valid, or longer than `max_record_bytes` without
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
            f"not a CloudEvent: the content type is {content_type or 'missing'!r}, neither"
            f" {_STRUCTURED} nor {_BATCHED}, and there is no header ce-specversion",
            http_status=415,
        )
    for line in lines:
        _check_length(line, max_record_bytes)
    return lines


def _check_length(line: bytes, max_record_bytes: int) -> None:
    if len(line) - 1 > max_record_bytes:
        raise InvalidEventError(
            f"the event has {len(line) - 1} bytes; at most {max_record_bytes} are accepted",
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
    raise ValueError(f"{name} is not JSON")


# Objects become tuples of pairs, so that an attribute that comes twice is seen.
_DECODER = json.JSONDecoder(
    object_pairs_hook=tuple, parse_int=_integer, parse_constant=_no_constant
)


def _parsed(text: str, start: int) -> tuple[Any, int]:
    """The JSON value at `start`, after white space, and the position after the value."""
    try:
        return _DECODER.raw_decode(text, _behind_blanks(text, start))
    except RecursionError:
        raise InvalidEventError("the JSON is nested too deeply") from None
    except ValueError as error:
        raise InvalidEventError(f"the body is not JSON: {error}") from error


def _behind_blanks(text: str, start: int) -> int:
    found = _BLANK.match(text, start)
    assert found is not None
    return found.end()


def _whole(text: str) -> Any:
    """The one JSON value that `text` is."""
    value, end = _parsed(text, 0)
    if _behind_blanks(text, end) != len(text):
        raise InvalidEventError(f"the body is not JSON: extra data at character {end}")
    return value


def _on_one_line(text: str) -> str:
    """JSON `text` without line breaks: a string holds none, so they are white space."""
    if "\n" in text or "\r" in text:
        return _BLANKS.sub(r"\1", text)
    return text.strip(" \t")


def _structured(text: str) -> bytes:
    check_event(_whole(text))
    return _on_one_line(text).encode() + b"\n"


def _batched(text: str, max_record_bytes: int) -> Iterator[bytes]:
    for index, (event, own_text) in enumerate(_elements(text)):
        try:
            check_event(event)
            line = _on_one_line(own_text).encode() + b"\n"
            _check_length(line, max_record_bytes)
        except InvalidEventError as error:
            raise error.at(index) from error
        yield line


def _elements(text: str) -> Iterator[tuple[Any, str]]:
    """What the JSON array `text` holds, each value with its own text."""
    place = _behind_blanks(text, 0)
    if text[place : place + 1] != "[":
        raise InvalidEventError("a batch must be a JSON array of events, and the body is not one")
    end = start = _behind_blanks(text, place + 1)
    more = text[start : start + 1] != "]"
    while more:
        value, end = _parsed(text, start)
        yield value, text[start:end]
        end = _behind_blanks(text, end)
        more = text[end : end + 1] == ","
        start = _behind_blanks(text, end + 1)
    if text[end : end + 1] != "]" or _behind_blanks(text, end + 1) != len(text):
        raise InvalidEventError(f"the body is not JSON: the array does not end at character {end}")


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
    check_attributes(dict(event))
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
        check_base64(body.decode("latin-1"))
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
            pass  # so it is not text, whatever its type says
    encoded = base64.b64encode(body).decode("ascii")
    if event["specversion"] == "0.3":
        return f',"datacontentencoding":"base64","data":"{encoded}"'
    return f',"data_base64":"{encoded}"'


def _json_data(body: bytes, charset: str, declared: bool) -> str | None:
    """The body as JSON text; None if it is not JSON and was not declared as JSON."""
    try:
        text = _text(body, f";charset={charset}")
        _whole(text)
    except InvalidEventError as error:
        if declared:
            raise InvalidEventError(f"the data is declared as JSON: {error.message}") from error
        return None
    return _on_one_line(text)
