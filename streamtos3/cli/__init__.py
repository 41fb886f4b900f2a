"""The command line: options to values, signals to errors, errors to one message and a status.

The only package that knows click, prints, or exits. Commands import what they need when they
run, so that `--help` and a mistyped option answer at once.
"""

from __future__ import annotations

import logging
import os
import sys
import warnings
from importlib import import_module
from typing import Any, NoReturn

import click

from .._version import __version__
from ..errors import Interrupted, StreamToS3Error
from .signals import at_other_times
from .talk import say

__all__ = ["main", "program"]

# With what --help says of each: to ask the commands themselves would load them all.
_COMMANDS = {
    "put": "Store standard input, or a file, as one object (the default command).",
    "run": "Store a command's output, but only if the command succeeds.",
    "sink": "Store endless records as many objects, cut by time.",
    "publish": "Store a directory: every file as an object, or all in one archive.",
    "get": "Read an object back, proved, to standard output or a file.",
    "verify": "Compare an object with a file, a stream, a receipt, or its own ETag.",
    "etag": "Print the ETag that `put` would make of a file.",
    "destinations": "List the destinations of the configuration file.",
    "uploads": "List or abort unfinished multipart uploads.",
}
_DEFAULT = "put"


class _Program(click.Group):
    """A group whose default command is `put`, and whose errors have one line and one status."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module = import_module(f".{cmd_name}", __name__)
        command: click.Command = getattr(module, cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without loading them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """A first word that names no command is an argument of the default one."""
        ctx.obj = ["streamtos3", *args]
        if not args or args[0] not in (*_COMMANDS, "-h", "--help", "--version"):
            args = [_DEFAULT, *args]
        return super().parse_args(ctx, args)

    def main(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Run, report what went wrong, and exit with the status that means it."""
        kwargs["standalone_mode"] = False
        try:
            status = super().main(*args, **kwargs)
        except click.exceptions.Exit as request:
            status = request.exit_code
        except BaseException as error:  # noqa: BLE001 - the one place where errors end
            at_other_times.decide(getattr(error, "exit_status", 1))
            status = _report_error(error)
        sys.exit(status if isinstance(status, int) else 0)


@click.group(
    cls=_Program,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    subcommand_metavar="[COMMAND] [OPTIONS] ...",
)
@click.version_option(__version__, message="%(prog)s %(version)s")
def program() -> None:
    """Stream standard input into S3, and prove that what was stored is what was read.

    \b
      producer | streamtos3 s3://BUCKET/KEY
      streamtos3 run s3://BUCKET/KEY -- producer

    A first word that names no command belongs to `put`; its options: streamtos3 put --help
    """


def _report_error(error: BaseException) -> int:
    """Say what went wrong, what it left behind and what to do next; return the exit status."""
    if isinstance(error, click.Abort) and isinstance(error.__cause__, EOFError):
        error = error.__cause__  # click takes any that comes by for a Ctrl-D at a prompt
    if isinstance(error, click.ClickException):
        say(f"error: {_first_lower(error.format_message()).rstrip('.')}")
        context = getattr(error, "ctx", None)
        say(f"hint: see {context.command_path if context else 'streamtos3'} --help")
        return error.exit_code
    if isinstance(error, StreamToS3Error | Interrupted):
        say(f"error: {error.message}")
        if error.left_behind:
            say(f"left behind: {error.left_behind}")
        if error.hint:
            say(f"hint: {error.hint}")
        _trace(error)
        return error.exit_status
    if isinstance(error, KeyboardInterrupt | click.Abort):  # where `main` has not been called
        say("error: interrupted by SIGINT")
        return 130
    if isinstance(error, BrokenPipeError | SystemExit):
        return 141  # `--help | head`, which click makes a SystemExit: nobody is left to talk to
    say(f"error: unexpected {type(error).__name__}: {error}")
    left_behind = getattr(error, "left_behind", None)
    if left_behind:
        say(f"left behind: {left_behind}")
    say("hint: this is a bug; please report it with the output of the same command and --debug")
    _trace(error)
    return 1


def _trace(error: BaseException) -> None:
    """The traceback, where --debug asked for it."""
    if logging.getLogger().isEnabledFor(logging.DEBUG):
        logging.getLogger("streamtos3").debug("traceback", exc_info=error)


def _first_lower(text: str) -> str:
    return text[:1].lower() + text[1:]


def _guard_descriptors() -> None:
    """Occupy closed standard descriptors, or the next socket would be taken for one of them.

    Input is opened for writing and output for reading, so that using them still fails.
    """
    for fd, mode in ((0, os.O_WRONLY), (1, os.O_RDONLY), (2, os.O_RDONLY)):
        try:
            os.fstat(fd)
        except OSError:
            null = os.open(os.devnull, mode)
            if null != fd:
                os.dup2(null, fd)
                os.close(null)


def _silence_warnings_of_libraries() -> None:
    """Leave the talk to us: logging would show them as they are, tracebacks and all."""
    logging.getLogger().addHandler(logging.NullHandler())


def main() -> NoReturn:
    """The console entry point."""
    # Nothing is written to the disk but what was asked for, byte code included.
    sys.dont_write_bytecode = True
    at_other_times.install()
    _guard_descriptors()
    _silence_warnings_of_libraries()
    # What libraries have to say to their programmers (urllib3, of each unverified request).
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    try:
        program.main(prog_name="streamtos3")
    except SystemExit as request:
        status = request.code if isinstance(request.code, int) else 1
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):  # closed, or never there
            continue
    # Not by way of the interpreter's own exit: a thread stuck in a dead connection, or a closed
    # standard output, must not change the status.
    os._exit(status)
