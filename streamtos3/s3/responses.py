"""What S3 answered, as values (pure): the shapes that `Bucket` returns."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import ConditionError, RangeIgnoredError, RefusedError, TransientError
from ..model.object_settings import ObjectSettings, decode_metadata, lock_problem

__all__ = [
    "Answer",
    "ListedObject",
    "ObjectInfo",
    "PLAN_KEY",
    "TOKEN_KEY",
    "check_range",
    "etag_is_md5",
    "is_cut",
    "new_token",
    "object_info",
    "object_metadata",
    "unquoted_etag",
    "write_answer",
]

TOKEN_KEY = "streamtos3-token"
PLAN_KEY = "streamtos3-plan"


@dataclass(frozen=True)
class Answer:
    """The answer to a write.

    `etag` is without quotes and None where the answer has none; `etag_is_md5` is False where
    the answer names an encryption under which S3's ETags are not MD5s. `checksums` maps S3's
    member names (`ChecksumCRC32`) to base64 values.
    """

    etag: str | None
    version_id: str | None = None
    etag_is_md5: bool = True
    checksums: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ListedObject:
    """What a listing says of an object; `etag` is None where it shows none."""

    key: str
    size_bytes: int
    etag: str | None


@dataclass(frozen=True)
class ObjectInfo:
    """What HEAD says about an object. `token` and `part_plan` are None if it is not ours.

    `is_versioned`: the bucket has, or had, versioning, as the answer names a version.

    `lock_problem` says what of the lock that was asked for did not take, None if nothing.
    `metadata` is decoded, and without what this program adds for itself. `restore` is the state
    of an archived object's restore (`ongoing-request="true"`).
    """

    size_bytes: int
    etag: str | None
    version_id: str | None
    token: str | None
    part_plan: str | None
    etag_is_md5: bool
    checksums: Mapping[str, str] = field(default_factory=dict)
    lock_problem: str | None = None
    is_versioned: bool = False
    storage_class: str | None = None
    restore: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


def object_info(answer: Mapping[str, Any], settings: ObjectSettings) -> ObjectInfo:
    """A HEAD's answer, as a value; `settings` are those that were asked for."""
    # Metadata names come back in the server's own capitals (docs/s3-facts.org, Limits).
    metadata = {name.lower(): value for name, value in answer.get("Metadata", {}).items()}
    return ObjectInfo(
        size_bytes=answer["ContentLength"],
        etag=unquoted_etag(answer),
        version_id=_version_id(answer),
        token=metadata.get(TOKEN_KEY),
        part_plan=metadata.get(PLAN_KEY),
        etag_is_md5=etag_is_md5(answer),
        checksums=_checksums(answer),
        lock_problem=lock_problem(settings, answer),
        is_versioned="VersionId" in answer,
        storage_class=answer.get("StorageClass"),
        restore=answer.get("Restore"),
        metadata={
            name: decode_metadata(value)
            for name, value in metadata.items()
            if name not in (TOKEN_KEY, PLAN_KEY)
        },
    )


def unquoted_etag(answer: Mapping[str, Any]) -> str | None:
    """The ETag without quotes and weak prefix; None if it is missing or was cut off."""
    return None if is_cut(answer) else _etag(answer).strip('"') or None


def is_cut(answer: Mapping[str, Any]) -> bool:
    """Whether the connection broke inside the ETag, which Python's HTTP client does not report."""
    etag = _etag(answer)
    return etag.startswith('"') and not (len(etag) > 1 and etag.endswith('"'))


def _etag(answer: Mapping[str, Any]) -> str:
    return str(answer.get("ETag") or "").removeprefix("W/")


def _version_id(answer: Mapping[str, Any]) -> str | None:
    """The version id; None also for `null`, the version of what was stored without versioning.

    `null` adds nothing to the key, and moto, which answers with it, refuses it in a HEAD.
    """
    version_id = answer.get("VersionId")
    return None if version_id in (None, "null") else str(version_id)


def etag_is_md5(answer: Mapping[str, Any]) -> bool:
    """False under KMS and customer keys, where S3's ETags are not MD5s.

    Read from the answer, because a bucket's default encryption shows nowhere else.
    """
    kms = str(answer.get("ServerSideEncryption", "")).startswith("aws:kms")
    return not kms and not answer.get("SSECustomerAlgorithm")


def _checksums(answer: Mapping[str, Any]) -> dict[str, str]:
    return {
        name: value
        for name, value in answer.items()
        if name.startswith("Checksum") and name != "ChecksumType"
    }


def write_answer(answer: Mapping[str, Any]) -> Answer:
    """An answer to a write, as a value."""
    return Answer(
        etag=unquoted_etag(answer),
        version_id=_version_id(answer),
        etag_is_md5=etag_is_md5(answer),
        checksums=_checksums(answer),
    )


def object_metadata(token: str, part_plan: str) -> dict[str, str]:
    """The metadata by which an object is recognised and its parts are found again."""
    return {TOKEN_KEY: token, PLAN_KEY: part_plan}


def new_token() -> str:
    """A random name for one upload, by which its object is recognised."""
    return secrets.token_hex(16)


def check_range(
    action: str,
    answer: Mapping[str, Any],
    wanted: range,
    etag: str | None,
    version_id: str | None,
) -> None:
    """Is this answer what was asked for? Some servers ignore If-Match, or Range, or versions.

    `wanted` are the bytes that were asked for. Raises RangeIgnoredError where all came instead,
    and ConditionError where it is of another object.
    """
    if unquoted_etag(answer) is None:  # not S3: the page of some proxy on the way
        raise TransientError(f"cannot {action}: the answer carries no ETag")
    if etag and unquoted_etag(answer) != etag:
        raise ConditionError(f"cannot {action}: its ETag is no longer {etag}")
    if version_id and answer.get("VersionId") not in (None, version_id):
        found = answer["VersionId"]
        raise ConditionError(f"cannot {action}: the answer is of version {found}, not {version_id}")
    if "ContentRange" not in answer:
        if wanted.start or answer.get("ContentLength", len(wanted)) != len(wanted):
            raise RangeIgnoredError(
                f"cannot {action} from byte {wanted.start}: the answer is the whole object",
                hint="this service, or a proxy before it, ignores Range",
            )
        return
    begins = str(answer["ContentRange"]).removeprefix("bytes ").partition("-")[0]
    if begins != str(wanted.start):
        raise RefusedError(
            f"cannot {action} from byte {wanted.start}: the answer begins with byte {begins}",
            hint="this service, or a proxy before it, does not understand Range",
        )
