"""The specification of a publication: built up while it runs, and written as one document.

It says which object holds which file. It can be asked for at any moment, so that it is printed
however the run ends.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from datetime import datetime, timezone
from typing import Any

from .._version import __version__
from ..errors import SourceError, leave_behind
from ..model.events import Event, Warned
from ..model.options import Options
from ..receipts.file import receipt_json
from ..results import ReadReport, Receipt
from ..s3.bucket import Bucket
from ..units import plural
from .selection import Item, OpenItem, Selection
from .tree import Unreadable

__all__ = [
    "SpecificationBuilder",
    "Entry",
    "Specification",
    "entry_from_listing",
    "entry_from_receipt",
    "entry_from_report",
    "incomplete_error",
    "names_same_objects",
    "specification_json",
    "specification_pieces",
]


class SpecificationBuilder:
    """Collects what was published, and warns at once of what was not, or changed meanwhile."""

    def __init__(
        self, selection: Selection, options: Options, emit: Callable[[Event], None]
    ) -> None:
        self._selection = selection
        self._options = options
        self._emit = emit
        self._lock = threading.Lock()
        self._entries: list[Entry] = []
        self._unreadable: list[Unreadable] = []
        self._started_at = datetime.now(timezone.utc)

    def add(self, entry: Entry, unreadable: tuple[Unreadable, ...] = ()) -> None:
        """Add an object that is stored; an archive lacks what is `unreadable`."""
        with self._lock:
            self._entries.append(entry)
        for each in unreadable:
            self.add_unreadable(each)
        for path in [entry.path] if entry.changed is True else entry.changed or ():
            self._emit(Warned(f"{path} changed while it was read"))

    def add_unreadable(self, unreadable: Unreadable) -> None:
        """Add what could not be read and is in none of the objects."""
        with self._lock:
            self._unreadable.append(unreadable)
        self._emit(Warned(f"not published: {unreadable.reason}"))

    def specification(self) -> Specification:
        """The specification of what was published so far."""
        with self._lock:
            entries = sorted(self._entries, key=lambda each: os.fsencode(each.path))
            unreadable = sorted(self._unreadable, key=lambda each: os.fsencode(each.path))
        all_there = len(entries) == len(self._selection.items) and not unreadable
        as_it_was = all(each.proof is not None and not each.changed for each in entries)
        return Specification(
            directory=self._selection.directory,
            bucket=self._selection.bucket,
            key=self._selection.key,
            template=self._selection.template,
            complete=all_there and as_it_was,
            objects=len(entries),
            already_there=sum(each.already_there for each in entries),
            size_bytes=sum(each.size_bytes for each in entries),
            links_not_followed=self._selection.links_not_followed,
            not_published=tuple(unreadable),
            entries=tuple(entries),
            started_at=self._started_at,
            ended_at=datetime.now(timezone.utc),
            command_line=self._options.command_line,
            program=f"streamtos3 {__version__}",
        )

    def check(self) -> None:
        """Raise SourceError if something could not be read, or changed while it was read."""
        specification = self.specification()
        unreadable = len(specification.not_published)
        changed = sum(
            len(each.changed) if isinstance(each.changed, tuple) else each.changed
            for each in specification.entries
        )
        if unreadable or changed:
            error = incomplete_error(self._selection.directory, unreadable, changed)
            self.note_what_is_there(error)
            raise error

    def note_what_is_there(self, error: BaseException) -> None:
        """Let `error`, which ends the publication, say what is in the bucket already."""
        count = len(self._entries)
        if count:
            where = f"s3://{self._selection.bucket}/{self._selection.key}"
            leave_behind(error, f"{plural(count, 'object')} at {where}, named in the specification")


def incomplete_error(directory: str, unreadable: int, changed: int) -> SourceError:
    """Some files could not be read, or changed while they were."""
    defects = []
    if unreadable:
        defects.append(f"{unreadable} could not be read")
    if changed:
        defects.append(f"{changed} changed while being read")
    return SourceError(
        f"not everything in {directory} was published as it is: " + ", ".join(defects),
        hint="the specification on standard output names them",
    )


def entry_from_receipt(
    path: str, stored: Receipt, *, changed: bool | tuple[str, ...] = False
) -> Entry:
    """The entry of an object that this run stored; see `Entry` for `changed`."""
    return Entry(
        path=path,
        bucket=stored.bucket,
        key=stored.key,
        region=stored.region,
        endpoint=stored.endpoint,
        version_id=stored.version_id,
        size_bytes=stored.size_bytes,
        etag=stored.etag_found or stored.etag_expected,
        sha256=stored.digests["sha256"],
        proof=stored.proof.object,
        changed=changed,
        already_there=False,
    )


def entry_from_report(
    item: Item, open_item: OpenItem, found: ReadReport, sha256: str, region: str | None
) -> Entry:
    """The entry of an object that an earlier run stored, and that this one found equal."""
    return Entry(
        path=item.path,
        bucket=found.bucket,
        key=found.key,
        region=region,
        endpoint=found.endpoint,
        version_id=found.version_id,
        size_bytes=found.object_bytes,
        etag=found.etag,
        sha256=sha256,
        proof=found.proof,
        changed=open_item.changed,
        already_there=True,
    )


def entry_from_listing(
    item: Item,
    open_item: OpenItem,
    bucket: Bucket,
    *,
    etag: str,
    sha256: str,
    version_id: str | None,
) -> Entry:
    """The entry of an object that a listing proved to be there: its ETag is the one of the file."""
    return Entry(
        path=item.path,
        bucket=bucket.name,
        key=item.key,
        region=bucket.region,
        endpoint=bucket.endpoint_url,
        version_id=version_id,
        size_bytes=item.size_bytes or 0,
        etag=etag,
        sha256=sha256,
        proof="composite-etag" if "-" in etag else "md5-etag",
        changed=open_item.changed,
        already_there=True,
    )


_IDENTITY = ("path", "bucket", "key", "size_bytes", "etag", "sha256")


@dataclass(frozen=True, slots=True)
class Entry:
    """One object of the specification: a file, or the archive.

    `proof` is what proved it, None if nothing did. `changed`: the file changed while it was
    read; for an archive, the names of those that did. `already_there`: an earlier run stored it,
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


_ENTRY_FIELDS = tuple(field.name for field in fields(Entry))
# In a text of JSON every quote is escaped, so this can be nothing but the field.
_NO_ENTRIES = '\n  "entries": []'


@dataclass(frozen=True)
class Specification:
    """What was published of `directory`. docs/formats.org describes each field.

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
    not_published: tuple[Unreadable, ...]
    entries: tuple[Entry, ...]
    started_at: datetime
    ended_at: datetime
    command_line: tuple[str, ...] | None
    program: str
    schema: int = 1


def specification_pieces(specification: Specification) -> Iterator[str]:
    """The document in pieces, with a line break at its end; each entry is one line.

    As one text, that of 100,000 files would take more memory than all the rest of the program.
    """
    frame = receipt_json(replace(specification, entries=()), indent=2)
    before, _, after = frame.partition(_NO_ENTRIES)
    if not specification.entries:
        yield frame + "\n"
        return
    yield before + _NO_ENTRIES.removesuffix("]")
    line_break = "\n    "
    for entry in specification.entries:
        yield line_break + json.dumps({name: getattr(entry, name) for name in _ENTRY_FIELDS})
        line_break = ",\n    "
    yield "\n  ]" + after + "\n"


def specification_json(specification: Specification) -> str:
    """The document as one text."""
    return "".join(specification_pieces(specification))


def names_same_objects(document: bytes, specification: Specification) -> bool:
    """Whether `document`, stored by an earlier run, has the same entries as `specification`."""
    try:
        entries = json.loads(document)["entries"]
        found = [{name: each[name] for name in _IDENTITY} for each in entries]
    except (ValueError, KeyError, TypeError):  # another object under this key
        return False
    return found == [_identity(each) for each in specification.entries]


def _identity(entry: Entry) -> dict[str, Any]:
    return {name: getattr(entry, name) for name in _IDENTITY}
