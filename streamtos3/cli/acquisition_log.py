"""`--log FILE`: an acquisition log that a person can read, appended as things happen."""

from __future__ import annotations

import os
import platform
import shlex
import socket
import stat
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any, TextIO

from .._version import __version__
from ..errors import Interrupted, ReportError, StreamToS3Error, UnprovedError, UsageError, os_reason
from ..model.events import Event, Resuming, Retrying, Started, UploadCreated, Warned
from ..model.options import Options
from ..results import Receipt
from ..units import format_duration, format_size
from .console import escaped

__all__ = ["AcquisitionLog"]


class AcquisitionLog:
    """Appends to `path`; UsageError when it cannot be opened, before the first byte.

    A line that cannot be written later changes nothing for the upload; `close` then raises
    ReportError.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._failed: OSError | None = None
        try:
            self._file: TextIO = open(path, "a", encoding="utf-8")  # noqa: SIM115 - see close
        except OSError as error:
            reason = os_reason(error)
            raise UsageError(f"cannot write the log {path}: {reason}") from error

    def begin(self, source: str, bucket: str, key: str, options: Options) -> None:
        """Log the head of an acquisition: who, what, where from and where to."""
        self._line(f"streamtos3 {__version__}: acquisition begins")
        for name, value in options.case.items():
            self._line(f"  {name}: {value}")
        self._line(f"  host: {socket.gethostname()}, {platform.platform()}")
        self._line(f"  source: {source}")
        self._line(f"  destination: s3://{bucket}/{key}")
        if options.command_line:
            self._line(f"  command: {shlex.join(options.command_line)}")

    def listening(self, on_event: Callable[[Event], None]) -> Callable[[Event], None]:
        """A listener that logs what is worth a line, and passes every event on to `on_event`."""

        def listen(event: Event) -> None:
            line = _line_of(event)
            if line is not None:
                self._line(line)
            on_event(event)

        return listen

    def stored(self, receipt: Receipt) -> None:
        """Log the end of an acquisition that succeeded."""
        self._contents(receipt)
        version = f", version {receipt.version_id}" if receipt.version_id else ""
        self._line(f"  object: ETag {receipt.etag_found}{version}")
        self._line(f"verdict: stored and proved by {receipt.proof.object}")

    def failed(self, error: BaseException) -> None:
        """Log the end of an acquisition that failed."""
        if isinstance(error, UnprovedError):
            self._contents(error.receipt)
        message = error.message if isinstance(error, StreamToS3Error | Interrupted) else str(error)
        self._line(f"verdict: FAILED: {message}")
        left_behind = getattr(error, "left_behind", None)
        self._line(f"  left behind: {left_behind or 'nothing'}")

    def _contents(self, receipt: Receipt) -> None:
        size = f"{receipt.size_bytes} bytes ({format_size(receipt.size_bytes)})"
        self._line(f"end of input: {size} read, {receipt.retries} retries")
        for name, value in receipt.digests.items():
            self._line(f"  {name}: {value}")

    def close(self) -> None:
        """Sync to the disk. ReportError when anything could not be written."""
        try:
            self._file.flush()
            if stat.S_ISREG(os.fstat(self._file.fileno()).st_mode):
                os.fsync(self._file.fileno())
            self._file.close()
        except OSError as error:
            self._failed = self._failed or error
        if self._failed is not None:
            reason = os_reason(self._failed)
            raise ReportError(f"cannot write the log {self._path}: {reason}")

    def _line(self, text: str) -> None:
        now = datetime.now(timezone.utc).isoformat(timespec="seconds").replace("+00:00", "Z")
        try:
            self._file.write(f"{now} {escaped(text)}\n")
            self._file.flush()
        except OSError as error:
            self._failed = self._failed or error


def _line_of(event: Event) -> str | None:
    if isinstance(event, Started):
        length: Any = format_size(event.length_bytes) if event.length_bytes else "unknown length"
        return f"reading begins: {length}, parts of {format_size(event.part_bytes)}"
    if isinstance(event, UploadCreated):
        return f"upload {event.upload_id}"
    if isinstance(event, Resuming):
        return f"resuming an earlier upload: {event.parts} parts already stored"
    if isinstance(event, Retrying):
        return f"retry: {event.reason}; again in {format_duration(event.wait_s)}"
    if isinstance(event, Warned):
        return f"warning: {event.message}"
    return None
