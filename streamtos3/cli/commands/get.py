"""`get`: an object back to standard output or into a file, proved on the way."""

from __future__ import annotations

import os
import re
import signal
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import click

from ...errors import ExistsError, OutputClosedError, OutputError, UnprovedReadError, UsageError
from ...model.options import ByteRange
from ...results import ReadReport
from ...runtime.files import os_reason
from ...units import format_duration, format_size
from ..console import is_terminal, say
from ..options.addresses import address_of
from ..options.common import option
from ..options.destination import DestinationCommand
from ..reporting import Show, print_receipt
from ._read import reading_options, reading_options_from, receipt_from

if TYPE_CHECKING:
    from ...runtime.files import NewFile

__all__ = ["get"]

_RANGE = re.compile(r"(?:bytes=)?(\d*)-(\d*)")
_UNPROVED = ".unproved"


@click.command(cls=DestinationCommand)
@click.argument("url", metavar="s3://BUCKET/KEY")
@click.argument("outfile", required=False, metavar="[OUTFILE]")
@option("--overwrite", is_flag=True, help="Replace an OUTFILE that exists.")
@option(
    "--range",
    "byte_range",
    metavar="FIRST-LAST",
    help="Only these bytes, both included, counted from 0; FIRST- and -COUNT as in HTTP.",
)
@option(
    "--receipt",
    metavar="FILE",
    help="The receipt of the upload: no part leaves before its MD5 is right.",
)
@option("--json", "as_json", is_flag=True, help="Print a report to standard output; needs OUTFILE.")
@reading_options
def get(url: str, outfile: str | None, **values: Any) -> None:
    """Read an object to standard output, or into OUTFILE, and prove it.

    Exit status 0 if and only if what was written is proved to be what was stored. The object's
    ETag is computed again on the way; where it differs the status is 9, and what was written
    must not be used. Status 10: all is written, but nothing proves it.

    OUTFILE appears under its name only when it is proved. What could not be proved is kept as
    OUTFILE.unproved. Devices and named pipes are written to directly.
    """
    bucket, key = address_of(url)
    to_standard_output = outfile in (None, "-")
    if to_standard_output and values["as_json"]:
        raise UsageError(
            "--json needs OUTFILE: standard output carries the object", hint="name a file"
        )
    if outfile is None and is_terminal(1):
        raise UsageError(
            "standard output is a terminal",
            hint="name a file, pipe it somewhere, or say - to see the object here",
        )
    options = reading_options_from(values)
    wanted = {
        "byte_range": _byte_range(values["byte_range"]),
        "receipt": receipt_from(values["receipt"]),
        "version_id": values["version_id"],
        "options": options,
    }
    if values["debug"]:
        from ..debug_log import start_debug_log

        start_debug_log()
    if to_standard_output:
        report = _download(bucket, key, 1, wanted, values)
    else:
        assert outfile is not None
        report = _to_file(bucket, key, outfile, wanted, values)
    if values["as_json"]:
        print_receipt(report)
    if not values["quiet"]:
        say(_summary(report))


def _byte_range(text: str | None) -> ByteRange | None:
    if text is None:
        return None
    match = _RANGE.fullmatch(text.strip())
    first, last = (int(each) if each else None for each in match.groups()) if match else (None,) * 2
    if (first, last) == (None, None) or (first is not None and last is not None and last < first):
        raise UsageError(f"{text!r} is no range", hint="FIRST-LAST, FIRST- or -COUNT, in bytes")
    return ByteRange(first, last)


def _download(
    bucket: str, key: str, fd: int, wanted: dict[str, Any], values: dict[str, Any]
) -> ReadReport:
    """Read to a descriptor, showing progress. A reader who has gone ends the program quietly."""
    from ...downloader.download import download
    from ...runtime.cancel import CancelScope
    from ..interrupts import Interrupts
    from ..signals import on_signals

    scope = CancelScope()
    show = Show(values, "read")
    try:
        with closing(Interrupts(scope, show, finish=False)) as act, on_signals(act):
            return download(bucket, key, fd, on_event=show, scope=scope, **wanted)
    except OutputClosedError as error:
        raise click.exceptions.Exit(128 + signal.SIGPIPE) from error
    finally:
        show.close()


def _to_file(
    bucket: str, key: str, path: str, wanted: dict[str, Any], values: dict[str, Any]
) -> ReadReport:
    replace = values["overwrite"]
    if _is_device(path):
        return _to_device(bucket, key, path, wanted, values)
    path = os.path.realpath(path)  # a link stays, what it names is replaced
    if not replace:
        _check_absent(path)
    with _new_file(path) as file:
        try:
            report = _download(bucket, key, file.fd, wanted, values)
        except UnprovedReadError as error:
            file.publish(path + _UNPROVED, replace=replace)
            error.left_behind = f"{path}{_UNPROVED}, all that was read"
            if values["as_json"]:
                print_receipt(error.report)
            raise
        file.publish(path, replace=replace)
    return report


def _is_device(path: str) -> bool:
    """Whether `path` is something that is written to and not replaced."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    if stat.S_ISDIR(mode):
        raise UsageError(f"{path} is a directory", hint="name the file")
    return not stat.S_ISREG(mode)


def _to_device(
    bucket: str, key: str, path: str, wanted: dict[str, Any], values: dict[str, Any]
) -> ReadReport:
    if stat.S_ISBLK(os.stat(path).st_mode) and not values["overwrite"]:
        raise ExistsError(f"{path} is a disk", hint="--overwrite if its contents may be lost")
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    except OSError as error:
        raise _output_error(path, error) from error
    try:
        report = _download(bucket, key, fd, wanted, values)
        if stat.S_ISBLK(os.fstat(fd).st_mode):
            os.fsync(fd)
    except OSError as error:
        raise _output_error(path, error) from error
    finally:
        os.close(fd)
    return report


@contextmanager
def _new_file(path: str) -> Iterator[NewFile]:
    """A file in the making; what the file system refuses gets its meaning here."""
    from ...runtime.files import NewFile

    try:
        with NewFile(path) as file:
            yield file
    except FileExistsError as error:
        raise _exists(path) from error
    except OSError as error:
        raise _output_error(path, error) from error


def _check_absent(path: str) -> None:
    for each in (path, path + _UNPROVED):
        if os.path.lexists(each):
            raise _exists(each)


def _exists(path: str) -> ExistsError:
    return ExistsError(
        f"{path} exists already", hint="choose another name, or --overwrite if it may be replaced"
    )


def _output_error(path: str, error: OSError) -> OutputError:
    return OutputError(f"cannot write {path}: {os_reason(error)}")


def _summary(report: ReadReport) -> str:
    """What was read, how fast, and what proved it."""
    elapsed_s = (report.ended_at - report.started_at).total_seconds()
    rate = report.size_bytes / max(elapsed_s, 0.001)
    part = "" if report.size_bytes == report.object_bytes else f" from byte {report.offset_bytes}"
    proof = report.etag if report.proof != "receipt" else f"({', '.join(report.compared)})"
    digests = "".join(f", {name} {value}" for name, value in report.digests.items())
    return (
        f"read {format_size(report.size_bytes)}{part} of s3://{report.bucket}/{report.key} "
        f"in {format_duration(elapsed_s)} ({format_size(rate)}/s), "
        f"proved by {report.proof} {proof}{digests if report.proof == 'receipt' else ''}"
    )
