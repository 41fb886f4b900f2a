"""The receipt as JSON: written to a file completely or not at all, and read back."""

from __future__ import annotations

import dataclasses
import json
import os
import re
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from .errors import ReportError, UsageError, os_reason
from .integrity.digests import STREAM_DIGESTS
from .results import Proof, Receipt, StoredPart
from .runtime.files import NewFile

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

__all__ = ["check_receipt_path", "read_receipt", "receipt_json", "write_receipt"]

_SCHEMA = 1
_MD5 = re.compile(r"[0-9a-f]{32}")
_DIGEST = re.compile(r"[0-9a-f]{32,128}")


def receipt_json(receipt: DataclassInstance, *, indent: int | None = None) -> str:
    """A receipt or report as JSON text: one line, or indented. docs/formats.org has the fields."""
    return json.dumps(dataclasses.asdict(receipt), default=_json_value, indent=indent)


def _json_value(value: object) -> str:
    if isinstance(value, datetime):
        utc = value.astimezone(timezone.utc).isoformat(timespec="milliseconds")
        return utc.replace("+00:00", "Z")
    raise TypeError(f"{value!r} has no place in a receipt")


def check_receipt_path(path: str) -> None:
    """Raise UsageError if a receipt could not be written to `path` later. Changes nothing."""
    directory = os.path.dirname(os.path.realpath(path))
    if not path:
        raise UsageError("cannot write the receipt to a file without a name")
    if os.path.isdir(path):
        raise UsageError(f"cannot write the receipt to {path}: it is a directory")
    # As root, the rename would replace /dev/null with a regular file.
    if os.path.exists(path) and not os.path.isfile(path):
        raise UsageError(
            f"cannot write the receipt to {path}: it is not a regular file",
            hint="--json prints the receipt to standard output",
        )
    if not os.path.isdir(directory):
        raise UsageError(f"cannot write the receipt to {path}: {directory} is not a directory")
    if not os.access(directory, os.W_OK | os.X_OK):
        raise UsageError(f"cannot write the receipt to {path}: {directory} is not writable")


def write_receipt(receipt: Receipt, path: str) -> None:
    """Write `receipt` to `path`: temporary name, fsync, rename, fsync of the directory.

    Raises ReportError when that fails; the temporary file is removed then.
    """
    text = receipt_json(receipt, indent=2) + "\n"
    target = os.path.realpath(path)  # replaces what a link points to, not the link
    try:
        with NewFile(target) as file:
            with open(file.fd, "w", encoding="utf-8", closefd=False) as stream:
                stream.write(text)
            file.publish(target, replace=True)
    except OSError as error:
        reason = os_reason(error)
        raise ReportError(f"cannot write the receipt to {path}: {reason}") from error


def read_receipt(path: str) -> Receipt:
    """The receipt in the file at `path`. UsageError if it is missing, malformed or inconsistent.

    Fields that a later version of the program may have added are ignored.
    """
    try:
        with open(path, encoding="utf-8") as file:
            values = json.load(file)
    except OSError as error:
        reason = os_reason(error)
        raise UsageError(f"cannot read the receipt {path}: {reason}") from error
    except ValueError as error:
        raise UsageError(f"the receipt {path} is not JSON: {error}") from error
    if not isinstance(values, dict) or values.get("schema") != _SCHEMA:
        raise UsageError(f"{path} is not a receipt of this program (schema {_SCHEMA})")
    try:
        receipt = _receipt(values)
        _check(receipt)
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise UsageError(f"the receipt {path} is damaged: {reason}") from error
    return receipt


def _receipt(values: dict[str, Any]) -> Receipt:
    known = _known(Receipt, values)
    known["parts"] = tuple(StoredPart(**_known(StoredPart, each)) for each in values["parts"])
    known["proof"] = Proof(**_known(Proof, values["proof"]))
    known["command"] = None  # what it says about a producer proves nothing
    for name in ("started_at", "first_byte_at", "ended_at"):
        text = values[name]
        known[name] = text and datetime.fromisoformat(text.replace("Z", "+00:00"))
    return Receipt(**known)


def _known(kind: type[Any], values: dict[str, Any]) -> dict[str, Any]:
    names = {field.name for field in dataclasses.fields(kind)}
    return {name: value for name, value in values.items() if name in names}


def _check(receipt: Receipt) -> None:
    """Raise ValueError if parts, digests or ETag are not as this program writes them."""
    offset_bytes = 0
    for number, part in enumerate(receipt.parts, 1):
        if (part.number, part.offset_bytes) != (number, offset_bytes):
            raise ValueError(f"part {number} does not begin where the one before it ends")
        if part.size_bytes < 0 or not _MD5.fullmatch(part.md5):
            raise ValueError(f"part {number} has no size or no MD5")
        offset_bytes += part.size_bytes
    if not receipt.parts or offset_bytes != receipt.size_bytes:
        raise ValueError(f"its parts have {offset_bytes} bytes, the whole {receipt.size_bytes}")
    for name, value in receipt.digests.items():
        if name not in STREAM_DIGESTS or not _DIGEST.fullmatch(value):
            raise ValueError(f"{value!r} is not a {name} digest")
    if not receipt.etag_expected:
        raise ValueError("it has no ETag")
