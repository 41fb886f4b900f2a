"""The receipt as JSON: written to a file completely or not at all, and read back.

The bytes of the file are canonical: what is written is what is signed, and what is read is examined
as bytes before it is believed as values.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from ..errors import ReportError, UsageError, os_reason
from ..results import CommandReport, Proof, Receipt, RetriedRequest, StoredPart
from ..runtime.files import NewFile
from .consistency import check_content

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

__all__ = [
    "ReceiptFile",
    "check_receipt_path",
    "open_receipt",
    "read_receipt",
    "receipt_bytes",
    "receipt_json",
    "write_receipt",
    "write_whole",
]

_SCHEMA = 1
_LARGEST = 2**63


def receipt_json(receipt: DataclassInstance, *, indent: int | None = None) -> str:
    """A receipt or report as JSON text: one line, or indented. docs/formats.org has the fields."""
    return json.dumps(dataclasses.asdict(receipt), default=_json_value, indent=indent)


def receipt_bytes(receipt: Receipt) -> bytes:
    """The receipt as it stands in a file: indented by two, ASCII, a line break at the end."""
    return (receipt_json(receipt, indent=2) + "\n").encode("ascii")


def _json_value(value: object) -> str:
    if isinstance(value, datetime):
        utc = value.astimezone(timezone.utc).isoformat(timespec="milliseconds")
        return utc.replace("+00:00", "Z")
    raise TypeError(f"{value!r} has no place in a receipt")


def check_receipt_path(path: str, what: str = "receipt") -> None:
    """Raise UsageError if a file, called `what`, could not be written to `path` later.

    Changes nothing.
    """
    directory = os.path.dirname(os.path.realpath(path))
    if not path:
        raise UsageError(f"cannot write the {what} to a file without a name")
    if os.path.isdir(path):
        raise UsageError(f"cannot write the {what} to {path}: it is a directory")
    # As root, the rename would replace /dev/null with a regular file.
    if os.path.exists(path) and not os.path.isfile(path):
        hint = "--json prints the receipt to standard output" if what == "receipt" else None
        raise UsageError(f"cannot write the {what} to {path}: it is not a regular file", hint=hint)
    if not os.path.isdir(directory):
        raise UsageError(f"cannot write the {what} to {path}: {directory} is not a directory")
    if not os.access(directory, os.W_OK | os.X_OK):
        raise UsageError(f"cannot write the {what} to {path}: {directory} is not writable")


def write_receipt(receipt: Receipt, path: str) -> None:
    """Write `receipt` to `path`, as `write_whole` does."""
    write_whole(receipt_bytes(receipt), path, "receipt")


def write_whole(content: bytes, path: str, what: str) -> None:
    """Write `content` to `path`: temporary name, fsync, rename, fsync of the directory.

    Raises ReportError, which calls it `what`, when that fails; the temporary file is removed then.
    """
    target = os.path.realpath(path)  # replaces what a link points to, not the link
    try:
        with NewFile(target) as file:
            with open(file.fd, "wb", closefd=False) as stream:
                stream.write(content)
            file.publish(target, replace=True)
    except OSError as error:
        reason = os_reason(error)
        raise ReportError(f"cannot write the {what} to {path}: {reason}") from error


@dataclasses.dataclass(frozen=True)
class ReceiptFile:
    """A receipt as it was found: its bytes, which a signature is of, and what they say."""

    path: str
    content: bytes
    receipt: Receipt

    @property
    def sha256(self) -> str:
        """Hexadecimal SHA-256 of the bytes."""
        return hashlib.sha256(self.content).hexdigest()

    @property
    def is_canonical(self) -> bool:
        """Whether the bytes are in the form that this program writes to a file or prints.

        Nothing that is added, doubled, reordered by hand or laid out anew is.
        """
        values = json.loads(self.content)
        forms = (f"{json.dumps(values, indent=indent)}\n" for indent in (2, None))
        return any(self.content == form.encode("ascii") for form in forms)


def read_receipt(path: str) -> Receipt:
    """The receipt in the file at `path`. UsageError if it is missing, malformed or inconsistent.

    Fields that a later version of the program may have added are ignored.
    """
    receipt = open_receipt(path).receipt
    try:
        check_content(receipt)
    except ValueError as error:
        raise UsageError(f"the receipt {path} is damaged: {error}") from error
    return receipt


def open_receipt(path: str) -> ReceiptFile:
    """The file at `path`, whether or not what it says holds together.

    UsageError where it is no receipt: a field is missing, or is not of its kind.
    """
    try:
        with open(path, "rb") as file:
            content = file.read()
    except OSError as error:
        reason = os_reason(error)
        raise UsageError(f"cannot read the receipt {path}: {reason}") from error
    try:
        values = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"the receipt {path} is not JSON: {error}") from error
    if not isinstance(values, dict) or values.get("schema") != _SCHEMA:
        raise UsageError(f"{path} is not a receipt of this program (schema {_SCHEMA})")
    try:
        return ReceiptFile(path, content, _receipt(values))
    except (TypeError, ValueError, KeyError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise UsageError(f"the receipt {path} is damaged: {reason}") from error


def _receipt(values: dict[str, Any]) -> Receipt:
    nested: dict[str, Any] = {
        "parts": tuple(_value(StoredPart, each) for each in _list(values, "parts")),
        "proof": _value(Proof, values["proof"]),
        "retried": tuple(_value(RetriedRequest, each) for each in _list(values, "retried")),
    }
    if values.get("command") is not None:
        nested["command"] = _value(CommandReport, values["command"])
    receipt: Receipt = _value(Receipt, values, nested)
    return receipt


def _list(values: dict[str, Any], name: str) -> list[Any]:
    found = values.get(name, []) if name == "retried" else values[name]
    if not isinstance(found, list):
        raise TypeError(f"{name} is not a list")
    return found


def _value(kind: type[Any], values: Any, nested: Mapping[str, Any] | None = None) -> Any:
    """A value of the dataclass `kind` from JSON, each field of the type that it is declared to be.

    `nested`: fields that were built before. KeyError for one that is missing without a default,
    TypeError or ValueError for one of another type.
    """
    if not isinstance(values, dict):
        raise TypeError(f"{values!r} is not a {kind.__name__}")
    taken = dict(nested or {})
    for field in dataclasses.fields(kind):
        if field.name in taken or (field.name == "command" and kind is Receipt):
            continue
        if field.name not in values:
            no_default = field.default is field.default_factory is dataclasses.MISSING
            if no_default:
                raise KeyError(field.name)
            continue
        try:
            taken[field.name] = _READERS[str(field.type)](values[field.name])
        except (TypeError, ValueError) as error:
            raise ValueError(f"{field.name} is {error}") from error
    return kind(**taken)


def _of(*kinds: type[Any]) -> Callable[[Any], Any]:
    """Reads a value of exactly one of these types: to JSON, and to Python, true is no number."""

    def read(value: Any) -> Any:
        if type(value) not in kinds:
            raise TypeError(f"{value!r}")
        return value

    return read


def _number(value: Any) -> Any:
    """No float that is none, and nothing that no size and no time can be."""
    if not -_LARGEST < _of(float, int)(value) < _LARGEST:
        raise ValueError(f"{value!r}")
    return value


def _whole(value: Any) -> int:
    return int(_number(_of(int)(value)))


def _moment(value: Any) -> datetime:
    moment = datetime.fromisoformat(_of(str)(value).replace("Z", "+00:00"))
    if moment.tzinfo is None:
        raise ValueError(f"{value!r}, without a zone")
    if not 1970 <= moment.year < 9000:
        raise ValueError(f"{value!r}, of no year that this program has seen")
    return moment.astimezone(timezone.utc)


def _words(value: Any) -> tuple[str, ...]:
    return tuple(_of(str)(each) for each in _of(list)(value))


def _mapping(value: Any) -> dict[str, str]:
    return {name: _of(str)(text) for name, text in _of(dict)(value).items()}


def _optional(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: None if value is None else read(value)


_READERS: dict[str, Callable[[Any], Any]] = {
    "Mapping[str, str]": _mapping,
    "bool": _of(bool),
    "datetime": _moment,
    "datetime | None": _optional(_moment),
    "float": _number,
    "int": _whole,
    "str": _of(str),
    "str | None": _of(str, type(None)),
    "tuple[str, ...]": _words,
    "tuple[str, ...] | None": _optional(_words),
}
