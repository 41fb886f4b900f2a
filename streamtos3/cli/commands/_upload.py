"""What `put` and `run` share: where an upload goes, and its way from signals to the report.

A command says what the source is; what happens to it is the same for all.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import replace
from typing import Any

from ...errors import ReportError, StreamToS3Error, UnprovedError, UsageError
from ...model.names import check_destination_name
from ...model.options import Options
from ...results import Receipt
from ...sources.base import Source
from ...sources.tee import TeeSource
from ...units import format_size
from ..acquisition_log import AcquisitionLog
from ..console import say
from ..options.addresses import Place
from ..options.common import upload_options_from
from ..options.object import case_from, settings_from
from ..reporting import Show, print_receipt, report

__all__ = ["store_stream"]

_RECEIPT_SUFFIX = ".receipt.json"


def store_stream(
    open_source: Callable[[], Source],
    place: Place,
    values: dict[str, Any],
    argv: list[str] | None,
) -> None:
    """Upload what `open_source` opens to `place`, and report; whatever fails is raised."""
    options = replace(
        upload_options_from(values, argv),
        settings=settings_from(values, place.key),
        verify=values["verify"],
        checksum=values["checksum"],
        key_template=place.template,
        case=case_from(values),
    )
    if values["debug"]:
        from ..debug_log import start_debug_log

        start_debug_log()
    _check(options, place, values)
    log = AcquisitionLog(values["log"]) if values["log"] else None
    try:
        _upload_and_report(open_source, place, options, values, log)
    except BaseException as error:
        if log is not None and not isinstance(error, ReportError):
            log.failed(error)
            with suppress(ReportError):  # the error that ends the program says more
                log.close()
        raise


def _upload_and_report(
    open_source: Callable[[], Source],
    place: Place,
    options: Options,
    values: dict[str, Any],
    log: AcquisitionLog | None,
) -> None:
    from ...runtime.cancel import CancelScope
    from ..interrupts import Interrupts
    from ..signals import on_signals

    scope = CancelScope()
    show = Show(values)
    interrupts = Interrupts(scope, show, finish=values["on_interrupt"] == "finish")
    with on_signals(interrupts), closing(interrupts):
        from ...uploader.upload import upload

        source = interrupts.source = open_source()
        tee = TeeSource(source, 1) if values["tee"] else None
        if log is not None:
            log.begin(source.name, place.bucket, place.key, options)
        try:
            receipt = upload(
                tee or source,
                place.bucket,
                place.key,
                options=options,
                on_event=log.listening(show) if log else show,
                scope=scope,
            )
        except UnprovedError as error:
            show.close()
            if values["as_json"]:
                _print_unproved(error.receipt)
            raise
        finally:
            show.close()
        interrupts.stored = f"s3://{place.bucket}/{place.key}"
        if log is not None:
            log.stored(receipt)
        late = [log.close] if log else []
        if tee is not None:
            late.append(tee.check)
        if values["receipt_object"]:
            late.insert(0, lambda: _store_receipt(receipt, options))
        report(receipt, values, late)


def _store_receipt(receipt: Receipt, options: Options) -> None:
    """Store the receipt beside the object. ReportError when that fails, and says why."""
    from ...receipt import receipt_json
    from ...uploader.upload import upload

    text = receipt_json(receipt, indent=2) + "\n"
    settings = replace(options.settings, content_type="application/json", content_encoding=None)
    plain = replace(
        options,
        settings=settings,
        resume=False,
        expect_size_bytes=None,
        min_size_bytes=0,
        expect_sha256=None,
        size_hint_bytes=None,
    )
    key = receipt.key + _RECEIPT_SUFFIX
    try:
        upload(io.BytesIO(text.encode()), receipt.bucket, key, options=plain)
    except StreamToS3Error as error:
        raise ReportError(f"cannot store the receipt: {error.message}") from error


def _print_unproved(receipt: Receipt) -> None:
    """A receipt that cannot be printed is the smaller trouble: the status stays 10."""
    try:
        print_receipt(receipt)
    except ReportError as error:
        say(f"warning: {error.message}")


def _check(options: Options, place: Place, values: dict[str, Any]) -> None:
    """What can be said of the options before anything is opened."""
    if values["tee"] and values["as_json"]:
        raise UsageError("--tee and --json both want standard output")
    if values["receipt_object"]:
        check_destination_name(place.bucket, place.key + _RECEIPT_SUFFIX)
    if values["receipt"]:
        from ...receipt import check_receipt_path

        check_receipt_path(values["receipt"])
    if not options.connection.verify_tls:
        say("warning: --no-verify-ssl: anybody on the way can read and change what is sent")
    if options.memory_bytes is not None and options.memory_bytes < 2 * options.chunk_bytes:
        say(
            f"warning: --memory {format_size(options.memory_bytes)} holds fewer than two parts; "
            f"{format_size(2 * options.chunk_bytes)} will be used"
        )
