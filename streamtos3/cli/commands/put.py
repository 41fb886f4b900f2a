"""`put`, the default command: standard input, or a file, becomes one object."""

from __future__ import annotations

import click

from ...errors import UsageError
from ..arguments import arguments
from ..console import is_terminal
from ..options.addresses import destination_from
from ..options.common import argument
from ..options.destination import DestinationCommand, destination_options
from ..options.object import object_options
from ..options.upload import StoreArgs, upload_options
from ._upload import store_stream

__all__ = ["put"]

_USAGE = "streamtos3 [INFILE] s3://BUCKET/KEY; see streamtos3 put --help"


@click.command(
    cls=DestinationCommand,
    first="destination endpoint_url keyfile chunksize expect_size overwrite"
    " resume receipt limit_rate quiet",
)
@argument("words", nargs=-1, metavar="[INFILE] s3://BUCKET/KEY")
@destination_options
@upload_options
@object_options
@arguments(StoreArgs)
def put(args: StoreArgs) -> None:
    """Store standard input, or INFILE, as one S3 object and prove it.

    Exit status 0 if and only if the whole input was stored and proved equal to what was read.
    Otherwise nothing new is in the bucket, or the one line on standard error says what is.

    Sizes are in bytes or have a unit (8MiB, 64M, 1g), durations in seconds or with one (90s, 2h).
    Every option can be set in the environment as STREAMTOS3_<OPTION>.
    """
    inputs, address = destination_from(args.words, args.bucket, _USAGE)
    if not inputs and is_terminal(0):
        raise UsageError(
            "standard input is a terminal",
            hint="pipe something in, name a file, or say - to type the object",
        )
    from ...sources.open import open_file, take_standard_input

    infile = inputs[0] if inputs else "-"
    store_stream(
        lambda: take_standard_input() if infile == "-" else open_file(infile),
        address,
        args,
    )
