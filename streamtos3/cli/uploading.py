"""What `put` and `run` share: where an upload goes, and its way from signals to the report.

A command says what the source is; what happens to it is the same for all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any

import click

from ..errors import ReportError, UnprovedError, UsageError
from ..model import Options, Receipt
from ..naming import split_s3_url
from ..source import Source
from ..units import format_size
from .report import Show, print_receipt, report
from .talk import say

__all__ = ["destination_from", "store_stream"]


def destination_from(urls: Sequence[str], values: dict[str, Any], usage: str) -> tuple[str, str]:
    """Bucket and key, from the s3:// words or from -b and -o."""
    if len(urls) > 1:
        raise UsageError(f"too many arguments: {' '.join(urls)}", hint=usage)
    if urls and (values["bucket"] or values["obj"]):
        # From the environment they are defaults; on the command line a contradiction.
        context = click.get_current_context()
        for name in ("bucket", "obj"):
            if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
                raise UsageError("give either s3://BUCKET/KEY or -b and -o, not both")
    if urls:
        return split_s3_url(urls[0])
    if values["bucket"] and values["obj"] is not None:
        return values["bucket"], values["obj"]
    raise UsageError("no destination", hint=usage)


def store_stream(
    open_source: Callable[[], Source],
    bucket: str,
    key: str,
    options: Options,
    values: dict[str, Any],
) -> None:
    """Upload what `open_source` opens, and report; whatever fails is raised."""
    if values["debug"]:
        from .debug import start_debug_log

        start_debug_log()
    _warn_of(options)
    if values["receipt"]:
        from ..receipt import check_receipt_path

        check_receipt_path(values["receipt"])
    from ..latch import Latch
    from .interrupts import Interrupts
    from .signals import on_signals

    latch = Latch()
    show = Show(values)
    interrupts = Interrupts(latch, show, finish=values["on_interrupt"] == "finish")
    with on_signals(interrupts), closing(interrupts):
        from ..engine import upload

        source = interrupts.source = open_source()
        try:
            receipt = upload(source, bucket, key, options=options, on_event=show, latch=latch)
        except UnprovedError as error:
            show.close()
            if values["as_json"]:
                _print_unproved(error.receipt)
            raise
        finally:
            show.close()
        interrupts.stored = f"s3://{bucket}/{key}"
        report(receipt, values)


def _print_unproved(receipt: Receipt) -> None:
    """A receipt that cannot be printed is the smaller trouble: the status stays 10."""
    try:
        print_receipt(receipt)
    except ReportError as error:
        say(f"warning: {error.message}")


def _warn_of(options: Options) -> None:
    if not options.connection.verify_tls:
        say("warning: --no-verify-ssl: anybody on the way can read and change what is sent")
    if options.memory_bytes is not None and options.memory_bytes < 2 * options.chunk_bytes:
        say(
            f"warning: --memory {format_size(options.memory_bytes)} holds fewer than two parts; "
            f"{format_size(2 * options.chunk_bytes)} will be used"
        )
