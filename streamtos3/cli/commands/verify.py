"""`verify`: is the object what this file, this stream or this receipt says?"""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

import click

from ...errors import UnprovedReadError
from ...results import ReadReport
from ...units import format_size
from ..console import say
from ..options.addresses import address_of
from ..options.common import option
from ..options.destination import DestinationCommand
from ..reporting import Show, print_receipt
from ._read import reading_options, reading_options_from, receipt_from

if TYPE_CHECKING:
    from ...sources.base import FdSource

__all__ = ["verify"]


@click.command(
    cls=DestinationCommand,
)
@click.argument("url", metavar="s3://BUCKET/KEY")
@click.argument("infile", required=False, metavar="[INFILE]")
@option("--receipt", metavar="FILE", help="Compare with the receipt of the upload.")
@option("--readback", is_flag=True, help="Read the object too, and compare the bytes.")
@option("--json", "as_json", is_flag=True, help="Print a report to standard output.")
@reading_options
def verify(url: str, infile: str | None, **values: Any) -> None:
    """Compare an object with INFILE (- for standard input), or with a receipt.

    With INFILE its ETag is computed with the object's part sizes and compared with the one that
    the service answers: nothing is downloaded. With --receipt size, ETag and version id are
    compared. With neither, or with --readback, the object is read and its bytes are compared.

    Exit status 0: proved equal. 9: different. 10: nothing differs, but nothing proves it.
    """
    bucket, key = address_of(url)
    receipt = receipt_from(values["receipt"])
    options = reading_options_from(values)
    if values["debug"]:
        from ..debug_log import start_debug_log

        start_debug_log()
    source = _open(infile)
    from ...downloader.verify import verify_object
    from ...runtime.cancel import CancelScope
    from ..interrupts import Interrupts
    from ..signals import on_signals

    scope = CancelScope()
    show = Show(values, "read")
    try:
        with closing(Interrupts(scope, show, finish=False)) as act, on_signals(act):
            report = verify_object(
                bucket,
                key,
                source=source,
                receipt=receipt,
                readback=values["readback"],
                version_id=values["version_id"],
                options=options,
                on_event=show,
                scope=scope,
            )
    except UnprovedReadError as error:
        if values["as_json"]:
            print_receipt(error.report)
        raise
    finally:
        show.close()
    if values["as_json"]:
        print_receipt(report)
    if not values["quiet"]:
        say(_summary(report, infile, values["receipt"]))


def _open(infile: str | None) -> FdSource | None:
    if infile is None:
        return None
    from ...sources.open import open_file, take_standard_input

    return take_standard_input() if infile == "-" else open_file(infile)


def _summary(report: ReadReport, infile: str | None, receipt: str | None) -> str:
    """What was compared with what."""
    others = [infile and ("standard input" if infile == "-" else infile), receipt]
    with_what = " and ".join(each for each in others if each) or "its own ETag"
    digests = "".join(f", {name} {value}" for name, value in report.digests.items())
    return (
        f"s3://{report.bucket}/{report.key} ({format_size(report.object_bytes)}) equals "
        f"{with_what}: compared {', '.join(report.compared)}; "
        f"proved by {report.proof} {report.etag}{digests}"
    )
