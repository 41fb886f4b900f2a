"""`receipt`: what receipts say, whether it holds together, and who signed them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING

import click

from ...errors import (
    AbsentError,
    IntegrityError,
    StreamToS3Error,
    UnprovedReadError,
    UnprovedReceiptError,
    UsageError,
)
from ..arguments import arguments
from ..console import escaped, print_data, print_list, say
from ..help import Command, Group
from ..options.common import argument, option
from ..options.destination import DestinationCommand, destination_options
from ..running import running
from ._read import TransferArgs, options_from, transfer_options

if TYPE_CHECKING:
    from ...receipts.consistency import Finding
    from ...receipts.examination import Examination
    from ...results import Receipt

__all__ = ["ReceiptReportArgs", "ReceiptShowArgs", "ReceiptVerifyArgs", "receipt"]

_NAME_WIDTH = 10
_LABEL_WIDTH = 16


@click.group(cls=Group, no_args_is_help=False)
def receipt() -> None:
    """Verify, show or report receipts and their signatures.

    put and run write a receipt with --receipt, and its signature, FILE.sig, with --sign-key.
    Signatures are checked by ssh-keygen, which must be installed.
    """


@dataclass(frozen=True, eq=False, repr=False)
class ReceiptVerifyArgs(TransferArgs):
    """The command line of `receipt verify`."""

    file: str
    allowed_signers: str | None
    object: bool
    readback: bool


@dataclass(frozen=True, eq=False, repr=False)
class ReceiptShowArgs:
    """The command line of `receipt show`."""

    file: str


@dataclass(frozen=True, eq=False, repr=False)
class ReceiptReportArgs:
    """The command line of `receipt report`."""

    file: tuple[str, ...]
    outfile: str
    allowed_signers: str | None


_allowed_signers = option(
    "--allowed-signers",
    metavar="FILE",
    help="Trusted keys: lines with a name and a public key, see ssh-keygen(1).",
)


@receipt.command(
    "verify",
    cls=DestinationCommand,
    short_help="Check a receipt and its signature.",
    first="allowed_signers object readback as_json destination endpoint_url profile keyfile",
)
@argument("file", metavar="FILE")
@_allowed_signers
@option("--object", is_flag=True, help="Compare with the object that the service has, too.")
@option("--readback", is_flag=True, help="Also read the object, and compare its bytes.")
@option("--json", "as_json", is_flag=True, help="Print the findings as one JSON object.")
@destination_options
@transfer_options
@arguments(ReceiptVerifyArgs)
def _verify(args: ReceiptVerifyArgs) -> None:
    """Check that a receipt is consistent, and check its signature, FILE.sig.

    Prints a line for each check: form, parts (no gap, sizes add up), digests, ETag (computed
    again from the MD5s of the parts), retries, times, what proved the object, the signature,
    and with --object what the service has now.

    Exit status 0: everything is proved, including who signed it. 9: something is wrong. 10:
    nothing is wrong, but something is not proved: there is no signature, or the signer is not
    known from --allowed-signers.
    """
    from ...receipts.consistency import Verdict
    from ...receipts.examination import examine_file

    examination = examine_file(args.file, args.allowed_signers)
    findings = list(examination.findings)
    failed: StreamToS3Error | None = None
    if args.object or args.readback:
        try:
            findings.append(_ask_for_object(examination.file.receipt, args))
        except StreamToS3Error as error:
            failed = error
    _print_findings(args, findings)
    wrong = [each.subject for each in findings if each.verdict is Verdict.FAILED]
    if wrong:
        raise IntegrityError(f"{args.file} failed these checks: {', '.join(wrong)}")
    if failed is not None:
        raise failed
    unproved = [each.subject for each in findings if each.verdict is Verdict.UNPROVED]
    if unproved:
        raise UnprovedReceiptError(
            f"{args.file} failed no check, but this is not proved: {', '.join(unproved)}"
        )


def _ask_for_object(receipt: Receipt, args: ReceiptVerifyArgs) -> Finding:
    """What the service has now, as a finding. Raises where it does not answer."""
    from ...downloader.verify import verify_object
    from ...receipts.consistency import Finding, Verdict

    url = f"s3://{receipt.bucket}/{receipt.key}"
    try:
        with running(args.output, "read") as run:
            report = verify_object(
                receipt.bucket,
                receipt.key,
                receipt=receipt,
                readback=args.readback,
                version_id=receipt.version_id,
                options=options_from(args),
                on_event=run.reporter,
                scope=run.scope,
            )
    except (IntegrityError, AbsentError) as error:
        return Finding("object", Verdict.FAILED, error.message)
    except UnprovedReadError as error:
        return Finding("object", Verdict.UNPROVED, error.message)
    text = f"{url} is there, as the receipt says: compared {', '.join(report.compared)}"
    if report.endpoint != receipt.endpoint:
        text += f"; asked at {report.endpoint}, the receipt names {receipt.endpoint}"
    return Finding("object", Verdict.OK, text)


def _print_findings(args: ReceiptVerifyArgs, findings: list[Finding]) -> None:
    if args.output.as_json:
        import json

        listed = [
            {"subject": each.subject, "verdict": each.verdict.value, "text": each.text}
            for each in findings
        ]
        print_data(json.dumps({"receipt": args.file, "findings": listed}) + "\n", "findings")
        return
    rows = (
        f"{each.verdict.value:<9} {each.subject:<{_NAME_WIDTH}} {escaped(each.text)}"
        for each in findings
    )
    print_list(rows, "findings")


@receipt.command("show", cls=Command, short_help="Print a receipt for people.")
@argument("file", metavar="FILE")
@arguments(ReceiptShowArgs)
def _show(args: ReceiptShowArgs) -> None:
    """Print what a receipt says, for people. It is not checked: receipt verify does that."""
    from ...receipts.file import open_receipt

    print_list(_shown(open_receipt(args.file).receipt), "receipt")


def _shown(receipt: Receipt) -> Iterator[str]:
    from ...receipts.facts import sections_of, utc

    for section in sections_of(receipt):
        yield section.title
        for label, text in section.facts:
            for index, line in enumerate(text.splitlines() or [""]):
                yield f"  {'' if index else label:<{_LABEL_WIDTH}}{escaped(line)}"
    yield "Digests"
    for name, value in receipt.digests.items():
        yield f"  {escaped(name):<{_LABEL_WIDTH}}{escaped(value)}"
    yield "Requests that were sent again"
    if not receipt.retries:
        yield "  none"
    for each in receipt.retried:
        yield f"  {utc(each.at)}  {escaped(each.action)}, try {each.tries}: {escaped(each.reason)}"
    if len(receipt.retried) < receipt.retries:
        yield f"  {receipt.retries - len(receipt.retried):,} more are not listed"


@receipt.command("report", cls=Command, short_help="Make a page for the case file from receipts.")
@argument("file", nargs=-1, required=True, metavar="FILE...")
@option(
    "-o",
    "--output",
    "outfile",
    metavar="OUTFILE",
    required=True,
    help="The page to write, in HTML; - for standard output.",
)
@_allowed_signers
@arguments(ReceiptReportArgs)
def _report(args: ReceiptReportArgs) -> None:
    """Make one page for a case file from receipts, for a browser or for A4 paper.

    It shows case, source, times, machine, object, digests, what proved the object, throughput,
    retries, parts, the results of receipt verify, and how anyone can repeat the checks with
    common tools. It needs no script, no network and no other file. Making it requires the
    package jinja2.

    An existing OUTFILE is replaced. A receipt that fails a check is reported too, with a warning.
    """
    from ...receipts.examination import examine_file
    from ...receipts.file import check_receipt_path, write_whole
    from ...receipts.report import render_report

    for path in args.file:
        if path == args.outfile:
            raise UsageError(f"the report would replace the receipt {path}")
    if args.outfile != "-":
        check_receipt_path(args.outfile, "report")
    examinations = [examine_file(path, args.allowed_signers) for path in args.file]
    page = render_report(examinations, datetime.now(timezone.utc))
    if args.outfile == "-":
        print_data(page.decode(), "report")
    else:
        write_whole(page, args.outfile, "report")
    for examination in examinations:
        _warn(examination)


def _warn(examination: Examination) -> None:
    from ...receipts.consistency import Verdict

    for finding in examination.findings:
        if finding.verdict is Verdict.FAILED:
            say(f"warning: {examination.file.path}: {finding.subject}: {finding.text}")
