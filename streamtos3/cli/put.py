"""`put`, the default command: options to values, events to talk, the receipt to where it goes."""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from ..errors import Interrupted, ReportError, UnprovedError, UsageError
from ..model import Event, Options, Receipt, Resuming, Retrying, Started, UploadCreated, Warned
from ..naming import is_s3_url, split_s3_url
from ..parts import DEFAULT_CHUNK_BYTES
from ..progress import BarProgress, LineProgress, Progress, SilentProgress
from ..units import format_duration, format_size
from .options import (
    Choice,
    connection_from,
    connection_options,
    option,
    report_options,
    retries_from,
    retry_options,
    size,
)
from .talk import redacted, say

__all__ = ["put"]

_DIGESTS = ("sha256", "md5", "sha1", "sha512", "blake2b", "none")


@click.command(short_help="Store standard input, or a file, as one object (the default command).")
@click.argument("words", nargs=-1, metavar="[INFILE] s3://BUCKET/KEY")
@option("-b", "--bucket", metavar="NAME", help="Bucket, where no s3:// destination is given.")
@option("-o", "--obj", metavar="KEY", help="Key, where no s3:// destination is given.")
@option(
    "-c",
    "--chunksize",
    type=size,
    default="8MiB",
    show_default=True,
    help="Part size. A stream of unknown length doubles it every 1,000 parts.",
)
@option(
    "-j",
    "--jobs",
    type=click.IntRange(1, 1000),
    default=16,
    show_default=True,
    metavar="N",
    help="Parts in flight, at most.",
)
@option("--memory", type=size, help="Part buffers, at most.  [default: 1/4 of what is free, 1GiB]")
@option("--expect-size", type=size, help="The input's exact size; any other stores nothing.")
@option("--min-size", type=size, default=0, help="A shorter input stores nothing.")
@option("--size-hint", type=size, help="About how long the input is; only guides the part size.")
@option("--expect-sha256", metavar="HEX", help="The input's SHA-256; any other stores nothing.")
@option("--equal-parts", is_flag=True, help="Never let the part size grow.")
@option(
    "--resume",
    is_flag=True,
    help="Go on with this key's unfinished upload; keep the parts if this run fails.",
)
@option("--overwrite", is_flag=True, help="Replace an object that exists.")
@option(
    "--digest",
    type=Choice(_DIGESTS),
    multiple=True,
    help="Digest of the whole stream, for the receipt; repeatable.  [default: sha256]",
)
@connection_options
@retry_options
@report_options
@click.pass_context
def put(ctx: click.Context, /, **values: Any) -> None:
    """Store standard input, or INFILE, as one S3 object and prove it.

    Exit status 0 if and only if the whole input was stored and proved equal to what was read.
    Otherwise nothing new is in the bucket, or the one line on standard error says what is.

    Sizes are bytes or carry a unit (8MiB, 64M, 1g), durations likewise (90s, 2h). Every option
    can be set in the environment as STREAMTOS3_<OPTION>.
    """
    if values["debug"]:
        from .debug import start_debug_log

        start_debug_log()
    infile, bucket, key = _destination(values)
    options = _options(values, ctx.obj)
    _warn_of(options)
    if values["receipt"]:
        from ..receipt import check_receipt_path

        check_receipt_path(values["receipt"])
    from ..latch import Latch
    from ..source import open_file, take_standard_input
    from .signals import on_signals

    source = take_standard_input() if infile in (None, "-") else open_file(infile)
    latch = Latch()
    show = _Show(_progress(values), quiet=values["quiet"])
    with on_signals(lambda signum: _interrupt(latch, signum, show)):
        from ..engine import upload

        try:
            receipt = upload(source, bucket, key, options=options, on_event=show, latch=latch)
        except UnprovedError as error:
            show.close()
            if values["as_json"]:
                _print_receipt(error.receipt)
            raise
        finally:
            show.close()
            source.close()
    _report(receipt, values)


def _destination(values: dict[str, Any]) -> tuple[str | None, str, str]:
    """Input (None: standard input), bucket and key, from the words and -b, -o."""
    words = values["words"]
    urls = [word for word in words if is_s3_url(word)]
    inputs = [word for word in words if not is_s3_url(word)]
    if len(urls) > 1 or len(inputs) > 1:
        raise UsageError(f"too many arguments: {' '.join(words)}", hint=_USAGE)
    if urls and (values["bucket"] or values["obj"]):
        # From the environment they are defaults; on the command line a contradiction.
        context = click.get_current_context()
        for name in ("bucket", "obj"):
            if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
                raise UsageError("give either s3://BUCKET/KEY or -b and -o, not both")
    infile = inputs[0] if inputs else None
    if urls:
        bucket, key = split_s3_url(urls[0])
    elif values["bucket"] and values["obj"] is not None:
        bucket, key = values["bucket"], values["obj"]
    else:
        raise UsageError("no destination", hint=_USAGE)
    if infile is None and _is_terminal(0):
        raise UsageError(
            "standard input is a terminal",
            hint="pipe something in, name a file, or say - to type the object",
        )
    return infile, bucket, key


_USAGE = "streamtos3 [INFILE] s3://BUCKET/KEY; see streamtos3 put --help"


def _is_terminal(fd: int) -> bool:
    try:
        return os.isatty(fd)
    except OSError:
        return False


def _options(values: dict[str, Any], argv: list[str] | None) -> Options:
    digests = values["digest"] or ("sha256",)
    if "none" in digests:
        if len(digests) > 1:
            raise UsageError("--digest none allows no other --digest")
        digests = ()
    expect_sha256 = (values["expect_sha256"] or "").strip().lower() or None
    if expect_sha256 and (len(expect_sha256) != 64 or set(expect_sha256) - set("0123456789abcdef")):
        raise UsageError(f"{expect_sha256!r} is no SHA-256: 64 hexadecimal digits")
    if expect_sha256 and "sha256" not in digests:
        digests = (*digests, "sha256")
    return Options(
        connection=connection_from(values),
        chunk_bytes=values["chunksize"] or DEFAULT_CHUNK_BYTES,
        jobs=values["jobs"],
        memory_bytes=values["memory"],
        expect_size_bytes=values["expect_size"],
        min_size_bytes=values["min_size"],
        expect_sha256=expect_sha256,
        size_hint_bytes=values["size_hint"],
        equal_parts=values["equal_parts"],
        overwrite=values["overwrite"],
        resume=values["resume"],
        digests=tuple(dict.fromkeys(digests)),
        retries=retries_from(values),
        command_line=tuple(redacted(word) for word in argv) if argv else None,
    )


def _warn_of(options: Options) -> None:
    if not options.connection.verify_tls:
        say("warning: --no-verify-ssl: anybody on the way can read and change what is sent")
    if options.memory_bytes is not None and options.memory_bytes < 2 * options.chunk_bytes:
        say(
            f"warning: --memory {format_size(options.memory_bytes)} holds fewer than two parts; "
            f"{format_size(2 * options.chunk_bytes)} will be used"
        )


def _progress(values: dict[str, Any]) -> Progress:
    wanted = values["progress"]
    if values["quiet"] or wanted is False:
        return SilentProgress(say)
    if _is_terminal(2):
        return BarProgress(sys.stderr, say)
    return LineProgress(say) if wanted else SilentProgress(say)


class _Show:
    """Turns the engine's events into progress and lines."""

    def __init__(self, progress: Progress, *, quiet: bool) -> None:
        self._progress = progress
        self._quiet = quiet
        self.upload_id: str | None = None

    def __call__(self, event: Event) -> None:
        self._progress(event)
        if isinstance(event, UploadCreated):
            self.upload_id = event.upload_id
        elif isinstance(event, Resuming) and not self._quiet:
            size = format_size(event.size_bytes)
            self._progress.write(
                f"going on with upload {event.upload_id}: {event.parts} parts of {size} are there"
            )
        elif isinstance(event, Warned):
            self._progress.write(f"warning: {event.message}")
        elif isinstance(event, Retrying) and not self._quiet:
            self._progress.write(f"{event.reason}; trying again in {format_duration(event.wait_s)}")
        elif isinstance(event, Started) and not self._quiet:
            self._say_ceiling(event)

    def close(self) -> None:
        self._progress.close()

    def _say_ceiling(self, event: Started) -> None:
        if event.length_bytes is None and not event.parts_grow:
            self._progress.write(
                f"parts are all of {format_size(event.part_bytes)}: "
                f"at most {format_size(event.capacity_bytes)} fit"
            )


def _interrupt(latch: Any, signum: int, show: _Show) -> None:
    """The first signal ends in order; the second at once."""
    if latch.hurried_at_s is None:
        latch.fail(Interrupted(signum))
        return
    upload_id = f"; upload {show.upload_id} may be left" if show.upload_id else ""
    say(f"left at once on a second signal{upload_id}")
    os._exit(128 + signum)


def _report(receipt: Receipt, values: dict[str, Any]) -> None:
    """Receipt to file and standard output, one line for people."""
    failed: ReportError | None = None
    if values["receipt"]:
        from ..receipt import write_receipt

        try:
            write_receipt(receipt, values["receipt"])
        except ReportError as error:
            failed = error
    if values["as_json"]:
        try:
            _print_receipt(receipt)
        except ReportError as error:
            failed = failed or error
    if not values["quiet"]:
        say(_summary(receipt))
    if failed is not None:
        failed.left_behind = f"s3://{receipt.bucket}/{receipt.key}, stored and proved"
        raise failed


def _print_receipt(receipt: Receipt) -> None:
    from ..receipt import receipt_json

    try:
        click.echo(receipt_json(receipt))
        sys.stdout.flush()
    except (OSError, ValueError, AttributeError) as error:
        raise ReportError(f"cannot print the receipt: {error}") from error


def _summary(receipt: Receipt) -> str:
    """What was stored where, how fast, what proved it, and the digests."""
    elapsed_s = (receipt.ended_at - receipt.started_at).total_seconds()
    rate = receipt.size_bytes / max(elapsed_s, 0.001)
    digests = "".join(f", {name} {value}" for name, value in receipt.digests.items())
    count = len(receipt.parts)
    parts = f" in {count} parts" if receipt.upload_id else ""
    return (
        f"stored {format_size(receipt.size_bytes)} as s3://{receipt.bucket}/{receipt.key}{parts} "
        f"in {format_duration(elapsed_s)} ({format_size(rate)}/s), "
        f"proved by {receipt.proof.object} {receipt.etag_found}{digests}"
    )
