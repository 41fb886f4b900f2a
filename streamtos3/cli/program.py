"""The program: its commands, and the one place where errors end.

Commands are loaded when they run, so that `--help` and a mistyped option answer at once.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Any, NoReturn

import click

from .._version import __version__
from ..errors import UsageError
from .console import print_data, say
from .failures import report_failure, telling
from .help import Group, nearest
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
    "receipt": "Verify, show or report receipts and their signatures.",
    "etag": "Print the ETag that a file stored by `put` would have.",
    "destinations": "List the destinations of the configuration file.",
    "check": "Say whether an upload would work, and what would prove it.",
    "uploads": "List or abort unfinished multipart uploads.",
    "completion": "Print the script by which bash, zsh or fish completes our words.",
    "help": "Print the full help of a command.",
}
_FUNCTIONS = {"help": "help_command"}  # where the name is taken
_DEFAULT = "put"
_COMPLETES = "_STREAMTOS3_COMPLETE"  # as `completion` has it, which is loaded only then


class _Program(Group):
    """A group whose default command is `put`, and whose errors have one line and one status."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module = import_module(f".commands.{cmd_name}", __package__)
        command: click.Command = getattr(module, _FUNCTIONS.get(cmd_name, cmd_name))
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without loading them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """A first word that names no command is an argument of the default one."""
        ctx.obj = ["streamtos3", *args]
        telling.begin(args)
        if ctx.resilient_parsing and not args:
            return super().parse_args(ctx, args)  # the first word is being completed
        if not args or args[0] not in (*_COMMANDS, "-h", "--help", "--version"):
            _check_first_word(args)
            args = [_DEFAULT, *args]
        return super().parse_args(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[Any]:
        """Commands without loading them, and what may stand there for the default one."""
        from click.shell_completion import CompletionItem

        from .completion import complete_word

        items = [
            CompletionItem(name, help=text)
            for name, text in _COMMANDS.items()
            if name.startswith(incomplete)
        ]
        default = self.get_command(ctx, _DEFAULT)
        if default is not None and incomplete.startswith("-"):
            return default.shell_complete(
                click.Context(default, parent=ctx, resilient_parsing=True), incomplete
            )
        return items or complete_word(ctx, self.params[0], incomplete)

    def main(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Run, report what went wrong, and exit with the status that means it."""
        kwargs["standalone_mode"] = False
        if _COMPLETES in os.environ:
            from .completion import register

            register()
        try:
            status = super().main(*args, **kwargs)
        except click.exceptions.Exit as request:
            status = request.exit_code
        except BaseException as error:  # noqa: BLE001 - the one place where errors end
            default_signals.decide(getattr(error, "exit_status", 1))
            status = report_failure(error)
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


def _check_first_word(args: list[str]) -> None:
    """UsageError where the first word looks like a mistyped command, and can be nothing else.

    With a destination of the configuration file it may be a key, and any other word a file.
    """
    word = args[0] if args else "-"
    named = any(each.startswith(("-D", "--dest")) for each in args)
    if word.startswith("-") or named or "STREAMTOS3_DESTINATION" in os.environ:
        return
    near = nearest(word, (*_COMMANDS, "version"))
    if near is not None and not os.path.lexists(word):
        raise UsageError(
            f"{word!r} is neither a command nor a file",
            hint=f"did you mean streamtos3 {'--version' if near == 'version' else near}?",
        )
