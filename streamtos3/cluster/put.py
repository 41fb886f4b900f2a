"""`put_file`: one large file that all workers see becomes one object.

The client begins the upload, checks that the parts follow each other without a gap, completes and
proves it, as for a stream; the workers read, digest and send the parts.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime, timezone
from functools import partial
from typing import Any

from ..errors import IntegrityError, RetriesUsedUpError, UsageError
from ..integrity.checksums import (
    CHECKSUMS,
    FREE_CHECKSUM,
    checksum_of,
    combine,
    free_checksum_of,
)
from ..integrity.digests import StreamDigests
from ..model.events import Event
from ..model.names import check_destination_name
from ..model.options import Options
from ..model.unfinished_upload import UnfinishedUpload
from ..results import CommandReport, Receipt, StoredPart
from ..runtime.buffers import Buffer
from ..runtime.cancel import CancelScope
from ..s3.context import OperationContext
from ..uploader.object_upload import ObjectUpload
from ..uploader.part_reader import Part, check_expected_sha256, check_expected_size
from .credentials import with_read_keyfile
from .operation import Running, check_sources, edges_of, running_on
from .orders import DigestOrder, DigestReport, HashOrder, HashReport, Order, StoreOrder, StoreReport
from .processes import ClusterOptions, processes_of
from .runs import PartSpan, cut_runs, sample, spans_of
from .shared_file import FileIdentity, SharedFile

__all__ = ["put_file"]

_CRC_WITHOUT_CRT = "crc32"
_MOST_MOVES = 10
_TELL_S = 2.0
_MOST_TOLD_A_SECOND = 20.0  # each costs the client milliseconds; many workers report often anyway


def put_file(
    path: str,
    bucket: str,
    key: str,
    *,
    how: ClusterOptions,
    options: Options,
    on_event: Callable[[Event], None] | None = None,
    scope: CancelScope | None = None,
) -> Receipt:
    """Store the file or block device at `path` as the object `key`, by the workers of a cluster.

    path: as every worker sees it.
    how: which cluster; see `ClusterOptions`.
    options: as for `upload`; on a cluster `jobs` and `memory_bytes` are those of each worker.
        `digests` are computed by one worker, which reads the file beside the others.

    Returns the receipt if and only if the whole file was stored and proved, as it was from the
    beginning to the end; in it each part names its worker. Raises as `upload` does.
    """
    check_destination_name(bucket, key, of_a_file=options.key_of_a_file)
    options.settings.check()
    checksum = CHECKSUMS[options.checksum] if options.checksum else None
    path = os.path.abspath(path)
    options = with_read_keyfile(options)
    with (
        SharedFile(path) as file,
        processes_of(how) as processes,
        OperationContext.open(
            bucket, options, checksum=checksum, scope=scope, on_event=on_event
        ) as context,
        ExitStack() as stack,
    ):
        on_cluster = running_on(
            how, context.bucket, options, context.scope, context.note, processes
        )
        # The cluster is begun when the destination has been checked.
        feed = _FileFeed(file, key, context, partial(stack.enter_context, on_cluster), how)
        receipt = ObjectUpload(feed, context, key).run()
        if options.verify != "readback":
            return receipt
        from .read import prove_by_reading_back

        return prove_by_reading_back(receipt, feed.running, context)


class _FileFeed:
    """A file whose parts the workers read and store; see Feed."""

    def __init__(
        self,
        file: SharedFile,
        key: str,
        context: OperationContext,
        begin: Callable[[], Running],
        how: ClusterOptions,
    ) -> None:
        self.name = file.path
        self.length_bytes = file.size_bytes or None
        self._key = key
        self.size_bytes = 0
        self.first_byte_at: datetime | None = None
        self._file = file
        self._context = context
        self._options = context.options
        self._begin = begin
        self.running: Running
        self._has_begun = False
        self._how = how
        self._identity: FileIdentity | None = None
        self._digests: Mapping[str, str] = {}
        self._crcs: dict[int, tuple[str, int]] = {}
        self._crc = FREE_CHECKSUM if free_checksum_of(b"") else _CRC_WITHOUT_CRT
        self._upload: ObjectUpload | None = None
        self._parts: dict[int, StoredPart] = {}
        self._sampled: frozenset[int] = frozenset()
        self._moves = 0

    def start(self) -> None:
        """Check that every worker sees the same file."""
        size_bytes = self._file.size_bytes
        check_expected_size(f"{self._file.path} has {size_bytes} bytes", size_bytes, self._options)
        # Read meanwhile: to begin takes longer.
        identify = partial(self._file.identify, edges_of(self._how, self._options))
        identified = self._context.workers.submit(identify)
        running = self.running = self._begin()
        self._has_begun = True
        identity = self._identity = identified.result()
        if self._how.cross_check and len(running.dispatcher.workers) < 2:
            raise UsageError("--cross-check needs a second worker")
        check_sources(running, self._file.path, identity)

    def store_parts(self, upload: ObjectUpload) -> Part | None:
        """Have the workers store all parts, and digest the whole if that is wanted."""
        assert self._identity is not None
        self.first_byte_at = datetime.now(timezone.utc) if self._file.size_bytes else None
        spans = spans_of(upload.plan.cut(self._file.size_bytes))
        self._upload = upload
        if len(spans) == 1:
            return self._only_part(spans[0])
        self._dispatch(upload, spans)
        return None

    def _dispatch(self, upload: ObjectUpload, spans: tuple[PartSpan, ...]) -> None:
        multipart = upload.begin()
        chosen = sample(spans, self._how.cross_check, random.SystemRandom().random())
        self._sampled = frozenset(span.number for span in chosen)
        orders: Iterator[Order] = self._orders(
            upload, multipart.upload_id, spans, etags_are_md5=multipart.etags_are_md5
        )
        self._add_digest()
        self.running.dispatcher.run(orders, self._take)

    def _orders(
        self,
        upload: ObjectUpload,
        upload_id: str,
        spans: tuple[PartSpan, ...],
        *,
        etags_are_md5: bool,
    ) -> Iterator[Order]:
        assert self._identity is not None
        dispatcher = self.running.dispatcher
        for run in cut_runs(spans, dispatcher.threads):
            yield StoreOrder(
                operation=self.running.operation,
                path=self._file.path,
                identity=self._identity,
                key=self._key,
                upload_id=upload_id,
                etags_are_md5=etags_are_md5,
                spans=run,
                crc=self._crc,
                tell_every_s=max(_TELL_S, dispatcher.threads / _MOST_TOLD_A_SECOND),
                unfinished=_listed_of(upload.unfinished, run),
            )

    def _take(self, order: Order, report: Any) -> None:
        """In the calling thread: note what a worker has reported."""
        if isinstance(report, StoreReport):
            self._take_parts(report)
        elif isinstance(report, DigestReport):
            self._digests = report.digests
        elif isinstance(report, HashReport):
            self._compare(order, report)

    def _take_parts(self, report: StoreReport) -> None:
        assert self._upload is not None and self._identity is not None
        with self._context.scope.condition:
            self._context.retries += report.retries
        self.running.dispatcher.show(report.parts)
        again = []
        for part, crc in zip(report.parts, report.crcs, strict=True):
            if part.number in self._parts:  # whoever was first, the bytes are the same
                continue
            self._upload.note(part)
            self._parts[part.number] = part
            self._crcs[part.number] = (crc, part.size_bytes)
            self.size_bytes += part.size_bytes
            if part.number in self._sampled:
                again.append(PartSpan(part.number, part.offset_bytes, part.size_bytes))
        if again:
            operation, path = self.running.operation, self._file.path
            order = HashOrder(operation, path, self._identity, tuple(again))
            self.running.dispatcher.add(order, [_address(report.worker)])

    def _compare(self, order: Order, report: HashReport) -> None:
        """Compare what a second worker has read with what the first has stored."""
        assert isinstance(order, HashOrder)
        for span, md5 in zip(order.spans, report.md5s, strict=True):
            stored = self._parts[span.number]
            if report.worker == stored.worker:
                self._move(order, report.worker)
                return
            if md5 != stored.md5:
                raise IntegrityError(
                    f"part {span.number} of {self._file.path}, from byte {span.offset_bytes} on, "
                    f"has the MD5 {stored.md5} on worker {stored.worker} and {md5} on worker "
                    f"{report.worker}",
                    hint="the memory, disk or network of one of the two is not to be trusted",
                )

    def _move(self, order: HashOrder, worker: str) -> None:
        """Dask gave the parts to the worker that stored them: another one must read them."""
        self._moves += 1
        if self._moves > _MOST_MOVES * max(1, len(self._sampled)):
            raise RetriesUsedUpError("--cross-check found no second worker for a part")
        self.running.dispatcher.add(order, [_address(worker)])

    def _add_digest(self) -> None:
        """What cannot be computed in pieces is computed by one worker, beside the others."""
        names = self._digest_names()
        if names:
            assert self._identity is not None
            order = DigestOrder(self.running.operation, self._file.path, self._identity, names)
            self.running.dispatcher.add(order, urgent=True)

    def _only_part(self, span: PartSpan) -> Part:
        """A file that fits one request is read here: there is nothing to share out."""
        part = Part(1, 0, span.size_bytes, Buffer(max(1, span.size_bytes)))
        self._file.read_into(part.buffer.view[: span.size_bytes], 0)
        part.filled_bytes = self.size_bytes = span.size_bytes
        names = self._digest_names()
        digests = StreamDigests(dict.fromkeys((*names, "sha256")))
        digests.update(part.data)
        found = digests.hexdigests()
        self._digests = {name: found[name] for name in names}
        part.sha256 = found["sha256"]
        self._crcs[1] = (checksum_of(self._crc)(part.data), span.size_bytes)
        return part

    def check_end(self) -> None:
        """Compare the file with what it was in the beginning, here and on every worker."""
        assert self._identity is not None
        self._file.check_unchanged(self._identity)
        check_sources(self.running, self._file.path, self._identity)
        check_expected_sha256(self._digests.get("sha256"), self._options)

    def stop(self) -> None:
        """Have the workers stop; the cleanup waits for that."""
        if self._has_begun:
            self._context.workers.submit(self.running.dispatcher.end, even_if_cancelled=True)

    def digests(self) -> Mapping[str, str]:
        """See Feed."""
        return self._digests

    def checksums(self) -> Mapping[str, str]:
        """The CRC of the whole, combined from those of the parts."""
        ordered = [self._crcs[number] for number in sorted(self._crcs)]
        return {self._crc: combine(self._crc, ordered)}

    def command(self) -> CommandReport | None:
        """See Feed."""
        return None

    def _digest_names(self) -> tuple[str, ...]:
        """Those that are wanted, and the one that is expected; each once."""
        expected = ("sha256",) if self._options.expect_sha256 else ()
        return tuple(dict.fromkeys((*self._options.digests, *expected)))


def _listed_of(
    unfinished: UnfinishedUpload | None, run: tuple[PartSpan, ...]
) -> UnfinishedUpload | None:
    """The upload that is resumed, with the listed parts of this run alone."""
    if unfinished is None:
        return None
    numbers = {span.number for span in run}
    listed = tuple(part for part in unfinished.listed if part.number in numbers)
    return replace(unfinished, listed=listed)


def _address(worker: str) -> str:
    """Dask's address in a worker's name."""
    return worker.rpartition(" ")[2]
