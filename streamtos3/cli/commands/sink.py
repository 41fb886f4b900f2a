"""`sink`: an endless stream of records becomes many objects, each proved, while it runs."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from ...errors import UsageError
from ...model.options import Connection, Options
from ...results import Receipt, SinkFigures
from ...sink.rotation import CutRules, SinkOptions
from ...sources.compressed import COMPRESSION_SUFFIXES
from ...units import format_size
from ..console import say
from ..interrupts import LEAVE_AFTER_S
from ..options.addresses import prefix_of
from ..options.common import (
    Choice,
    command_line_from,
    connection_options,
    digest_option,
    digests_from,
    duration,
    option,
    part_options,
    quiet_options,
    retries_from,
    size,
    together,
    wait_options,
)
from ..options.destination import DestinationCommand, destination_options
from ..options.listen import (
    Listening,
    connection_with,
    listen_options,
    listening_from,
    options_with,
    vance_from,
)
from ..options.object import case_from, object_options, settings_from
from ..reporting import Show, report

if TYPE_CHECKING:
    from ...sink.sink import Sink
    from ..config.vance import VanceSettings

__all__ = ["sink"]

_USAGE = "producer | streamtos3 sink s3://BUCKET/PREFIX; see streamtos3 sink --help"

_cutting_options = together(
    option(
        "--flush-count",
        type=click.IntRange(min=1),
        default=1000,
        show_default=True,
        metavar="N",
        help="An object ends after N records",
    ),
    option(
        "--flush-size",
        type=size,
        default="64MiB",
        show_default=True,
        help="or with the record that reaches this size",
    ),
    option(
        "--flush-interval",
        type=duration,
        default="60s",
        show_default=True,
        help="or so long after its first record",
    ),
    option(
        "--partition",
        type=Choice(["hourly", "daily", "none"]),
        default="hourly",
        show_default=True,
        help="or with its partition: PREFIX/YYYY/MM/DD/HH/, PREFIX/YYYY/MM/DD/, PREFIX/ (UTC).",
    ),
    option(
        "--max-record",
        type=size,
        default="1MiB",
        show_default=True,
        help="A longer line ends the sink, with status 7.",
    ),
)

_naming_options = together(
    option(
        "--name", default="events", show_default=True, help="What the objects' names begin with."
    ),
    option(
        "--suffix", default=".ndjson", show_default=True, help="What the objects' names end with."
    ),
    option(
        "--compress",
        type=Choice(["gzip", "zstd"]),
        help="Compress each object; .gz or .zst is appended to the suffix.",
    ),
)

_spool_options = together(
    option(
        "--spool",
        metavar="DIR",
        help="Keep records in this local directory, synced, until they are stored.",
    ),
    option(
        "--spool-limit",
        type=size,
        default="1GiB",
        show_default=True,
        help="What the spool may take on the disk.",
    ),
)


@click.command(cls=DestinationCommand)
@click.argument("place", required=False, metavar="s3://BUCKET/PREFIX")
@destination_options
@_cutting_options
@_naming_options
@_spool_options
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
@wait_options
@option(
    "--retry-for",
    type=duration,
    help="Give a request up when it has failed for so long.  [default: never]",
)
@option("--json", "as_json", is_flag=True, help="Print each object's receipt, one a line.")
@quiet_options
@object_options
@click.pass_context
def sink(ctx: click.Context, /, **values: Any) -> None:
    """Store the lines of standard input as many objects below s3://BUCKET/PREFIX.

    With --listen, CloudEvents that come over HTTP instead of lines.

    Each object holds whole lines and is stored and proved like one of put. When S3 is away the
    producer is held back. SIGTERM and SIGINT: what was read is stored, status 0; a second one
    stores nothing more.
    """
    has_destination = values["place"] is not None or values["destination"] is not None
    vance = vance_from(values, has_destination=has_destination)
    values = options_with(values, vance)
    bucket, prefix = _place(values, vance)
    _check_spool(values)
    listening = listening_from(values, vance)
    connection = connection_with(values, vance)
    sink_options = SinkOptions(
        bucket=bucket,
        prefix=prefix,
        name=values["name"],
        suffix=values["suffix"],
        rules=_rules(values),
        compress=values["compress"],
        objects_at_once=values["objects"],
    )
    if values["debug"]:
        from ..debug_log import start_debug_log

        start_debug_log()
    _run(sink_options, _options(values, connection, ctx.obj), listening, values)


def _place(values: dict[str, Any], vance: VanceSettings | None) -> tuple[str, str]:
    if values["place"] is None and values["destination"] is None:
        if vance is None or vance.bucket is None:
            raise UsageError("no destination", hint=_USAGE)
        return vance.bucket, ""
    return prefix_of(values["place"])


def _check_spool(values: dict[str, Any]) -> None:
    """A spool that was asked for must not be dropped in silence."""
    source = click.get_current_context().get_parameter_source("spool_limit")
    if values["spool"] is None:
        if source is click.core.ParameterSource.COMMANDLINE:
            raise UsageError("--spool-limit goes with --spool")
    elif not values["spool"]:
        raise UsageError("--spool names no directory")


def _rules(values: dict[str, Any]) -> CutRules:
    if values["flush_size"] < 1:
        raise UsageError("--flush-size is at least one byte")
    return CutRules(
        max_records=values["flush_count"],
        max_bytes=values["flush_size"],
        interval_s=values["flush_interval"],
        partition=values["partition"],
    )


def _options(values: dict[str, Any], connection: Connection, argv: list[str] | None) -> Options:
    """What each object's upload is told."""
    name = values["suffix"] + COMPRESSION_SUFFIXES.get(values["compress"] or "", "")
    if not values["content_type"] and name.endswith(".ndjson"):
        values = {**values, "content_type": "application/x-ndjson"}
    return Options(
        connection=connection,
        chunk_bytes=values["chunksize"],
        jobs=values["jobs"],
        memory_bytes=values["memory"],
        digests=digests_from(values),
        verify=values["verify"],
        checksum=values["checksum"],
        settings=settings_from(values, values["name"] + name),
        retries=retries_from(values),
        command_line=command_line_from(argv),
        case=case_from(values),
    )


def _run(
    sink_options: SinkOptions,
    options: Options,
    listening: Listening | None,
    values: dict[str, Any],
) -> None:
    from ...sink.sink import Sink
    from ...sink.spool import Spool
    from ..signals import on_signals

    quiet = values["quiet"]
    fill = _from_lines(values["max_record"]) if listening is None else _from_http(listening, quiet)
    show = Show({**values, "progress": False})
    spool = Spool(values["spool"], values["spool_limit"]) if values["spool"] else None
    told = {**values, "receipt": None}

    def on_stored(receipt: Receipt) -> None:
        report(receipt, told)

    with (
        Sink(sink_options, options, spool=spool, on_stored=on_stored, on_event=show) as running,
        on_signals(_Interrupts(running, quiet=quiet)),
    ):
        running.check()
        running.store_left()
        with running.ticking():
            fill(running)
        if not quiet:
            _say_total(running.figures())


def _from_lines(max_record_bytes: int) -> Callable[[Sink], None]:
    """Standard input, taken at once, before anybody asks for credentials."""
    from ...sink.lines import store_lines
    from ...sources.open import take_standard_input

    source = take_standard_input()
    return lambda running: store_lines(source, running, max_record_bytes)


def _from_http(listening: Listening, quiet: bool) -> Callable[[Sink], None]:
    """The address, taken at once: that it is in use is said before anything is uploaded."""
    from ...receiver.server import bind, serve

    bound = bind(listening.address)

    def fill(running: Sink) -> None:
        try:
            serve(
                running,
                address=listening.address,
                scope=running.reading,
                token=listening.token,
                tls=listening.tls,
                limits=listening.limits,
                on_listening=lambda url: None if quiet else say(f"listening on {url}"),
                bound=bound,
            )
        finally:
            running.finish()

    return fill


class _Interrupts:
    """First signal: store what was read. Second: store nothing more. Third: leave at once.

    What may wait, for a standard error that nobody drains or for a disk, is not waited for here:
    the next signal must be heard.
    """

    def __init__(self, running: Sink, *, quiet: bool) -> None:
        self._sink = running
        self._quiet = quiet
        self._signals = 0

    def __call__(self, signum: int) -> None:
        self._signals += 1
        if self._signals == 1:
            self._sink.stop(signum)
            _in_background(partial(self._announce, signum))
        elif self._signals == 2:
            _in_background(partial(self._sink.abort, signum))
            at_last = threading.Timer(LEAVE_AFTER_S, os._exit, (128 + signum,))
            at_last.daemon = True
            at_last.start()
        else:
            os._exit(128 + signum)

    def _announce(self, signum: int) -> None:
        if not self._quiet:
            name = signal.Signals(signum).name
            say(f"{name}: storing what was read; a second signal stores nothing more")


def _in_background(call: Callable[[], None]) -> None:
    threading.Thread(target=call, daemon=True).start()


def _say_total(figures: SinkFigures) -> None:
    if not figures.stored_records:
        say("stored no records")
        return
    records = "1 record" if figures.stored_records == 1 else f"{figures.stored_records:,} records"
    objects = "1 object" if figures.stored_objects == 1 else f"{figures.stored_objects:,} objects"
    say(f"stored {records}, {format_size(figures.stored_bytes)}, as {objects}")
