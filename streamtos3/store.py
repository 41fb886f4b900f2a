"""The S3 verbs on one bucket: the only door to botocore.

Each verb is one request without retries of its own (`retry` owns those) and raises only errors
of our own tree; `storeerrors` maps them. What an answer means for the upload is decided by the
callers.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from .body import PartBody
from .clients import Clients, Patience
from .digest import content_md5
from .errors import CredentialsError, StreamToS3Error, TransientError
from .model import Connection, StoredPart

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

__all__ = [
    "Answer",
    "ListedPart",
    "ListedUpload",
    "ObjectInfo",
    "Store",
    "new_token",
    "object_metadata",
    "requires_equal_parts",
]

TOKEN_KEY = "streamtos3-token"
PLAN_KEY = "streamtos3-plan"
# Endpoints that refuse at `complete` parts of different sizes (opendal#2904).
_EQUAL_PARTS_HOSTS = (".r2.cloudflarestorage.com",)


@dataclass(frozen=True)
class Answer:
    """What a write was answered with.

    `etag` is without quotes and None where the answer has none; `etag_is_md5` is False where
    the answer names an encryption under which S3's ETags are no MD5.
    """

    etag: str | None
    version_id: str | None = None
    etag_is_md5: bool = True


@dataclass(frozen=True)
class ObjectInfo:
    """What HEAD says of an object. `token` and `part_plan` are None where it is not ours."""

    size_bytes: int
    etag: str | None
    version_id: str | None
    token: str | None
    part_plan: str | None
    etag_is_md5: bool


@dataclass(frozen=True)
class ListedPart:
    """A part of an unfinished upload, as the server lists it."""

    number: int
    size_bytes: int
    etag: str


@dataclass(frozen=True)
class ListedUpload:
    """An unfinished multipart upload."""

    key: str
    upload_id: str
    initiated: datetime


class Store:
    """One bucket at one endpoint. Thread-safe.

    `client`: a boto3 S3 client to use as it is, instead of clients of our own; its retries
    should be off (`total_max_attempts=1`) and `request_checksum_calculation` `when_required`.
    `server_time` is the service's clock at its last answer, None before the first.
    """

    def __init__(
        self,
        bucket: str,
        connection: Connection,
        *,
        connections: int = 16,
        client: S3Client | None = None,
    ) -> None:
        self.bucket = bucket
        self.server_time: datetime | None = None
        self._connection = connection
        self._clients = Clients(connection, connections, given=client)
        self._accepted = False
        self._server_time_noted_s = 0.0

    @property
    def endpoint_url(self) -> str:
        """Where requests go."""
        return self._clients.get("brisk").meta.endpoint_url

    @property
    def region(self) -> str | None:
        """The region that requests are signed for."""
        return self._clients.get("brisk").meta.region_name

    @property
    def server_now(self) -> datetime | None:
        """What the service's clock shows now, as far as its last answer tells."""
        if self.server_time is None:
            return None
        return self.server_time + timedelta(seconds=time.monotonic() - self._server_time_noted_s)

    def head(self, key: str, version_id: str | None = None) -> ObjectInfo:
        """What is stored under `key`. AbsentError where nothing is."""
        version: dict[str, Any] = {"VersionId": version_id} if version_id else {}
        what = f"look at {self._url(key)}"
        answer = self._request(what, "head_object", Key=key, **version)
        if "ContentLength" not in answer or _is_cut(answer):
            raise TransientError(f"cannot {what}: the answer was cut short", damaged=True)
        # Metadata names come back in the server's own capitals (s3-facts, section 1).
        metadata = {name.lower(): value for name, value in answer.get("Metadata", {}).items()}
        return ObjectInfo(
            size_bytes=answer["ContentLength"],
            etag=_unquoted(answer),
            version_id=_version_id(answer),
            token=metadata.get(TOKEN_KEY),
            part_plan=metadata.get(PLAN_KEY),
            etag_is_md5=_etag_is_md5(answer),
        )

    def head_bucket(self) -> None:
        """AbsentError where the bucket does not exist."""
        self._request(f"look at s3://{self.bucket}", "head_bucket")

    def peek(self, key: str) -> None:
        """Ask for one byte of `key`, for the error code that a HEAD's answer cannot carry."""
        what = f"look at {self._url(key)}"
        self._request(what, "get_object", Key=key, Range="bytes=0-0")["Body"].close()

    def put_object(
        self,
        key: str,
        body: PartBody,
        md5: bytes,
        metadata: Mapping[str, str],
        *,
        if_none_match: bool,
        if_match: str | None = None,
    ) -> Answer:
        """Store a whole object in one request."""
        condition: dict[str, Any] = {"IfNoneMatch": "*"} if if_none_match else {}
        if if_match is not None:
            condition = {"IfMatch": f'"{if_match}"'}
        answer = self._request(
            f"store {self._url(key)}",
            "put_object",
            "parts",
            Key=key,
            Body=body,
            ContentLength=len(body),
            ContentMD5=content_md5(md5),
            Metadata=metadata,
            **condition,
        )
        return _answer(answer)

    def create(self, key: str, metadata: Mapping[str, str]) -> tuple[str, bool]:
        """Begin a multipart upload: its id, and whether part ETags may be MD5s."""
        what = f"begin the upload of {self._url(key)}"
        answer = self._request(what, "create_multipart_upload", "parts", Key=key, Metadata=metadata)
        if not answer.get("UploadId"):
            raise TransientError(f"cannot {what}: the answer names no upload id")
        return answer["UploadId"], _etag_is_md5(answer)

    def put_part(self, key: str, upload_id: str, number: int, body: PartBody, md5: bytes) -> Answer:
        """Store one part."""
        answer = self._request(
            f"store part {number} of {self._url(key)}",
            "upload_part",
            "parts",
            Key=key,
            UploadId=upload_id,
            PartNumber=number,
            Body=body,
            ContentLength=len(body),
            ContentMD5=content_md5(md5),
        )
        return _answer(answer)

    def complete(
        self, key: str, upload_id: str, parts: Sequence[StoredPart], *, if_none_match: bool
    ) -> Answer:
        """Make the object of the parts."""
        condition: dict[str, Any] = {"IfNoneMatch": "*"} if if_none_match else {}
        listed = [{"PartNumber": each.number, "ETag": each.etag} for each in parts]
        answer = self._request(
            f"complete the upload of {self._url(key)}",
            "complete_multipart_upload",
            "patient",
            Key=key,
            UploadId=upload_id,
            MultipartUpload={"Parts": listed},
            **condition,
        )
        return _answer(answer)

    def abort(self, key: str, upload_id: str) -> None:
        """Drop an unfinished upload and its parts. AbsentError where there is none."""
        what = f"abort the upload of {self._url(key)}"
        self._request(what, "abort_multipart_upload", Key=key, UploadId=upload_id)

    def list_parts(self, key: str, upload_id: str) -> Iterator[ListedPart]:
        """The stored parts of an unfinished upload, by number. AbsentError where there is none."""
        what = f"list the parts of {self._url(key)}"
        for page in self._pages(what, "list_parts", Key=key, UploadId=upload_id):
            for part in page.get("Parts", []):
                yield ListedPart(part["PartNumber"], part["Size"], part["ETag"].strip('"'))

    def list_uploads(self, prefix: str = "") -> Iterator[ListedUpload]:
        """The unfinished uploads whose key begins with `prefix`."""
        what = f"list the unfinished uploads of {self._url(prefix)}"
        for page in self._pages(what, "list_multipart_uploads", Prefix=prefix):
            for upload in page.get("Uploads", []):
                yield ListedUpload(upload["Key"], upload["UploadId"], upload["Initiated"])

    def _request(
        self, what: str, operation: str, patience: Patience = "brisk", **parameters: Any
    ) -> dict[str, Any]:
        """One request; `what` it is for begins an error's message after "cannot"."""
        with self._border(what):
            call = getattr(self._clients.get(patience), operation)
            answer: dict[str, Any] = call(Bucket=self.bucket, **parameters)
            self._note_time(answer)
        return answer

    def _pages(self, what: str, operation: str, **parameters: Any) -> Iterator[dict[str, Any]]:
        """The pages of a listing, 1,000 entries each."""
        with self._border(what):
            paginator: Any = self._clients.get("brisk").get_paginator(operation)  # type: ignore[call-overload]
            yield from paginator.paginate(Bucket=self.bucket, **parameters)

    @contextmanager
    def _border(self, what: str) -> Iterator[None]:
        """Map what leaves botocore; every error inside becomes one of our own."""
        try:
            yield
        except CredentialsError as error:  # a keyfile that is being rewritten just now
            if not self._accepted:
                raise
            self._clients.forget_session()
            raise TransientError(
                f"cannot {what}: {error.message}", hint=error.hint, expired=True, sent=False
            ) from error
        except StreamToS3Error:
            raise
        except Exception as error:
            from .storeerrors import translate

            self._note_time(getattr(error, "response", None))
            endpoint = self._connection.endpoint_url or self._clients.endpoint_name()
            mapped = translate(error, what, endpoint=endpoint, accepted_before=self._accepted)
            if isinstance(mapped, TransientError) and mapped.expired:
                self._clients.forget_session()
            raise mapped from error
        else:
            self._accepted = True

    def _note_time(self, answer: Any) -> None:
        """Keep the service's clock: what it lists later is dated by it and not by ours."""
        try:
            date = answer["ResponseMetadata"]["HTTPHeaders"]["date"]
            self.server_time = parsedate_to_datetime(date)
            self._server_time_noted_s = time.monotonic()
        except (KeyError, TypeError, ValueError):  # no answer, no Date, or one that is none
            return

    def _url(self, key: str) -> str:
        return f"s3://{self.bucket}/{key}"


def object_metadata(token: str, part_plan: str) -> dict[str, str]:
    """The metadata by which an object is recognised and its parts are found again."""
    return {TOKEN_KEY: token, PLAN_KEY: part_plan}


def new_token() -> str:
    """A random name for one upload, by which its object is recognised."""
    return secrets.token_hex(16)


def requires_equal_parts(endpoint_url: str | None) -> bool:
    """Whether this endpoint is known to refuse parts of growing size."""
    host = urlsplit(endpoint_url or "").hostname or ""
    return host.endswith(_EQUAL_PARTS_HOSTS)


def _unquoted(answer: Mapping[str, Any]) -> str | None:
    """The ETag; None where there is none, or not the whole of it."""
    return None if _is_cut(answer) else _etag(answer).strip('"') or None


def _is_cut(answer: Mapping[str, Any]) -> bool:
    """Whether the connection broke inside the ETag, which Python's HTTP client does not tell."""
    etag = _etag(answer)
    return etag.startswith('"') and not (len(etag) > 1 and etag.endswith('"'))


def _etag(answer: Mapping[str, Any]) -> str:
    return str(answer.get("ETag") or "").removeprefix("W/")


def _etag_is_md5(answer: Mapping[str, Any]) -> bool:
    """False under KMS and customer keys, where S3's ETags are no MD5.

    Read from the answer, because a bucket's default encryption shows nowhere else.
    """
    kms = str(answer.get("ServerSideEncryption", "")).startswith("aws:kms")
    return not kms and not answer.get("SSECustomerAlgorithm")


def _answer(answer: Mapping[str, Any]) -> Answer:
    return Answer(_unquoted(answer), _version_id(answer), _etag_is_md5(answer))


def _version_id(answer: Mapping[str, Any]) -> str | None:
    """None also for `null`, the version of what was written without versioning.

    It names nothing that the key alone does not, and moto, which answers so, refuses it in a HEAD.
    """
    version_id = answer.get("VersionId")
    return None if version_id in (None, "null") else str(version_id)
