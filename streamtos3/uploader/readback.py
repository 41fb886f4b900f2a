"""`--verify readback`: compare the stored object, part by part, with the receipt of its upload."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from ..downloader.download import download
from ..downloader.output import NullWriter
from ..errors import IntegrityError, Interrupted, StreamToS3Error, UnprovedError
from ..model.options import Options
from ..results import Proof, Receipt
from ..runtime.cancel import CancelScope
from ..s3.clients import Clients

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

__all__ = ["prove_by_reading_back", "proved_by_reading_back", "reading_back"]


def prove_by_reading_back(
    receipt: Receipt,
    options: Options,
    client: S3Client | Clients | None,
    scope: CancelScope,
    unproved: UnprovedError | None,
) -> Receipt:
    """Read the object back; returns `receipt` with this proof. Raises as `reading_back` does."""
    with reading_back(receipt, unproved):
        download(
            receipt.bucket,
            receipt.key,
            NullWriter(),
            version_id=receipt.version_id,
            receipt=receipt,
            options=options,
            client=client,
            scope=scope,
        )
    return proved_by_reading_back(receipt)


def proved_by_reading_back(receipt: Receipt) -> Receipt:
    """`receipt` with this proof of the object."""
    return replace(receipt, proof=Proof(receipt.proof.parts, "readback"))


@contextmanager
def reading_back(receipt: Receipt, unproved: UnprovedError | None = None) -> Iterator[None]:
    """Let the errors of reading a stored object back say what is in the bucket.

    IntegrityError when other bytes came back. When the object cannot be read it raises
    `unproved`, where nobody asked for reading, else an UnprovedError that says why.
    """
    url = f"s3://{receipt.bucket}/{receipt.key}"
    try:
        yield
    except Interrupted as signal:
        signal.left_behind = f"{url}, stored, but not read back to the end"
        raise
    except IntegrityError as error:
        error.left_behind = f"{url} is there and is not what was read"
        raise
    except StreamToS3Error as error:
        if unproved is not None:
            raise unproved from error
        unproved = UnprovedError(
            f"{url} is stored, but it could not be read back: {error.message}",
            hint=error.hint,
            receipt=receipt,
        )
        unproved.left_behind = f"{url}, unproved"
        raise unproved from error
