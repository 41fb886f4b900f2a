"""What an operator wants to know of a destination before a stream that cannot be read twice.

Everything is tried as an upload would do it, and undone: an upload that is begun is aborted, a
marker that is written is removed, whatever else fails. What could not be undone is named.
"""

from __future__ import annotations

import io
import shlex
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from functools import partial
from typing import Literal, TypeVar
from urllib.parse import urlsplit

from ..downloader.download import download
from ..errors import (
    AbsentError,
    IntegrityError,
    RefusedError,
    StreamToS3Error,
    TransientError,
    UnprovedError,
    UnprovedReadError,
    leave_behind,
)
from ..model.options import READ_BACK_UNASKED_BYTES, Options, Retries
from ..model.parts import plan_parts
from ..results import Receipt
from ..runtime.cancel import CancelScope
from ..runtime.retry import Retrier
from ..runtime.workers import WorkerPool
from ..s3.bucket_settings import BucketSettings, Retention
from ..s3.clients import Clients
from ..s3.context import OperationContext
from ..s3.responses import new_token, object_metadata
from ..s3.tls import tls_of
from ..units import format_duration, format_size, plural
from .cleanup import Cleanup
from .multipart import MultipartUpload
from .preflight import check_destination
from .unfinished import abort_until_gone, list_unfinished
from .upload import upload

__all__ = ["Finding", "Verdict", "examine_destination"]

Verdict = Literal["ok", "warning", "failed"]
T = TypeVar("T")
_Said = tuple[Verdict, str, "str | None"]
"""Verdict, message and hint."""

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_RESOLUTION_S = 1.5  # of the service's dates, and the time that its answer took
_CLOCK_WARNS_S = 60.0
_EXPIRY_WARNS_S = 14 * 86400.0
_OLD_S = 7 * 86400.0
_ROUND_TRIPS = 3
_VERSIONS = 5
_UNDO_S = 30.0
_UNDO_AFTER_SIGNAL_S = 10.0
_UNDO_RETRIES = Retries(first_wait_s=0.5, longest_wait_s=4.0, retry_for_s=20.0)
_MARKER = b"Written by `streamtos3 check --write`, which removes it at once.\n"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. `exit_status` is what an upload would end with if it failed.

    `left_behind` names what the examination could not undo.
    """

    about: str
    verdict: Verdict
    message: str
    hint: str | None = None
    exit_status: int = 0
    left_behind: str | None = None


def examine_destination(
    bucket: str, prefix: str, options: Options, *, write: bool, scope: CancelScope
) -> Iterator[Finding]:
    """Look at everything that matters for an upload below `prefix`, and yield what is found.

    `write`: store a small object, too, read it back and remove it. Never raises a StreamToS3Error
    for what the service does; Cancelled or Interrupted when the scope fails, with what is left
    behind, if anything is.
    """
    clients = Clients(options.connection, options.jobs)
    with OperationContext.open(bucket, options, client=clients, scope=scope) as context:
        yield from _Examination(context, prefix, clients, write=write).run()


class _Examination:
    """One run. Each look happens in a worker, so that a signal ends one that hangs."""

    def __init__(
        self, context: OperationContext, prefix: str, clients: Clients, *, write: bool
    ) -> None:
        options = context.options
        self._context = context
        self._options = options
        self._bucket = context.bucket
        self._clients = clients
        self._prefix = prefix
        self._write = write
        self._key = f"{prefix}streamtos3-check-{new_token()}"
        owner = options.settings.expected_bucket_owner
        self._settings = BucketSettings(self._bucket.name, options.connection, clients, owner=owner)
        self._etags_are_md5 = not self._bucket.name.endswith("--x-s3")
        self._has_retention = False

    def run(self) -> Iterator[Finding]:
        """All findings; none after the first two where one of them failed."""
        for about, look in (("credentials", self._credentials), ("bucket", self._find_bucket)):
            finding = _found(about, look)
            yield finding
            if finding.verdict == "failed":
                return
        yield _found("round trip", self._round_trip)
        yield _found("region", self._region)
        yield _found("TLS", self._tls)
        yield _found("clock", self._clock)
        yield _found("see objects", self._see_objects, needed=False)
        yield _found("see uploads", self._see_uploads, needed=False)
        yield _found("begin and abort", self._begin_and_abort)
        yield _found("versioning", self._versioning, needed=False)
        yield _found("object lock", self._object_lock, needed=False)
        yield _found("encryption", self._encryption, needed=False)
        yield _found("lifecycle", self._lifecycle, needed=False)
        if self._write:
            yield from self._write_and_remove()
        else:
            yield self._expected_proof()

    def _ask(self, action: str, call: Callable[[], T]) -> T:
        """What `call` gives, tried again as usual; raises what it raises, the scope unharmed."""
        failed: list[StreamToS3Error] = []
        given: list[T] = []

        def attempt() -> None:
            try:
                check_for_s = self._options.retries.check_for_s
                given.append(
                    self._context.retrier.call(action, call, check_for_s=check_for_s).value
                )
            except StreamToS3Error as error:
                failed.append(error)

        self._context.workers.submit(attempt).result()
        if failed:
            raise failed[0]
        return given[0]

    # The way there

    def _credentials(self) -> _Said:
        found = self._ask("find credentials", self._settings.credentials)
        said = f"from {found.source}, access key ...{found.access_key[-4:]}"
        if found.expires_at is None:
            return "ok", said, None
        left_s = (found.expires_at - datetime.now(timezone.utc)).total_seconds()
        return "ok", f"{said}, renewed in {format_duration(max(0.0, left_s))}", None

    def _find_bucket(self) -> _Said:
        check_for_s = self._options.retries.check_for_s

        def check() -> None:
            check_destination(
                self._bucket,
                self._context.retrier,
                self._key,
                overwrite=False,
                check_for_s=check_for_s,
            )

        self._ask(f"find s3://{self._bucket.name}", check)
        return "ok", f"s3://{self._bucket.name} answers at {self._bucket.endpoint_url}", None

    def _round_trip(self) -> _Said:
        times_s = []
        for _ in range(_ROUND_TRIPS):
            began_s = time.monotonic()
            self._ask("look at an absent object", self._head)
            times_s.append(time.monotonic() - began_s)
        return "ok", f"{min(times_s) * 1000:.0f} ms a question", None

    def _region(self) -> _Said:
        signed, own = self._bucket.region, None
        try:
            own = self._ask(f"find the region of s3://{self._bucket.name}", self._settings.region)
        except RefusedError:
            own = None
        if own is not None and signed is not None and own != signed:
            said = f"the bucket is in {own}, requests are signed for {signed}"
            return "warning", said, f"--region {own}"
        return "ok", f"{signed or own or 'none'}", None

    def _tls(self) -> _Said:
        url = urlsplit(self._bucket.endpoint_url)
        if url.scheme != "https":
            if url.hostname in _LOOPBACK:
                return "ok", "none, and nothing leaves this machine", None
            said = "none: anyone on the way can read what is sent, and change it"
            return "warning", said, "use the https:// address of the service"
        seen = tls_of(self._clients.get("question"))
        if seen is None:
            return "warning", "the connection could not be looked at", None
        if seen.expires_at is None:
            return "warning", f"{seen.version}, and the certificate is not checked", None
        left_s = (seen.expires_at - datetime.now(timezone.utc)).total_seconds()
        said = f"{seen.version}, the certificate is valid until {seen.expires_at:%Y-%m-%d}"
        if seen.issuer:
            said += f" (by {seen.issuer})"
        if left_s < _EXPIRY_WARNS_S:
            return "warning", f"{said}: {format_duration(max(0.0, left_s))} left", None
        return "ok", said, None

    def _clock(self) -> _Said:
        theirs = self._bucket.server_time
        if theirs is None:
            return "warning", "the service does not tell the time", None
        ahead_s = (datetime.now(timezone.utc) - theirs).total_seconds()
        if abs(ahead_s) <= _RESOLUTION_S:
            return "ok", "equal to the service's", None
        how = "ahead of" if ahead_s > 0 else "behind"
        said = f"{format_duration(abs(ahead_s))} {how} the service's"
        if abs(ahead_s) > _CLOCK_WARNS_S:
            return "warning", said, "set it right: S3 refuses requests that are 15 minutes off"
        return "ok", said, None

    # What is allowed

    def _head(self) -> bool | None:
        """Whether our key is there; None where that is not told."""
        try:
            self._bucket.head(self._key)
        except AbsentError:
            return False
        except RefusedError:
            return None
        return True

    def _see_objects(self) -> _Said:
        if self._ask("look at an absent object", self._head) is None:
            said = "not allowed: that an object exists may be known only after the whole stream"
            return "warning", said, "s3:GetObject and s3:ListBucket"
        return "ok", "allowed, and an absent object is called absent", None

    def _see_uploads(self) -> _Said:
        look = partial(list_unfinished, self._bucket, self._context.retrier, self._prefix)
        found = self._ask("list unfinished uploads", look).uploads
        old = sum(each.is_older_than(_OLD_S) for each in found)
        said = f"allowed, {plural(len(found), 'unfinished upload')} below {self._url}"
        if old:
            hint = f"streamtos3 uploads list {shlex.quote(self._url)}"
            return "warning", f"{said}, {old} of them older than 7 days, and billed", hint
        return "ok", said, None

    def _begin_and_abort(self) -> _Said:
        """Begin an upload without a part, look at its parts, and abort it, whatever happens."""
        context = self._context
        multipart = MultipartUpload(self._bucket, context.retrier, self._key)
        plan = plan_parts(self._options.chunk_bytes, limits=self._options.limits)
        metadata = object_metadata(new_token(), str(plan))
        with context.scope.child() as scope:  # an abort that fails must not end everything
            cleanup = Cleanup(
                self._bucket.url(self._key), context.workers, scope, keeps_parts=False
            )
            try:
                self._ask("begin an upload", partial(multipart.create, metadata))
                self._etags_are_md5 = self._etags_are_md5 and multipart.etags_are_md5
                sees_parts = self._ask("list its parts", partial(self._sees_parts, multipart))
                abort = partial(abort_until_gone, self._bucket, self._key, multipart.upload_id)
                self._ask("abort it", abort)
            except BaseException as error:
                left_behind = cleanup.run(error, multipart, None)
                if left_behind:
                    leave_behind(
                        error, left_behind, [multipart.upload_id] * bool(multipart.upload_id)
                    )
                raise
            cleanup.sweep(multipart)
        if not sees_parts:
            said = "allowed, but parts may not be listed: --resume is not possible"
            return "warning", said, "s3:ListMultipartUploadParts"
        return "ok", "allowed", None

    def _sees_parts(self, multipart: MultipartUpload) -> bool:
        try:
            list(self._bucket.list_parts(self._key, multipart.upload_id))
        except AbsentError:
            raise
        except RefusedError:
            return False
        return True

    # What the bucket is set to

    def _versioning(self) -> _Said:
        found = self._ask("see the versioning", self._settings.versioning)
        return "ok", {"Enabled": "on", "Suspended": "suspended"}.get(found or "", "off"), None

    def _object_lock(self) -> _Said:
        found = self._ask("see the Object Lock", self._settings.object_lock)
        if isinstance(found, Retention):
            self._has_retention = True
            return "ok", f"on, each object is locked for {found.period} ({found.mode})", None
        return "ok", "on, nothing is locked by default" if found else "off", None

    def _encryption(self) -> _Said:
        found = self._ask("see the default encryption", self._settings.encryption)
        if found and found.startswith("aws:kms"):
            self._etags_are_md5 = False
            return "ok", f"{found}, so ETags are no MD5s", None
        return "ok", found or "none by default", None

    def _lifecycle(self) -> _Said:
        rules = self._ask("see the lifecycle rules", self._settings.abort_rules)
        days = [each.days for each in rules if self._prefix.startswith(each.prefix)]
        if not days:
            said = "no rule aborts what a killed program leaves unfinished, and is billed"
            return "warning", said, "contrib/lifecycle.json is one"
        return "ok", f"unfinished uploads are aborted after {plural(min(days), 'day')}", None

    # What proves an object

    def _expected_proof(self) -> Finding:
        if self._etags_are_md5:
            said = "the object's ETag, as far as this shows; --write tries it"
            return Finding("proof", "ok", said)
        said = "ETags are no MD5s here; --write tries what else proves an object"
        return Finding("proof", "warning", said, "--checksum crc32 may, --verify readback does")

    def _write_and_remove(self) -> Iterator[Finding]:
        """Store a marker as any object is stored, read it back, and remove it for good."""
        if self._has_retention:
            said = "not tried: the default retention would keep the marker"
            yield Finding("write and remove", "warning", said)
            yield self._expected_proof()
            return
        proof: list[Finding] = []
        yield _found("write and remove", partial(self._try_to_write, proof))
        yield from proof

    def _try_to_write(self, proof: list[Finding]) -> _Said:
        try:
            self._store_marker(proof)
        except BaseException as error:
            left_behind = self._remove_marker()
            if left_behind:
                leave_behind(error, left_behind)
            raise
        left_behind = self._remove_marker()
        if left_behind:
            raise _kept(left_behind)
        return "ok", f"{len(_MARKER)} bytes stored, read back and removed", None

    def _proof_of(self, receipt: Receipt) -> Finding:
        if receipt.proof.object == "readback" and self._options.verify == "auto":
            most = format_size(READ_BACK_UNASKED_BYTES)
            said = f"reading it back, which is done unasked up to {most}; nothing that is answered"
            hint = "--checksum crc32 may prove a larger one, --verify readback does"
            return Finding("proof", "warning", said, hint)
        return Finding("proof", "ok", f"{receipt.proof.object}, tried with one request")

    def _store_marker(self, proof: list[Finding]) -> None:
        options = replace(self._options, overwrite=False, resume=False)
        with self._context.scope.child() as scope:
            try:
                receipt = upload(
                    io.BytesIO(_MARKER),
                    self._bucket.name,
                    self._key,
                    options=options,
                    client=self._clients,
                    scope=scope,
                )
            except UnprovedError as error:
                said = f"nothing that is answered: {error.message}"
                proof.append(Finding("proof", "warning", said, error.hint))
            else:
                proof.append(self._proof_of(receipt))
        read = io.BytesIO()
        with self._context.scope.child() as scope, suppress(UnprovedReadError):
            download(
                self._bucket.name,
                self._key,
                read,
                options=options,
                client=self._clients,
                scope=scope,
            )
        if read.getvalue() != _MARKER:
            raise IntegrityError("what was read back is not what was stored")

    def _remove_marker(self) -> str | None:
        """Remove the marker even after a signal; returns what is left, or None."""
        failed: list[StreamToS3Error] = []

        def remove() -> None:
            with CancelScope() as scope:
                retrier = Retrier(_UNDO_RETRIES, scope, lambda *_: None, sleep=time.sleep)
                action = f"remove {self._bucket.url(self._key)}"
                try:
                    retrier.call(action, self._remove_until_gone)
                except StreamToS3Error as error:
                    failed.append(error)

        workers = WorkerPool(1, self._context.scope)
        task = workers.submit(remove, even_if_cancelled=True)
        workers.wait_idle(_UNDO_S, _UNDO_AFTER_SIGNAL_S)
        workers.shutdown()
        if task.has_value and not failed:
            return None
        why = f": {failed[0].message}" if failed else ""
        return f"{self._bucket.url(self._key)} may be there and could not be removed{why}"

    def _remove_until_gone(self) -> None:
        """Each version of the marker; more than one only where a request came twice."""
        for _ in range(_VERSIONS):
            try:
                info = self._bucket.head(self._key)
            except AbsentError:
                return
            except RefusedError:  # it may not be looked at
                self._settings.remove(self._key, None)
                return
            self._settings.remove(self._key, info.version_id)
        raise TransientError("the marker does not go away")

    @property
    def _url(self) -> str:
        return self._bucket.url(self._prefix)


def _found(about: str, look: Callable[[], _Said], *, needed: bool = True) -> Finding:
    """What `look` says, as a finding; what the service refuses is a failure only if `needed`."""
    try:
        verdict, message, hint = look()
    except RefusedError as error:
        if needed or error.left_behind:
            return _failure(about, error)
        return Finding(about, "warning", f"unknown: {error.message}", error.hint)
    except StreamToS3Error as error:
        return _failure(about, error)
    return Finding(about, verdict, message, hint)


def _failure(about: str, error: StreamToS3Error) -> Finding:
    return Finding(
        about,
        "failed",
        error.message,
        error.hint,
        exit_status=error.exit_status,
        left_behind=error.left_behind,
    )


def _kept(left_behind: str) -> RefusedError:
    error = RefusedError("the marker was stored, and could not be removed")
    error.left_behind = left_behind
    return error
