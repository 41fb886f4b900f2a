"""Options for what the object gets besides its bytes, and how it is to be proved."""

from __future__ import annotations

import stat
from datetime import date, datetime, time, timedelta, timezone
from email.header import Header
from pathlib import Path
from typing import Any

import click

from ...errors import CredentialsError, UsageError
from ...integrity.checksums import CHECKSUMS
from ...model.object_settings import ObjectSettings, guess_content_type
from ...runtime.files import os_reason
from .common import Choice, Text, option, pairs, together

__all__ = ["case_from", "object_options", "read_customer_key", "settings_from"]

_CASE_FIELDS = ("case", "evidence", "examiner", "notes")

object_options = together(
    option(
        "--verify",
        type=Choice(["auto", "etag", "checksum", "readback", "none"]),
        default="auto",
        show_default=True,
        help="What must prove the object; auto takes the first proof that the endpoint offers.",
    ),
    option(
        "--checksum",
        type=Choice(list(CHECKSUMS)),
        help="Send this S3 checksum with every part, for the service to compare.",
    ),
    option("--metadata", type=Text(), multiple=True, metavar="K=V", help="Metadata; repeatable."),
    option("--tag", type=Text(), multiple=True, metavar="K=V", help="A tag; repeatable."),
    option("--content-type", metavar="TYPE", help="Media type.  [default: by the key's ending]"),
    option("--content-encoding", metavar="NAME", help="Content-Encoding of the object."),
    option("--cache-control", metavar="TEXT", help="Cache-Control of the object."),
    option("--storage-class", metavar="NAME", help="STANDARD_IA, GLACIER, …"),
    option("--acl", metavar="NAME", help="Canned ACL: private, bucket-owner-full-control, …"),
    option(
        "--sse",
        type=Choice(["AES256", "aws:kms", "aws:kms:dsse"]),
        help="Encryption by the service.",
    ),
    option("--sse-kms-key-id", metavar="ID", help="The KMS key to encrypt with."),
    option("--sse-c-key-file", metavar="FILE", help="Your own key to encrypt with: 32 bytes."),
    option(
        "--lock-mode", type=Choice(["GOVERNANCE", "COMPLIANCE"]), help="Object Lock: retention."
    ),
    option("--lock-until", metavar="DATE", help="Retention ends: 2030-12-31, or with a time."),
    option("--lock-days", type=click.IntRange(min=1), metavar="N", help="Retention for N days."),
    option("--legal-hold", is_flag=True, help="Object Lock: legal hold."),
    option("--expected-bucket-owner", metavar="ID", help="Refuse a bucket of any other account."),
    option("--request-payer", is_flag=True, help="We pay for the requests."),
    option("--case", metavar="TEXT", help="Case, for receipt and metadata."),
    option("--evidence", metavar="TEXT", help="Evidence number, likewise."),
    option("--examiner", metavar="TEXT", help="Who acquires, likewise."),
    option("--notes", metavar="TEXT", help="Remarks, likewise."),
)


def settings_from(values: dict[str, Any], key: str) -> ObjectSettings:
    """The object's settings that the command line describes, for this key."""
    metadata = pairs("--metadata", values["metadata"])
    for name, text in case_from(values).items():
        # S3 demands ASCII; other text goes as RFC 2047, which S3's own console shows decoded.
        plain = text if text.isascii() else Header(text, "utf-8", maxlinelen=10_000).encode()
        metadata.setdefault(name, plain)
    key_file = values["sse_c_key_file"]
    return ObjectSettings(
        metadata=metadata,
        tags=pairs("--tag", values["tag"]),
        content_type=values["content_type"] or guess_content_type(key),
        content_encoding=values["content_encoding"],
        cache_control=values["cache_control"],
        storage_class=values["storage_class"],
        acl=values["acl"],
        sse=values["sse"],
        sse_kms_key_id=values["sse_kms_key_id"],
        sse_c_key=read_customer_key(key_file, values["insecure_keyfile"]) if key_file else None,
        lock_mode=values["lock_mode"],
        lock_until=_lock_until(values["lock_until"], values["lock_days"]),
        legal_hold=values["legal_hold"],
        expected_bucket_owner=values["expected_bucket_owner"],
        request_payer=values["request_payer"],
    )


def case_from(values: dict[str, Any]) -> dict[str, str]:
    """The forensic fields that were given."""
    return {name: values[name] for name in _CASE_FIELDS if values[name]}


def read_customer_key(path: str, allow_insecure: bool) -> bytes:
    """The 32 bytes of a customer's key. CredentialsError if unreadable, malformed or exposed."""
    try:
        mode = Path(path).stat().st_mode
        key = Path(path).read_bytes()
    except OSError as error:
        reason = os_reason(error)
        raise CredentialsError(f"cannot read the key file {path}: {reason}") from error
    if mode & (stat.S_IRGRP | stat.S_IROTH) and not allow_insecure:
        raise CredentialsError(
            f"the key file {path} can be read by others (mode {stat.S_IMODE(mode):04o})",
            hint=f"chmod 600 {path}, or --insecure-keyfile if that is meant",
        )
    if len(key) != 32:
        raise CredentialsError(f"the key file {path} has {len(key)} bytes; a key has 32")
    return key


def _lock_until(until: str | None, days: int | None) -> datetime | None:
    if until and days:
        raise UsageError("give either --lock-until or --lock-days, not both")
    if days:
        return (datetime.now(timezone.utc) + timedelta(days=days)).replace(microsecond=0)
    if not until:
        return None
    try:
        if len(until) == len("2030-12-31"):  # the whole day
            end_of_day = time(23, 59, 59, tzinfo=timezone.utc)
            return datetime.combine(date.fromisoformat(until), end_of_day)
        moment = datetime.fromisoformat(until.replace("Z", "+00:00"))
    except ValueError as error:
        raise UsageError(f"--lock-until {until!r} is no date: write 2030-12-31") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
