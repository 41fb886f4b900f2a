"""The published specification: what `publish` has stored where, as values and as JSON.

Everything somebody needs to find the objects again and to hold them against the files: also
what is missing, so that an incomplete publication can never be taken for a complete one.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ..receipt import receipt_json
from .tree import Unread

__all__ = ["Published", "Specification", "names_same_objects", "specification_json"]

_IDENTITY = ("path", "bucket", "key", "size_bytes", "etag", "sha256")


@dataclass(frozen=True)
class Published:
    """One object: a file's own, or the archive.

    `proof` is what proved it, None where nothing did. `changed`: the file changed while it was
    read; of an archive, the names of those that did. `already_there`: an earlier run stored it,
    and this one found it equal.
    """

    path: str
    bucket: str
    key: str
    region: str | None
    endpoint: str
    version_id: str | None
    size_bytes: int
    etag: str | None
    sha256: str
    proof: str | None
    changed: bool | tuple[str, ...]
    already_there: bool


@dataclass(frozen=True)
class Specification:
    """What was published of `directory`. Documented field by field in README.org.

    `complete` if and only if every file is there, proved, and was not seen to change.
    """

    directory: str
    bucket: str
    key: str
    template: str | None
    complete: bool
    objects: int
    already_there: int
    size_bytes: int
    links_not_followed: int
    not_published: tuple[Unread, ...]
    entries: tuple[Published, ...]
    started_at: datetime
    ended_at: datetime
    command_line: tuple[str, ...] | None
    program: str
    schema: int = 1


def specification_json(specification: Specification) -> str:
    """The document, with a line break at its end."""
    return receipt_json(specification, indent=2) + "\n"


def names_same_objects(document: bytes, specification: Specification) -> bool:
    """Whether `document`, stored by an earlier run, says of the same objects the same."""
    try:
        entries = json.loads(document)["entries"]
        found = [{name: each[name] for name in _IDENTITY} for each in entries]
    except (ValueError, KeyError, TypeError):  # another object under this key
        return False
    return found == [_identity(each) for each in specification.entries]


def _identity(entry: Published) -> dict[str, Any]:
    return {name: getattr(entry, name) for name in _IDENTITY}
