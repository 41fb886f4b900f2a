"""`download`: one object, or a range of it, written to one output and proved.

Finds the object, decides what can prove it and in which pieces it is therefore read, and judges
the result. `ranges` reads, `proofs` compares.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timezone
from functools import partial
from typing import TYPE_CHECKING, BinaryIO

from .._version import __version__
from ..errors import IntegrityError, RefusedError, UnprovedReadError, UsageError
from ..integrity.etag import is_md5, parts_in
from ..integrity.md5 import md5_method, problem_to_report
from ..model.events import Event, ReadStarted, Warned
from ..model.names import check_object_name
from ..model.options import ByteRange, Options
from ..results import ReadReport, Receipt
from ..runtime.buffers import BufferPool, default_memory_bytes
from ..runtime.cancel import CancelScope
from ..runtime.md5_group import LARGEST_GROUP, Md5Group
from ..runtime.retry import get_ready
from ..s3.clients import Clients
from ..s3.context import OperationContext
from ..s3.responses import ObjectInfo
from ..units import MIB, format_size
from .output import Writer, as_writer
from .part_layout import ask_exact_layout, find_layout
from .proofs import DownloadProof, EtagProof, NoProof, Piece, ReceiptProof, cut_pieces
from .ranges import RangeReader, Target

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

__all__ = ["download"]

# For those that are hashed together and those that are read meanwhile, where parts are small.
_BUFFERS = LARGEST_GROUP + 4
_BUFFERS_BYTES = _BUFFERS * 8 * MIB


def download(
    bucket: str,
    key: str,
    output: Writer | BinaryIO | int,
    *,
    byte_range: ByteRange | None = None,
    version_id: str | None = None,
    receipt: Receipt | None = None,
    options: Options | None = None,
    client: S3Client | Clients | None = None,
    on_event: Callable[[Event], None] | None = None,
    scope: CancelScope | None = None,
) -> ReadReport:
    """Read the object `key`, or a range of it, into `output`, in order, and prove it.

    output: a descriptor (duplicated), a binary file object, or any `output.Writer`.
    byte_range: proved only with a receipt, by the parts that hold it.
    receipt: what `upload` returned. No byte of a part is written before its MD5 was compared.
    options: `chunk_bytes`, `jobs`, `memory_bytes`, `retries` and `connection` apply.
    client, on_event, scope: as for `upload`.

    Returns if and only if what was written is proved to be what was stored. Raises a
    StreamToS3Error otherwise: IntegrityError, perhaps after bytes were written, when the object
    differs or was replaced meanwhile; UnprovedReadError, after all bytes, when nothing can prove
    them.
    """
    options = options or Options()
    check_object_name(bucket, key)
    with OperationContext.open(
        bucket, options, client=client, scope=scope, on_event=on_event
    ) as context:
        writer = as_writer(output)
        try:
            return _Download(context, key, writer).run(byte_range, version_id, receipt)
        finally:
            writer.close()


class _Download:
    """One run. `run` is called once."""

    def __init__(self, context: OperationContext, key: str, writer: Writer) -> None:
        options = context.options
        self._context = context
        self._bucket = context.bucket
        self._scope = context.scope
        self._options = options
        self._key = key
        self._url = self._bucket.url(key)
        self._writer = writer
        self._memory_bytes = options.memory_bytes or default_memory_bytes()
        limit = self._bucket.limit
        self._pool = BufferPool(
            self._memory_bytes, options.jobs + 1, self._scope, lambda: limit.is_reached
        )
        context.on_throttled = self._pool.hold_back
        self._ranges: RangeReader | None = None
        self._layout: tuple[int, ...] | None = None
        self._proof: DownloadProof = NoProof()
        self._md5s = Md5Group(self._pool.room_for)

    def run(
        self, byte_range: ByteRange | None, version_id: str | None, receipt: Receipt | None
    ) -> ReadReport:
        """Find, read, prove; or raise the first error."""
        started_at = datetime.now(timezone.utc)
        try:
            self._info = self._context.find(self._key, version_id)
            self._version_id = self._pin_version(version_id)
            first, end = _resolve_range(byte_range, self._info.size_bytes)
            pieces = self._plan(first, end, receipt)
            self._context.emit(ReadStarted(end - first))
            self._read(pieces)
            proof = self._judge()
        except BaseException as error:  # noqa: BLE001 - the first error is raised
            first_error = self._fail(error)
            raise first_error from first_error.__cause__
        report = self._report(first, end, proof, started_at)
        if proof is None:
            raise self._unproved_error(report)
        return report

    def _pin_version(self, wanted: str | None) -> str | None:
        """The version that all requests name, so that replacing the object does not disturb them.

        None if reading versions is not allowed; then If-Match notices a replacement.
        """
        if wanted is not None or self._info.version_id in (None, "null"):
            return wanted
        version_id = self._info.version_id
        look = partial(self._bucket.head, self._key, version_id)

        def attempt() -> str | None:
            try:
                self._context.retrier.call(f"look at {self._url}", look)
            except RefusedError:
                return None
            return version_id

        return self._context.workers.submit(attempt).result()

    def _plan(self, first: int, end: int, receipt: Receipt | None) -> Iterator[Piece]:
        """Decide what proves the bytes, and so in which pieces they are read."""
        whole = (first, end) == (0, self._info.size_bytes)
        if receipt is not None:
            return self._plan_by_receipt(first, end, receipt, whole=whole)
        if whole:
            self._layout = find_layout(self._info, self._ask, self._options.limits)
        sizes: Sequence[int] | None = self._layout
        if sizes is not None:
            whole_parts = parts_in(self._info.etag) is not None and self._fits_in_memory(max(sizes))
            self._proof = EtagProof(
                self._url, self._info, sizes, whole_parts=whole_parts, md5=self._md5s.digest
            )
            sizes = self._make_room(sizes) if whole_parts else None
        return cut_pieces(first, end, self._options.chunk_bytes, sizes)

    def _plan_by_receipt(
        self, first: int, end: int, receipt: Receipt, *, whole: bool
    ) -> Iterator[Piece]:
        if receipt.size_bytes != self._info.size_bytes:
            raise IntegrityError(
                f"{self._url} has {self._info.size_bytes} bytes, "
                f"the receipt says {receipt.size_bytes}",
                hint=_other_version(receipt, self._info),
            )
        self._proof = ReceiptProof(self._url, receipt, whole=whole, md5=self._md5s.digest)
        sizes = self._make_room([part.size_bytes for part in receipt.parts])
        pieces = list(cut_pieces(first, end, self._options.chunk_bytes, sizes))
        largest_bytes = max((piece.size_bytes for piece in pieces), default=0)
        if largest_bytes > self._memory_bytes:
            raise UsageError(
                f"a part of {format_size(largest_bytes)} must be checked as a whole before it "
                f"is written, and --memory is {format_size(self._memory_bytes)}",
                hint=f"raise it: --memory {largest_bytes}",
            )
        return iter(pieces)

    def _make_room(self, sizes: Sequence[int]) -> Sequence[int]:
        """Allow as many buffers as it takes to hash parts of these `sizes` side by side."""
        if md5_method().lanes > 1:
            self._pool.allow(min(_BUFFERS, _BUFFERS_BYTES // max(1, *sizes)))
        return sizes

    def _fits_in_memory(self, part_bytes: int) -> bool:
        """Whether memory holds as many whole parts of this size as there are workers."""
        roomy_bytes = self._memory_bytes // (self._options.jobs + 1)
        return part_bytes <= max(self._options.chunk_bytes, roomy_bytes)

    def _ask(self, numbers: Sequence[int]) -> Sequence[tuple[int, int] | None]:
        return self._context.ask_parts(self._key, self._version_id, numbers)

    def _read(self, pieces: Iterator[Piece]) -> None:
        context = self._context
        if problem := problem_to_report():
            context.emit(Warned(problem))
        get_ready()
        self._ranges = RangeReader(
            context.workers, self._pool, context.retrier, self._scope, self._md5s.announced
        )
        target = Target(self._bucket, self._key, self._version_id, self._info)
        self._ranges.run(target, pieces, self._proof, self._writer, context.emit)

    def _judge(self) -> str | None:
        """The name of the proof, or None. Raises IntegrityError if the bytes are disproved."""
        try:
            return self._proof.judge()
        except IntegrityError:
            if self._layout is None:
                raise
            # The ETag may differ only because the sizes of the parts were guessed wrong.
            if ask_exact_layout(self._info, self._ask) in (None, self._layout):
                raise
            return None

    def _fail(self, error: BaseException) -> BaseException:
        """Fail with `error`; returns the first error, after the last write has ended.

        A write that hangs in a pipe which nobody reads is not waited for.
        """
        first = self._scope.fail_with(error)
        if self._ranges is not None:
            self._ranges.wait_idle()
        return first

    def _unproved_error(self, report: ReadReport) -> UnprovedReadError:
        etag = self._info.etag
        if report.size_bytes < self._info.size_bytes:
            reason = "no ETag covers a range"
        elif self._info.etag_is_md5 and (is_md5(etag) or parts_in(etag)):
            reason = f"its ETag is {etag}, but this endpoint does not tell where its parts end"
        else:
            reason = f"its ETag {etag} is not made of MD5s"
        return UnprovedReadError(
            f"{self._url} was read, but nothing proves that it is what was stored: {reason}",
            hint="--receipt FILE, with the receipt of its upload, would prove it",
            report=report,
        )

    def _report(self, first: int, end: int, proof: str | None, started_at: datetime) -> ReadReport:
        return ReadReport(
            bucket=self._bucket.name,
            key=self._key,
            endpoint=self._bucket.endpoint_url,
            version_id=self._version_id or self._info.version_id,
            object_bytes=self._info.size_bytes,
            etag=self._info.etag,
            offset_bytes=first,
            size_bytes=end - first,
            compared=self._proof.compared if proof else (),
            proof=proof,
            digests=self._proof.digests() if proof else {},
            retries=self._context.retries,
            started_at=started_at,
            ended_at=datetime.now(timezone.utc),
            program=f"streamtos3 {__version__}",
            metadata=self._info.metadata,
        )


def _resolve_range(wanted: ByteRange | None, size_bytes: int) -> tuple[int, int]:
    """The first byte and the one after the last. UsageError if the object has none of the range."""
    if wanted is None:
        return 0, size_bytes
    if wanted.first is None:
        first, end = max(0, size_bytes - (wanted.last or 0)), size_bytes
    else:
        first = wanted.first
        end = size_bytes if wanted.last is None else min(wanted.last + 1, size_bytes)
    if first >= end:
        raise UsageError(f"the object has {size_bytes} bytes and none of this range")
    return first, end


def _other_version(receipt: Receipt, info: ObjectInfo) -> str | None:
    """A hint where the receipt is of another version, else None."""
    if receipt.version_id in (None, info.version_id):
        return None
    return f"the receipt is of another version: --version-id {receipt.version_id}"
