"""What `get`, `verify` and `receipt verify` share: their options, the object, the receipt."""

from __future__ import annotations

from dataclasses import dataclass

import click

from ...model.object_settings import ObjectSettings
from ...model.options import Options
from ...model.parts import DEFAULT_CHUNK_BYTES
from ...results import Receipt
from ..options.common import (
    ConnectionArgs,
    OutputArgs,
    PartArgs,
    RetryArgs,
    connection_from,
    connection_options,
    option,
    output_options,
    rate_option,
    retries_from,
    retry_options,
    together,
)
from ..options.destination import DestinationArgs, destination_options
from ..options.object import customer_key
from ..options.types import size

__all__ = [
    "AccessArgs",
    "ReadArgs",
    "TransferArgs",
    "options_from",
    "reading_options",
    "receipt_from",
    "transfer_options",
]

transfer_options = together(
    option(
        "-c",
        "--chunksize",
        type=size,
        default="8MiB",
        show_default=True,
        help="Size of a request, where the object's own parts are not read.",
    ),
    option(
        "-j",
        "--jobs",
        type=click.IntRange(1, 1000),
        default=16,
        show_default=True,
        metavar="N",
        help="Requests in flight, at most.",
    ),
    option("--memory", type=size, help="Memory for buffers.  [default: 1/4 of free, at most 1GiB]"),
    option("--sse-c-key-file", metavar="FILE", help="Your own key to decrypt with: 32 bytes."),
    option("--expected-bucket-owner", metavar="ID", help="Refuse a bucket of any other account."),
    option("--request-payer", is_flag=True, help="Accept the charges of a requester-pays bucket."),
    connection_options,
    rate_option,
    retry_options,
    output_options,
)

reading_options = together(
    destination_options,
    option("--version-id", metavar="ID", help="This version instead of the latest one."),
    transfer_options,
)


@dataclass(frozen=True, eq=False, repr=False)
class AccessArgs:
    """What the service demands of a reader."""

    sse_c_key_file: str | None
    expected_bucket_owner: str | None
    request_payer: bool


@dataclass(frozen=True, eq=False, repr=False)
class TransferArgs:
    """How an object is read, whichever it is."""

    named: DestinationArgs
    parts: PartArgs
    access: AccessArgs
    connection: ConnectionArgs
    retries: RetryArgs
    output: OutputArgs


@dataclass(frozen=True, eq=False, repr=False)
class ReadArgs(TransferArgs):
    """Everything that `get` and `verify` share."""

    url: str
    receipt: str | None
    version_id: str | None


def options_from(args: TransferArgs) -> Options:
    """What the command line says about how to read."""
    return Options(
        connection=connection_from(args.connection),
        chunk_bytes=args.parts.chunksize or DEFAULT_CHUNK_BYTES,
        jobs=args.parts.jobs,
        memory_bytes=args.parts.memory,
        retries=retries_from(args.retries),
        settings=ObjectSettings(
            sse_c_key=customer_key(args.access.sse_c_key_file, args.connection),
            expected_bucket_owner=args.access.expected_bucket_owner,
            request_payer=args.access.request_payer,
        ),
    )


def receipt_from(path: str | None) -> Receipt | None:
    """The receipt that --receipt names."""
    if path is None:
        return None
    from ...receipts.file import read_receipt

    return read_receipt(path)
