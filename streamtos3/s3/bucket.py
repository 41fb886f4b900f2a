"""The S3 requests on one bucket: one method, one request.

No method retries (`runtime.retry` does), and each raises only errors of our own tree. What an
answer means for an upload or download is decided by the callers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_plus

from ..errors import (
    AbsentError,
    RefusedError,
    StoreError,
    TransientError,
    UnreachableError,
    UnsupportedError,
)
from ..integrity.checksums import Checksum
from ..integrity.digests import content_md5
from ..model.object_settings import ObjectSettings
from ..model.options import Connection
from ..model.parts import ListedPart
from ..model.unfinished_upload import UnfinishedUpload
from ..results import StoredPart
from ..runtime.rate import RateLimit
from .bodies import Landing, ObjectStream, PartBody
from .botocore_tuning import read_directly
from .clients import Clients, TimeoutProfile
from .responses import (
    Answer,
    ListedObject,
    ObjectInfo,
    check_range,
    etag_is_md5,
    is_cut,
    object_info,
    unquoted_etag,
    write_answer,
)
from .sender import Sender

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

__all__ = [
    "NO_SIZE",
    "Bucket",
]

NO_SIZE = "no size"
# At least one of these is in every list of uploads. Some servers do not know the question, and list
# the bucket's objects instead, which botocore takes for a list without uploads.
_NAMES_IN_A_LIST = ("Bucket", "KeyMarker", "UploadIdMarker", "Uploads")


def _now() -> datetime:
    return datetime.now(timezone.utc)


class Bucket:
    """One bucket at one endpoint. Thread-safe.

    `client`: clients shared with other buckets, or a boto3 S3 client to use as it is, instead
    of clients of our own; its retries should be off (`total_max_attempts=1`) and
    `request_checksum_calculation` `when_required`.
    `limit` is what its transfers keep to, and those of all who share the clients.
    `settings` apply to all objects stored through this Bucket; `checksum` is S3's additional
    checksum that every part will carry.
    """

    def __init__(
        self,
        bucket: str,
        connection: Connection,
        *,
        settings: ObjectSettings | None = None,
        checksum: Checksum | None = None,
        connections: int = 16,
        client: S3Client | Clients | None = None,
    ) -> None:
        self.name = bucket
        self.settings = settings or ObjectSettings()
        self._checksum = checksum
        if not isinstance(client, Clients):
            client = Clients(connection, connections, given=client)
        self.limit: RateLimit = client.limit
        common = {"Bucket": bucket, **self.settings.for_every_request()}
        self._sender = Sender(client, connection, common)

    @property
    def server_time(self) -> datetime | None:
        """The time by the service's clock; None before its first answer.

        Its listings are dated by that clock, not by this machine's.
        """
        return self._sender.server_time

    @property
    def endpoint_url(self) -> str:
        """The URL that requests are sent to."""
        return self._sender.endpoint_url

    @property
    def region(self) -> str | None:
        """The region that requests are signed for."""
        return self._sender.region

    def endpoint_warning(self) -> str | None:
        """What is odd about this bucket at this endpoint, the first time; else None."""
        return self._sender.endpoint_warning()

    def is_news(self, text: str) -> bool:
        """Whether this is said for the first time, by any that shares the clients."""
        return self._sender.is_news(text)

    def url(self, key: str) -> str:
        """The address of an object here, `s3://BUCKET/KEY`."""
        return f"s3://{self.name}/{key}"

    def not_s3(self) -> UnreachableError:
        """The error for an answer that is not S3's: a web server, a proxy, another path."""
        return UnreachableError(
            f"what answers at {self.endpoint_url} does not speak S3", hint="check --endpoint-url"
        )

    def head(self, key: str, version_id: str | None = None, *, at_once: bool = False) -> ObjectInfo:
        """The object that is stored under `key`. AbsentError if there is none.

        `at_once`: right after a write, over the connection that it has left open.
        """
        extra: dict[str, Any] = {"VersionId": version_id} if version_id else {}
        if self._checksum is not None:  # under KMS this takes one more permission: only if needed
            extra["ChecksumMode"] = "ENABLED"
        what = f"look at {self.url(key)}"
        extra |= self.settings.for_the_bytes()
        profile: TimeoutProfile = "question-after-body" if at_once else "question"
        answer = self._sender.send(what, "head_object", profile, Key=key, **extra)
        if "ContentLength" not in answer:
            raise TransientError(
                f"cannot {what}: the answer names no size",
                hint="a proxy on the way may compress answers, or the service does not tell",
                code=NO_SIZE,
                refused=True,
            )
        if is_cut(answer):
            raise TransientError(f"cannot {what}: the answer was cut short", damaged=True)
        return object_info(answer, self.settings)

    def head_explained(
        self, key: str, version_id: str | None = None, *, at_once: bool = False
    ) -> ObjectInfo:
        """As `head`, but a refusal has its reason: a missing permission, or an expired token.

        The answer to a HEAD has no body and so no error code; if it is refused, a GET of one
        byte is sent to learn the code. Raises what the GET raises, else the refusal itself.
        """
        try:
            return self.head(key, version_id, at_once=at_once)
        except AbsentError:
            raise
        except RefusedError:
            self.peek(key, version_id)
            raise

    def head_bucket(self) -> None:
        """AbsentError where the bucket does not exist."""
        self._sender.send(f"look at s3://{self.name}", "head_bucket")

    def peek(self, key: str, version_id: str | None = None) -> None:
        """Request one byte of `key`, to learn the error code that a HEAD's answer cannot carry."""
        what = f"look at {self.url(key)}"
        extra = self.settings.for_the_bytes() | ({"VersionId": version_id} if version_id else {})
        self._sender.send(what, "get_object", Key=key, Range="bytes=0-0", **extra)["Body"].close()

    def head_part(
        self, key: str, number: int, version_id: str | None = None
    ) -> tuple[int, int] | None:
        """Size of one part, and how many there are; None where the server does not tell."""
        what = f"look at part {number} of {self.url(key)}"
        extra = self._of_version(version_id)
        answer = self._sender.send(what, "head_object", Key=key, PartNumber=number, **extra)
        count = answer.get("PartsCount")
        return None if count is None else (answer.get("ContentLength", 0), count)

    def get_range(
        self,
        key: str,
        offset_bytes: int,
        landing: Landing,
        *,
        etag: str | None,
        version_id: str | None = None,
    ) -> None:
        """Read the object from `offset_bytes` on into `landing`, until that is full.

        Continues where an earlier call on the same landing was cut off. ConditionError where the
        object is not, or not any more, the one with this `etag` and version; RangeIgnoredError
        where the service sends the whole object instead.
        """
        first, end = offset_bytes + landing.filled_bytes, offset_bytes + landing.size_bytes
        what = f"read {self.url(key)}"
        with self._paced(landing):
            answer = self._sender.send(
                what,
                "get_object",
                "body",
                Key=key,
                Range=f"bytes={first}-{end - 1}",
                **({"IfMatch": f'"{etag}"'} if etag else {}),
                **self._of_version(version_id),
            )
            body = answer["Body"]
            read_directly(body)
            try:
                check_range(what, answer, range(first, end), etag, version_id)
                with self._sender.mapped_errors(what):
                    landing.fill(body.readinto)
            finally:
                body.close()
        if not landing.is_full:
            missing_bytes = landing.size_bytes - landing.filled_bytes
            raise TransientError(f"cannot {what}: the answer was cut {missing_bytes} bytes short")

    def open_whole(
        self, key: str, *, etag: str | None, version_id: str | None = None
    ) -> ObjectStream:
        """The whole object as one stream, where ranges are not to be had. Raises as `get_range`."""
        what = f"read {self.url(key)}"
        answer = self._sender.send(
            what,
            "get_object",
            "body",
            Key=key,
            **({"IfMatch": f'"{etag}"'} if etag else {}),
            **self._of_version(version_id),
        )
        try:
            check_range(what, answer, range(answer.get("ContentLength", 0)), etag, version_id)
        except StoreError:
            answer["Body"].close()
            raise
        return ObjectStream(what, answer["Body"], self._sender.mapped_errors, self.limit)

    def put_object(
        self,
        key: str,
        body: PartBody,
        md5: bytes,
        metadata: Mapping[str, str],
        *,
        if_none_match: bool,
        if_match: str | None = None,
        checksum: str | None = None,
    ) -> Answer:
        """Store a whole object in one request."""
        condition: dict[str, Any] = {"IfNoneMatch": "*"} if if_none_match else {}
        if if_match is not None:
            condition = {"IfMatch": f'"{if_match}"'}
        with self._paced(body):
            answer = self._sender.send(
                f"store {self.url(key)}",
                "put_object",
                "body",
                Key=key,
                Body=body,
                ContentLength=len(body),
                ContentMD5=content_md5(md5),
                Metadata={**self.settings.metadata_in_headers, **metadata},
                **self.settings.for_a_new_object(),
                **self._checksum_of(checksum),
                **condition,
            )
        return write_answer(answer)

    def create(self, key: str, metadata: Mapping[str, str]) -> tuple[str, bool]:
        """Begin a multipart upload; returns its id, and whether part ETags can be MD5s."""
        what = f"begin the upload of {self.url(key)}"
        answer = self._sender.send(
            what,
            "create_multipart_upload",
            "body",
            Key=key,
            Metadata={**self.settings.metadata_in_headers, **metadata},
            **self.settings.for_a_new_object(),
            **self._declared_checksum(),
        )
        if not answer.get("UploadId"):
            raise TransientError(f"cannot {what}: the answer names no upload id")
        return answer["UploadId"], etag_is_md5(answer)

    def put_part(
        self,
        key: str,
        upload_id: str,
        number: int,
        body: PartBody,
        md5: bytes,
        *,
        checksum: str | None = None,
    ) -> Answer:
        """Store one part."""
        with self._paced(body):
            answer = self._sender.send(
                f"store part {number} of {self.url(key)}",
                "upload_part",
                "body",
                Key=key,
                UploadId=upload_id,
                PartNumber=number,
                Body=body,
                ContentLength=len(body),
                ContentMD5=content_md5(md5),
                **self.settings.for_the_bytes(),
                **self._checksum_of(checksum),
            )
        return write_answer(answer)

    def complete(
        self,
        key: str,
        upload_id: str,
        parts: Sequence[StoredPart],
        *,
        if_none_match: bool,
        checksum: str | None = None,
    ) -> Answer:
        """Complete the upload: make the object from its parts.

        `checksum` is that of the whole object, where parts carry one: the service itself then
        refuses to complete a stream that differs.
        """
        condition: dict[str, Any] = {"IfNoneMatch": "*"} if if_none_match else {}
        whole = self._declared_checksum()
        whole.pop("ChecksumAlgorithm", None)
        if self._checksum is not None and self._checksum.is_full_object:
            whole |= self._checksum_of(checksum)
        listed = [
            {"PartNumber": each.number, "ETag": each.etag, **self._checksum_of(each.checksum)}
            for each in parts
        ]
        answer = self._sender.send(
            f"complete the upload of {self.url(key)}",
            "complete_multipart_upload",
            "commit",
            Key=key,
            UploadId=upload_id,
            MultipartUpload={"Parts": listed},
            **self.settings.for_the_bytes(),
            **whole,
            **condition,
        )
        return write_answer(answer)

    def abort(self, key: str, upload_id: str) -> None:
        """Abort an unfinished upload and drop its parts. AbsentError if there is none."""
        what = f"abort the upload of {self.url(key)}"
        self._sender.send(what, "abort_multipart_upload", Key=key, UploadId=upload_id)

    def list_objects(self, prefix: str, after: str = "") -> Iterator[ListedObject]:
        """The objects whose key begins with `prefix`, asked for by the thousand; in their order.

        Only those behind the key `after`, whether there is one of that name or not.

        RefusedError also where the service answers with what is no listing.
        """
        what = f"list {self.url(prefix)}"
        start = {"StartAfter": after} if after else {}
        try:
            for page in self._sender.pages(what, "list_objects_v2", Prefix=prefix, **start):
                if "IsTruncated" not in page:  # an empty body reads as an empty listing
                    raise RefusedError(f"cannot {what}: the answer is no listing")
                for each in page.get("Contents", []):
                    yield ListedObject(each["Key"], each["Size"], unquoted_etag(each))
        except TransientError as error:
            # "500" is what botocore makes of a success that it cannot read.
            unreadable = ("ResponseParserError", "PaginationError")
            if error.code == "500" or type(error.__cause__).__name__ in unreadable:
                raise RefusedError(error.message) from error
            raise

    def list_parts(self, key: str, upload_id: str) -> Iterator[ListedPart]:
        """The stored parts of an unfinished upload, by number. AbsentError where there is none."""
        what = f"list the parts of {self.url(key)}"
        for page in self._sender.pages(what, "list_parts", Key=key, UploadId=upload_id):
            for part in page.get("Parts", []):
                if "PartNumber" in part:
                    yield ListedPart(
                        part["PartNumber"],
                        part.get("Size", 0),
                        part.get("ETag", "").strip('"'),
                        part.get("LastModified"),
                    )

    def list_uploads(self, prefix: str = "") -> Iterator[UnfinishedUpload]:
        """The unfinished uploads whose key begins with `prefix`."""
        what = f"list the unfinished uploads of {self.url(prefix)}"
        markers: dict[str, str] = {}
        while True:
            try:
                page = self._uploads_page(what, Prefix=prefix, **markers)
            except AbsentError as error:
                if error.code == "NoSuchUpload":  # rclone's word for none
                    return
                raise
            for upload in page.get("Uploads", []):
                if "Key" in upload and "UploadId" in upload:
                    # Of one that is not dated it is not known that it is old.
                    begun = upload.get("Initiated") or self.server_time or _now()
                    yield UnfinishedUpload(upload["Key"], upload["UploadId"], begun)
            if not page.get("IsTruncated"):
                return
            # Some servers name one of the two (directory buckets the key, SeaweedFS the id).
            names = ("KeyMarker", "UploadIdMarker")
            before, markers = markers, {n: page["Next" + n] for n in names if page.get("Next" + n)}
            if markers in ({}, before):
                raise RefusedError(f"cannot {what}: the service keeps returning one page")

    def _uploads_page(self, what: str, **parameters: Any) -> dict[str, Any]:
        """One page of unfinished uploads, with decoded keys.

        Requested without encoding, because SeaweedFS claims to encode keys and does not. A key
        that XML cannot carry makes that answer unreadable; then S3 is asked to encode the keys.
        """
        operation = "list_multipart_uploads"
        try:
            page = self._sender.send(what, operation, **parameters)
            if not any(name in page for name in _NAMES_IN_A_LIST):
                raise UnsupportedError(f"cannot {what}: the answer is no list of uploads")
            return page
        except TransientError as error:
            # How botocore reports a success that it cannot parse.
            if error.code != "500" and type(error.__cause__).__name__ != "ResponseParserError":
                raise
        page = self._sender.send(what, operation, EncodingType="url", **parameters)
        for each in (page, *page.get("Uploads", [])):
            each.update({n: unquote_plus(each[n]) for n in ("Key", "NextKeyMarker") if n in each})
        return page

    @contextmanager
    def _paced(self, transfer: PartBody | Landing) -> Iterator[None]:
        """Send or receive `transfer` inside the block, no faster than the limit allows."""
        transfer.limit = self.limit
        with self.limit.turn(transfer.check):
            yield

    def _of_version(self, version_id: str | None) -> dict[str, Any]:
        version = {"VersionId": version_id} if version_id else {}
        return {**self.settings.for_the_bytes(), **version}

    def _declared_checksum(self) -> dict[str, str]:
        """S3 refuses parts with a checksum that `create` did not declare (opendal#4533)."""
        if self._checksum is None:
            return {}
        kind = "FULL_OBJECT" if self._checksum.is_full_object else "COMPOSITE"
        return {"ChecksumAlgorithm": self._checksum.algorithm, "ChecksumType": kind}

    def _checksum_of(self, value: str | None) -> dict[str, str]:
        return {self._checksum.member: value} if self._checksum and value else {}
