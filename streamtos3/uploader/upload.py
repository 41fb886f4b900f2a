"""`upload`: one stream to one object, from the first byte to the receipt.

Reads in the calling thread and stores parts in daemon threads; `object_upload` checks, begins and
commits, once the input has truly ended and every part is proved, and cleans up otherwise. It knows
nothing of where the stream comes from, of the command line, or of other uploads.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, BinaryIO

from ..errors import UnprovedError
from ..integrity.checksums import CHECKSUMS
from ..integrity.md5 import md5s, problem_to_report
from ..model.events import Event, PartStored, Warned
from ..model.names import check_destination_name
from ..model.options import Options
from ..results import CommandReport, Receipt
from ..runtime.buffers import BufferPool, SpareBuffers, default_memory_bytes
from ..runtime.cancel import CancelScope
from ..s3.clients import Clients
from ..s3.context import OperationContext
from ..sources.base import Source
from ..sources.command import command_report_of
from ..sources.open import as_source
from .confirm import is_read_back_unasked
from .multipart import MultipartUpload
from .object_upload import ObjectUpload, OneOfMany
from .part_batches import PartBatches
from .part_reader import Part, Reader

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

__all__ = ["upload", "upload_one_of_many"]


def upload(
    source: Source | BinaryIO | int | str | os.PathLike[str],
    bucket: str,
    key: str,
    *,
    options: Options | None = None,
    client: S3Client | Clients | None = None,
    on_event: Callable[[Event], None] | None = None,
    scope: CancelScope | None = None,
) -> Receipt:
    """Store everything that `source` yields as the object `key`, and prove it.

    source: a descriptor (0 is taken over, see `open.take_standard_input`), a path, a binary
        file object, or any `base.Source`.
    options: sizes, retries, digests and the connection; see `Options`.
    client: a boto3 S3 client to use instead of one made from `options.connection`. Turn its own
        retries off (`Config(retries={"total_max_attempts": 1})`), or the numbers multiply. Or
        the `Clients` of a connection, shared by many uploads.
    on_event: called with each `Event`, from several threads but never at the same time. An
        exception that it raises is logged and changes nothing.
    scope: give one to end the upload from elsewhere: `scope.fail(Interrupted(signal.SIGTERM))`.
        It fails with the upload's error, and is not closed.

    Returns the receipt if and only if the whole input was stored and proved. Raises a
    StreamToS3Error otherwise, whose class says what is in the bucket (docs/guarantees.org);
    its `left_behind` is set when that is not nothing. UnprovedError carries the `receipt`.
    """
    return upload_one_of_many(
        source,
        bucket,
        key,
        among=None,
        options=options,
        client=client,
        on_event=on_event,
        scope=scope,
    )


def upload_one_of_many(
    source: Source | BinaryIO | int | str | os.PathLike[str],
    bucket: str,
    key: str,
    *,
    among: OneOfMany | None,
    options: Options | None,
    client: S3Client | Clients | None,
    on_event: Callable[[Event], None] | None,
    scope: CancelScope | None,
) -> Receipt:
    """As `upload`; after a signal it may return only when the request under way is answered."""
    options = options or Options()
    check_destination_name(bucket, key, of_a_file=options.key_of_a_file)
    options.settings.check()
    checksum = CHECKSUMS[options.checksum] if options.checksum else None
    with OperationContext.open(
        bucket, options, checksum=checksum, client=client, scope=scope, on_event=on_event
    ) as context:
        stream = as_source(source)
        try:
            unproved: UnprovedError | None = None
            try:
                spare = among.spare if among else None
                with closing(_StreamFeed(stream, context, spare)) as feed:
                    receipt = ObjectUpload(feed, context, key, among).run()
                    feed.leave_memory()
            except UnprovedError as error:
                if not is_read_back_unasked(error.receipt, options):
                    raise
                unproved, receipt = error, error.receipt
            if unproved is None and options.verify != "readback":
                return receipt
            from .readback import prove_by_reading_back  # loading it takes start-up time

            return prove_by_reading_back(receipt, options, client, context.scope, unproved)
        finally:
            stream.close()


class _StreamFeed:
    """A stream, read once and in order by the calling thread; the workers store its parts."""

    def __init__(
        self, source: Source, context: OperationContext, spare: SpareBuffers | None
    ) -> None:
        options = context.options
        self.name = source.name
        self.length_bytes = source.length_bytes
        self._source = source
        self._scope = context.scope
        self._workers = context.workers
        self._emit = context.emit
        memory_bytes = options.memory_bytes
        if memory_bytes is None:
            memory_bytes = default_memory_bytes()
        limit = context.bucket.limit
        self._pool = BufferPool(
            memory_bytes, options.jobs + 1, self._scope, lambda: limit.is_reached, spare
        )
        context.on_throttled = self._pool.hold_back
        self._only_part: Part | None = None
        self._reader = Reader(source, self._pool, options, self._scope)

    def start(self) -> None:
        """See Feed."""
        self._source.start()

    def store_parts(self, upload: ObjectUpload) -> Part | None:
        """See Feed."""
        first, second = self._reader.first_parts(upload.plan)
        if second is None:
            self._only_part = first
            return first
        multipart = upload.begin()
        start = partial(self._start_batch, upload, multipart)
        if problem := problem_to_report():
            self._emit(Warned(problem))
        batches = PartBatches(self._pool, self._scope, start)
        batches.add(first)
        for part in self._reader.rest(second):
            batches.add(part)
        batches.end()
        return None

    def _start_batch(
        self, upload: ObjectUpload, multipart: MultipartUpload, parts: Sequence[Part]
    ) -> None:
        self._workers.submit(partial(self._store_batch, upload, multipart, parts))

    def _store_batch(
        self, upload: ObjectUpload, multipart: MultipartUpload, parts: Sequence[Part]
    ) -> None:
        """In a worker: hash the parts of a batch together, and have each stored by a worker."""
        digests = md5s([part.data for part in parts])
        tasks = [
            partial(self._store_part, upload, multipart, part, md5)
            for part, md5 in zip(parts, digests, strict=True)
        ]
        for task in tasks[1:]:
            self._workers.submit(task)
        tasks[0]()

    def _store_part(
        self, upload: ObjectUpload, multipart: MultipartUpload, part: Part, md5: bytes
    ) -> None:
        """In a worker: send and compare one part, then release its buffer."""
        stored = multipart.store_part(
            part.number, part.offset_bytes, part.data, self._scope.check, md5
        )
        self._pool.release(part.buffer)
        upload.note(stored)
        self._emit(PartStored(stored, in_flight=self._workers.unfinished - 1))

    def check_end(self) -> None:
        """See Feed."""
        self._reader.check_end()

    def stop(self) -> None:
        """See Feed."""
        self._source.stop()

    def leave_memory(self) -> None:
        """Leave the memory to another upload: this one has succeeded, and nothing uses it."""
        if self._only_part is not None:
            self._pool.release(self._only_part.buffer)
            self._only_part = None
        self._pool.leave()

    def close(self) -> None:
        """Give the memory back."""
        self._only_part = None
        self._pool.close()

    @property
    def size_bytes(self) -> int:
        """See Feed."""
        return self._reader.size_bytes

    @property
    def first_byte_at(self) -> datetime | None:
        """See Feed."""
        return self._reader.first_byte_at

    def digests(self) -> Mapping[str, str]:
        """See Feed."""
        return self._reader.digests.hexdigests()

    def checksums(self) -> Mapping[str, str]:
        """See Feed."""
        return {}

    def command(self) -> CommandReport | None:
        """See Feed."""
        return command_report_of(self._source)
