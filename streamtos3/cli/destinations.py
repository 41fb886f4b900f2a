"""Destinations: `-D NAME` from the configuration, key templates, and the list of what is there."""

from __future__ import annotations

import getpass
import json
import os
import socket
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

import click

from ..config import Destination, default_config_path, read_destinations
from ..errors import UsageError
from ..model.names import (
    check_destination_name,
    expand_template,
    is_s3_url,
    split_s3_prefix,
    split_s3_url,
    time_values,
)
from .options import DESTINATION_META, OPTION_NAMES, option, pairs, together
from .talk import escaped

__all__ = [
    "DestinationCommand",
    "Place",
    "PublicationPlace",
    "address_of",
    "destination_from",
    "destination_options",
    "destinations",
    "prefix_of",
    "publication_place_from",
]

destination_options = together(
    option("-D", "--destination", metavar="NAME", help="A destination of the configuration file."),
    option(
        "--config",
        metavar="FILE",
        help="The configuration file.  [default: ~/.config/streamtos3/config.toml]",
    ),
)


class DestinationCommand(click.Command):
    """A command whose options take their defaults from the destination that -D names."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Look for -D and --config first: all other options depend on them."""
        given, _, _ = self.make_parser(ctx).parse_args(args=list(args))
        name = _first(given.get("destination"), os.environ.get("STREAMTOS3_DESTINATION"))
        if name:
            destination = _find(name, _first(given.get("config"), _config_path()))
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
                raise UsageError(f"[destination.{destination.name}] sets {key}, which is no option")
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


def _config_path() -> str:
    return os.environ.get("STREAMTOS3_CONFIG") or default_config_path()


def _find(name: str, path: str) -> Destination:
    known = read_destinations(path)
    if name not in known:
        names = ", ".join(known) or "none"
        raise UsageError(f"there is no destination {name!r} in {path}", hint=f"there: {names}")
    return known[name]


def _current_destination() -> Destination | None:
    """What -D named, in the command that is running."""
    found: Destination | None = click.get_current_context().meta.get(DESTINATION_META)
    return found


@dataclass(frozen=True)
class Place:
    """Where an object goes; `template` is what its key was made from, None if that was none."""

    bucket: str
    key: str
    template: str | None


def destination_from(
    words: Sequence[str], values: dict[str, Any], usage: str
) -> tuple[list[str], Place]:
    """What of `words` is no destination, and the destination.

    That is an s3:// word, -b and -o, or with -D the last word, under the named prefix.
    """
    inputs = [word for word in words if not is_s3_url(word)]
    urls = [word for word in words if is_s3_url(word)]
    named = _current_destination()
    if named is not None:
        if urls or _is_given("bucket") or _is_given("obj") or not inputs:
            raise UsageError("with -D give just the key", hint=usage)
        bucket, template = named.bucket, named.prefix + inputs.pop()
    else:
        bucket, template = _written_out(urls, values, usage)
    if len(inputs) > 1:
        raise UsageError(f"too many arguments: {' '.join(words)}", hint=usage)
    if values["no_template"]:
        return inputs, Place(bucket, template, None)
    key = expand_template(template, _values(), os.environ)
    return inputs, Place(bucket, key, template if key != template else None)


@dataclass(frozen=True)
class PublicationPlace:
    """Where a directory goes: `key` is a prefix, or the archive's key; then the manifest's."""

    directory: str
    bucket: str
    key: str
    template: str | None
    manifest_key: str | None


def publication_place_from(
    words: Sequence[str], values: dict[str, Any], usage: str
) -> PublicationPlace:
    """The directory and where it goes: an s3:// word, or with -D what goes below its prefix."""
    urls = [word for word in words if is_s3_url(word)]
    others = [word for word in words if not is_s3_url(word)]
    named = _current_destination()
    if named is not None:
        if urls or not 1 <= len(others) <= 2:
            raise UsageError("with -D give the directory and just the prefix", hint=usage)
        bucket, above = named.bucket, named.prefix
        template = above + "".join(others[1:])
    elif len(urls) == len(others) == 1:
        bucket, template = split_s3_prefix(urls[0])
        above = ""
    else:
        raise UsageError("give one directory and one destination", hint=usage)
    manifest = None if values["manifest"] is None else above + values["manifest"]
    known = {**_values(), **_own_values(values["var"])}

    def expanded(text: str) -> str:
        return text if values["no_template"] else expand_template(text, known, os.environ)

    key = expanded(template)
    return PublicationPlace(
        directory=others[0],
        bucket=bucket,
        key=key,
        template=template if key != template else None,
        manifest_key=None if manifest is None else expanded(manifest),
    )


def _own_values(words: Sequence[str]) -> dict[str, str]:
    """What --var gives; no name of ours may come to mean something else."""
    own = pairs("--var", words)
    for name in own:
        if not name.isidentifier():
            raise UsageError(f"--var {name!r} is no name: letters, digits and underscores")
        if name in _values() or name == "env":
            raise UsageError(f"--var {name} would hide what {{{name}}} stands for already")
    return own


def address_of(word: str) -> tuple[str, str]:
    """Bucket and key of an object that is there: an s3:// address, or with -D a key.

    Taken as it is: nothing is expanded, because what was stored yesterday is not named by today.
    """
    named = _current_destination()
    if named is None:
        return split_s3_url(word)
    bucket, key = named.bucket, named.prefix + _just_the_key(word)
    check_destination_name(bucket, key)
    return bucket, key


def prefix_of(word: str | None) -> tuple[str, str]:
    """Bucket and prefix, likewise; with -D `word` may be missing and goes below the prefix."""
    named = _current_destination()
    if named is not None:
        return named.bucket, named.prefix + _just_the_key(word or "")
    if word is None:
        raise UsageError("no place in S3", hint="write it as s3://BUCKET/PREFIX, or use -D")
    return split_s3_prefix(word)


def _just_the_key(word: str) -> str:
    if is_s3_url(word):
        raise UsageError("with -D give just the key")
    return word


def _written_out(urls: list[str], values: dict[str, Any], usage: str) -> tuple[str, str]:
    """Bucket and key from the s3:// word, or from -b and -o."""
    if len(urls) > 1:
        raise UsageError(f"too many arguments: {' '.join(urls)}", hint=usage)
    if urls and (_is_given("bucket") or _is_given("obj")):
        raise UsageError("give either s3://BUCKET/KEY or -b and -o, not both")
    if urls:
        return split_s3_url(urls[0])
    if values["bucket"] and values["obj"] is not None:
        return values["bucket"], values["obj"]
    raise UsageError("no destination", hint=usage)


def _is_given(name: str) -> bool:
    """Whether an option is on the command line; from the environment it is only a default."""
    source = click.get_current_context().get_parameter_source(name)
    return source is click.core.ParameterSource.COMMANDLINE


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container whose user has no name
        return str(os.getuid())


def _values() -> dict[str, str]:
    """What a template's names stand for, now and here."""
    return {
        **time_values(datetime.now(timezone.utc)),
        "hostname": socket.gethostname(),
        "user": _user(),
        "uuid": str(uuid.uuid4()),
    }


@click.command()
@option("--config", metavar="FILE", help="The file.  [default: ~/.config/streamtos3/config.toml]")
@option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def destinations(config: str | None, as_json: bool) -> None:
    """List the destinations that -D knows, without their secrets."""
    for each in read_destinations(config or _config_path()).values():
        if as_json:
            shown = {"name": each.name, "bucket": each.bucket, "prefix": each.prefix}
            click.echo(json.dumps({**shown, "options": each.public_options}, default=str))
        else:
            extra = "".join(f"  {key}={value}" for key, value in each.public_options.items())
            click.echo(escaped(f"{each.name}  s3://{each.bucket}/{each.prefix}{extra}"))
