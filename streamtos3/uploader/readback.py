"""Proof by reading back: the stored object, part by part, against the receipt of its upload."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ..downloader.download import download
from ..errors import IntegrityError, Interrupted, StreamToS3Error, UnprovedError
from ..model.options import Options
from ..results import Proof, Receipt
from ..runtime.cancel import CancelScope
from ..s3.clients import Clients

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

__all__ = ["proved_by_reading_back"]


def proved_by_reading_back(
    receipt: Receipt, options: Options, client: S3Client | Clients | None, scope: CancelScope
) -> Receipt:
    """`receipt` with the proof that reading the object gives.

    Raises IntegrityError when other bytes come back, UnprovedError when it cannot be read.
    """
    url = f"s3://{receipt.bucket}/{receipt.key}"
    try:
        download(
            receipt.bucket,
            receipt.key,
            _Nowhere(),
            version_id=receipt.version_id,
            receipt=receipt,
            options=options,
            client=client,
            scope=scope,
        )
    except Interrupted as signal:
        signal.left_behind = f"{url}, stored, but not read back to the end"
        raise
    except IntegrityError as error:
        error.left_behind = f"{url} is there and is not what was read"
        raise
    except StreamToS3Error as error:
        unproved = UnprovedError(
            f"{url} is stored, but it could not be read back: {error.message}",
            hint=error.hint,
            receipt=receipt,
        )
        unproved.left_behind = f"{url}, unproved"
        raise unproved from error
    return replace(receipt, proof=Proof(receipt.proof.parts, "readback"))


class _Nowhere:
    """Takes what is read and keeps nothing: the comparison comes before."""

    def deliver(self, data: memoryview, scope: CancelScope) -> None:
        """See writer.Writer."""

    def close(self) -> None:
        """Nothing to close."""
