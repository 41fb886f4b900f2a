"""`sink`: an endless stream of records becomes many objects, each proved, while it runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import click

from ...errors import UsageError
from ...model.events import Event, Retrying, Warned
from ...model.options import Connection, Options
from ...receiver.activity import Activity
from ...results import Receipt, SinkFigures
from ...sink.rotation import SinkOptions
from ...sources.compressed import COMPRESSION_SUFFIXES
from ...units import format_size, plural
from ..arguments import arguments
from ..console import say
from ..interrupts import SinkInterrupts
from ..options.addresses import prefix_of
from ..options.common import (
    ConnectionArgs,
    DigestArgs,
    OutputArgs,
    PartArgs,
    RetryArgs,
    argument,
    command_line,
    connection_options,
    digest_option,
    digests_from,
    option,
    part_options,
    quiet_options,
    rate_option,
    retries_from,
    wait_options,
)
from ..options.destination import DestinationArgs, DestinationCommand, destination_options
from ..options.listen import (
    ListenArgs,
    Listening,
    connection_with,
    listen_options,
    listening_from,
    rotation_with,
    vance_from,
)
from ..options.object import ObjectArgs, case_from, object_options, settings_from
from ..options.sink import (
    ObjectNameArgs,
    RotationArgs,
    SpoolArgs,
    check_spool,
    name_options,
    rotation_options,
    rotation_rules_from,
    spool_options,
)
from ..options.types import duration
from ..reporting import Reporter, report
from ..service import ServiceNotifier

if TYPE_CHECKING:
    from ...sink.sink import Sink
    from ..config.vance import VanceSettings

__all__ = ["SinkArgs", "sink"]

_USAGE = "producer | streamtos3 sink s3://BUCKET/PREFIX; see streamtos3 sink --help"


@dataclass(frozen=True, eq=False, repr=False)
class SinkArgs:
    """The command line of `sink`."""

    place: str | None
    objects: int
    named: DestinationArgs
    cut: RotationArgs
    naming: ObjectNameArgs
    spool: SpoolArgs
    listening: ListenArgs
    parts: PartArgs
    digests: DigestArgs
    object: ObjectArgs
    connection: ConnectionArgs
    retries: RetryArgs
    output: OutputArgs


@click.command(
    cls=DestinationCommand,
    first="listen token_file spool spool_limit flush_interval partition"
    " compress endpoint_url keyfile quiet",
)
@argument("place", required=False, metavar="s3://BUCKET/PREFIX")
@destination_options
@rotation_options
@name_options
@spool_options
@listen_options
@option(
    "--objects",
    type=click.IntRange(1, 100),
    default=4,
    show_default=True,
    metavar="N",
    help="Objects that are sent at the same time, at most.",
)
@part_options
@digest_option
@connection_options
@rate_option
@wait_options
@option(
    "--retry-for",
    type=duration,
    help="Stop retrying a request after this long.  [default: never]",
)
@option("--json", "as_json", is_flag=True, help="Print each object's receipt, one a line.")
@quiet_options
@object_options
@arguments(SinkArgs)
def sink(args: SinkArgs) -> None:
    """Store the lines of standard input as many objects below s3://BUCKET/PREFIX.

    With --listen, CloudEvents that come over HTTP instead of lines.

    Each object holds whole lines and is stored and proved like one of put. When S3 is away the
    producer is held back. SIGTERM and SIGINT: what was read is stored, status 0; a second one
    stores nothing more.
    """
    has_destination = args.place is not None or args.named.destination is not None
    vance = vance_from(args.listening, args.connection, has_destination=has_destination)
    args = replace(args, cut=rotation_with(args.cut, vance))
    bucket, prefix = prefix_of(args.place) if has_destination else _vance_bucket(vance)
    check_spool(args.spool)
    listening = listening_from(
        args.listening,
        args.spool,
        vance,
        max_record_bytes=args.cut.max_record,
        allow_insecure=args.connection.insecure_keyfile,
    )
    connection = connection_with(args.connection, vance)
    sink_options = SinkOptions(
        bucket=bucket,
        prefix=prefix,
        name=args.naming.name,
        suffix=args.naming.suffix,
        rules=rotation_rules_from(args.cut),
        compress=args.naming.compress,
        objects_at_once=args.objects,
    )
    _run(sink_options, _options(args, connection), listening, args)


def _vance_bucket(vance: VanceSettings | None) -> tuple[str, str]:
    """Bucket and prefix where no destination was named."""
    if vance is None or vance.bucket is None:
        raise UsageError("no destination", hint=_USAGE)
    return vance.bucket, ""


def _options(args: SinkArgs, connection: Connection) -> Options:
    """The options of each object's upload."""
    naming, about = args.naming, args.object
    suffix = naming.suffix + COMPRESSION_SUFFIXES.get(naming.compress or "", "")
    if not about.content_type and suffix.endswith(".ndjson"):
        about = replace(about, content_type="application/x-ndjson")
    return Options(
        connection=connection,
        chunk_bytes=args.parts.chunksize,
        jobs=args.parts.jobs,
        memory_bytes=args.parts.memory,
        digests=digests_from(args.digests),
        verify=about.verify,
        checksum=about.checksum,
        settings=settings_from(about, naming.name + suffix, args.connection),
        retries=retries_from(args.retries),
        command_line=command_line(),
        case=case_from(about),
    )


def _run(
    sink_options: SinkOptions, options: Options, listening: Listening | None, args: SinkArgs
) -> None:
    from ...sink.sink import Sink
    from ...sink.spool import Spool
    from ..signals import on_signals

    quiet = args.output.quiet
    lines = partial(_from_lines, args.cut.max_record)
    notifier = ServiceNotifier()
    activity = Activity()
    fill = lines() if listening is None else _from_http(listening, quiet, notifier, activity)
    reporter = Reporter(replace(args.output, progress=False))
    spool = Spool(args.spool.spool, args.spool.spool_limit) if args.spool.spool else None

    def on_event(event: Event) -> None:
        reporter(event)
        if isinstance(event, Retrying):
            activity.failed(event.reason)
        elif isinstance(event, Warned):
            activity.failed(event.message)

    def on_stored(receipt: Receipt) -> None:
        url = f"s3://{receipt.bucket}/{receipt.key}"
        activity.stored(url, receipt.size_bytes, receipt.proof.object or "nothing")
        report(receipt, args.output)

    with (
        Sink(sink_options, options, spool=spool, on_stored=on_stored, on_event=on_event) as running,
        on_signals(SinkInterrupts(running, quiet=quiet, on_stopping=notifier.stopping)),
    ):
        running.check()
        running.recover_spool()
        if listening is None:
            notifier.ready("reading standard input")
        with running.ticking(), notifier.watched(running.responds):
            fill(running)
        if not quiet:
            _say_total(running.figures())


def _from_lines(max_record_bytes: int) -> Callable[[Sink], None]:
    """Take standard input at once, before any library asks for credentials."""
    from ...sink.lines import store_lines
    from ...sources.open import take_standard_input

    source = take_standard_input()
    return lambda running: store_lines(source, running, max_record_bytes)


def _from_http(
    listening: Listening, quiet: bool, notifier: ServiceNotifier, activity: Activity
) -> Callable[[Sink], None]:
    """Bind the address at once: that it is in use is reported before anything is uploaded."""
    from ...receiver.server import bind, serve

    bound = bind(listening.address)

    def on_listening(url: str) -> None:
        notifier.ready(f"listening on {url}")
        if not quiet:
            say(f"listening on {url}")

    def fill(running: Sink) -> None:
        try:
            serve(
                running,
                address=listening.address,
                scope=running.reading,
                token=listening.token,
                tls=listening.tls,
                limits=listening.limits,
                on_listening=on_listening,
                bound=bound,
                activity=activity,
            )
        finally:
            running.finish()

    return fill


def _say_total(figures: SinkFigures) -> None:
    if not figures.stored_records:
        say("stored no records")
        return
    records = plural(figures.stored_records, "record")
    objects = plural(figures.stored_objects, "object")
    say(f"stored {records}, {format_size(figures.stored_bytes)}, as {objects}")
