"""`get`: an object back to standard output or into a file, proved on the way."""

from __future__ import annotations

import os
import re
import signal
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from ...errors import (
    ExistsError,
    OutputClosedError,
    OutputError,
    UnprovedReadError,
    UsageError,
    os_reason,
)
from ...model.options import ByteRange, Options
from ...results import ReadReport, Receipt
from ...units import format_duration, format_size
from ..arguments import arguments
from ..console import is_terminal, say
from ..options.addresses import address_of
from ..options.cluster import ClusterArgs, cluster_from, cluster_options
from ..options.common import argument, option
from ..options.destination import DestinationCommand
from ..reporting import print_receipt
from ..running import running
from ._read import ReadArgs, options_from, reading_options, receipt_from

if TYPE_CHECKING:
    from ...cluster.processes import ClusterOptions
    from ...runtime.files import NewFile

__all__ = ["GetArgs", "get"]

_RANGE = re.compile(r"(?:bytes=)?(\d*)-(\d*)")
_UNPROVED = ".unproved"


@dataclass(frozen=True, eq=False, repr=False)
class GetArgs(ReadArgs):
    """The command line of `get`."""

    outfile: str | None
    overwrite: bool
    byte_range: str | None
    cluster: ClusterArgs


@dataclass(frozen=True)
class _Wanted:
    """The object, or part of it, that is to be read, and how."""

    bucket: str
    key: str
    byte_range: ByteRange | None
    receipt: Receipt | None
    options: Options


@click.command(
    cls=DestinationCommand,
    first="overwrite byte_range receipt version_id destination endpoint_url"
    " keyfile limit_rate as_json quiet",
)
@argument("url", metavar="s3://BUCKET/KEY")
@argument("outfile", required=False, metavar="[OUTFILE]")
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
    help="The receipt of the upload: each part's MD5 is verified before it is written.",
)
@option("--json", "as_json", is_flag=True, help="Print a report to standard output; needs OUTFILE.")
@cluster_options
@reading_options
@arguments(GetArgs)
def get(args: GetArgs) -> None:
    """Read an object to standard output, or into OUTFILE, and prove it.

    Exit status 0 if and only if what was written is proved to be what was stored. The object's
    ETag is computed again on the way; where it differs the status is 9, and what was written
    must not be used. Status 10: all is written, but nothing proves it.

    OUTFILE appears under its name only when it is proved. What could not be proved is kept as
    OUTFILE.unproved. Devices and named pipes are written to directly.
    """
    cluster = cluster_from(args.cluster)
    if cluster is not None and (args.outfile in (None, "-") or args.byte_range):
        raise UsageError("--dask reads a whole object into OUTFILE, which every worker sees")
    bucket, key = address_of(args.url)
    to_standard_output = args.outfile in (None, "-")
    if to_standard_output and args.output.as_json:
        raise UsageError(
            "--json needs OUTFILE: standard output carries the object", hint="name a file"
        )
    if args.outfile is None and is_terminal(1):
        raise UsageError(
            "standard output is a terminal",
            hint="name a file, pipe it somewhere, or say - to see the object here",
        )
    wanted = _Wanted(
        bucket, key, _byte_range(args.byte_range), receipt_from(args.receipt), options_from(args)
    )
    if to_standard_output:
        report = _download(wanted, 1, "standard output", args)
    else:
        assert args.outfile is not None
        report = _to_file(wanted, args.outfile, args, cluster)
    if args.output.as_json:
        print_receipt(report)
    if not args.output.quiet:
        say(_summary(report))


def _byte_range(text: str | None) -> ByteRange | None:
    if text is None:
        return None
    match = _RANGE.fullmatch(text.strip())
    first, last = (int(each) if each else None for each in match.groups()) if match else (None,) * 2
    if (first, last) == (None, None) or (first is not None and last is not None and last < first):
        raise UsageError(f"{text!r} is not a range", hint="FIRST-LAST, FIRST- or -COUNT, in bytes")
    return ByteRange(first, last)


def _download(wanted: _Wanted, fd: int, name: str, args: GetArgs) -> ReadReport:
    """Read to the descriptor of `name`, with progress. A reader who has gone ends it quietly."""
    try:
        with running(args.output, "read") as run:
            from ...downloader.download import download
            from ...downloader.output import FdWriter

            with closing(FdWriter(os.dup(fd), name)) as writer:
                return download(
                    wanted.bucket,
                    wanted.key,
                    writer,
                    byte_range=wanted.byte_range,
                    receipt=wanted.receipt,
                    version_id=args.version_id,
                    options=wanted.options,
                    on_event=run.reporter,
                    scope=run.scope,
                )
    except OutputClosedError as error:
        raise click.exceptions.Exit(128 + signal.SIGPIPE) from error


def _download_by_workers(
    cluster: ClusterOptions, wanted: _Wanted, file: NewFile, args: GetArgs
) -> ReadReport:
    """Have the workers of a cluster write the object into the file in the making."""
    with running(args.output, "read") as run:
        from ...cluster.read import get_file

        return get_file(
            wanted.bucket,
            wanted.key,
            file.temporary_path,
            os.fstat(file.fd).st_ino,
            how=cluster,
            receipt=wanted.receipt,
            version_id=args.version_id,
            options=wanted.options,
            on_event=run.reporter,
            scope=run.scope,
        )


def _to_file(
    wanted: _Wanted, path: str, args: GetArgs, cluster: ClusterOptions | None
) -> ReadReport:
    if _is_device(path):
        if cluster is not None:
            raise UsageError(f"--dask writes into a file, and {path} is none")
        return _to_device(wanted, path, args)
    path = os.path.realpath(path)  # a link stays, what it names is replaced
    if not args.overwrite:
        _check_absent(path)
    with _new_file(path) as file:
        try:
            if cluster is None:
                report = _download(wanted, file.fd, path, args)
            else:
                report = _download_by_workers(cluster, wanted, file, args)
        except UnprovedReadError as error:
            file.publish(path + _UNPROVED, replace=args.overwrite)
            error.left_behind = f"{path}{_UNPROVED}, all that was read"
            if args.output.as_json:
                print_receipt(error.report)
            raise
        file.publish(path, replace=args.overwrite)
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


def _to_device(wanted: _Wanted, path: str, args: GetArgs) -> ReadReport:
    if stat.S_ISBLK(os.stat(path).st_mode) and not args.overwrite:
        raise ExistsError(f"{path} is a disk", hint="--overwrite if its contents may be lost")
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    except OSError as error:
        raise _output_error(path, error) from error
    try:
        report = _download(wanted, fd, path, args)
        if stat.S_ISBLK(os.fstat(fd).st_mode):
            os.fsync(fd)
    except OSError as error:
        raise _output_error(path, error) from error
    finally:
        os.close(fd)
    return report


@contextmanager
def _new_file(path: str) -> Iterator[NewFile]:
    """A file in the making; its OSErrors become ExistsError or OutputError."""
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
        f"{path} already exists", hint="choose another name, or --overwrite if it may be replaced"
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
