"""`verify_on` and `get_file`: objects that the workers of a cluster read, piece by piece.

Each worker answers the MD5s of the parts that it has read; the client compares them with the
object's ETag, with a receipt, or with what workers read from a file that all of them see.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime, timezone
from functools import partial
from typing import Any

from .._version import __version__
from ..downloader.comparison import Comparison
from ..downloader.part_layout import find_layout
from ..errors import IntegrityError, OutputError, os_reason
from ..model.events import Event, RangeRead, ReadStarted
from ..model.names import check_object_name
from ..model.options import Options
from ..results import ReadReport, Receipt
from ..runtime.cancel import CancelScope
from ..s3.context import OperationContext
from ..s3.responses import ObjectInfo
from ..uploader.readback import proved_by_reading_back, reading_back
from .credentials import with_read_keyfile
from .operation import Running, check_sources, running_on
from .orders import HashOrder, HashReport, Order, ReadOrder
from .processes import ClusterOptions, processes_of
from .runs import PartSpan, cut_runs, spans_of
from .shared_file import SharedFile

__all__ = ["get_file", "prove_by_reading_back", "verify_on"]

_DAMAGE_TRIES = 5


def get_file(
    bucket: str,
    key: str,
    path: str,
    inode: int,
    *,
    how: ClusterOptions,
    receipt: Receipt | None = None,
    version_id: str | None = None,
    options: Options,
    on_event: Callable[[Event], None] | None = None,
    scope: CancelScope | None = None,
) -> ReadReport:
    """Read the object `key` into the empty file at `path`, which all workers see, and prove it.

    inode: the file's, by which a worker knows it. Its name should be one that nobody uses yet.

    Returns if and only if what was written is proved to be what was stored. Raises as `download`
    does, and OutputError where a worker cannot write to that file.
    """
    check_object_name(bucket, key)
    with _open(how, bucket, options, on_event, scope) as (context, begin):
        reading = _Reading(context, key)
        reading.find(version_id)
        reading.running = begin()
        reading.read(receipt, into=(os.path.abspath(path), inode))
        reading.check_written(path)
        return reading.report()


def verify_on(
    bucket: str,
    key: str,
    *,
    how: ClusterOptions,
    path: str | None = None,
    receipt: Receipt | None = None,
    readback: bool = False,
    version_id: str | None = None,
    options: Options,
    on_event: Callable[[Event], None] | None = None,
    scope: CancelScope | None = None,
) -> ReadReport:
    """Compare the object `key` with a file that all workers see, a receipt, or its own ETag.

    As `verify_object`, but that with a file and `readback` the MD5s of all parts are compared, and
    not a SHA-256 of the whole, which cannot be computed in pieces.
    """
    check_object_name(bucket, key)
    with _open(how, bucket, options, on_event, scope) as (context, begin):
        reading = _Reading(context, key)
        reading.find(version_id)
        reading.running = begin()
        if receipt is not None:
            reading.so_far.with_receipt(receipt)
            readback = readback or reading.so_far.is_read_back_unasked
        if path is not None:
            reading.compare_file(os.path.abspath(path), receipt)
        readback = readback or (path is None and receipt is None)
        if readback:
            reading.read(receipt)
        return reading.report(readback=readback)


def prove_by_reading_back(receipt: Receipt, running: Running, context: OperationContext) -> Receipt:
    """Have the workers read the object back; returns `receipt` with this proof.

    Raises as `reading_back` does.
    """
    with reading_back(receipt):
        reading = _Reading(context, receipt.key)
        reading.running = running
        reading.find(receipt.version_id)
        reading.read(receipt)
    return proved_by_reading_back(receipt)


@contextmanager
def _open(
    how: ClusterOptions,
    bucket: str,
    options: Options,
    on_event: Callable[[Event], None] | None,
    scope: CancelScope | None,
) -> Iterator[tuple[OperationContext, Callable[[], Running]]]:
    """The client's own context, and what begins the operation on the cluster.

    The first error is raised, after the workers have stopped.
    """
    options = with_read_keyfile(options)
    with (
        processes_of(how) as processes,
        OperationContext.open(bucket, options, scope=scope, on_event=on_event) as context,
    ):
        try:
            with ExitStack() as stack:
                on_cluster = running_on(
                    how, context.bucket, options, context.scope, context.emit, processes
                )
                yield context, partial(stack.enter_context, on_cluster)
        except BaseException as error:  # noqa: BLE001 - the first error is raised
            first = context.scope.fail_with(error)
            raise first from first.__cause__


class _Reading:
    """One object and what is compared with it. `find` is called first, `report` last.

    `running` is set before anything is read.
    """

    def __init__(self, context: OperationContext, key: str) -> None:
        self.running: Running
        self._context = context
        self._bucket = context.bucket
        self._key = key
        self._url = context.bucket.url(key)
        self._info: ObjectInfo
        self._version_id: str | None = None
        self.so_far: Comparison
        self._file_md5s: list[str] | None = None
        self._started_at = datetime.now(timezone.utc)

    def find(self, version_id: str | None) -> None:
        """Look at the object; all that is read later is pinned to its ETag."""
        self._info = self._context.find(self._key, version_id)
        self.so_far = Comparison(self._url, self._info)
        self._version_id = version_id

    def compare_file(self, path: str, receipt: Receipt | None) -> None:
        """Have the workers read the file, and compare its parts with the object's ETag."""
        with SharedFile(path) as file:
            self.so_far.with_length(path, file.size_bytes)
            identity = file.identify(self.running.edge_bytes)
            check_sources(self.running, path, identity)
            sizes = self._sizes(receipt)
            operation = self.running.operation
            md5s = self._collect(
                sizes or self._chunks(), partial(HashOrder, operation, path, identity)
            )
            file.check_unchanged(identity)
        self._file_md5s = md5s
        self.so_far.note("size")
        if receipt is not None:
            what = f"{path} is not what the receipt says"
            self.so_far.with_parts(what, _binary(md5s), receipt)
        elif sizes is not None:
            what = f"{self._url} is not what {path} holds"
            self.so_far.with_etag(what, path, _binary(md5s), sizes, self._ask)

    def read(self, receipt: Receipt | None, into: tuple[str, int] | None = None) -> None:
        """Have the workers read the object, and compare it with all that is known of it."""
        if receipt is not None and receipt.size_bytes != self._info.size_bytes:
            raise IntegrityError(
                f"{self._url} has {self._info.size_bytes} bytes, "
                f"the receipt says {receipt.size_bytes}"
            )
        sizes = self._sizes(receipt)
        expected = [part.md5 for part in receipt.parts] if receipt else self._file_md5s
        order = partial(self._read_order, into)
        md5s = self._collect(sizes or self._chunks(), order, expected)
        so_far, what = self.so_far, f"{self._url} is not what was stored"
        if receipt is not None:
            so_far.with_parts(what, _binary(md5s), receipt)
            so_far.proof = "receipt"
        elif self._file_md5s is not None:
            if md5s != self._file_md5s:
                raise IntegrityError(f"{self._url} is not what was read here")
            so_far.proof = so_far.proof or "readback"
        elif sizes is not None:
            so_far.with_etag(what, "the bytes", _binary(md5s), sizes, self._ask)
        if so_far.proof:
            so_far.note("bytes")

    def check_written(self, path: str) -> None:
        """OutputError where the file here does not have what the workers have written."""
        try:
            size_bytes = os.stat(path).st_size
        except OSError as error:
            raise OutputError(f"cannot read {path}: {os_reason(error)}") from error
        if size_bytes != self._info.size_bytes:
            raise OutputError(
                f"{path} has {size_bytes} bytes here after the workers have written "
                f"{self._info.size_bytes}",
                hint="OUTFILE must be on storage that all workers share",
            )

    def _read_order(self, into: tuple[str, int] | None, spans: tuple[PartSpan, ...]) -> ReadOrder:
        return ReadOrder(
            self.running.operation, self._key, self._version_id, self._info, spans, into
        )

    def _sizes(self, receipt: Receipt | None) -> Sequence[int] | None:
        """The sizes of the object's parts; None where they are unknown or prove nothing."""
        if receipt is not None:
            return [part.size_bytes for part in receipt.parts]
        return find_layout(self._info, self._ask, self._context.options.limits)

    def _chunks(self) -> Sequence[int]:
        """Any sizes, where the object's parts are unknown."""
        chunk_bytes, size_bytes = self._context.options.chunk_bytes, self._info.size_bytes
        whole, rest = divmod(size_bytes, chunk_bytes)
        return [chunk_bytes] * whole + ([rest] if rest or not whole else [])

    def _ask(self, numbers: Sequence[int]) -> Sequence[tuple[int, int] | None]:
        return self._context.ask_parts(self._key, self._version_id, numbers)

    def _collect(
        self,
        sizes: Sequence[int],
        order: Callable[[tuple[PartSpan, ...]], Order],
        expected: Sequence[str] | None = None,
    ) -> list[str]:
        """The MD5 of each part, as the workers read it; those that differ are read again.

        A part that still differs from what is `expected` after some tries is returned as it is.
        """
        dispatcher = self.running.dispatcher
        found: dict[int, str] = {}
        tries: dict[int, int] = {}
        self._context.emit(ReadStarted(sum(sizes)))

        def take(done: Order, report: Any) -> None:
            assert isinstance(report, HashReport) and isinstance(done, HashOrder | ReadOrder)
            self._context.retries += report.retries
            again = []
            for span, md5 in zip(done.spans, report.md5s, strict=True):
                tries[span.number] = tries.get(span.number, 0) + 1
                differs = expected is not None and md5 != expected[span.number - 1]
                if differs and tries[span.number] < _DAMAGE_TRIES:
                    again.append(span)
                    continue
                found[span.number] = md5
                self._context.emit(RangeRead(span.size_bytes))
            for span in again:
                dispatcher.add(order((span,)))

        runs = cut_runs(spans_of(sizes), dispatcher.threads)
        dispatcher.run((order(run) for run in runs), take)
        return [found[number] for number in sorted(found)]

    def report(self, *, readback: bool = True) -> ReadReport:
        """What was compared. UnprovedReadError where nothing proves the object."""
        info, is_md5_proof = self._info, self.so_far.proof == "md5-etag"
        report = ReadReport(
            bucket=self._bucket.name,
            key=self._key,
            endpoint=self._bucket.endpoint_url,
            version_id=self._version_id or info.version_id,
            object_bytes=info.size_bytes,
            etag=info.etag,
            offset_bytes=0,
            size_bytes=info.size_bytes,
            compared=self.so_far.compared,
            proof=self.so_far.proof,
            digests={"md5": (info.etag or "").lower()} if is_md5_proof else {},
            retries=self._context.retries,
            started_at=self._started_at,
            ended_at=datetime.now(timezone.utc),
            program=f"streamtos3 {__version__}",
        )
        if report.proof is None:
            raise self.so_far.unproved_error(report, readback=readback)
        return report


def _binary(md5s: Sequence[str]) -> list[bytes]:
    return [bytes.fromhex(md5) for md5 in md5s]
