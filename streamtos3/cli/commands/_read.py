"""What `get` and `verify` share: their options, and the object and receipt they are about."""

from __future__ import annotations

from typing import Any

import click

from ...model.object_settings import ObjectSettings
from ...model.options import Options
from ...model.parts import DEFAULT_CHUNK_BYTES
from ...results import Receipt
from ..console import say
from ..options.common import (
    connection_from,
    connection_options,
    option,
    retries_from,
    retry_options,
    size,
    talk_options,
    together,
)
from ..options.destination import destination_options

__all__ = ["reading_options", "reading_options_from", "receipt_from"]

reading_options = together(
    destination_options,
    option("--version-id", metavar="ID", help="This version, and not the latest one."),
    option(
        "-c",
        "--chunksize",
        type=size,
        default="8MiB",
        show_default=True,
        help="Bytes asked for at once, where they are not the object's own parts.",
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
    option("--memory", type=size, help="Buffers, at most.  [default: 1/4 of what is free, 1GiB]"),
    option("--sse-c-key-file", metavar="FILE", help="Your own key to decrypt with: 32 bytes."),
    option("--expected-bucket-owner", metavar="ID", help="Refuse a bucket of any other account."),
    option("--request-payer", is_flag=True, help="We pay for the requests."),
    connection_options,
    retry_options,
    talk_options,
)


def reading_options_from(values: dict[str, Any]) -> Options:
    """What the command line says about how to read."""
    connection = connection_from(values)
    if not connection.verify_tls:
        say("warning: --no-verify-ssl: anybody on the way can read and change what is sent")
    return Options(
        connection=connection,
        chunk_bytes=values["chunksize"] or DEFAULT_CHUNK_BYTES,
        jobs=values["jobs"],
        memory_bytes=values["memory"],
        retries=retries_from(values),
        settings=ObjectSettings(
            sse_c_key=_customer_key(values),
            expected_bucket_owner=values["expected_bucket_owner"],
            request_payer=values["request_payer"],
        ),
    )


def _customer_key(values: dict[str, Any]) -> bytes | None:
    path = values["sse_c_key_file"]
    if path is None:
        return None
    from ..options.object import read_customer_key

    return read_customer_key(path, values["insecure_keyfile"])


def receipt_from(path: str | None) -> Receipt | None:
    """The receipt that --receipt names."""
    if path is None:
        return None
    from ...receipt import read_receipt

    return read_receipt(path)
