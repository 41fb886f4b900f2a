"""`-D NAME`: a destination of the configuration file, and what it sets by default."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import click

from ...errors import UsageError
from ..config.destinations import Destination, default_config_path, read_destinations
from ..help import Command
from .common import DESTINATION_META, OPTION_NAMES, option, together

__all__ = [
    "DestinationArgs",
    "config_path",
    "current_destination",
    "DestinationCommand",
    "destination_options",
]


def _complete_destination(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:
    """The names that a half-typed one may become; the shell shows where each leads."""
    from click.shell_completion import CompletionItem

    known = read_destinations(ctx.params.get("config") or config_path())
    return [
        CompletionItem(name, help=f"s3://{each.bucket}/{each.prefix}")
        for name, each in known.items()
        if name.startswith(incomplete)
    ]


destination_options = together(
    option(
        "-D",
        "--destination",
        metavar="NAME",
        shell_complete=_complete_destination,
        help="A destination of the configuration file.",
    ),
    option(
        "--config",
        metavar="FILE",
        help="The configuration file.  [default: ~/.config/streamtos3/config.toml]",
    ),
)


@dataclass(frozen=True, eq=False, repr=False)
class DestinationArgs:
    """The destination that -D names, and the configuration file that describes it."""

    destination: str | None
    config: str | None


class DestinationCommand(Command):
    """A command whose options take their defaults from the destination that -D names."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Look for -D and --config first: all other options depend on them."""
        given, _, _ = self.make_parser(ctx).parse_args(args=list(args))
        name = _first(given.get("destination"), os.environ.get("STREAMTOS3_DESTINATION"))
        if name:
            destination = _find(name, _first(given.get("config"), config_path()))
            ctx.meta[DESTINATION_META] = destination
            ctx.default_map = self._defaults(ctx, destination)
        return super().parse_args(ctx, args)

    def _defaults(self, ctx: click.Context, destination: Destination) -> dict[str, Any]:
        if destination.options.keys() - OPTION_NAMES.keys():
            _know_all_options(ctx)
        multiple = {each.name: getattr(each, "multiple", False) for each in self.params}
        defaults: dict[str, Any] = {}
        for key, value in destination.options.items():
            if key == "session_token":
                continue
            if key not in OPTION_NAMES:
                raise UsageError(
                    f"[destination.{destination.name}] sets {key}, which is not an option"
                )
            name = OPTION_NAMES[key]
            if name not in multiple:  # an option of other commands
                continue
            if isinstance(value, dict | list) and not (multiple[name] and _is_text_list(value)):
                raise UsageError(f"[destination.{destination.name}]: {key} takes one value")
            listed = multiple[name] and not isinstance(value, list)
            defaults[name] = [value] if listed else value
        return defaults


def _know_all_options(ctx: click.Context) -> None:
    """Load the other commands, as a destination may set what only they have."""
    root = ctx.find_root()
    if isinstance(root.command, click.Group):
        for name in root.command.list_commands(root):
            root.command.get_command(root, name)


def _is_text_list(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _first(given: Any, otherwise: str | None) -> str:
    # Newer versions of click mark what was not given by a value of their own.
    return given if isinstance(given, str) else otherwise or ""


def config_path() -> str:
    """The configuration file where --config names none."""
    return os.environ.get("STREAMTOS3_CONFIG") or default_config_path()


def _find(name: str, path: str) -> Destination:
    known = read_destinations(path)
    if name not in known:
        names = ", ".join(known) or "none"
        raise UsageError(f"there is no destination {name!r} in {path}", hint=f"there: {names}")
    return known[name]


def current_destination() -> Destination | None:
    """The destination that -D named in the running command, None without -D."""
    found: Destination | None = click.get_current_context().meta.get(DESTINATION_META)
    return found
