"""What people and scripts are told of an upload: progress while it runs, the receipt after it."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from ..errors import ReportError
from ..model.events import Event, Resuming, Retrying, Started, UploadCreated, Warned
from ..results import ReadReport, Receipt
from ..units import format_duration, format_size
from .console import is_terminal, line, print_data, say
from .progress import BarProgress, LineProgress, Progress, SilentProgress

if TYPE_CHECKING:
    from .options.common import OutputArgs

__all__ = ["Reporter", "print_receipt", "report"]

_log = logging.getLogger("streamtos3")


class Reporter:
    """Turns an operation's events into progress and lines; `verb` is what happens to the bytes."""

    def __init__(self, output: OutputArgs, verb: str = "stored") -> None:
        self._progress = _progress(output, verb)
        self._quiet = output.quiet
        self.upload_id: str | None = None

    def __call__(self, event: Event) -> None:
        self._progress(event)
        if isinstance(event, UploadCreated):
            self.upload_id = event.upload_id
        elif isinstance(event, Warned):
            self.write(f"warning: {event.message}")
        elif isinstance(event, Resuming) and not self._quiet:
            size = format_size(event.size_bytes)
            self.write(
                f"resuming upload {event.upload_id}: {event.parts} parts ({size}) already stored"
            )
        elif isinstance(event, Retrying):
            _log.debug("try %d to %s failed: %s", event.tries, event.action, event.reason)
            if not self._quiet:
                self.write(f"{event.reason}; trying again in {format_duration(event.wait_s)}")
        elif isinstance(event, Started) and not self._quiet:
            self._say_ceiling(event)

    def write(self, text: str) -> None:
        """One line that does not disturb the progress."""
        self._progress.write(text)

    def close(self) -> None:
        """Remove the progress; an output that is gone is no error."""
        with suppress(OSError, ValueError):
            self._progress.close()

    def _say_ceiling(self, event: Started) -> None:
        if event.length_bytes is None and not event.parts_grow:
            self.write(
                f"parts are all of {format_size(event.part_bytes)}: "
                f"at most {format_size(event.capacity_bytes)} fit"
            )


def _progress(output: OutputArgs, verb: str) -> Progress:
    wanted = output.progress
    if output.quiet or wanted is False:
        return SilentProgress(say)
    if is_terminal(2):
        return BarProgress(sys.stderr, line, verb=verb)
    return LineProgress(say, verb=verb) if wanted else SilentProgress(say)


def report(
    receipt: Receipt,
    output: OutputArgs,
    files: Sequence[Callable[[], None]] = (),
    more: Sequence[Callable[[], None]] = (),
) -> None:
    """Receipt to `files` and standard output, `more` reports, and one line for people.

    Each is tried, whatever became of the others; the first ReportError is raised at the end.
    """
    printed = [lambda: print_receipt(receipt)] if output.as_json else []
    failed: ReportError | None = None
    for way in (*files, *printed, *more):
        try:
            way()
        except ReportError as error:
            failed = failed or error
    if not output.quiet:
        say(_summary(receipt))
    if failed is not None:
        failed.left_behind = f"s3://{receipt.bucket}/{receipt.key}, stored and proved"
        raise failed


def print_receipt(receipt: Receipt | ReadReport) -> None:
    """A receipt or report as one line on standard output. ReportError if that fails."""
    from ..receipts.file import receipt_json

    print_data(receipt_json(receipt) + "\n", "receipt")


def _summary(receipt: Receipt) -> str:
    """What was stored where, how fast, what proved it, and the digests."""
    elapsed_s = (receipt.ended_at - receipt.started_at).total_seconds()
    rate = receipt.size_bytes / max(elapsed_s, 0.001)
    digests = "".join(f", {name} {value}" for name, value in receipt.digests.items())
    count = len(receipt.parts)
    parts = f" in {count} parts" if receipt.upload_id else ""
    etag = f" {receipt.etag_found}" if (receipt.proof.object or "").endswith("etag") else ""
    return (
        f"stored {format_size(receipt.size_bytes)} as s3://{receipt.bucket}/{receipt.key}{parts} "
        f"in {format_duration(elapsed_s)} ({format_size(rate)}/s), "
        f"proved by {receipt.proof.object}{etag}{digests}"
    )
