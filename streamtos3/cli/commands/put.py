"""`put`, the default command: standard input, or a file, becomes one object."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import click

from ...errors import UsageError
from ...model.events import Event
from ...model.options import Options
from ...results import Receipt
from ...sources.base import Source
from ..arguments import arguments
from ..console import is_terminal
from ..options.addresses import ObjectAddress, destination_from
from ..options.cluster import ClusterArgs, cluster_from, cluster_options, cross_check_option
from ..options.common import DigestArgs, argument
from ..options.destination import DestinationCommand, destination_options
from ..options.object import object_options
from ..options.upload import StoreArgs, upload_options
from ..running import Run
from ._upload import store_stream

if TYPE_CHECKING:
    from ...cluster.processes import ClusterOptions

__all__ = ["PutArgs", "put"]

_USAGE = "streamtos3 [INFILE] s3://BUCKET/KEY; see streamtos3 put --help"


@dataclass(frozen=True, eq=False, repr=False)
class PutArgs(StoreArgs):
    """The command line of `put`."""

    cluster: ClusterArgs


@click.command(
    cls=DestinationCommand,
    first="destination endpoint_url keyfile chunksize expect_size overwrite"
    " resume receipt limit_rate quiet",
)
@argument("words", nargs=-1, metavar="[INFILE] s3://BUCKET/KEY")
@destination_options
@upload_options
@cluster_options
@cross_check_option
@object_options
@arguments(PutArgs)
def put(args: PutArgs) -> None:
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
    cluster = cluster_from(args.cluster)
    if cluster is None:
        store_stream(
            lambda: take_standard_input() if infile == "-" else open_file(infile), address, args
        )
        return
    if infile == "-":
        raise UsageError("--dask needs a file: every worker reads its share of it")
    if args.upload.tee:
        raise UsageError("--tee needs a stream, and with --dask nobody reads the whole of one")
    # What it costs is said in docs/cluster.org: one worker reads the whole file.
    if not args.digests.digest:
        args = replace(args, digests=DigestArgs(("none",)))
    store_stream(lambda: open_file(infile), address, args, partial(_by_workers, cluster, infile))


def _by_workers(
    cluster: ClusterOptions,
    path: str,
    source: Source,
    address: ObjectAddress,
    options: Options,
    run: Run,
    on_event: Callable[[Event], None],
) -> Receipt:
    """Store the file at `path`, which `source` has shown to be readable here, by a cluster."""
    from ...cluster.put import put_file

    source.close()
    return put_file(
        path,
        address.bucket,
        address.key,
        how=cluster,
        options=options,
        on_event=on_event,
        scope=run.scope,
    )
