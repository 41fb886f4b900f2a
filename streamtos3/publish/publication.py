"""Many uploads as one publication: several at a time, and a specification of what was stored.

Each object is an ordinary upload, which does not know that it is one of many. A file that cannot
be read is listed, and the others are published; an error of the service ends them all.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace

from ..downloader.local_etag import LocalParts, read_through
from ..downloader.verify import verify_object
from ..errors import (
    AbsentError,
    ExistsError,
    IntegrityError,
    RefusedError,
    SourceError,
    UnprovedError,
    UnprovedReadError,
    leave_behind,
    leave_behind_of,
)
from ..integrity.digests import StreamDigests, composite_etag
from ..integrity.etag import is_md5, parts_in
from ..integrity.md5 import problem_to_report
from ..model.events import Event, RangeRead, ReadStarted, Started, UploadCreated, Warned, serialized
from ..model.object_settings import guess_content_type
from ..model.options import Options
from ..model.parts import plan_parts
from ..results import Receipt
from ..runtime.buffers import SpareBuffers, share_memory
from ..runtime.cancel import CancelScope
from ..runtime.md5_group import Md5Group
from ..runtime.retry import Retrier, get_ready
from ..runtime.workers import WorkerPool
from ..s3.bucket import Bucket
from ..s3.clients import Clients
from ..s3.responses import ListedObject, ObjectInfo
from ..sources.base import Source, WrappedSource
from ..uploader.cleanup import CLEANUP_S, INTERRUPTED_CLEANUP_S
from ..uploader.object_upload import OneOfMany
from ..uploader.upload import upload_one_of_many
from .listing import Listing, list_destination
from .manifest import (
    Specification,
    SpecificationBuilder,
    entry_from_listing,
    entry_from_receipt,
    entry_from_report,
    specification_pieces,
)
from .manifest_object import ManifestObject
from .selection import Item, OpenItem, Selection
from .tree import Unreadable
from .width import LOOK_S, Width

__all__ = ["Publication", "unproved_error"]

# A little longer than each upload's own cleanup, so that it can say what it leaves behind.
_SETTLE_S = CLEANUP_S + 5.0
_INTERRUPTED_SETTLE_S = INTERRUPTED_CLEANUP_S + 2.0


class Publication:
    """One run, over all items of `selection`. `run` is called once.

    `options` are for all uploads together: `memory_bytes` and `jobs` are shared out among up to
    `files` of them at a time, fewer where two parts of each would not fit into the memory. With
    `resume`, an object that is already there and equal is not sent again.
    """

    def __init__(
        self,
        selection: Selection,
        options: Options,
        *,
        files: int,
        scope: CancelScope,
        on_event: Callable[[Event], None] | None = None,
        clients: Clients | None = None,
    ) -> None:
        self._selection = selection
        self._at_once, self._memory_bytes = share_memory(
            options.memory_bytes,
            options.chunk_bytes,
            min(files, options.jobs, len(selection.items)),
        )
        self._options = replace(options, digests=("sha256", *set(options.digests) - {"sha256"}))
        self._scope = scope
        self._emit = serialized(on_event)
        self._builder = SpecificationBuilder(selection, options, self._emit)
        self._workers = WorkerPool(self._at_once, scope)
        self._clients = clients or Clients(options.connection, options.jobs + self._at_once)
        bucket, key = selection.bucket, selection.manifest_key
        self._bucket = Bucket(
            bucket, options.connection, settings=options.settings, client=self._clients
        )
        self._retrier = Retrier(options.retries, scope, lambda event, _: self._emit(event))
        self._listing = Listing({}, is_whole=False)
        self._manifest: ManifestObject | None = None
        if key is not None:
            self._manifest = ManifestObject(bucket, key, self._options, self._clients, scope)
        self._items = iter(selection.items)
        self._spare = SpareBuffers()
        self._md5s = Md5Group(lambda size_bytes: self._at_once)
        self._upload_ids: dict[str, str] = {}
        self._options_by_kind: dict[tuple[str | None, bool], Options] = {}
        self._under_way: dict[str, OneOfMany] = {}
        self._is_versioned = False
        self._unproved: UnprovedError | None = None

    @property
    def upload_ids(self) -> list[str]:
        """The multipart uploads that are open now."""
        with self._scope.condition:
            return list(self._upload_ids.values())

    @property
    def specification(self) -> Specification:
        """The specification of what was published so far."""
        specification = self._builder.specification()
        is_complete = specification.complete and self._scope.error is None
        return replace(specification, complete=is_complete)

    @property
    def document(self) -> Iterator[str]:
        """The specification as JSON, in pieces; if a manifest was stored, exactly its text."""
        stored = self._manifest.stored if self._manifest else None
        return specification_pieces(stored or self.specification)

    def run(self) -> None:
        """Publish everything that can be read. Raises the service's first error, or Interrupted.

        A file that cannot be read raises nothing here, but in `check`.
        """
        self._options.settings.check()
        for each in self._selection.unreadable:
            self._builder.add_unreadable(each)
        self._begin_progress()
        if problem := problem_to_report():
            self._emit(Warned(problem))
        get_ready()
        try:
            if self._manifest:
                self._workers.submit(self._manifest.check_key).result()
            self._workers.submit(self._look).result()
            self._work_through()
            specification = self.specification
            if self._manifest and specification.complete:
                manifest = self._manifest
                self._workers.submit(lambda: manifest.store(specification)).result()
        except BaseException as error:  # noqa: BLE001 - the first error is raised
            raise self._end(error) from error.__cause__
        finally:
            self._workers.shutdown()

    def check(self) -> None:
        """Raise the errors of a publication that ran to its end.

        SourceError if something could not be read, or changed while it was read;
        UnprovedError if something is stored that `verify="none"` allowed without a proof.
        """
        self._builder.check()
        if self._unproved is not None:
            error = unproved_error(self._unproved.receipt)
            self._builder.note_what_is_there(error)
            raise error

    def _begin_progress(self) -> None:
        sizes = [item.size_bytes for item in self._selection.items]
        if None not in sizes:
            self._emit(ReadStarted(sum(size or 0 for size in sizes)))

    def _look(self) -> None:
        """See what is at the destination. ExistsError if it is in the way."""
        items = self._selection.items
        if not items or items[0].size_bytes is None:  # the archive's own upload looks
            return
        self._listing = list_destination(
            self._bucket,
            self._retrier,
            self._selection.key,
            {item.key for item in items},
            self._options.retries.check_for_s,
            only_between=self._selection.is_batch,
        )
        if self._options.resume:
            self._see_whether_there_are_versions()
        elif not self._options.overwrite:
            taken = next(iter(self._listing.found), None)
            if taken is not None:
                raise ExistsError(f"{self._bucket.url(taken)} already exists")

    def _see_whether_there_are_versions(self) -> None:
        """A listing does not show versions; the first object that it shows can tell."""
        there = next(iter(self._listing.found), None)
        if there is not None:
            with suppress(RefusedError):  # who may not look gets no versions
                self._is_versioned = self._look_at(there).is_versioned

    def _work_through(self) -> None:
        """Have the workers publish all items, and wait for that."""
        sizes = (item.size_bytes for item in self._selection.items)
        # A batch ends too soon to find out how many it takes.
        width = Width(self._at_once, (None,) if self._selection.is_batch else sizes)
        more = width.count
        while True:
            for _ in range(more):
                self._workers.submit(self._work)
            # Asked here and not after each file: the first ones may be stuck.
            if self._scope.wait_for(lambda: self._workers.unfinished == 0, LOOK_S):
                return
            more = width.more()

    def _work(self) -> None:
        """In a worker: publish one item after the other until there are none."""
        while True:
            with self._scope.condition:
                self._scope.check()
                item = next(self._items, None)
            if item is None:
                return
            self._publish(item)

    def _publish(self, item: Item) -> None:
        """Store an item unless it is stored already; list it as unreadable if it cannot be read."""
        try:
            if not (self._options.resume and self._is_there(item)):
                self._upload_unless_there(item)
        except SourceError as error:
            self._builder.add_unreadable(Unreadable(item.path, error.message))
            if error.left_behind:
                self._emit(Warned(f"left behind: {error.left_behind}"))
        except Exception as error:
            leave_behind_of(error, self._scope.fail_with(error))
            raise
        finally:
            with self._scope.condition:
                self._upload_ids.pop(item.path, None)
                self._under_way.pop(item.path, None)

    def _upload_unless_there(self, item: Item) -> None:
        try:
            self._upload(item)
        except ExistsError:
            # The listing did not show what an earlier run had stored: some spell keys differently.
            was_absent = self._options.resume and self._listing.is_absent(item.key)
            if not (was_absent and self._compare_unless_unproved(item)):
                raise

    def _upload(self, item: Item) -> None:
        is_free = self._listing.is_absent(item.key)
        among = OneOfMany(
            is_checked=is_free or (self._options.overwrite and self._listing.is_whole),
            md5s=self._md5s,
            spare=self._spare,
        )
        with self._scope.condition:
            self._under_way[item.path] = among
        open_item = item.open()
        with self._scope.child() as scope:
            try:
                receipt = upload_one_of_many(
                    open_item.source,
                    self._selection.bucket,
                    item.key,
                    among=among,
                    options=self._options_of(item),
                    client=self._clients,
                    on_event=self._listening(item),
                    scope=scope,
                )
            except UnprovedError as error:  # it is stored nevertheless
                self._unproved = error
                receipt = error.receipt
                if self._options.verify != "none":
                    self._add_stored(item, open_item, receipt)
                    raise
        self._add_stored(item, open_item, receipt)

    def _add_stored(self, item: Item, open_item: OpenItem, receipt: Receipt) -> None:
        entry = entry_from_receipt(item.path, receipt, changed=open_item.changed)
        self._builder.add(entry, open_item.unreadable)

    def _is_there(self, item: Item) -> bool:
        """Whether an earlier run stored the same bytes; downloaded only if nothing else tells."""
        if self._listing.is_absent(item.key):
            return False
        listed = self._listing.find(item.key)
        if listed is not None and self._equals_listed(item, listed):
            return True
        return self._compare_unless_unproved(item)

    def _equals_listed(self, item: Item, listed: ListedObject) -> bool:
        """Whether size and ETag in the listing prove that the bytes are the same.

        If they do not, it may still be so: other part sizes, or an ETag that is no MD5.
        """
        sizes = self._likely_parts(item, listed)
        if sizes is None:
            return False
        open_item = item.open()
        # Several files are read at a time, so none of them holds parts for a batch.
        parts, digests = LocalParts(sizes, held_bytes=0), StreamDigests(("sha256",))
        try:
            read_through(open_item.source, parts, digests, self._scope, lambda _: None)
        finally:
            open_item.source.close()
        md5s = parts.md5s()
        etag = md5s[0].hex() if is_md5(listed.etag) else composite_etag(md5s)
        if etag != listed.etag:
            return False
        entry = entry_from_listing(
            item,
            open_item,
            self._bucket,
            etag=listed.etag,  # equal, and in memory anyway
            sha256=digests.hexdigests()["sha256"],
            version_id=self._version_of(item.key),
        )
        self._builder.add(entry, open_item.unreadable)
        self._emit(RangeRead(item.size_bytes or 0))
        return True

    def _likely_parts(self, item: Item, listed: ListedObject) -> Iterable[int] | None:
        """The sizes of the parts of which an equal object has this ETag; None: cannot be said."""
        size_bytes = item.size_bytes
        if size_bytes != listed.size_bytes:
            return None
        if is_md5(listed.etag):
            return (max(1, size_bytes),)
        options = self._options
        plan = plan_parts(options.chunk_bytes, length_bytes=size_bytes, limits=options.limits)
        count_there = parts_in(listed.etag)
        sizes = [plan.size_bytes(number) for number in range(1, (count_there or 0) + 1)]
        is_by_plan = count_there and sum(sizes[:-1]) < size_bytes <= sum(sizes)
        return sizes if is_by_plan else None

    def _version_of(self, key: str) -> str | None:
        """The version of an object that was listed; asked for only where there are versions."""
        return self._look_at(key).version_id if self._is_versioned else None

    def _look_at(self, key: str) -> ObjectInfo:
        action = f"look at {self._bucket.url(key)}"
        return self._retrier.call(action, lambda: self._bucket.head(key)).value

    def _compare_unless_unproved(self, item: Item) -> bool:
        try:
            return self._compare(item, readback=False)
        except UnprovedReadError:
            return self._compare(item, readback=True)

    def _compare(self, item: Item, *, readback: bool) -> bool:
        open_item = item.open()
        source = _HashingSource(open_item.source)
        with self._scope.child() as scope:
            try:
                report = verify_object(
                    self._selection.bucket,
                    item.key,
                    source=source,
                    readback=readback,
                    options=self._options_of(item),
                    client=self._clients,
                    on_event=self._listening(item),
                    scope=scope,
                )
            except (AbsentError, IntegrityError):  # the upload reports it
                return False
        entry = entry_from_report(item, open_item, report, source.sha256, self._bucket.region)
        self._builder.add(entry, open_item.unreadable)
        self._emit(RangeRead(item.size_bytes or 0))
        return True

    def _options_of(self, item: Item) -> Options:
        """The options of one upload: its share of memory and connections, its content type."""
        settings = self._options.settings
        content_type = settings.content_type or guess_content_type(item.key)
        is_short = item.size_bytes is not None and item.size_bytes <= self._options.chunk_bytes
        if (content_type, is_short) not in self._options_by_kind:
            self._options_by_kind[content_type, is_short] = self._new_options(
                content_type, is_short=is_short
            )
        return self._options_by_kind[content_type, is_short]

    def _new_options(self, content_type: str | None, *, is_short: bool) -> Options:
        return replace(
            self._options,
            memory_bytes=self._memory_bytes,
            jobs=max(1, self._options.jobs // self._at_once),
            settings=replace(self._options.settings, content_type=content_type),
            resume=self._options.resume and not is_short,
            key_of_a_file=True,
        )

    def _listening(self, item: Item) -> Callable[[Event], None]:
        """A callback that turns the events of one upload into events of the whole publication."""
        is_one_of_many = item.size_bytes is not None

        def on_event(event: Event) -> None:
            if isinstance(event, UploadCreated):
                with self._scope.condition:
                    self._upload_ids[item.path] = event.upload_id
            elif isinstance(event, Warned):
                event = Warned(f"{item.path}: {event.message}")
            elif is_one_of_many and isinstance(event, Started | ReadStarted | RangeRead):
                return  # the progress of one file is not that of all
            self._emit(event)

        return on_event

    def _end(self, error: BaseException) -> BaseException:
        """Wait for all uploads to end; returns the first error, with what is left behind."""
        first = self._scope.fail_with(error)
        if isinstance(first, ExistsError) and not self._options.resume:
            first.hint = "--resume skips what is there and equal, --overwrite replaces it"
        if not self._workers.wait_idle(_SETTLE_S, _INTERRUPTED_SETTLE_S):
            for upload_id in self.upload_ids:
                leave_behind(first, f"upload {upload_id} may be left", [upload_id])
            with self._scope.condition:
                under_way = list(self._under_way.values())
            for among in under_way:
                if among.left_behind:
                    leave_behind(first, among.left_behind)
        self._builder.note_what_is_there(first)
        return first


class _HashingSource(WrappedSource):
    """A source whose SHA-256 is computed while it is read."""

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self._digest = hashlib.sha256()

    @property
    def sha256(self) -> str:
        """The SHA-256 of everything read so far, in hex."""
        return self._digest.hexdigest()

    def readinto(self, view: memoryview, scope: CancelScope) -> int:
        """Read from the wrapped source, and hash what was read."""
        count = self.wrapped.readinto(view, scope)
        self._digest.update(view[:count])
        return count


def unproved_error(receipt: Receipt) -> UnprovedError:
    """Something is stored that `verify="none"` allowed without a proof; `receipt` is of one."""
    return UnprovedError(
        "stored, but not proved, as --verify none allows",
        hint="the objects without a proof have none in the specification",
        receipt=receipt,
    )
