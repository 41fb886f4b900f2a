"""`verify_object`: compare a stored object with a local stream, a receipt, or its own ETag.

The cheap proof is the ETag: computed here from the local bytes, or taken from the receipt, and
compared with what HEAD answers. The expensive one reads the object back.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING, BinaryIO

from .._version import __version__
from ..errors import IntegrityError, UnprovedReadError
from ..integrity.digests import StreamDigests
from ..integrity.md5 import problem_to_report
from ..model.events import Event, RangeRead, ReadStarted, Warned
from ..model.names import check_object_name
from ..model.options import Options
from ..results import ReadReport, Receipt
from ..runtime.cancel import CancelScope
from ..s3.clients import Clients
from ..s3.context import OperationContext
from ..sources.base import Source
from ..sources.open import as_source
from .comparison import Comparison
from .download import download
from .local_etag import LocalParts, read_through
from .part_layout import find_layout

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

__all__ = ["verify_object"]

_READBACK_DIGEST = "sha256"


def verify_object(
    bucket: str,
    key: str,
    *,
    source: Source | BinaryIO | int | str | os.PathLike[str] | None = None,
    receipt: Receipt | None = None,
    readback: bool = False,
    version_id: str | None = None,
    options: Options | None = None,
    client: S3Client | Clients | None = None,
    on_event: Callable[[Event], None] | None = None,
    scope: CancelScope | None = None,
) -> ReadReport:
    """Compare the object `key` with a local stream, with a receipt, or with its own ETag.

    source: as for `upload`; its ETag is computed with the object's part sizes. No download.
    receipt: its size, ETag and version id are compared; no download, unless these prove nothing
        and the object has at most `READ_BACK_UNASKED_BYTES`.
    readback: read the object too, and compare the bytes. The default where there is neither
        source nor receipt; then the ETag is recomputed.

    Returns if and only if the object is proved. Raises IntegrityError when anything differs, and
    UnprovedReadError when nothing does but nothing proves it either.
    """
    options = options or Options()
    check_object_name(bucket, key)
    with OperationContext.open(
        bucket, options, client=client, scope=scope, on_event=on_event
    ) as context:
        stream = None if source is None else as_source(source)
        try:
            readback = readback or (source is None and receipt is None)
            run = _Verification(context, key, version_id, client)
            return run.run(stream, receipt, readback=readback)
        finally:
            if stream is not None:
                stream.close()


class _Verification:
    """One run. `run` is called once."""

    def __init__(
        self,
        context: OperationContext,
        key: str,
        version_id: str | None,
        client: S3Client | Clients | None,
    ) -> None:
        self._context = context
        self._client = client
        self._key = key
        self._url = context.bucket.url(key)
        self._version_id = version_id
        self._digests: dict[str, str] = {}

    def run(self, source: Source | None, receipt: Receipt | None, *, readback: bool) -> ReadReport:
        """Compare all that was asked for; raises the first error."""
        started_at = datetime.now(timezone.utc)
        try:
            self._info = self._context.find(self._key, self._version_id)
            self._so_far = Comparison(self._url, self._info)
            if receipt is not None:
                self._so_far.with_receipt(receipt)
                readback = readback or self._so_far.is_read_back_unasked
            if source is not None:
                self._compare_source(source, receipt, readback=readback)
            if readback:
                self._compare_bytes(receipt, against_source=source is not None)
        except BaseException as error:  # noqa: BLE001 - the first error is raised
            first = self._context.scope.fail_with(error)
            raise first from first.__cause__
        report = self._report(started_at)
        if self._so_far.proof is None:
            raise self._so_far.unproved_error(report, readback=readback)
        return report

    def _ask(self, numbers: Sequence[int]) -> Sequence[tuple[int, int] | None]:
        return self._context.ask_parts(self._key, self._version_id, numbers)

    def _compare_source(self, source: Source, receipt: Receipt | None, *, readback: bool) -> None:
        """Compare the local stream with the receipt's parts, or its ETag with the object's."""
        self._so_far.with_length(source.name, source.length_bytes)
        if receipt is not None:
            sizes: Sequence[int] | None = [part.size_bytes for part in receipt.parts]
        else:
            sizes = find_layout(self._info, self._ask, self._context.options.limits)
        parts = LocalParts(sizes or (self._info.size_bytes,))
        digests = StreamDigests((_READBACK_DIGEST,) if readback else ())
        if problem := problem_to_report():
            self._context.emit(Warned(problem))
        self._context.emit(ReadStarted(source.length_bytes))
        size_bytes = read_through(
            source,
            parts,
            digests,
            self._context.scope,
            lambda count: self._context.emit(RangeRead(count)),
        )
        self._so_far.with_length(source.name, size_bytes)
        self._digests = digests.hexdigests()
        self._so_far.note("size")
        if receipt is not None:
            what = f"{source.name} is not what the receipt says"
            self._so_far.with_parts(what, parts.md5s(), receipt)
        elif sizes is not None:
            what = f"{self._url} is not what {source.name} holds"
            self._so_far.with_etag(what, source.name, parts.md5s(), sizes, self._ask)

    def _compare_bytes(self, receipt: Receipt | None, *, against_source: bool) -> None:
        """Read the object and compare it with all that is known of it."""
        writer = _DigestWriter((_READBACK_DIGEST,) if against_source else ())
        try:
            report = download(
                self._context.bucket.name,
                self._key,
                writer,
                version_id=self._version_id,
                receipt=receipt,
                options=self._context.options,
                client=self._client,
                on_event=self._context.emit,
                scope=self._context.scope,
            )
        except UnprovedReadError as error:
            report = error.report
        if report.etag != self._info.etag:
            raise IntegrityError(f"{self._url} was replaced while it was being compared")
        found = writer.digests.hexdigests()
        if against_source and found != self._digests:
            raise IntegrityError(
                f"{self._url} is not what was read here: its {_READBACK_DIGEST} is "
                f"{found[_READBACK_DIGEST]} instead of {self._digests[_READBACK_DIGEST]}"
            )
        so_far = self._so_far
        so_far.proof = report.proof or ("readback" if against_source else so_far.proof)
        self._context.retries += report.retries
        self._digests = {**report.digests, **found}
        so_far.note(*report.compared, *found)
        if report.compared or found:
            so_far.note("bytes")

    def _report(self, started_at: datetime) -> ReadReport:
        return ReadReport(
            bucket=self._context.bucket.name,
            key=self._key,
            endpoint=self._context.bucket.endpoint_url,
            version_id=self._info.version_id,
            object_bytes=self._info.size_bytes,
            etag=self._info.etag,
            offset_bytes=0,
            size_bytes=self._info.size_bytes,
            compared=self._so_far.compared,
            proof=self._so_far.proof,
            digests=self._digests,
            retries=self._context.retries,
            started_at=started_at,
            ended_at=datetime.now(timezone.utc),
            program=f"streamtos3 {__version__}",
            metadata=self._info.metadata,
        )


class _DigestWriter:
    """A Writer that keeps nothing but digests."""

    def __init__(self, names: Sequence[str]) -> None:
        self.digests = StreamDigests(names)

    def deliver(self, data: memoryview, scope: CancelScope) -> None:
        """Update the digests."""
        self.digests.update(data)

    def close(self) -> None:
        """Do nothing; there is nothing to close."""
