"""Where `put` and `run` leave the receipt, and its signature: in files, and as objects."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import cached_property, partial
from typing import TYPE_CHECKING

from ...errors import ReportError, StreamToS3Error, UsageError
from ...model.names import check_destination_name
from ...model.options import Options
from ...results import Receipt
from ..options.addresses import ObjectAddress
from ..options.upload import UploadArgs

if TYPE_CHECKING:
    from ...receipts.signatures import Signer

__all__ = ["ReceiptCopies", "check_copies"]

_RECEIPT_SUFFIX = ".receipt.json"
_SIGNATURE_SUFFIX = ".sig"


def check_copies(args: UploadArgs, address: ObjectAddress) -> Signer | None:
    """What --sign-key signs with, after it was tried; None without it.

    UsageError, before anything is opened, where the receipt or its signature could not be made,
    written or stored later.
    """
    from ...receipts.file import check_receipt_path

    if args.receipt:
        check_receipt_path(args.receipt)
    if args.receipt_object:
        longest = address.key + _RECEIPT_SUFFIX + (_SIGNATURE_SUFFIX if args.sign_key else "")
        check_destination_name(address.bucket, longest)
    if args.sign_key is None:
        return None
    if not args.receipt and not args.receipt_object:
        raise UsageError(
            "--sign-key has no receipt to sign", hint="give --receipt FILE or --receipt-object"
        )
    from ...receipts.signatures import Signer

    if args.receipt:
        check_receipt_path(args.receipt + _SIGNATURE_SUFFIX, "signature")
    signer = Signer(args.sign_key)
    signer.check()
    return signer


class ReceiptCopies:
    """A receipt's bytes, the same in all its copies, and their signature, made once.

    `to_files` and `to_objects` give the ways to write them, each of which raises ReportError.
    """

    def __init__(self, receipt: Receipt, signer: Signer | None) -> None:
        self._receipt = receipt
        self._signer = signer
        self._signature: bytes | ReportError | None = None

    @cached_property
    def _content(self) -> bytes:
        from ...receipts.file import receipt_bytes

        return receipt_bytes(self._receipt)

    def to_files(self, path: str) -> list[Callable[[], None]]:
        """The receipt to `path`, the signature beside it."""
        from ...receipts.file import write_whole

        ways: list[Callable[[], None]] = [partial(write_whole, self._content, path, "receipt")]
        if self._signer is not None:
            ways.append(partial(self._write_signature, path + _SIGNATURE_SUFFIX))
        return ways

    def to_objects(self, options: Options) -> list[Callable[[], None]]:
        """The receipt as an object beside the one that it is about, and the signature likewise."""
        key = self._receipt.key + _RECEIPT_SUFFIX
        store = partial(_store, self._receipt.bucket, options=options)
        ways: list[Callable[[], None]] = [
            partial(store, key, self._content, "application/json", what="receipt")
        ]
        if self._signer is not None:
            name = key + _SIGNATURE_SUFFIX
            ways.append(lambda: store(name, self._signed(), "text/plain", what="signature"))
        return ways

    def _write_signature(self, path: str) -> None:
        from ...receipts.file import write_whole

        try:
            signature = self._signed()
        except ReportError:
            with suppress(OSError):  # of an earlier receipt, which has just been replaced
                os.unlink(path)
            raise
        write_whole(signature, path, "signature")

    def _signed(self) -> bytes:
        assert self._signer is not None
        if self._signature is None:
            try:
                self._signature = self._signer.sign(self._content)
            except ReportError as error:
                self._signature = error
        if isinstance(self._signature, ReportError):
            raise self._signature
        return self._signature


def _store(
    bucket: str, key: str, content: bytes, content_type: str, *, options: Options, what: str
) -> None:
    """Store `content` beside the object. ReportError when that fails, and says why."""
    from ...uploader.upload import upload

    plain = replace(
        options,
        settings=options.settings.for_a_document(content_type),
        resume=False,
        expect_size_bytes=None,
        min_size_bytes=0,
        expect_sha256=None,
        size_hint_bytes=None,
    )
    try:
        upload(io.BytesIO(content), bucket, key, options=plain)
    except StreamToS3Error as error:
        raise ReportError(f"cannot store the {what}: {error.message}") from error
