"""`ObjectUpload`: one object in the making, from the check before the first byte to the receipt.

It knows the order of events: check, begin, commit, prove, or clean up. Where the bytes come from,
and who sends the parts, is the business of a `Feed`: a stream that is read here (`upload`), or a
file that many machines read.
"""

from __future__ import annotations

import platform
import socket
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from functools import partial
from typing import Protocol

from .._version import __version__
from ..errors import IntegrityError, UnsupportedError, leave_behind
from ..integrity.checksums import checksum_of, free_checksum_of, whole_checksums
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
from ..model.object_settings import ObjectSettings
from ..model.options import Options
from ..model.parts import PartPlan, infer_plan, plan_parts, requires_equal_parts
from ..model.unfinished_upload import UnfinishedUpload
from ..results import CommandReport, Proof, Receipt, StoredPart
from ..runtime.buffers import SpareBuffers
from ..runtime.cancel import Cancelled
from ..runtime.host import user_name, utc_offset
from ..runtime.md5_group import Md5Group
from ..runtime.retry import get_ready
from ..s3.bodies import PartBody
from ..s3.clients import library_versions
from ..s3.context import OperationContext
from ..s3.responses import new_token, object_metadata
from .cleanup import INTERRUPTED_SETTLE_S, Cleanup
from .commit import Commit
from .confirm import Committed, choose_proof, require_proof
from .multipart import MultipartUpload
from .part_reader import Part
from .preflight import check_destination
from .unfinished import find_unfinished

__all__ = ["Feed", "ObjectUpload", "OneOfMany"]

_WORTH_GROUPING_BYTES = 1 << 18  # to meet another thread costs about as much as to hash 10 KiB


class Feed(Protocol):
    """Where the bytes of an upload come from; the methods are called in this order.

    `name` is what messages call the input, `length_bytes` how much will come, None where that is
    not known. The figures at the end are of all that was read, and known once `check_end` has
    returned.
    """

    name: str
    length_bytes: int | None

    def start(self) -> None:
        """Get ready: the destination was checked."""

    def store_parts(self, upload: ObjectUpload) -> Part | None:
        """Read all, and have every part sent to `upload.begin()` and noted by `upload.note`.

        Returns the one part of an input that fits one request; then nothing was begun. The parts
        are stored when no task of the upload's workers is left.
        """

    def check_end(self) -> None:
        """Raise SourceError if the input did not truly end, or not as the user expected."""

    def stop(self) -> None:
        """Begin to end the input, because the upload has failed. Never waits."""

    @property
    def size_bytes(self) -> int:
        """How much was read."""

    @property
    def first_byte_at(self) -> datetime | None:
        """When reading began; None for an empty input."""

    def digests(self) -> Mapping[str, str]:
        """Hex digests of the whole input, by name."""

    def checksums(self) -> Mapping[str, str]:
        """CRCs of the whole input in base64, by name, where they are known."""

    def command(self) -> CommandReport | None:
        """The command that produced the input, where one did."""


@dataclass
class OneOfMany:
    """An upload of a program that runs many of them, each in a thread of its own.

    `is_checked`: somebody has looked that the destination is there, and the key free.
    `in_this_thread`: an object of one request is sent by the very thread that read it, because to
    hand it on to another costs more than a small object does. That thread may hang in the request,
    and then cannot say what it leaves behind; so whoever gives it up asks here.
    `md5s`: shared by all of them, so that objects of one request are hashed together.
    `spare`: shared as well; the memory that one has read into is the next one's.
    """

    is_checked: bool = False
    in_this_thread: bool = True
    md5s: Md5Group | None = None
    spare: SpareBuffers | None = None
    commit: Commit | None = None

    @property
    def left_behind(self) -> str | None:
        """What the commit leaves in the bucket if it is given up now; None: surely nothing."""
        return self.commit.left_behind if self.commit else None

    def reading(self, size_bytes: int | None) -> AbstractContextManager[None]:
        """Entered while an object of one request is read; the others' MD5s may wait for its own."""
        is_worth_it = self.md5s and size_bytes and size_bytes >= _WORTH_GROUPING_BYTES
        return self.md5s.announced() if self.md5s and is_worth_it else nullcontext()

    def md5(self, data: memoryview) -> bytes:
        """Binary MD5 of an object of one request."""
        if self.md5s is None or len(data) < _WORTH_GROUPING_BYTES:
            return part_md5(data)
        return self.md5s.digest(data)


class ObjectUpload:
    """One run, for the object `key`. `run` is called once.

    `plan` and `unfinished`, the upload that is resumed (None: a new one), are settled once the
    feed has been started.
    """

    def __init__(
        self, feed: Feed, context: OperationContext, key: str, among: OneOfMany | None = None
    ) -> None:
        options = context.options
        self._among = among
        self._feed = feed
        self._context = context
        self._bucket = context.bucket
        self._scope = context.scope
        self._workers = context.workers
        self._retrier = context.retrier
        self._emit = context.emit
        self._options = options
        self._key = key
        self._length_bytes = options.expect_size_bytes or feed.length_bytes
        self.plan = _plan(self._length_bytes, options)
        self._url = self._bucket.url(key)
        self._cleanup = Cleanup(self._url, self._workers, self._scope, keeps_parts=options.resume)
        self._token: str | None = new_token()
        self.unfinished: UnfinishedUpload | None = None
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
            with self._reading():
                only_part = self._feed.store_parts(self)
            self._feed.check_end()
            committed, expected = self._commit_all(only_part)
        except BaseException as error:  # noqa: BLE001 - cleaned up, then raised
            first = self._scope.fail_with(error)
            self._clean_up(first)
            raise first from first.__cause__
        self._cleanup.sweep(self._multipart)
        proof = choose_proof(self._url, self._options, committed, expected)
        receipt = self._receipt(committed, expected, proof)
        require_proof(receipt, self._options, committed.lock_problem)
        return receipt

    def _clean_up(self, first: BaseException) -> None:
        """Stop the input, undo the upload, and note on `first` what is left behind."""
        self._feed.stop()
        left_behind = self._cleanup.run(first, self._multipart, self._commit)
        if left_behind:
            # The message names the unfinished upload wherever there is one.
            upload_id = self._multipart.upload_id if self._multipart else ""
            named = [upload_id] if upload_id and upload_id in left_behind else []
            leave_behind(first, left_behind, named)

    def _check_and_start(self) -> None:
        """Check the destination before the first byte is needed, then let the input begin."""
        if self._among is not None and self._among.in_this_thread:
            self._check()
        else:
            self._workers.submit(self._check).result()
        if self.unfinished is not None:
            self.plan = infer_plan(self.unfinished.listed, self.plan, self._length_bytes)
        # Known before the object is stored, because nothing may fail any more after that.
        self._endpoint_url, self._region = self._bucket.endpoint_url, self._bucket.region
        self._scope.check()
        self._feed.start()
        plan = self.plan
        self._emit(Started(self._length_bytes, plan.part_bytes, plan.capacity_bytes, plan.grows))

    def _check(self) -> None:
        check_for_s = self._options.retries.check_for_s
        try:
            if self._among is None or not self._among.is_checked:
                check_destination(
                    self._bucket,
                    self._retrier,
                    self._key,
                    overwrite=self._options.overwrite,
                    check_for_s=check_for_s,
                )
        finally:
            self._context.warn_of_endpoint()
        self._context.warn_of_encoding()
        if self._options.resume:
            self._find_unfinished(check_for_s)

    def _find_unfinished(self, check_for_s: float) -> None:
        """Look for the upload to resume. Without a list of them there is none, now or later."""
        try:
            self.unfinished = find_unfinished(self._bucket, self._retrier, self._key, check_for_s)
        except UnsupportedError as error:
            self._cleanup.keeps_parts = False
            text = f"{error.message}; so nothing is resumed, and no parts are kept"
            if self._bucket.is_news("nothing is resumed"):
                self._emit(Warned(text))

    def _reading(self) -> AbstractContextManager[None]:
        """Around the reading of an object that fits one request, where it is one of many."""
        if self._among is None or (self._length_bytes or 0) > self.plan.part_bytes:
            return nullcontext()
        return self._among.reading(self._length_bytes)

    def begin(self) -> MultipartUpload:
        """Begin the multipart upload, or resume the unfinished one. Called once."""
        multipart = MultipartUpload(self._bucket, self._retrier, self._key, self._options.checksum)
        self._multipart = multipart  # before it is begun, so that a failure cleans it up
        get_ready()
        if self.unfinished is not None:
            self._resume(multipart, self.unfinished)
        else:
            metadata = object_metadata(self._token or "", str(self.plan))
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

    def note(self, part: StoredPart) -> None:
        """Note that `part` is stored and was compared; called by any thread, in any order."""
        with self._scope.condition:
            is_first_sent = not any(each.tries for each in self._stored.values())
            self._stored[part.number] = part
        if self.unfinished is None or not is_first_sent or not part.tries:
            return
        listed = self.unfinished.listed
        if not part.etag_is_md5:
            self._emit(Warned("this endpoint's part ETags are not MD5s, so no part can be skipped"))
        elif listed and not any(each.etag for each in listed):
            self._emit(Warned("this endpoint lists parts without ETags, so no part can be skipped"))

    def _commit_all(self, only_part: Part | None) -> tuple[Committed, Expected]:
        """Wait for every part, then commit. Nothing more is sent after a signal."""
        self._scope.wait_for(lambda: self._workers.unfinished == 0)
        commit = self._commit = Commit(
            self._bucket,
            self._retrier,
            self._key,
            token=self._token,
            overwrite=self._options.overwrite,
            check=self._scope.check,
            warn=partial(_warn, self._emit),  # not `self`: a cycle would outlive the upload
        )
        if self._among is not None:
            self._among.commit = commit
            if only_part is not None and self._among.in_this_thread:
                self._scope.check()
                return self._put(commit, only_part)
        task = self._workers.submit(
            partial(self._put, commit, only_part)
            if only_part is not None
            else partial(self._complete, commit)
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

    def _complete(self, commit: Commit) -> tuple[Committed, Expected]:
        assert self._multipart is not None
        parts = self._checked_parts()
        expected = Expected(
            size_bytes=self._feed.size_bytes,
            etag=composite_etag(bytes.fromhex(part.md5) for part in parts),
            etags_are_md5=all(part.etag_is_md5 for part in parts),
            whole_md5=self._feed.digests().get("md5"),
            checksums=whole_checksums(
                self._options.checksum, [(part.checksum, part.size_bytes) for part in parts]
            ),
        )
        return commit.complete(self._multipart.upload_id, parts, expected), expected

    def _put(self, commit: Commit, part: Part) -> tuple[Committed, Expected]:
        md5 = self._among.md5(part.data) if self._among else part_md5(part.data)
        name = self._options.checksum
        checksum = checksum_of(name)(part.data) if name else None
        expected = _expect_whole(part, md5, checksum)
        committed = commit.put(
            lambda: PartBody(part.data, self._scope.check),
            md5,
            object_metadata(self._token or "", str(self.plan)),
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
            stored_at=datetime.now(timezone.utc),
            sha256=part.sha256,
        )
        self._emit(PartStored(self._stored[1]))
        if self.unfinished is not None:
            # Not aborted: a producer that died at once must not cost the parts of a long stream.
            self._emit(
                Warned(
                    "the input fits one request, so unfinished upload "
                    f"{self.unfinished.upload_id} of this key was not used; "
                    "it stays until it is aborted"
                )
            )
        return committed, expected

    def _checked_parts(self) -> list[StoredPart]:
        """All parts in order. IntegrityError if one is missing, whatever bug may have led here."""
        parts = [self._stored[number] for number in sorted(self._stored)]
        numbers = [part.number for part in parts]
        total_bytes = sum(part.size_bytes for part in parts)
        if numbers != list(range(1, len(parts) + 1)) or total_bytes != self._feed.size_bytes:
            raise IntegrityError(
                f"{len(parts)} parts of {total_bytes} bytes are stored, "
                f"but {self._feed.size_bytes} bytes were read"
            )
        return parts

    def _receipt(self, committed: Committed, expected: Expected, proof: str | None) -> Receipt:
        parts = tuple(self._stored[number] for number in sorted(self._stored))
        parts_proved = all(part.etag_is_md5 for part in parts)
        retried = tuple(self._context.retried)
        return Receipt(
            bucket=self._bucket.name,
            key=self._key,
            endpoint=self._endpoint_url,
            region=self._region,
            version_id=committed.version_id,
            size_bytes=self._feed.size_bytes,
            etag_expected=expected.etag,
            etag_found=committed.etag,
            parts=parts,
            part_plan=str(self.plan),
            digests=self._feed.digests(),
            proof=Proof("md5-etag" if parts_proved else None, proof),
            # A worker of a cluster that died has told of retries that it never counted.
            retries=max(self._context.retries, len(retried)),
            upload_id=self._multipart.upload_id if self._multipart else None,
            token=self._token,
            started_at=self._started_at,
            first_byte_at=self._feed.first_byte_at,
            ended_at=datetime.now(timezone.utc),
            host=socket.gethostname(),
            user=user_name(),
            command_line=self._options.command_line,
            program=f"streamtos3 {__version__}",
            libraries=library_versions(),
            command=self._feed.command(),
            key_template=self._options.key_template,
            case=self._options.case,
            retried=retried,
            source=self._feed.name,
            utc_offset=utc_offset(),
            platform=platform.platform(),
            checksums=self._feed.checksums(),
        )


def _warn(emit: Callable[[Event], None], message: str) -> None:
    emit(Warned(message))


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
