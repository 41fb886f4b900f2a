"""How the imitators of S3 differ from S3: the rules of the fake, each of which can be bent.

Here is what the fake knows without a socket: the values that it stores, the errors that it raises,
and a `Quirks` that decides about digests, ETags, sizes and conditions. `fake_s3` is the server.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal
from uuid import uuid4

from tests.rig.wire import S3Request


class Refusal(Exception):
    def __init__(self, status: int, code: str, message: str = "refused by the fake") -> None:
        self.status, self.code, self.message = status, code, message


@dataclass
class Part:
    number: int
    body: bytes
    etag: str


@dataclass
class Upload:
    upload_id: str
    bucket: str
    key: str
    metadata: dict[str, str]
    initiated: datetime
    parts: list[Part] = field(default_factory=list)

    def find(self, number: int, etag: str) -> Part:
        for part in self.parts:
            if (part.number, part.etag) == (number, etag):
                return part
        raise Refusal(400, "InvalidPart", f"part {number}")


@dataclass
class Stored:
    body: bytes
    etag: str
    metadata: dict[str, str]
    part_sizes: tuple[int, ...] = ()
    version_id: str = field(default_factory=lambda: uuid4().hex)


@dataclass(frozen=True)
class Quirks:
    """How this server differs from a strict S3; the comments name who is like that."""

    min_part_bytes: int = 5 * 1024**2
    max_parts: int = 10_000  # Swift, Scaleway: 1,000
    page_size: int = 1_000
    versioned: bool = False
    check_md5: bool = True  # moto and many others: False
    damage: frozenset[int] = frozenset()  # parts that rot once stored; 0 is a PutObject's body
    # KMS, SSE-C: opaque; MinIO --no-compat: uuid; Aliyun OSS: MD5
    etag: Literal["md5", "opaque", "uuid", "MD5"] = "md5"
    complete_etag: Literal["composite", "empty", "whole-md5", "opaque-n"] = "composite"
    head_etag: Literal["same", "whole-md5"] = "same"  # rclone: whole-md5
    sse: str | None = None  # None: aws:kms where ETags are opaque; "": say nothing
    if_none_match: Literal["honoured", "ignored", "put-only", "refused"] = "honoured"  # B2: refused
    complete_idempotent: bool | Literal["412"] = True  # MinIO: False; SeaweedFS: "412"
    equal_parts: bool = False  # Cloudflare R2
    keeps_resent_parts: bool = False  # SeaweedFS: old and new are listed, either can be completed
    drops_metadata: bool = False  # GCS
    capitalises_metadata: bool = False  # rclone
    ignores_range: bool = False  # Alluxio, some proxies: 200 with everything
    head_forbidden: bool = False  # no right to s3:GetObject
    misspells_listed: bool = (
        False  # SeaweedFS: says that listed keys are encoded, and lists them plain
    )
    makes_missing_buckets: bool = False  # SeaweedFS, on create and PutObject
    clock_offset_s: float = 0

    def kept(self, number: int, body: bytes) -> bytes:
        """The body as the disk holds it, after its MD5 was checked."""
        rots = body and number in self.damage
        return bytes([body[0] ^ 1]) + body[1:] if rots else body

    def etag_of(self, body: bytes) -> str:
        if self.etag in ("md5", "MD5"):
            return self._spelt(hashlib.md5(body).hexdigest())
        return uuid4().hex if self.etag == "opaque" else str(uuid4())

    def final_etag_of(self, parts: list[Part]) -> str:
        if self.complete_etag == "whole-md5":
            return hashlib.md5(b"".join(part.body for part in parts)).hexdigest()
        if self.complete_etag == "opaque-n":
            return f"{uuid4().hex}-{len(parts)}"
        # As MinIO: over the ETags that were given out, whatever they are.
        digests = b"".join(bytes.fromhex(part.etag.replace("-", "")) for part in parts)
        return self._spelt(f"{hashlib.md5(digests).hexdigest()}-{len(parts)}")

    def _spelt(self, etag: str) -> str:
        return etag.upper() if self.etag == "MD5" else etag

    def shown_etag_of(self, stored: Stored) -> str:
        """The ETag in the answers to HEAD and GET."""
        whole = self.head_etag == "whole-md5"
        return hashlib.md5(stored.body).hexdigest() if whole else stored.etag

    def headers_of(self, stored: Stored | None = None) -> dict[str, str]:
        """What every answer about a part or an object says of encryption and version."""
        sse = self.sse if self.sse is not None else "aws:kms" * (self.etag == "opaque")
        headers = {"x-amz-server-side-encryption": sse} if sse else {}
        if stored and self.versioned:
            headers["x-amz-version-id"] = stored.version_id
        return headers

    def metadata_of(self, asked: S3Request) -> dict[str, str]:
        if self.drops_metadata:
            return {}
        named = [(name.partition("x-amz-meta-")[2], v) for name, v in asked.headers.items()]
        spell = str.title if self.capitalises_metadata else str.lower
        return {spell(name): value for name, value in named if name}

    def heeds_if_none_match(self, verb: str) -> bool:
        if self.if_none_match == "refused":
            raise Refusal(501, "NotImplemented", "If-None-Match")
        put_only = self.if_none_match == "put-only" and verb == "put-object"
        return put_only or self.if_none_match == "honoured"

    def check_digest(self, asked: S3Request) -> None:
        given = asked.headers.get("content-md5")
        if given is None or not self.check_md5:
            return
        with contextlib.suppress(binascii.Error):
            digest = base64.b64decode(given, validate=True)
            if len(digest) == 16:
                if digest == hashlib.md5(asked.body).digest():
                    return
                raise Refusal(400, "BadDigest")
        raise Refusal(400, "InvalidDigest")

    def check_sizes(self, sizes: list[int]) -> None:
        if any(size < self.min_part_bytes for size in sizes[:-1]):
            raise Refusal(400, "EntityTooSmall")
        if self.equal_parts and (len(set(sizes[:-1])) > 1 or sizes[-1] > sizes[0]):
            raise Refusal(400, "InvalidPart", "all non-trailing parts must have the same length")

    def check_number(self, number: int | None) -> int:
        if number is None or not 1 <= number <= self.max_parts:
            raise Refusal(400, "InvalidArgument", f"partNumber must be 1 to {self.max_parts}")
        return number
