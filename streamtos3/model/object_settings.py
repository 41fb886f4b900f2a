"""What an object has besides its bytes, and the parameters of S3's requests for it (pure).

One value describes it all; each request takes the parameters that it must carry. S3 wants the
customer's key again for every part and every HEAD, and the owner and payer in every request.
"""

from __future__ import annotations

import functools
import mimetypes
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import urlencode

from ..errors import UsageError

__all__ = [
    "ObjectSettings",
    "decode_metadata",
    "encode_metadata",
    "guess_content_type",
    "lock_problem",
]

# mimetypes' answer for a compressed file is the type of what is inside; with that type and no
# Content-Encoding a browser would be misled, and with one it would unpack the backup.
_COMPRESSED = {
    "gzip": "application/gzip",
    "bzip2": "application/x-bzip2",
    "xz": "application/x-xz",
    "compress": "application/x-compress",
    "br": "application/x-brotli",
}
_METADATA_NAME = re.compile(r"[A-Za-z0-9._-]+")


@dataclass(frozen=True)
class ObjectSettings:
    """The fields are S3's names in lower case; None or empty means the bucket's default.

    The values of `metadata` are any text without control characters. `sse_c_key` is the customer's
    key of 32 bytes and never shows. `lock_until` has a time zone; where many objects are made one
    after the other, each is locked for `lock_for` from its own beginning (`from_now`).
    """

    metadata: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    content_type: str | None = None
    content_encoding: str | None = None
    content_language: str | None = None
    cache_control: str | None = None
    storage_class: str | None = None
    acl: str | None = None
    sse: str | None = None
    sse_kms_key_id: str | None = None
    sse_c_key: bytes | None = field(default=None, repr=False)
    lock_mode: str | None = None
    lock_until: datetime | None = None
    lock_for: timedelta | None = None
    legal_hold: bool = False
    expected_bucket_owner: str | None = None
    request_payer: bool = False

    @property
    def asks_for_lock(self) -> bool:
        """Whether S3 is to protect the object from being changed."""
        return bool(self.lock_mode) or self.legal_hold

    def from_now(self) -> ObjectSettings:
        """These settings for an object that begins now."""
        if self.lock_for is None:
            return self
        until = (datetime.now(timezone.utc) + self.lock_for).replace(microsecond=0)
        return replace(self, lock_until=until)

    def for_a_document(self, content_type: str) -> ObjectSettings:
        """These settings for a document of ours beside the object, whose content is another."""
        return replace(
            self, content_type=content_type, content_encoding=None, content_language=None
        )

    @property
    def metadata_in_headers(self) -> dict[str, str]:
        """The metadata as requests carry it: ASCII as it is, other text encoded as RFC 2047 has it.

        So S3 itself answers such text, and its console shows it decoded (S3 user guide,
        "User-defined object metadata").
        """
        return {name: encode_metadata(value) for name, value in self.metadata.items()}

    @property
    def encoded_names(self) -> tuple[str, ...]:
        """The names of the metadata whose values are encoded."""
        return tuple(name for name, value in self.metadata.items() if not value.isascii())

    def for_every_request(self) -> dict[str, Any]:
        """The parameters of every request: the expected owner, and the payer."""
        return _given(
            ExpectedBucketOwner=self.expected_bucket_owner,
            RequestPayer="requester" if self.request_payer else None,
        )

    def for_the_bytes(self) -> dict[str, Any]:
        """The further parameters of every request that touches the object's bytes."""
        if self.sse_c_key is None:
            return {}
        return {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": self.sse_c_key}

    def for_a_new_object(self) -> dict[str, Any]:
        """The parameters of `create` and of a one-request upload, except the metadata."""
        return self.for_the_bytes() | _given(
            Tagging=urlencode(self.tags) or None,
            ContentType=self.content_type,
            ContentEncoding=self.content_encoding,
            ContentLanguage=self.content_language,
            CacheControl=self.cache_control,
            StorageClass=self.storage_class,
            ACL=self.acl,
            ServerSideEncryption=self.sse,
            SSEKMSKeyId=self.sse_kms_key_id,
            ObjectLockMode=self.lock_mode,
            ObjectLockRetainUntilDate=self.lock_until,
            ObjectLockLegalHoldStatus="ON" if self.legal_hold else None,
        )

    def check(self) -> None:
        """Raise UsageError if the settings contradict each other or S3 does not accept one."""
        self._check_headers()
        if self.lock_mode and self.lock_until is None:
            raise UsageError("--lock-mode needs --lock-until or --lock-days")
        if self.lock_until is not None:
            if not self.lock_mode:
                raise UsageError("--lock-until and --lock-days need --lock-mode")
            if self.lock_until <= datetime.now(timezone.utc):
                raise UsageError(f"the lock would end in the past: {self.lock_until:%Y-%m-%d}")
        if self.sse_c_key is not None and (self.sse or self.sse_kms_key_id):
            raise UsageError("--sse-c-key-file excludes --sse and --sse-kms-key-id")
        if self.sse_kms_key_id and not (self.sse or "").startswith("aws:kms"):
            raise UsageError("--sse-kms-key-id needs --sse aws:kms or aws:kms:dsse")
        if len(self.tags) > 10:
            raise UsageError(f"{len(self.tags)} tags; S3 allows 10")
        for name, value in self.tags.items():
            if _has_controls(name + value):
                raise UsageError(f"the tag {name!r} holds a control character")
        names: set[str] = set()
        for name, value in self.metadata.items():
            if not _METADATA_NAME.fullmatch(name):
                raise UsageError(
                    f"{name!r} is not a valid name for metadata: letters, digits, -, _ and ."
                )
            if _has_controls(value) or not _is_unicode(value):
                raise UsageError(f"metadata {name!r} holds a control character, or is no text")
            if name.lower() in names:  # case does not matter in headers
                raise UsageError(f"metadata {name!r} is given twice")
            names.add(name.lower())
        sent = self.metadata_in_headers
        size_bytes = sum(len(name) + len(value) for name, value in sent.items())
        if size_bytes > 2048 - 200:  # our token and part plan need their share of S3's 2 KiB
            raise UsageError(f"the metadata has {size_bytes} bytes; there is room for 1848")

    def _check_headers(self) -> None:
        """UsageError where a text could not be the value of a header: nothing is sent then."""
        for name, value in vars(self).items():
            if isinstance(value, str) and (_has_controls(value) or not value.isascii()):
                option = "--" + name.replace("_", "-")
                raise UsageError(f"{option} {value!r} cannot be sent: it is not plain ASCII text")


def encode_metadata(text: str) -> str:
    """ASCII as it is; other text as RFC 2047 has it, in one encoded word."""
    if text.isascii():
        return text
    from email.header import Header

    return Header(text, "utf-8", maxlinelen=10_000).encode()


def decode_metadata(text: str) -> str:
    """What `encode_metadata` encoded, or S3; as it is where it is not encoded, or wrongly."""
    if "=?" not in text:
        return text
    from email.errors import HeaderParseError
    from email.header import decode_header, make_header

    try:
        return str(make_header(decode_header(text)))
    except (HeaderParseError, LookupError, ValueError):
        return text


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # bytes of the command line that were no UTF-8
        return False
    return True


def _has_controls(text: str) -> bool:
    return any(unicodedata.category(each) == "Cc" for each in text)


def _given(**parameters: Any) -> dict[str, Any]:
    return {name: value for name, value in parameters.items() if value is not None}


@functools.cache
def _media_types() -> mimetypes.MimeTypes:
    """Python's own table, without the files of this machine."""
    return mimetypes.MimeTypes()


def guess_content_type(key: str) -> str | None:
    """The media type that the key's extension stands for; None if it is not known."""
    media_type, encoding = _media_types().guess_type(key.rpartition("/")[2])
    return _COMPRESSED.get(encoding) if encoding else media_type


def lock_problem(settings: ObjectSettings, head: Mapping[str, Any]) -> str | None:
    """Which part of the requested lock is missing in a HEAD's answer; None if none is."""
    if settings.lock_mode:
        until = head.get("ObjectLockRetainUntilDate")
        if head.get("ObjectLockMode") != settings.lock_mode:
            return f"the lock mode is {head.get('ObjectLockMode') or 'none'}"
        # The service may round to whole seconds.
        if until is None or until < (settings.lock_until or until) - timedelta(seconds=1):
            return f"the lock ends {until or 'at once'}"
    if settings.legal_hold and head.get("ObjectLockLegalHoldStatus") != "ON":
        return "the legal hold is off"
    return None
