"""`ClusterPublication`: a directory that all workers see, published by them in batches of files.

The client lists the directory twice, as it goes: once to check every key, once to hand out batches.
It never holds all files; what is published is kept as compressed text. A batch is an ordinary
publication on a worker, a large file an ordinary `put_file`.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime, timezone
from functools import partial
from itertools import count
from typing import Any

from .._version import __version__
from ..errors import (
    AbsentError,
    ExistsError,
    RefusedError,
    SourceError,
    StreamToS3Error,
    UndecidedError,
    UnprovedError,
    UsageError,
    leave_behind,
)
from ..model.events import Event, RangeRead, ReadStarted, Warned, serialized
from ..model.names import check_destination_name
from ..model.object_settings import guess_content_type
from ..model.options import Options
from ..publish.manifest import (
    Entry,
    Specification,
    entry_from_receipt,
    incomplete_error,
    specification_pieces,
)
from ..publish.manifest_object import ManifestObject
from ..publish.publication import Publication, unproved_error
from ..publish.selection import as_some_servers_see, check_key, select_batch
from ..publish.tree import TreeEntry, Unreadable, iterate
from ..results import Receipt
from ..runtime.buffers import default_memory_bytes
from ..runtime.cancel import CancelScope
from ..runtime.retry import Retrier
from ..s3.clients import Clients
from ..s3.context import OperationContext, find_object
from ..units import MIB, plural
from ..uploader.unfinished import abort_each
from .credentials import with_read_keyfile
from .operation import Running, running_on
from .orders import Order
from .processes import ClusterOptions, LocalProcesses, processes_of
from .put import put_file
from .session import Operation, Session

__all__ = ["BatchReport", "ClusterPublication", "PackedEntries", "PublishOrder", "cut_batches"]

_BATCH_BYTES = 256 * MIB
_BATCH_FILES = 500
_BATCHES_A_THREAD = 4
_AT_ONCE = 2  # batches that one process has under way
_LARGE_PARTS = 32  # a file of more parts than this is shared out itself
_ENTRY_FIELDS = tuple(field.name for field in fields(Entry))


@dataclass(frozen=True)
class BatchReport:
    """What a worker has published of a batch, and what it could not read."""

    worker: str
    entries: tuple[Entry, ...]
    unreadable: tuple[Unreadable, ...]
    unproved: Receipt | None = None


@dataclass(frozen=True)
class PublishOrder:
    """Publish these files, path and size of each, of the directory; `number` is the batch's."""

    operation: Operation
    number: int
    directory: str
    prefix: str
    files: tuple[tuple[str, int], ...]
    at_once: int
    follow_links: bool

    def perform(self, session: Session, worker: str) -> BatchReport:
        """See Order. What an earlier try has stored, on whatever worker, is not sent again."""
        selection = select_batch(
            self.directory,
            self.operation.bucket,
            self.prefix,
            self.files,
            follow_links=self.follow_links,
        )
        memory_bytes = session.options.memory_bytes or default_memory_bytes()
        with session.context.scope.child() as scope:
            publication = Publication(
                selection,
                replace(session.options, resume=True, memory_bytes=memory_bytes // _AT_ONCE),
                files=self.at_once,
                scope=scope,
                on_event=session.context.emit,
                clients=session.clients,
            )
            publication.run()
            unproved = None
            try:
                publication.check()
            except UnprovedError as error:
                unproved = error.receipt
            except SourceError:  # the specification says which
                pass
            found = publication.specification
        return BatchReport(worker, found.entries, found.not_published, unproved)


class PackedEntries:
    """Entries as compressed text, each batch by itself, in the order of the batches' numbers.

    In a batch of ten or more each costs about what of it is random: its digests. `count`,
    `size_bytes` and so on are sums.
    """

    def __init__(self) -> None:
        self.count = 0
        self.size_bytes = 0
        self.already_there = 0
        self.changed = 0
        self.unproved = 0
        self._packed: dict[int, bytes] = {}

    def add(self, number: int, entries: Sequence[Entry]) -> None:
        """Add the entries of the batch `number`, which may come in any order, but only once."""
        if not entries:
            return
        self.count += len(entries)
        for entry in entries:
            self.size_bytes += entry.size_bytes
            self.already_there += entry.already_there
            self.changed += bool(entry.changed)
            self.unproved += entry.proof is None
        lines = "\n".join(map(_line, entries))
        self._packed[number] = zlib.compress(lines.encode(), 1)

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Entry]:
        for number in sorted(self._packed):
            lines = zlib.decompress(self._packed[number]).decode()
            yield from map(_unpacked, lines.split("\n"))


def _line(entry: Entry) -> str:
    return json.dumps([getattr(entry, name) for name in _ENTRY_FIELDS])


def _unpacked(line: str) -> Entry:
    return Entry(*json.loads(line))


def cut_batches(
    files: Iterator[tuple[str, int]], batch_files: int, batch_bytes: int
) -> Iterator[tuple[tuple[str, int], ...]]:
    """Consecutive files in batches of about equal bytes, and of so many files at most."""
    batch: list[tuple[str, int]] = []
    filled_bytes = 0
    for path, size_bytes in files:
        if batch and (filled_bytes + size_bytes > batch_bytes or len(batch) == batch_files):
            yield tuple(batch)
            batch, filled_bytes = [], 0
        batch.append((path, size_bytes))
        filled_bytes += size_bytes
    if batch:
        yield tuple(batch)


class ClusterPublication:
    """One run, over the directory. `run` is called once, then `check`.

    The same properties as a `Publication`, of which `options` and `files` are those of each worker.
    `listing` gives what is below the directory, anew each time it is called.
    """

    def __init__(
        self,
        directory: str,
        bucket: str,
        prefix: str,
        options: Options,
        *,
        how: ClusterOptions,
        files: int,
        scope: CancelScope,
        follow_links: bool = False,
        manifest_key: str | None = None,
        template: str | None = None,
        on_event: Callable[[Event], None] | None = None,
        listing: Callable[[], Iterator[TreeEntry | Unreadable]] | None = None,
    ) -> None:
        prefix = prefix + "/" if prefix and not prefix.endswith("/") else prefix
        if prefix:
            check_destination_name(bucket, prefix)
        if manifest_key is not None:
            check_destination_name(bucket, manifest_key)
        options.settings.check()
        self.upload_ids: list[str] = []
        self._directory = os.path.abspath(directory)
        self._shown_directory = directory
        self._bucket = bucket
        self._prefix = prefix
        self._options = with_read_keyfile(replace(options, digests=("sha256",)))
        self._how = how
        self._files = files
        self._scope = scope
        self._emit = serialized(on_event)
        self._follow_links = follow_links
        self._manifest_key = manifest_key
        self._template = template
        self._listing = listing or partial(iterate, self._directory, follow_links=follow_links)
        self._entries = PackedEntries()
        self._unreadable: list[Unreadable] = []
        self._links = 0
        self._count = 0
        self._size_bytes = 0
        self._large: list[tuple[str, int]] = []
        self._large_bytes = _LARGE_PARTS * options.chunk_bytes
        self._numbers = count()
        self._unproved: Receipt | None = None
        self._stored: Specification | None = None
        self._started_at = datetime.now(timezone.utc)

    def run(self) -> None:
        """Publish everything that can be read. Raises the service's first error, or Interrupted."""
        try:
            self._count_and_check()
            self._emit(ReadStarted(self._size_bytes))
            with (
                processes_of(self._how) as processes,
                OperationContext.open(
                    self._bucket, self._options, scope=self._scope, on_event=self._emit
                ) as context,
            ):
                manifest = self._new_manifest(context)
                if manifest is not None:
                    context.workers.submit(manifest.check_key).result()
                context.workers.submit(partial(self._check_absent, context)).result()
                try:
                    self._publish_batches(context, processes)
                    self._publish_large()
                finally:
                    context.workers.submit(partial(self._sweep, context), even_if_cancelled=True)
                    context.workers.wait_idle(30.0, 5.0)
                specification = self.specification
                if manifest is not None and specification.complete:
                    store = partial(manifest.store, specification)
                    context.workers.submit(store).result()
                    self._stored = manifest.stored
        except BaseException as error:  # noqa: BLE001 - the first error is raised
            first = self._scope.fail_with(error)
            if isinstance(first, ExistsError) and not self._options.resume:
                first.hint = "--resume skips what is there and equal, --overwrite replaces it"
            self._note_what_is_there(first)
            raise first from first.__cause__

    def check(self) -> None:
        """Raise the errors of a publication that ran to its end; see `Publication.check`."""
        unreadable, changed = len(self._unreadable), self._entries.changed
        error: StreamToS3Error | None = None
        if unreadable or changed:
            error = incomplete_error(self._shown_directory, unreadable, changed)
        elif self._unproved is not None:
            error = unproved_error(self._unproved)
        if error is not None:
            self._note_what_is_there(error)
            raise error

    @property
    def specification(self) -> Specification:
        """The specification of what was published so far; its entries are read once each time."""
        entries = self._entries
        all_there = entries.count == self._count and not self._unreadable
        as_it_was = not entries.changed and not entries.unproved
        unreadable = sorted(self._unreadable, key=lambda each: os.fsencode(each.path))
        return Specification(
            directory=self._shown_directory,
            bucket=self._bucket,
            key=self._prefix,
            template=self._template,
            complete=all_there and as_it_was and self._scope.error is None,
            objects=entries.count,
            already_there=entries.already_there,
            size_bytes=entries.size_bytes,
            links_not_followed=self._links,
            not_published=tuple(unreadable),
            entries=entries,  # type: ignore[arg-type]  # whose every use is to go through them
            started_at=self._started_at,
            ended_at=datetime.now(timezone.utc),
            command_line=self._options.command_line,
            program=f"streamtos3 {__version__}",
        )

    @property
    def document(self) -> Iterator[str]:
        """The specification as JSON, in pieces; if a manifest was stored, exactly its text."""
        return specification_pieces(self._stored or self.specification)

    def _count_and_check(self) -> None:
        """List everything once. UsageError if a key is not valid, before the first byte."""
        odd: dict[str, str] = {}
        manifest = self._manifest_key and as_some_servers_see(self._manifest_key)
        for each in self._listing():
            self._scope.check()
            if isinstance(each, Unreadable):
                self._unreadable.append(each)
                self._emit(Warned(f"not published: {each.reason}"))
            elif each.kind == "link":
                self._links += 1
            elif each.kind == "file":
                self._count += 1
                self._size_bytes += each.size_bytes
                self._check(each.path, manifest, odd)

    def _check(self, path: str, manifest: str | None, odd: dict[str, str]) -> None:
        key = self._prefix + path
        check_key(self._bucket, path, key)
        seen = as_some_servers_see(key)
        if seen == manifest:
            raise UsageError(f"the manifest's key {self._manifest_key} is that of a file")
        if seen == key:  # no other path has this key, unless its own is an odd one
            return
        plain = seen[len(self._prefix) :]
        other = odd.get(seen) or (
            plain if os.path.lexists(os.path.join(self._directory, plain)) else None
        )
        if other is not None:
            raise UsageError(
                f"cannot publish {other} and {path}: to some services they are one key",
                hint="rename one of them; in an archive (--archive) any name will do",
            )
        odd[seen] = path

    def _check_absent(self, context: OperationContext) -> None:
        """ExistsError if one of our keys is taken; what cannot be listed, each upload looks at."""
        if self._options.resume or self._options.overwrite:
            return

        def look() -> None:
            for each in context.bucket.list_objects(self._prefix):
                if self._is_ours(each.key):
                    raise ExistsError(f"{context.bucket.url(each.key)} already exists")

        action = f"list {context.bucket.url(self._prefix)}"
        try:
            check_for_s = self._options.retries.check_for_s
            context.retrier.call(action, look, check_for_s=check_for_s)
        except RefusedError as error:
            if error.code == "NoSuchBucket":
                raise

    def _new_manifest(self, context: OperationContext) -> ManifestObject | None:
        if self._manifest_key is None:
            return None
        clients = Clients(self._options.connection, 2)
        options = self._options
        return ManifestObject(self._bucket, self._manifest_key, options, clients, context.scope)

    def _publish_batches(self, context: OperationContext, processes: LocalProcesses | None) -> None:
        with running_on(
            self._how, context.bucket, self._options, context.scope, context.emit, processes
        ) as running:
            threads = running.dispatcher.threads
            each = -(-self._count // (_BATCHES_A_THREAD * threads))
            batch_files = max(1, min(_BATCH_FILES, each))
            batch_bytes = min(_BATCH_BYTES, self._size_bytes // (_BATCHES_A_THREAD * threads) or 1)
            batches = cut_batches(self._small_files(), batch_files, batch_bytes)
            running.dispatcher.run(self._orders(running, batches), self._take)
            there = iter(self._take_large_that_are_there(context))
            running.dispatcher.run(self._orders(running, there), self._take)

    def _take_large_that_are_there(
        self, context: OperationContext
    ) -> list[tuple[tuple[str, int], ...]]:
        """With `resume`, a batch for each large file whose key is taken; one worker compares it.

        They leave the large files that are to be stored.
        """
        if not self._options.resume:
            return []
        check_for_s = self._options.retries.check_for_s

        def is_there(path: str) -> bool:
            try:
                find_object(context.bucket, context.retrier, self._prefix + path, None, check_for_s)
            except AbsentError:
                return False
            return True

        taken = {
            path
            for path, _ in self._large
            if context.workers.submit(partial(is_there, path)).result()
        }
        there: list[tuple[tuple[str, int], ...]] = [
            (each,) for each in self._large if each[0] in taken
        ]
        self._large = [each for each in self._large if each[0] not in taken]
        return there

    def _small_files(self) -> Iterator[tuple[str, int]]:
        for each in self._listing():
            if isinstance(each, Unreadable) or each.kind != "file":
                continue
            if each.size_bytes > self._large_bytes:
                self._large.append((each.path, each.size_bytes))
            else:
                yield each.path, each.size_bytes

    def _orders(
        self, running: Running, batches: Iterator[tuple[tuple[str, int], ...]]
    ) -> Iterator[Order]:
        for files in batches:
            yield PublishOrder(
                running.operation,
                next(self._numbers),
                self._directory,
                self._prefix,
                files,
                self._files,
                self._follow_links,
            )

    def _take(self, order: Order, report: Any) -> None:
        """Add what a batch has published, at once: nothing waits for an earlier batch."""
        assert isinstance(order, PublishOrder) and isinstance(report, BatchReport)
        self._unproved = self._unproved or report.unproved
        self._emit(RangeRead(sum(entry.size_bytes for entry in report.entries)))
        self._add(order.number, report.entries)
        for unreadable in report.unreadable:
            self._add_unreadable(unreadable)

    def _add(self, number: int, entries: Sequence[Entry]) -> None:
        if not self._options.resume:
            # A batch that a second worker took over finds what the first had stored: by this run.
            entries = [
                replace(each, already_there=False) if each.already_there else each
                for each in entries
            ]
        self._entries.add(number, entries)
        for entry in entries:
            if entry.changed:
                self._emit(Warned(f"{entry.path} changed while it was read"))

    def _add_unreadable(self, unreadable: Unreadable) -> None:
        self._unreadable.append(unreadable)
        self._emit(Warned(f"not published: {unreadable.reason}"))

    def _publish_large(self) -> None:
        """The files that are worth sharing out, one after the other: all workers are on each."""
        for path, _ in self._large:
            self._scope.check()
            try:
                entry = entry_from_receipt(path, self._put_large(path))
                self._add(next(self._numbers), (entry,))
            except SourceError as error:
                self._add_unreadable(Unreadable(path, error.message))

    def _put_large(self, path: str) -> Receipt:
        key = self._prefix + path
        content_type = self._options.settings.content_type or guess_content_type(key)
        settings = replace(self._options.settings, content_type=content_type)

        def on_event(event: Event) -> None:
            if not isinstance(event, ReadStarted):
                self._emit(event)

        with self._scope.child() as scope:
            return put_file(
                os.path.join(self._directory, path),
                self._bucket,
                key,
                how=self._how,
                options=replace(self._options, settings=settings, key_of_a_file=True),
                on_event=on_event,
                scope=scope,
            )

    def _sweep(self, context: OperationContext) -> None:
        """Abort what workers that died have left of our keys, unless it is kept for --resume.

        Not after a commit of which nothing is known: that is never aborted.
        """
        if self._options.resume or isinstance(context.scope.error, UndecidedError):
            return
        begun_at = self._begun_at(context)
        with CancelScope() as scope:
            retrier = Retrier(self._options.retries, scope, lambda event, error: None)
            try:
                left = [
                    each
                    for each in context.bucket.list_uploads(self._prefix)
                    if each.initiated >= begun_at and self._is_ours(each.key)
                ]
                for upload, error in abort_each(context.bucket, retrier, left):
                    if error is not None:
                        self.upload_ids.append(upload.upload_id)
            except StreamToS3Error as error:  # no right to list, or the service is gone
                self._emit(Warned(f"unfinished uploads may be left: {error.message}"))

    def _is_ours(self, key: str) -> bool:
        """Whether a file of the directory has this key."""
        path = os.path.join(self._directory, key[len(self._prefix) :])
        return os.path.isfile(path) and (self._follow_links or not os.path.islink(path))

    def _begun_at(self, context: OperationContext) -> datetime:
        """When this run began, by the service's clock, whose resolution is a second."""
        now = context.bucket.server_time or datetime.now(timezone.utc)
        elapsed = datetime.now(timezone.utc) - self._started_at
        return (now - elapsed).replace(microsecond=0)

    def _note_what_is_there(self, error: BaseException) -> None:
        if self._entries.count:
            where = f"s3://{self._bucket}/{self._prefix}"
            objects = plural(self._entries.count, "object")
            leave_behind(error, f"{objects} at {where}, named in the specification")
