"""`completion`: the script by which a shell completes our words."""

from __future__ import annotations

import click

from ..console import print_data
from ..help import Command

__all__ = ["completion"]


@click.command(cls=Command)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the script that lets bash, zsh or fish complete commands, options and addresses.

    \b
      bash   eval "$(streamtos3 completion bash)"         in ~/.bashrc
      zsh    eval "$(streamtos3 completion zsh)"          in ~/.zshrc, after compinit
      fish   streamtos3 completion fish | source          in ~/.config/fish/config.fish

    Names of destinations complete behind -D; buckets and keys behind s3://, where credentials
    are found and the service answers at once.
    """
    from ..completion import script

    print_data(script(ctx.find_root().command, shell), "script")
