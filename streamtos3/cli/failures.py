"""What became of a failed run: one line for people, with --json one object, and the exit status."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import click

from ..errors import Interrupted, ReportError, StreamToS3Error
from .console import print_data, say
from .help import nearest

__all__ = ["Telling", "error_json", "report_failure", "telling"]

_NO_ERROR_LEFT = 141  # as a shell counts SIGPIPE
_FALSE = ("", "0", "false", "f", "no", "n", "off")


@dataclass
class Telling:
    """How a failure is told. `as_json`: on standard output, too, as one object on one line."""

    as_json: bool = False

    def begin(self, words: Sequence[str]) -> None:
        """As the `words` of a command line ask for it; before they are parsed, which may fail.

        A command whose configuration asks for JSON sets `as_json` later.
        """
        own = words[: words.index("--")] if "--" in words else words
        variable = os.environ.get("STREAMTOS3_JSON", "").strip().lower()
        self.as_json = "--json" in own or variable not in _FALSE


telling = Telling()


def report_failure(error: BaseException) -> int:
    """Say what went wrong, what it left behind and what to do next; return the exit status."""
    if isinstance(error, click.Abort) and isinstance(error.__cause__, EOFError):
        error = error.__cause__  # click takes any that comes by for a Ctrl-D at a prompt
    if isinstance(error, BrokenPipeError | SystemExit):
        return _NO_ERROR_LEFT  # `--help | head`, which click makes a SystemExit
    told = error_json(error)
    say(f"error: {told['message']}")
    if told["left_behind"] is not None:
        say(f"left behind: {told['left_behind']['message']}")
    if told["hint"] is not None:
        say(f"hint: {told['hint']}")
    if not isinstance(error, click.ClickException):
        _trace(error)
    if telling.as_json:
        import json

        with suppress(ReportError):  # nobody listens, and the status says it
            print_data(json.dumps({"error": told}) + "\n", "error")
    status: int = told["status"]
    return status


def error_json(error: BaseException) -> dict[str, Any]:
    """The fields of `error` as docs/formats.org describes them."""
    status, message, hint = _meaning(error)
    left_behind = getattr(error, "left_behind", None)
    return {
        "status": status,
        "class": type(error).__name__,
        "message": message,
        "hint": hint,
        "left_behind": None
        if left_behind is None
        else {"message": left_behind, "upload_ids": list(getattr(error, "upload_ids", ()))},
        "code": getattr(error, "code", None),
        "http_status": getattr(error, "http_status", None),
        "request_id": getattr(error, "request_id", None),
    }


def _meaning(error: BaseException) -> tuple[int, str, str | None]:
    """Exit status, message and hint."""
    if isinstance(error, click.ClickException):
        return error.exit_code, _click_message(error), _click_hint(error)
    if isinstance(error, StreamToS3Error | Interrupted):
        return error.exit_status, error.message, error.hint
    if isinstance(error, KeyboardInterrupt | click.Abort):  # where `main` has not been called
        return 130, "interrupted by SIGINT", None
    hint = "this is a bug; please report it with the output of the same command and --debug"
    return 1, f"unexpected {type(error).__name__}: {error}", hint


def _trace(error: BaseException) -> None:
    """The traceback, where --debug asked for it."""
    if logging.getLogger().isEnabledFor(logging.DEBUG):
        logging.getLogger("streamtos3").debug("traceback", exc_info=error)


def _click_message(error: click.ClickException) -> str:
    if isinstance(error, click.NoSuchOption):
        return f"no such option {error.option_name}"
    # click sets choices one below the other.
    head, choices, listed = error.format_message().rstrip(".").partition(". Choose from:")
    text = f"{head}: one of {' '.join(listed.split())}" if choices else head
    return text[:1].lower() + text[1:]


def _click_hint(error: click.ClickException) -> str:
    """The nearest name for one that does not exist, and where all of them are."""
    context: click.Context | None = getattr(error, "ctx", None)
    see = f"see {context.command_path if context else 'streamtos3'} --help"
    near = None
    if context is not None and isinstance(error, click.NoSuchOption):
        params = context.command.get_params(context)
        names = [name for each in params for name in (*each.opts, *each.secondary_opts)]
        if str((context.find_root().obj or ["", ""])[1]).startswith("-"):
            names.append("--version")  # which no command has, and here none was named
        near = nearest(error.option_name, (name for name in names if name.startswith("--")))
    return f"did you mean {near}? {see}" if near else see
