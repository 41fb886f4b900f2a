"""The verdict on a stored object: which proof counts, and what is said where none does."""

from __future__ import annotations

from ..errors import IntegrityError, UnprovedError
from ..integrity.checksums import CHECKSUMS, FREE_CHECKSUM
from ..integrity.etag import Expected, judge_checksum
from ..model.options import Options
from ..results import Receipt
from .commit import Committed

__all__ = ["check_verdict", "chosen_proof"]


def chosen_proof(
    url: str, options: Options, committed: Committed, expected: Expected
) -> str | None:
    """The first proof of those that the user accepts, by name; None where there is none.

    Raises IntegrityError when an additional checksum disproves the object.
    """
    mode = options.verify
    if mode in ("none", "readback"):
        return None
    by_checksum = None
    if expected.checksums:
        kind = CHECKSUMS[options.checksum or FREE_CHECKSUM]
        try:
            by_checksum = judge_checksum(url, kind, expected.checksums, committed.checksums)
        except IntegrityError as error:
            error.left_behind = f"{url} is there and is not what was read"
            raise
    if mode == "checksum":
        return by_checksum
    return committed.proof if mode == "etag" else committed.proof or by_checksum


def check_verdict(receipt: Receipt, options: Options, lock_problem: str | None) -> None:
    """UnprovedError where nothing proves the object, IntegrityError where its lock did not take."""
    url = f"s3://{receipt.bucket}/{receipt.key}"
    if lock_problem:
        locked = IntegrityError(
            f"the object is stored, but the lock that was asked for cannot be confirmed: "
            f"{lock_problem}",
            hint="the bucket needs Object Lock, and you the right to see it: "
            "s3:GetObjectRetention, s3:GetObjectLegalHold",
        )
        locked.left_behind = f"{url} is there"
        raise locked
    if receipt.proof.object is None and options.verify != "readback":
        raise _unproved(url, receipt, options)


def _unproved(url: str, receipt: Receipt, options: Options) -> UnprovedError:
    if options.verify == "none":
        message, hint = f"{url} is stored, and no proof was asked for", None
    else:
        message = (
            f"{url} is stored, but nothing that this endpoint answers proves it "
            f"(ETag {receipt.etag_found or 'missing'})"
        )
        hint = "--verify readback proves it by reading it back"
        if options.checksum is None:
            hint = "--checksum crc32 may prove it here, and --verify readback does"
    error = UnprovedError(message, hint=hint, receipt=receipt)
    error.left_behind = f"{url}, unproved"
    return error
