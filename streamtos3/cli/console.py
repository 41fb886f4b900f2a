"""Everything that the program prints: messages in lower case, `streamtos3:` first, one line each.

Standard output carries only data and receipts. A message that cannot be written is dropped: a
closed or full standard error must not affect the upload.
"""

from __future__ import annotations

import functools
import os
import re
import sys
from collections.abc import Iterable, Iterator

import click

from ..errors import ReportError, os_reason
from ..model.printable import escaped, without_passwords

__all__ = [
    "escaped",
    "is_terminal",
    "line",
    "print_data",
    "print_list",
    "redacted",
    "say",
    "write_line",
]

_PIPE_CHARACTERS = 1 << 16
# After `://`, or at the beginning of a word or of an option's value as `--proxy` takes it.
_IN_ADDRESS = r"(?<=://)[^/\s]+(?=@)"
_USER_INFO = re.compile(_IN_ADDRESS + r"|(?:(?<==)|^)[^/@\s:=]+:[^/\s]+(?=@)")


def say(text: str) -> None:
    """Print a message of one line on standard error; with its priority for the journal."""
    write_line(_priority(text) + line(text))


def _priority(text: str) -> str:
    """As sd-daemon(3) marks a line: 3 for errors, 4 for warnings, 5 for other hints, else 6."""
    if not _heard_by_journal():
        return ""
    kind = text.partition(": ")[0]
    levels = {"error": 3, "left behind": 3, "warning": 4, "hint": 5}
    return f"<{levels.get(kind, 6)}>"


@functools.cache
def _heard_by_journal() -> bool:
    """Whether standard error is the very stream that JOURNAL_STREAM names (systemd.exec(5))."""
    named = os.environ.get("JOURNAL_STREAM", "")
    if not named:
        return False
    try:
        stream = os.fstat(2)
    except OSError:
        return False
    return named == f"{stream.st_dev}:{stream.st_ino}"


def line(text: str) -> str:
    """`text` as this program says it: without passwords in addresses, and escaped."""
    return "streamtos3: " + escaped(without_passwords(text))


def write_line(text: str) -> None:
    """Print `text` unchanged on standard error."""
    try:
        sys.stderr.write(text + "\n")
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError):  # closed, full, or never there
        return


def print_data(text: str | Iterable[str], what: str) -> None:
    """Print `text`, whole or in pieces, as it is on standard output. ReportError if that fails.

    `what` names it there. A character that the output's encoding lacks is escaped.
    """
    if sys.stdout is None:  # closed when the program began
        raise ReportError(f"cannot print the {what}: standard output is closed")
    try:
        encoding = sys.stdout.encoding or "utf-8"
        for piece in [text] if isinstance(text, str) else _joined(text):
            click.echo(piece.encode(encoding, "backslashreplace"), nl=False)
        sys.stdout.flush()
    except (OSError, ValueError, AttributeError) as error:
        raise ReportError(f"cannot print the {what}: {os_reason(error)}") from error


def _joined(pieces: Iterable[str]) -> Iterator[str]:
    """`pieces` in fewer, of about as many characters as a pipe takes at once."""
    held: list[str] = []
    size = 0
    for piece in pieces:
        held.append(piece)
        size += len(piece)
        if size >= _PIPE_CHARACTERS:
            yield "".join(held)
            held, size = [], 0
    yield "".join(held)


def print_list(lines: Iterable[str], what: str) -> None:
    """Print `lines` as `print_data` does. BrokenPipeError if the reader has closed it."""
    try:
        print_data("".join(f"{each}\n" for each in lines), what)
    except ReportError as error:
        if isinstance(error.__cause__, BrokenPipeError):
            raise error.__cause__ from None
        raise


def redacted(argument: str) -> str:
    """`argument` without the user and password that a URL in it may carry."""
    return _USER_INFO.sub("***", argument)


def is_terminal(fd: int) -> bool:
    """Whether `fd` is open and a terminal."""
    try:
        return os.isatty(fd)
    except OSError:
        return False
