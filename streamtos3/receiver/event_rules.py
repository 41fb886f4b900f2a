"""What makes an event valid: the CloudEvents SDK, and what it leaves unchecked or fills in (pure).

The SDK would invent a missing id, version and time, checks few values, and never the data.
An event comes as pairs of names and values, so that a name that comes twice is seen.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

from cloudevents.core.exceptions import BaseCloudEventException, CloudEventValidationError
from cloudevents.core.v03.event import CloudEvent as CloudEventV03
from cloudevents.core.v1.event import CloudEvent as CloudEventV1

from ..errors import InvalidEventError

__all__ = ["check_attributes", "check_base64", "check_event"]

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

# What the type String of the specification leaves out, lone surrogates included.
_FORBIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")
_NO_URI = re.compile(r'[\s<>"\\^`{|}]')
_MEDIA_TYPE = re.compile(r"[^\s/;,]+/[^\s/;,]+\s*(;.*)?")
_TIME = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.\d+)?(?:[Zz]|([+-])(\d\d):(\d\d))",
    re.ASCII,
)


def check_event(pairs: Any) -> None:
    """Raise InvalidEventError if the pairs are not an event in the JSON format."""
    if not isinstance(pairs, tuple):
        raise InvalidEventError("an event must be a JSON object, and this is not one")
    attributes = dict(pairs)
    if len(attributes) != len(pairs):
        raise InvalidEventError(f"{_repeated(pairs)!r} comes more than once")
    data = attributes.pop("data", None)
    if attributes.get("specversion") == "1.0":
        encoded = attributes.pop("data_base64", None)
        if encoded is not None and data is not None:
            raise InvalidEventError("there are both data and data_base64")
        if encoded is not None:
            check_base64(encoded)
    elif str(attributes.get("datacontentencoding", "")).lower() == "base64" and data is not None:
        check_base64(data)
    check_attributes(attributes)


def _repeated(pairs: tuple[tuple[str, Any], ...]) -> str:
    names = sorted(name for name, _ in pairs)
    return next(name for name, other in zip(names, names[1:], strict=False) if name == other)


def check_base64(encoded: Any) -> None:
    """Raise InvalidEventError unless it is text, and Base64."""
    try:
        base64.b64decode(encoded if isinstance(encoded, str) else "?", validate=True)
    except ValueError as error:
        raise InvalidEventError("the data is declared as Base64, and is not") from error


def check_attributes(attributes: dict[str, Any]) -> None:
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
    """Check what the SDK accepts unchecked. Raises InvalidEventError."""
    texts = [value for value in given.values() if isinstance(value, str)]
    if _FORBIDDEN.search("".join((*given, *texts))):
        raise InvalidEventError(
            "an attribute holds a control character, or a code that is not a character"
        )
    if version == "1.0":
        for name in given.keys() - _CORE_V1:
            value = given[name]
            number = isinstance(value, int) and -(2**31) <= value < 2**31
            if not number and not isinstance(value, str):
                raise InvalidEventError(
                    f"the attribute {name!r} is not a string, a boolean or a 32-bit integer"
                )
    for name in _URIS[version]:
        if isinstance(given.get(name), str) and _NO_URI.search(given[name]):
            raise InvalidEventError(f"the attribute {name!r} is not a URI")
    content_type = given.get("datacontenttype")
    if isinstance(content_type, str) and not _MEDIA_TYPE.fullmatch(content_type):
        raise InvalidEventError("the attribute 'datacontenttype' is not a media type")


def _time(value: Any) -> datetime:
    """`value` as an RFC 3339 timestamp, to the second: only its validity matters."""
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
    raise InvalidEventError("the attribute 'time' is not a timestamp such as 2026-11-21T13:11:34Z")


def _reason(error: BaseCloudEventException) -> str:
    """What the SDK objects to, in one line."""
    found = [error]
    if isinstance(error, CloudEventValidationError):
        found = [each for errors in error.errors.values() for each in errors]
    text = "; ".join(dict.fromkeys(str(each) for each in found))
    return text[:1].lower() + text[1:]
