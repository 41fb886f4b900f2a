"""The first line of a spool file: which object its records will be, and how it was begun (pure).

In format 2 it is a JSON object, a tab, and the CRC-32 of the JSON in eight hex digits, so that a
record can never end up below another key than the one it was received for. Format 1 had neither
the checksum nor the settings.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime, timezone
from typing import Any

from ..errors import SpoolError, UsageError
from ..model.object_settings import ObjectSettings
from ..model.options import Options

__all__ = ["BegunWith", "LONGEST_HEADER_BYTES", "ObjectHeader", "header_of"]

LONGEST_HEADER_BYTES = 64 * 1024

_FORMAT = 2
_OLD_FORMAT = 1
_CRC_DIGITS = 8
# A secret stays out of the file. Owner and payer are about requests and not about the object, and
# how long objects are locked is about those that are still to begin.
_NOT_KEPT = ("sse_c_key", "expected_bucket_owner", "request_payer", "lock_for")
_KEPT = tuple(each.name for each in fields(ObjectSettings) if each.name not in _NOT_KEPT)


@dataclass(frozen=True)
class BegunWith:
    """What an object was begun with, and must be finished with.

    `settings` hold no secret; `has_customer_key` says that one was in use.
    """

    chunk_bytes: int
    checksum: str | None
    has_customer_key: bool
    settings: ObjectSettings

    @classmethod
    def of(cls, options: Options) -> BegunWith:
        """What of the options has to last as long as an object that begins now."""
        settings = options.settings.from_now()
        kept = replace(settings, **{name: getattr(ObjectSettings(), name) for name in _NOT_KEPT})
        return cls(options.chunk_bytes, options.checksum, settings.sse_c_key is not None, kept)

    def apply(self, options: Options) -> Options:
        """`options` for this object, whatever this process was told for new ones.

        UsageError where the customer's key is missing.
        """
        given = options.settings
        if self.has_customer_key and given.sse_c_key is None:
            raise UsageError(
                "the spool holds an object that was begun with --sse-c-key-file",
                hint="give the same key again",
            )
        settings = replace(
            self.settings,
            sse_c_key=given.sse_c_key if self.has_customer_key else None,
            expected_bucket_owner=given.expected_bucket_owner,
            request_payer=given.request_payer,
        )
        return replace(
            options, chunk_bytes=self.chunk_bytes, checksum=self.checksum, settings=settings
        )


@dataclass(frozen=True)
class ObjectHeader:
    """The object that a file's records will be. `begun_at` is ISO 8601, in UTC.

    `begun_with` is None in a file of format 1.
    """

    bucket: str
    key: str
    begun_at: str
    compress: str | None
    begun_with: BegunWith | None = None

    @property
    def line(self) -> bytes:
        """The first line of its file."""
        said: dict[str, Any] = {"format": _FORMAT, "bucket": self.bucket, "key": self.key}
        said |= {"begun_at": self.begun_at, "compress": self.compress}
        if self.begun_with is not None:
            said["begun_with"] = asdict(self.begun_with) | {
                "settings": _plain(self.begun_with.settings)
            }
        text = json.dumps(said).encode()
        return text + b"\t%08x\n" % zlib.crc32(text)


def header_of(line: bytes) -> ObjectHeader:
    """The header that this line is. SpoolError where it is none, or was damaged."""
    text, tab, check = line.removesuffix(b"\n").rpartition(b"\t")
    if not line.endswith(b"\n"):
        raise SpoolError("its first line is cut off")
    if tab and (len(check) != _CRC_DIGITS or check != b"%08x" % zlib.crc32(text)):
        raise SpoolError("its first line is damaged")
    try:
        said = json.loads(text if tab else check)
        number = said.pop("format")
        if number != (_FORMAT if tab else _OLD_FORMAT):
            raise SpoolError(f"its format is {number!r}, which this version does not know")
        return _header(said)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise SpoolError("its first line is not that of a spool file") from error


def _header(said: dict[str, Any]) -> ObjectHeader:
    begun_with = said.pop("begun_with", None)
    header = ObjectHeader(**said, begun_with=begun_with and _begun_with(begun_with))
    texts = [header.bucket, header.key, header.begun_at, header.compress or ""]
    if not all(isinstance(each, str) for each in texts):
        raise TypeError
    if datetime.fromisoformat(header.begun_at).tzinfo is None:
        raise ValueError
    return header


def _plain(settings: ObjectSettings) -> dict[str, Any]:
    """What of the settings is set, as JSON has it."""
    found: dict[str, Any] = {}
    for name in _KEPT:
        value = getattr(settings, name)
        if value != getattr(ObjectSettings(), name):
            if isinstance(value, datetime):
                value = value.astimezone(timezone.utc).isoformat()
            found[name] = dict(value) if isinstance(value, Mapping) else value
    return found


def _begun_with(said: dict[str, Any]) -> BegunWith:
    settings = dict(said.pop("settings"))
    if not settings.keys() <= set(_KEPT):
        raise ValueError
    if settings.get("lock_until"):
        settings["lock_until"] = datetime.fromisoformat(settings["lock_until"])
    return BegunWith(**said, settings=ObjectSettings(**settings))
