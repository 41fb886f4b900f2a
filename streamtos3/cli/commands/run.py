"""`run`: a command's output becomes one object, but only if the command succeeds."""

from __future__ import annotations

import signal
from dataclasses import dataclass

import click

from ...errors import UsageError
from ..arguments import arguments
from ..console import redacted
from ..options.addresses import destination_from
from ..options.common import argument, option
from ..options.destination import DestinationCommand, destination_options
from ..options.object import object_options
from ..options.types import duration, statuses
from ..options.upload import StoreArgs, upload_options
from ._upload import store_stream

__all__ = ["RunArgs", "run"]

_USAGE = "streamtos3 run [OPTIONS] s3://BUCKET/KEY -- COMMAND ...; see streamtos3 run --help"


class _Run(DestinationCommand):
    """A command whose options end at `--`: all that follows belongs to the producer."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Our own words to click; the producer's stay untouched in `ctx.meta`."""
        if "--" not in args and not _only_asks_for_help(args) and not ctx.resilient_parsing:
            raise UsageError("there is no -- before the command", hint=_USAGE)
        end = args.index("--") if "--" in args else len(args)
        ctx.meta[__name__] = tuple(args[end + 1 :])
        return super().parse_args(ctx, args[:end])


def _only_asks_for_help(args: list[str]) -> bool:
    # Not anywhere: `run s3://b/k pg_dump -h db` must not print help and report success.
    return args[:1] in (["-h"], ["--help"]) or args[-1:] == ["--help"]


@dataclass(frozen=True, eq=False, repr=False)
class RunArgs(StoreArgs):
    """The command line of `run`; times are in seconds."""

    ok_status: frozenset[int]
    grace: float


@click.command(
    cls=_Run,
    options_metavar="[OPTIONS]",
    first="ok_status destination endpoint_url keyfile chunksize size_hint"
    " overwrite receipt limit_rate quiet",
)
@argument("words", nargs=-1, metavar="s3://BUCKET/KEY -- COMMAND ...")
@option(
    "--ok-status",
    type=statuses,
    default="0",
    show_default=True,
    metavar="N[,N...]",
    help="COMMAND's exit statuses that mean success; 128+n where signal n ended it.",
)
@option(
    "--grace",
    type=duration,
    default="10s",
    show_default=True,
    help="How long COMMAND may live on after SIGTERM when the upload fails; after a signal to"
    " us at most 10s.",
)
@destination_options
@upload_options
@object_options
@arguments(RunArgs)
def run(args: RunArgs) -> None:
    """Run COMMAND and store its standard output as one S3 object, if it exits with status 0.

    Any other end of COMMAND stores nothing and is exit status 7, as is a COMMAND that cannot be
    started. It starts once the destination has been checked, reads our standard input and
    writes to our standard error. When the upload fails it is ended: without a terminal together
    with all that it has started.

    COMMAND is run as it is, without a shell; for a pipeline:

    \b
      streamtos3 run s3://BUCKET/KEY -- bash -c 'set -o pipefail; pg_dump db | zstd'
    """
    producer: tuple[str, ...] = click.get_current_context().meta[__name__]
    if not producer:
        raise UsageError("there is no command after --", hint=_USAGE)
    others, address = destination_from(args.words, args.bucket, _USAGE)
    if others:
        raise UsageError(f"{others[0]!r} is not a destination", hint=_USAGE)
    if signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:  # inherited; it hides exit statuses
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    from ...sources.command import CommandSource
    from ...sources.open import detach_standard_input

    store_stream(
        lambda: CommandSource(
            producer,
            stdin_fd=detach_standard_input(),
            ok_status=args.ok_status,
            grace_s=args.grace,
            recorded_as=[redacted(word) for word in producer],
        ),
        address,
        args,
    )
