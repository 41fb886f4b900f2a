"""Help: a few options for `-h`, all of them in groups for `--help`, and the nearest name.

`GROUPS` says where each option stands, in `--help` as in docs/commands.org and the manual pages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import click

from ..errors import UsageError
from .console import print_list

__all__ = [
    "GROUPS",
    "Command",
    "Group",
    "find_command",
    "grouped_options",
    "nearest",
    "print_help",
]

GROUPS: Mapping[str, str] = {
    "Destination": "destination config bucket obj no_template version_id overwrite resume",
    "Input": "write ok_status grace on_interrupt expect_size min_size size_hint expect_sha256",
    "Objects": "archive compress follow manifest var files"
    " flush_count flush_size flush_interval partition max_record name suffix objects",
    "Spool and listening": "spool spool_limit listen token_file tls_cert tls_key insecure_listen"
    " max_request vance_config vance_secret",
    "Unfinished uploads": "older_than upload_id yes dry_run",
    "Parts and memory": "byte_range chunksize jobs memory equal_parts",
    "Proof": "verify checksum digest readback",
    "Receipt and evidence": "receipt receipt_object sign_key outfile allowed_signers object log"
    " case evidence examiner notes",
    "Object settings": "metadata tag content_type content_encoding content_language cache_control"
    " storage_class acl sse sse_kms_key_id sse_c_key_file lock_mode lock_until lock_days"
    " legal_hold",
    "Connection": "keyfile insecure_keyfile profile region endpoint_url addressing ca_bundle"
    " no_verify_ssl proxy expected_bucket_owner request_payer limit_rate",
    "Cluster": "dask dask_credentials cross_check",
    "Retries": "secs_wait retry retry_for",
    "Output": "as_json spec tee progress quiet debug",
}
"""Titles, in their order, and click's names of the options below them."""

_GROUP_OF = {name: title for title, names in GROUPS.items() for name in names.split()}
_ORDER = {name: place for place, name in enumerate(_GROUP_OF)}
_OTHERS = "Options"
_HELP = ("short_help", "help")


class Command(click.Command):
    """A command with a short and a full help.

    `first` names the options that `-h` shows, in its order; without it there are so few that
    `-h` shows what `--help` does.
    """

    def __init__(self, *args: Any, first: str = "", **more: Any) -> None:
        super().__init__(*args, **more)
        self._first = first.split()
        self._help_options = [
            _help_option("-h", _HELP[0], "The most used options, and exit.", self._show_short),
            _help_option("--help", _HELP[1], "All options, and exit.", self._show_full),
        ]

    def get_help_option(self, ctx: click.Context) -> click.Option | None:
        """None: there are two, see `get_params`."""
        return None

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Arguments and options, those for help last."""
        return [*self.params, *self._help_options]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """All options, in groups."""
        for title, options in grouped_options(self.get_params(ctx)).items():
            with formatter.section(title):
                formatter.write_dl(_records(ctx, options))

    def _show_full(self, ctx: click.Context) -> str:
        return self.get_help(ctx)

    def _show_short(self, ctx: click.Context) -> str:
        if not self._first:
            return self.get_help(ctx)
        by_name = {each.name: each for each in self.params if isinstance(each, click.Option)}
        formatter = ctx.make_formatter()
        self.format_usage(ctx, formatter)
        formatter.write_paragraph()
        with formatter.indentation():
            formatter.write_text(self.get_short_help_str(limit=200))
        with formatter.section("The most used options"):
            formatter.write_dl(_records(ctx, (by_name[name] for name in self._first)))
        formatter.write_paragraph()
        formatter.write_text(f"All {len(by_name)} options: {ctx.command_path} --help")
        return formatter.getvalue().rstrip("\n")


class Group(click.Group):
    """A group of commands that knows what a mistyped one was meant to be."""

    def get_help_option(self, ctx: click.Context) -> click.Option | None:
        """click's own, but its text is printed as everything is."""
        option = super().get_help_option(ctx)
        if option is not None:
            option.callback = _help_callback(click.Context.get_help)
        return option

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does. UsageError for a command that there is not."""
        if args and not args[0].startswith("-"):
            find_command(ctx, args[0])
        return super().resolve_command(ctx, args)


def find_command(ctx: click.Context, name: str) -> click.Command:
    """The command `name` of the group that `ctx` is of. UsageError with the nearest if none is."""
    group = ctx.command
    known = group.list_commands(ctx) if isinstance(group, click.Group) else []
    found = group.get_command(ctx, name) if isinstance(group, click.Group) else None
    if found is None:
        near, see = nearest(name, known), f"see {ctx.command_path} --help"
        raise UsageError(
            f"{ctx.command_path} has no command {name!r}",
            hint=f"did you mean {near}? {see}" if near else see,
        )
    return found


def grouped_options(params: Iterable[click.Parameter]) -> dict[str, list[click.Option]]:
    """The options among `params` by the title of their group, all in the order of `GROUPS`."""
    found: dict[str, list[click.Option]] = {title: [] for title in (*GROUPS, _OTHERS, "Help")}
    for each in sorted(params, key=lambda param: _ORDER.get(param.name or "", len(_ORDER))):
        if isinstance(each, click.Option) and not each.hidden:
            title = "Help" if each.name in _HELP else _GROUP_OF.get(each.name or "", _OTHERS)
            found[title].append(each)
    return {title: options for title, options in found.items() if options}


def nearest(word: str, known: Iterable[str]) -> str | None:
    """What of `known` somebody who wrote `word` most likely meant; None where nothing is near."""
    from difflib import get_close_matches

    return next(iter(get_close_matches(word, list(known), n=1)), None)


def _records(ctx: click.Context, options: Iterable[click.Option]) -> list[tuple[str, str]]:
    return [record for each in options if (record := each.get_help_record(ctx))]


def print_help(text: str) -> None:
    """Print a help on standard output. ReportError, or BrokenPipeError, if that fails."""
    print_list([text], "help")


def _help_callback(show: Callable[[click.Context], str]) -> Any:
    def callback(ctx: click.Context, param: click.Parameter, value: bool) -> None:
        if value and not ctx.resilient_parsing:
            print_help(show(ctx))
            ctx.exit()

    return callback


def _help_option(
    spelling: str, name: str, text: str, show: Callable[[click.Context], str]
) -> click.Option:
    return click.Option(
        [spelling, name],
        is_flag=True,
        expose_value=False,
        is_eager=True,
        help=text,
        callback=_help_callback(show),
    )
