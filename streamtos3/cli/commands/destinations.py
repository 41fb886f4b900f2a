"""`destinations`: what the configuration file offers to -D."""

from __future__ import annotations

import json

import click

from ..config.destinations import read_destinations
from ..console import escaped
from ..options.common import option
from ..options.destination import config_path

__all__ = ["destinations"]


@click.command()
@option("--config", metavar="FILE", help="The file.  [default: ~/.config/streamtos3/config.toml]")
@option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def destinations(config: str | None, as_json: bool) -> None:
    """List the destinations that -D knows, without their secrets."""
    for each in read_destinations(config or config_path()).values():
        if as_json:
            shown = {"name": each.name, "bucket": each.bucket, "prefix": each.prefix}
            click.echo(json.dumps({**shown, "options": each.public_options}, default=str))
        else:
            extra = "".join(f"  {key}={value}" for key, value in each.public_options.items())
            click.echo(escaped(f"{each.name}  s3://{each.bucket}/{each.prefix}{extra}"))
