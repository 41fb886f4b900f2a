"""The receipt as JSON, and its way into a file: complete under its name, or not there at all."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import stat
import tempfile
from datetime import datetime, timezone

from .errors import ReportError, UsageError
from .model import Receipt

__all__ = ["check_receipt_path", "receipt_json", "write_receipt"]


def receipt_json(receipt: Receipt, *, indent: int | None = None) -> str:
    """`receipt` as JSON text: one line, or indented. The fields are documented in README.org."""
    return json.dumps(dataclasses.asdict(receipt), default=_json_value, indent=indent)


def _json_value(value: object) -> str:
    if isinstance(value, datetime):
        utc = value.astimezone(timezone.utc).isoformat(timespec="milliseconds")
        return utc.replace("+00:00", "Z")
    raise TypeError(f"{value!r} has no place in a receipt")


def check_receipt_path(path: str) -> None:
    """UsageError where a receipt could not be written to `path` later; touches nothing."""
    directory = os.path.dirname(os.path.realpath(path))
    if not path:
        raise UsageError("cannot write the receipt to a file without a name")
    if os.path.isdir(path):
        raise UsageError(f"cannot write the receipt to {path}: it is a directory")
    # As root, the rename would put a plain file in the place of /dev/null.
    if os.path.exists(path) and not os.path.isfile(path):
        raise UsageError(
            f"cannot write the receipt to {path}: it is no regular file",
            hint="--json prints the receipt to standard output",
        )
    if not os.path.isdir(directory):
        raise UsageError(f"cannot write the receipt to {path}: {directory} is no directory")
    if not os.access(directory, os.W_OK | os.X_OK):
        raise UsageError(f"cannot write the receipt to {path}: {directory} is not writable")


def write_receipt(receipt: Receipt, path: str) -> None:
    """Write `receipt` to `path`: temporary name, fsync, rename, fsync of the directory.

    Raises ReportError when that fails; the temporary file is gone then.
    """
    target = os.path.realpath(path)  # what a link points to is replaced, and not the link
    directory = os.path.dirname(target)
    text = receipt_json(receipt, indent=2) + "\n"
    temporary = None
    try:
        fd, temporary = tempfile.mkstemp(prefix=".streamtos3-", dir=directory)
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fchmod(fd, _file_mode())
            os.fsync(fd)
        os.rename(temporary, target)
        temporary = None
        _sync_directory(directory)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ReportError(f"cannot write the receipt to {path}: {reason}") from error
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):  # the first error is the one that matters
                os.unlink(temporary)


def _file_mode() -> int:
    """What the user's umask gives a new file; `mkstemp` makes it private."""
    umask = os.umask(0)
    os.umask(umask)
    return (stat.S_IRUSR | stat.S_IWUSR | stat.S_IRGRP | stat.S_IROTH) & ~umask


def _sync_directory(directory: str) -> None:
    fd = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
