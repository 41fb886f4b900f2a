"""What `put` and `run` share: where an upload goes, and its way from signals to the report.

A command says what the source is; what happens to it is the same for all.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from ...errors import ReportError, UnprovedError, UsageError
from ...model.events import Event
from ...model.options import Options
from ...results import Receipt
from ...sources.base import Source
from ...sources.tee import TeeSource
from ...units import format_size
from ..acquisition_log import AcquisitionLog
from ..console import say
from ..options.addresses import ObjectAddress
from ..options.upload import StoreArgs, upload_options_from
from ..reporting import print_receipt, report
from ..running import Run, running
from ._receipts import ReceiptCopies, check_copies

if TYPE_CHECKING:
    from ...receipts.signatures import Signer

__all__ = ["Store", "store_stream"]


Store = Callable[[Source, ObjectAddress, Options, Run, Callable[[Event], None]], Receipt]
"""How a source becomes an object: here, or by others."""


def store_stream(
    open_source: Callable[[], Source],
    address: ObjectAddress,
    args: StoreArgs,
    store: Store | None = None,
) -> None:
    """Upload what `open_source` opens to `address`, and report; whatever fails is raised.

    `store` does it in place of this process's own `upload`.
    """
    options = upload_options_from(args, address)
    _check(options, args)
    signer = check_copies(args.upload, address)
    log = AcquisitionLog(args.upload.log) if args.upload.log else None
    try:
        how = store or _store_here
        _upload_and_report(open_source, address, options, args, signer, log, how)
    except BaseException as error:
        if log is not None and not isinstance(error, ReportError):
            log.failed(error)
            with suppress(ReportError):  # the error that ends the program says more
                log.close()
        raise


def _upload_and_report(
    open_source: Callable[[], Source],
    address: ObjectAddress,
    options: Options,
    args: StoreArgs,
    signer: Signer | None,
    log: AcquisitionLog | None,
    store: Store,
) -> None:
    with running(args.output, "stored", finish=args.upload.on_interrupt == "finish") as run:
        source = run.interrupts.source = open_source()
        tee = TeeSource(source, 1) if args.upload.tee else None
        if log is not None:
            log.begin(source.name, address.bucket, address.key, options)
        on_event = log.listening(run.reporter) if log else run.reporter
        try:
            receipt = store(tee or source, address, options, run, on_event)
        except UnprovedError as error:
            run.reporter.close()
            if args.output.as_json:  # an object that nothing proves has its receipt printed, too
                _print_unproved(error.receipt)
            raise
        finally:
            run.reporter.close()
        run.interrupts.stored = f"s3://{address.bucket}/{address.key}"
        if log is not None:
            log.stored(receipt)
        copies = ReceiptCopies(receipt, signer)
        files = copies.to_files(args.upload.receipt) if args.upload.receipt else []
        late = copies.to_objects(options) if args.upload.receipt_object else []
        if log is not None:
            late.append(log.close)
        if tee is not None:
            late.append(tee.check)
        report(receipt, args.output, files, late)


def _store_here(
    source: Source,
    address: ObjectAddress,
    options: Options,
    run: Run,
    on_event: Callable[[Event], None],
) -> Receipt:
    from ...uploader.upload import upload

    return upload(
        source,
        address.bucket,
        address.key,
        options=options,
        on_event=on_event,
        scope=run.scope,
    )


def _print_unproved(receipt: Receipt) -> None:
    """A receipt that cannot be printed is the smaller trouble: the status stays 10."""
    try:
        print_receipt(receipt)
    except ReportError as error:
        say(f"warning: {error.message}")


def _check(options: Options, args: StoreArgs) -> None:
    """What can be said of the options before anything is opened."""
    if args.upload.tee and args.output.as_json:
        raise UsageError("--tee and --json both want standard output")
    if options.memory_bytes is not None and options.memory_bytes < 2 * options.chunk_bytes:
        say(
            f"warning: --memory {format_size(options.memory_bytes)} holds fewer than two parts; "
            f"{format_size(2 * options.chunk_bytes)} will be used"
        )
