"""The program: its commands, and how each error becomes one message and one exit status.

Commands are loaded when they run, so that `--help` and a mistyped option answer at once.
"""

from __future__ import annotations

import logging
import sys
from importlib import import_module
from typing import Any, NoReturn

import click

from .._version import __version__
from ..errors import Interrupted, StreamToS3Error
from .console import print_data, say
from .signals import default_signals

__all__ = ["program"]


# With their lines in --help: asking the commands for these would load them all.
_COMMANDS = {
    "put": "Store standard input, or a file, as one object (the default command).",
    "run": "Store a command's output, but only if the command succeeds.",
    "sink": "Store an endless stream of records as many objects.",
    "publish": "Store a directory: every file as an object, or all in one archive.",
    "get": "Read an object back, proved, to standard output or a file.",
    "verify": "Compare an object with a file, a stream, a receipt, or its own ETag.",
    "etag": "Print the ETag that a file stored by `put` would have.",
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
        module = import_module(f".commands.{cmd_name}", __package__)
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
            default_signals.decide(getattr(error, "exit_status", 1))
            status = _report_error(error)
        sys.exit(status if isinstance(status, int) else 0)


@click.group(
    cls=_Program,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    subcommand_metavar="[COMMAND] [OPTIONS] ...",
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=lambda context, _, wanted: _print_version(context) if wanted else None,
    help="Show the version, and how MD5s are computed, and exit.",
)
def program() -> None:
    """Stream standard input into S3, and prove that what was stored is what was read.

    \b
      producer | streamtos3 s3://BUCKET/KEY
      streamtos3 run s3://BUCKET/KEY -- producer

    A first word that names no command belongs to `put`; its options: streamtos3 put --help
    """


def _print_version(context: click.Context) -> NoReturn:
    """Name and version on standard output; what is for people, on standard error."""
    from ..integrity.md5 import md5_method

    print_data(f"streamtos3 {__version__}\n", "version")
    method = md5_method()
    say(f"MD5: {method}")
    if method.problem:
        say(f"warning: {method.problem}")
    context.exit()


def _report_error(error: BaseException) -> int:
    """Say what went wrong, what it left behind and what to do next; return the exit status."""
    if isinstance(error, click.Abort) and isinstance(error.__cause__, EOFError):
        error = error.__cause__  # click takes any EOFError for a Ctrl-D at a prompt
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
