"""`verify`: is the object what this file, this stream or this receipt says?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from ...errors import UnprovedReadError, UsageError
from ...results import ReadReport
from ...units import format_size
from ..arguments import arguments
from ..console import say
from ..options.addresses import address_of
from ..options.cluster import ClusterArgs, cluster_from, cluster_options
from ..options.common import argument, option
from ..options.destination import DestinationCommand
from ..reporting import print_receipt
from ..running import running
from ._read import ReadArgs, options_from, reading_options, receipt_from

if TYPE_CHECKING:
    from ...sources.base import FdSource

__all__ = ["VerifyArgs", "verify"]


@dataclass(frozen=True, eq=False, repr=False)
class VerifyArgs(ReadArgs):
    """The command line of `verify`."""

    infile: str | None
    readback: bool
    cluster: ClusterArgs


@click.command(
    cls=DestinationCommand,
    first="receipt readback version_id destination endpoint_url keyfile"
    " limit_rate as_json quiet debug",
)
@argument("url", metavar="s3://BUCKET/KEY")
@argument("infile", required=False, metavar="[INFILE]")
@option("--receipt", metavar="FILE", help="Compare with the receipt of the upload.")
@option("--readback", is_flag=True, help="Read the object too, and compare the bytes.")
@option("--json", "as_json", is_flag=True, help="Print a report to standard output.")
@cluster_options
@reading_options
@arguments(VerifyArgs)
def verify(args: VerifyArgs) -> None:
    """Compare an object with INFILE (- for standard input), or with a receipt.

    With INFILE its ETag is computed with the object's part sizes and compared with the one that
    the service answers: nothing is downloaded. With --receipt size, ETag and version id are
    compared. With neither, or with --readback, the object is read and its bytes are compared.

    Exit status 0: proved equal. 9: different. 10: nothing differs, but nothing proves it.
    """
    bucket, key = address_of(args.url)
    receipt = receipt_from(args.receipt)
    options = options_from(args)
    cluster = cluster_from(args.cluster)
    if cluster is not None and args.infile == "-":
        raise UsageError("--dask needs a file: every worker reads its share of it")
    source = _open(args.infile) if cluster is None else None
    how: dict[str, Any] = {
        "receipt": receipt,
        "readback": args.readback,
        "version_id": args.version_id,
        "options": options,
    }
    try:
        with running(args.output, "read") as run:
            how |= {"on_event": run.reporter, "scope": run.scope}
            if cluster is not None:
                from ...cluster.read import verify_on

                report = verify_on(bucket, key, how=cluster, path=args.infile, **how)
            else:
                from ...downloader.verify import verify_object

                report = verify_object(bucket, key, source=source, **how)
    except UnprovedReadError as error:
        if args.output.as_json:
            print_receipt(error.report)
        raise
    if args.output.as_json:
        print_receipt(report)
    if not args.output.quiet:
        say(_summary(report, args.infile, args.receipt))


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
