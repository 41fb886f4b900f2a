"""`destinations`: what the configuration file offers to -D."""

from __future__ import annotations

import json

import click

from ..config.destinations import Destination, read_destinations
from ..console import escaped, print_list
from ..help import Command
from ..options.common import option
from ..options.destination import config_path

__all__ = ["destinations"]


@click.command(cls=Command)
@option("--config", metavar="FILE", help="The file.  [default: ~/.config/streamtos3/config.toml]")
@option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def destinations(config: str | None, as_json: bool) -> None:
    """List the destinations that -D knows, without their secrets."""
    known = read_destinations(config or config_path()).values()
    print_list((_json(each) if as_json else _line(each) for each in known), "list of destinations")


def _json(destination: Destination) -> str:
    shown = {
        "name": destination.name,
        "bucket": destination.bucket,
        "prefix": destination.prefix,
        "options": destination.public_options,
    }
    return json.dumps(shown, default=str)


def _line(destination: Destination) -> str:
    extra = "".join(f"  {key}={value}" for key, value in destination.public_options.items())
    return escaped(f"{destination.name}  s3://{destination.bucket}/{destination.prefix}{extra}")
