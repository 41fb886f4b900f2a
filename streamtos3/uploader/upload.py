"""`upload`: one stream to one object, from the first byte to the receipt.

Reads in the calling thread, stores parts in daemon threads, and commits once the input has truly
ended and every part is proved; cleans up otherwise. It knows nothing of where the stream comes
from, of the command line, or of other uploads.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timezone
from functools import partial
from typing import TYPE_CHECKING, BinaryIO

from .._version import __version__
from ..errors import IntegrityError, leave_behind
from ..integrity.checksums import CHECKSUMS, checksum_of, free_checksum_of, whole_checksums
from ..integrity.digests import composite_etag, part_md5
from ..integrity.etag import Expected
from ..model.events import (
    Event,
    PartStored,
    Resuming,
    Started,
    UploadCreated,
    Warned,
)
from ..model.names import check_destination_name
from ..model.object_settings import ObjectSettings
from ..model.options import Options
from ..model.parts import PartPlan, infer_plan, plan_parts, requires_equal_parts
from ..model.unfinished_upload import UnfinishedUpload
from ..results import Proof, Receipt, StoredPart
from ..runtime.buffers import BufferPool, default_memory_bytes
from ..runtime.cancel import Cancelled, CancelScope
from ..runtime.host import user_name
from ..s3.bodies import PartBody
from ..s3.clients import Clients, library_versions
from ..s3.context import OperationContext
from ..s3.responses import new_token, object_metadata
from ..sources.base import Source
from ..sources.command import command_report_of
from ..sources.open import as_source
from .cleanup import INTERRUPTED_SETTLE_S, Cleanup
from .commit import Commit
from .confirm import Committed, choose_proof, require_proof
from .multipart import MultipartUpload
from .part_reader import Part, Reader
from .preflight import check_destination
from .unfinished import find_unfinished

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

__all__ = ["upload"]


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
    options = options or Options()
    check_destination_name(bucket, key, of_a_file=options.key_of_a_file)
    options.settings.check()
    checksum = CHECKSUMS[options.checksum] if options.checksum else None
    with OperationContext.open(
        bucket, options, checksum=checksum, client=client, scope=scope, on_event=on_event
    ) as context:
        stream = as_source(source)
        try:
            receipt = _Upload(stream, context, key).run()
            if options.verify != "readback":
                return receipt
            from .readback import prove_by_reading_back  # the way back costs start-up

            return prove_by_reading_back(receipt, options, client, context.scope)
        finally:
            stream.close()


class _Upload:
    """One run. `run` is called once."""

    def __init__(self, source: Source, context: OperationContext, key: str) -> None:
        options = context.options
        self._source = source
        self._context = context
        self._bucket = context.bucket
        self._scope = context.scope
        self._workers = context.workers
        self._retrier = context.retrier
        self._emit = context.emit
        self._options = options
        self._key = key
        self._length_bytes = options.expect_size_bytes or source.length_bytes
        self._plan = _plan(self._length_bytes, options)
        self._url = self._bucket.url(key)
        self._cleanup = Cleanup(self._url, self._workers, self._scope, keeps_parts=options.resume)
        memory_bytes = options.memory_bytes
        if memory_bytes is None:
            memory_bytes = default_memory_bytes()
        limit = self._bucket.limit
        self._pool = BufferPool(
            memory_bytes, options.jobs + 1, self._scope, lambda: limit.is_reached
        )
        context.on_throttled = self._pool.hold_back
        self._reader = Reader(source, self._pool, options, self._scope)
        self._token: str | None = new_token()
        self._unfinished: UnfinishedUpload | None = None
        self._multipart: MultipartUpload | None = None
        self._commit: Commit | None = None
        self._stored: dict[int, StoredPart] = {}
        self._endpoint_url = ""
        self._region: str | None = None
        self._started_at = datetime.now(timezone.utc)

    def run(self) -> Receipt:
        """Read, store, commit and prove; or clean up and raise the first error."""
        try:
            self._check_and_start()
            content = self._read_parts()
            self._reader.check_end()
            committed, expected = self._commit_all(content)
        except BaseException as error:  # noqa: BLE001 - cleaned up, then raised
            first = self._scope.fail_with(error)
            self._clean_up(first)
            raise first from first.__cause__
        finally:
            self._pool.close()
        self._cleanup.sweep(self._multipart)
        proof = choose_proof(self._url, self._options, committed, expected)
        receipt = self._receipt(committed, expected, proof)
        require_proof(receipt, self._options, committed.lock_problem)
        return receipt

    def _clean_up(self, first: BaseException) -> None:
        """Stop the input, undo the upload, and note on `first` what is left behind."""
        self._source.stop()
        left_behind = self._cleanup.run(first, self._multipart, self._commit)
        if left_behind:
            leave_behind(first, left_behind)

    def _check_and_start(self) -> None:
        """Check the destination before the first byte is needed, then let the input begin."""
        self._workers.submit(self._check).result()
        if self._unfinished is not None:
            self._plan = infer_plan(self._unfinished.listed, self._plan, self._length_bytes)
        # Known before the object is stored, because nothing may fail any more after that.
        self._endpoint_url, self._region = self._bucket.endpoint_url, self._bucket.region
        self._scope.check()
        self._source.start()
        plan = self._plan
        self._emit(Started(self._length_bytes, plan.part_bytes, plan.capacity_bytes, plan.grows))

    def _check(self) -> None:
        check_for_s = self._options.retries.check_for_s
        check_destination(
            self._bucket,
            self._retrier,
            self._key,
            overwrite=self._options.overwrite,
            check_for_s=check_for_s,
        )
        if self._options.resume:
            self._unfinished = find_unfinished(self._bucket, self._retrier, self._key, check_for_s)

    def _read_parts(self) -> Part | MultipartUpload:
        """Read to the end of the input.

        Returns the one part of an input that fits it, else the upload that parts are sent to.
        """
        first, second = self._reader.first_parts(self._plan)
        if second is None:
            return first
        multipart = self._begin_multipart()
        self._dispatch(multipart, first)
        for part in self._reader.rest(second):
            self._dispatch(multipart, part)
        return multipart

    def _begin_multipart(self) -> MultipartUpload:
        multipart = MultipartUpload(self._bucket, self._retrier, self._key, self._options.checksum)
        self._multipart = multipart  # before it is begun, so that a failure cleans it up
        if self._unfinished is not None:
            self._resume(multipart, self._unfinished)
        else:
            metadata = object_metadata(self._token or "", str(self._plan))
            self._workers.submit(lambda: multipart.create(metadata)).result()
        self._emit(UploadCreated(multipart.upload_id))
        return multipart

    def _resume(self, multipart: MultipartUpload, unfinished: UnfinishedUpload) -> None:
        multipart.resume(unfinished)
        self._token = None  # only the run that began the upload knows it
        self._emit(
            Resuming(unfinished.upload_id, unfinished.parts or 0, unfinished.size_bytes or 0)
        )
        if replace(self._options.settings, content_type=None) != ObjectSettings():
            self._emit(
                Warned(
                    "metadata, encryption and other settings of the object are those that the "
                    "upload was begun with, not those asked for now"
                )
            )

    def _dispatch(self, multipart: MultipartUpload, part: Part) -> None:
        self._workers.submit(lambda: self._store_part(multipart, part))

    def _store_part(self, multipart: MultipartUpload, part: Part) -> None:
        """In a worker: hash, send and compare one part, then release its buffer."""
        stored = multipart.store_part(part.number, part.offset_bytes, part.data, self._scope.check)
        with self._scope.condition:
            is_first_sent = not any(each.tries for each in self._stored.values())
            self._stored[part.number] = stored
        self._pool.release(part.buffer)
        if self._unfinished is not None and is_first_sent and not stored.etag_is_md5:
            self._emit(Warned("this endpoint's part ETags are not MD5s, so no part can be skipped"))
        self._emit(PartStored(stored, in_flight=self._workers.unfinished - 1))

    def _commit_all(self, content: Part | MultipartUpload) -> tuple[Committed, Expected]:
        """Wait for every part, then commit. Nothing more is sent after a signal."""
        self._scope.wait_for(lambda: self._workers.unfinished == 0)
        commit = self._commit = Commit(
            self._bucket,
            self._retrier,
            self._key,
            token=self._token,
            overwrite=self._options.overwrite,
            check=self._scope.check,
            warn=lambda message: self._emit(Warned(message)),
        )
        task = self._workers.submit(
            partial(self._put, commit, content)
            if isinstance(content, Part)
            else partial(self._complete, commit, content)
        )
        try:
            return task.result()
        except Cancelled:
            # A signal came while the answer was on its way. What the service then answers is
            # the truth, and a stored and proved object is a success in spite of the signal.
            self._workers.wait_idle(INTERRUPTED_SETTLE_S, INTERRUPTED_SETTLE_S)
            if task.has_value:
                return task.result()
            raise

    def _complete(self, commit: Commit, multipart: MultipartUpload) -> tuple[Committed, Expected]:
        parts = self._checked_parts()
        expected = Expected(
            size_bytes=self._reader.size_bytes,
            etag=composite_etag(bytes.fromhex(part.md5) for part in parts),
            etags_are_md5=all(part.etag_is_md5 for part in parts),
            whole_md5=self._reader.digests.hexdigests().get("md5"),
            checksums=whole_checksums(
                self._options.checksum, [(part.checksum, part.size_bytes) for part in parts]
            ),
        )
        return commit.complete(multipart.upload_id, parts, expected), expected

    def _put(self, commit: Commit, part: Part) -> tuple[Committed, Expected]:
        md5 = part_md5(part.data)
        name = self._options.checksum
        checksum = checksum_of(name)(part.data) if name else None
        expected = _expect_whole(part, md5, checksum)
        committed = commit.put(
            lambda: PartBody(part.data, self._scope.check),
            md5,
            object_metadata(self._token or "", str(self._plan)),
            expected,
        )
        if committed.proof is None and checksum is None:
            expected = _expect_whole(part, md5, free_checksum_of(part.data))
        self._stored[1] = StoredPart(
            number=1,
            offset_bytes=0,
            size_bytes=part.filled_bytes,
            md5=md5.hex(),
            etag=committed.etag or "",
            tries=committed.tries,
            etag_is_md5=committed.proof is not None,
            checksum=checksum,
        )
        self._emit(PartStored(self._stored[1]))
        if self._unfinished is not None:
            # Not aborted: a producer that died at once must not cost the parts of a long stream.
            self._emit(
                Warned(
                    "the input fits one request, so unfinished upload "
                    f"{self._unfinished.upload_id} of this key was not used; "
                    "it stays until it is aborted"
                )
            )
        return committed, expected

    def _checked_parts(self) -> list[StoredPart]:
        """All parts in order. IntegrityError if one is missing, whatever bug may have led here."""
        parts = [self._stored[number] for number in sorted(self._stored)]
        numbers = [part.number for part in parts]
        total_bytes = sum(part.size_bytes for part in parts)
        if numbers != list(range(1, len(parts) + 1)) or total_bytes != self._reader.size_bytes:
            raise IntegrityError(
                f"{len(parts)} parts of {total_bytes} bytes are stored, "
                f"but {self._reader.size_bytes} bytes were read"
            )
        return parts

    def _receipt(self, committed: Committed, expected: Expected, proof: str | None) -> Receipt:
        parts = tuple(self._stored[number] for number in sorted(self._stored))
        parts_proved = all(part.etag_is_md5 for part in parts)
        return Receipt(
            bucket=self._bucket.name,
            key=self._key,
            endpoint=self._endpoint_url,
            region=self._region,
            version_id=committed.version_id,
            size_bytes=self._reader.size_bytes,
            etag_expected=expected.etag,
            etag_found=committed.etag,
            parts=parts,
            part_plan=str(self._plan),
            digests=self._reader.digests.hexdigests(),
            proof=Proof("md5-etag" if parts_proved else None, proof),
            retries=self._context.retries,
            upload_id=self._multipart.upload_id if self._multipart else None,
            token=self._token,
            started_at=self._started_at,
            first_byte_at=self._reader.first_byte_at,
            ended_at=datetime.now(timezone.utc),
            host=socket.gethostname(),
            user=user_name(),
            command_line=self._options.command_line,
            program=f"streamtos3 {__version__}",
            libraries=library_versions(),
            command=command_report_of(self._source),
            key_template=self._options.key_template,
            case=self._options.case,
        )


def _expect_whole(part: Part, md5: bytes, checksum: str | None) -> Expected:
    """What an object of this one part must be."""
    return Expected(
        size_bytes=part.filled_bytes,
        etag=md5.hex(),
        etags_are_md5=True,
        checksums=(checksum,) if checksum else (),
    )


def _plan(length_bytes: int | None, options: Options) -> PartPlan:
    equal = options.equal_parts or requires_equal_parts(options.connection.endpoint_url)
    return plan_parts(
        options.chunk_bytes,
        length_bytes=length_bytes,
        size_hint_bytes=options.size_hint_bytes,
        equal_parts=equal,
        limits=options.limits,
    )
