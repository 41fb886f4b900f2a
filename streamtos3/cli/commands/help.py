"""`help`: what `COMMAND --help` prints, for those who type the words the other way round."""

from __future__ import annotations

import click

from ..help import Command, find_command, print_help

__all__ = ["help_command"]


@click.command("help", cls=Command)
@click.argument("words", nargs=-1, metavar="[COMMAND ...]")
@click.pass_context
def help_command(ctx: click.Context, words: tuple[str, ...]) -> None:
    """Print the full help of COMMAND, or of the program."""
    asked = ctx.find_root()
    for word in words:
        asked = click.Context(find_command(asked, word), parent=asked, info_name=word)
    print_help(asked.get_help())
