"""Options for what the object has besides its bytes, and for how it is to be proved."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone

import click

from ...errors import CredentialsError, UsageError
from ...integrity.checksums import CHECKSUMS
from ...model.object_settings import ObjectSettings, guess_content_type
from ...model.options import Verify
from ...runtime.files import read_private_file
from .common import ConnectionArgs, option, pairs, together
from .types import Choice, Text

__all__ = ["ObjectArgs", "case_from", "customer_key", "object_options", "settings_from"]

_CASE_FIELDS = ("case", "evidence", "examiner", "notes")

object_options = together(
    option(
        "--verify",
        type=Choice(["auto", "etag", "checksum", "readback", "none"]),
        default="auto",
        show_default=True,
        help="What must prove the object; auto takes the first proof that the endpoint offers, and"
        " reads back up to 64 MiB where there is none.",
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
    option("--content-language", metavar="TEXT", help="Content-Language of the object."),
    option("--cache-control", metavar="TEXT", help="Cache-Control of the object."),
    option("--storage-class", metavar="NAME", help="STANDARD_IA, GLACIER, …"),
    option("--acl", metavar="NAME", help="Canned ACL: private, bucket-owner-full-control, …"),
    option(
        "--sse",
        type=Choice(["AES256", "aws:kms", "aws:kms:dsse"]),
        help="Server-side encryption.",
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
    option("--request-payer", is_flag=True, help="Accept the charges of a requester-pays bucket."),
    option("--case", metavar="TEXT", help="Case, for receipt and metadata."),
    option("--evidence", metavar="TEXT", help="Evidence number, for receipt and metadata."),
    option("--examiner", metavar="TEXT", help="Examiner, for receipt and metadata."),
    option("--notes", metavar="TEXT", help="Remarks, for receipt and metadata."),
)


@dataclass(frozen=True, eq=False, repr=False)
class ObjectArgs:
    """What an object has besides its bytes, and how it is proved, as given on the command line."""

    verify: Verify
    checksum: str | None
    metadata: tuple[str, ...]
    tag: tuple[str, ...]
    content_type: str | None
    content_encoding: str | None
    content_language: str | None
    cache_control: str | None
    storage_class: str | None
    acl: str | None
    sse: str | None
    sse_kms_key_id: str | None
    sse_c_key_file: str | None
    lock_mode: str | None
    lock_until: str | None
    lock_days: int | None
    legal_hold: bool
    expected_bucket_owner: str | None
    request_payer: bool
    case: str | None
    evidence: str | None
    examiner: str | None
    notes: str | None


def settings_from(args: ObjectArgs, key: str, connection: ConnectionArgs) -> ObjectSettings:
    """The object's settings that the command line describes, for this key."""
    metadata = pairs("--metadata", args.metadata)
    for name, text in case_from(args).items():
        metadata.setdefault(name, text)
    return ObjectSettings(
        metadata=metadata,
        tags=pairs("--tag", args.tag),
        content_type=args.content_type or guess_content_type(key),
        content_encoding=args.content_encoding,
        content_language=args.content_language,
        cache_control=args.cache_control,
        storage_class=args.storage_class,
        acl=args.acl,
        sse=args.sse,
        sse_kms_key_id=args.sse_kms_key_id,
        sse_c_key=customer_key(args.sse_c_key_file, connection),
        lock_mode=args.lock_mode,
        lock_until=_lock_until(args.lock_until, args.lock_days),
        lock_for=timedelta(days=args.lock_days) if args.lock_days else None,
        legal_hold=args.legal_hold,
        expected_bucket_owner=args.expected_bucket_owner,
        request_payer=args.request_payer,
    ).from_now()


def case_from(args: ObjectArgs) -> dict[str, str]:
    """The fields of the case file that were given."""
    fields = {name: getattr(args, name) for name in _CASE_FIELDS}
    return {name: text for name, text in fields.items() if text}


def customer_key(path: str | None, connection: ConnectionArgs) -> bytes | None:
    """The 32 bytes of a customer's key in the file at `path`; None where there is no file.

    Raises CredentialsError if it is unreadable, malformed or exposed.
    """
    if path is None:
        return None
    insecure = connection.insecure_keyfile
    key = read_private_file(path, "key file", "it holds 32 bytes", allow_insecure=insecure)
    if len(key) != 32:
        raise CredentialsError(f"the key file {path} has {len(key)} bytes; a key has 32")
    return key


def _lock_until(until: str | None, days: int | None) -> datetime | None:
    if until and days:
        raise UsageError("give either --lock-until or --lock-days, not both")
    if not until:
        return None
    try:
        if len(until) == len("2030-12-31"):  # the whole day
            end_of_day = time(23, 59, 59, tzinfo=timezone.utc)
            return datetime.combine(date.fromisoformat(until), end_of_day)
        moment = datetime.fromisoformat(until.replace("Z", "+00:00"))
    except ValueError as error:
        raise UsageError(f"--lock-until {until!r} is not a date: write 2030-12-31") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
