"""`uploads`: show and remove what interrupted uploads have left behind.

The table and the JSON lines are data and go to standard output; messages about them do not.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING

import click

from ...errors import AbsentError, StoreError, UnsupportedError, UsageError
from ...units import format_duration, format_size, plural
from ..arguments import arguments
from ..console import escaped, is_terminal, print_list, say, write_line
from ..help import Group
from ..options.addresses import prefix_of
from ..options.common import (
    ConnectionArgs,
    OutputArgs,
    RetryArgs,
    argument,
    connection_from,
    connection_options,
    option,
    retries_from,
    retry_options,
)
from ..options.destination import DestinationArgs, DestinationCommand, destination_options
from ..options.types import duration

if TYPE_CHECKING:
    from ...model.unfinished_upload import UnfinishedUpload
    from ...runtime.retry import Retrier
    from ...s3.bucket import Bucket
    from ...uploader.unfinished import Listing

__all__ = ["AbortArgs", "ListArgs", "PrefixArgs", "uploads"]

_CLOCKS_DIFFER_S = 60.0
_CONNECTIONS = 8


@click.group(cls=Group, no_args_is_help=False)
def uploads() -> None:
    """Show and remove unfinished multipart uploads: their parts are invisible, and billed.

    A failed upload removes its own. What stays is from programs that were killed, that asked
    for --resume, or that could not reach the service any more.
    """


@dataclass(frozen=True, eq=False, repr=False)
class PrefixArgs:
    """What both commands take: where to look, and how to get there."""

    place: str | None
    named: DestinationArgs
    connection: ConnectionArgs
    retries: RetryArgs
    output: OutputArgs


@dataclass(frozen=True, eq=False, repr=False)
class ListArgs(PrefixArgs):
    """The command line of `uploads list`."""


@dataclass(frozen=True, eq=False, repr=False)
class AbortArgs(PrefixArgs):
    """The command line of `uploads abort`; `older_than` is in seconds."""

    older_than: float
    upload_id: str | None
    yes: bool
    dry_run: bool


_quiet = option("-q", "--quiet", is_flag=True, help="Print nothing but warnings and errors.")
_debug = option("-d", "--debug", is_flag=True, help="Add botocore's log and tracebacks.")


@uploads.command(
    "list",
    cls=DestinationCommand,
    short_help="List unfinished uploads, oldest first.",
    first="as_json destination endpoint_url profile keyfile quiet",
)
@argument("place", required=False, metavar="s3://BUCKET/[PREFIX]")
@option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
@destination_options
@connection_options
@retry_options
@_quiet
@_debug
@arguments(ListArgs)
def _list(args: ListArgs) -> None:
    """List the unfinished uploads whose key begins with PREFIX, oldest first.

    A table with age, key, parts, bytes and upload id, or JSON. Ages are by the service's clock.
    """
    with _opened(args) as listed:
        found = listed.measured(listed.listing.uploads)
    if not found:
        listed.say(f"there are no unfinished uploads below {listed.url}")
    if args.output.as_json:
        print_list((_json(listed.bucket.name, each) for each in found), "list")
    else:
        print_list(_table(found), "list")


@uploads.command(
    "abort",
    cls=DestinationCommand,
    short_help="Abort unfinished uploads that are old enough.",
    first="older_than upload_id yes dry_run destination endpoint_url profile keyfile quiet",
)
@argument("place", required=False, metavar="s3://BUCKET/[PREFIX]")
@option(
    "--older-than",
    type=duration,
    default="7d",
    show_default=True,
    metavar="DURATION",
    help="Abort only what is at least this old, by the service's clock. 0 aborts everything.",
)
@option("--upload-id", metavar="ID", help="Only this upload, if it is old enough.")
@option("--yes", is_flag=True, help="Do not ask.")
@option("--dry-run", is_flag=True, help="Only list what would be aborted.")
@destination_options
@connection_options
@retry_options
@_quiet
@_debug
@arguments(AbortArgs)
def _abort(args: AbortArgs) -> None:
    """Abort the unfinished uploads whose key begins with PREFIX and that are old enough.

    Lists them on a terminal and asks first. Without a terminal, --yes must be given. An upload
    that cannot be aborted does not stop the others; the exit status is that of the worst.
    """
    if not args.yes and not args.dry_run and not (is_terminal(0) and is_terminal(2)):
        raise UsageError(
            "cannot ask for confirmation: standard input or error is not a terminal",
            hint="--yes aborts without asking, --dry-run only lists",
        )
    with _opened(args, args.upload_id) as listed:
        chosen = listed.measured(_chosen(listed, args.upload_id, args.older_than))
        kept = len(listed.listing.uploads) - len(chosen)
        if args.dry_run:
            print_list(_table(chosen), "list")
            listed.say(f"would abort {_summary(chosen)}")
        elif not chosen:
            younger = f"; {kept} younger than asked" if kept else ""
            listed.say(f"nothing to abort below {listed.url}{younger}")
        elif not args.yes and not _confirmed(chosen):
            listed.say("nothing was aborted")
        else:
            click.get_current_context().exit(_abort_all(listed, chosen))


@dataclass(frozen=True)
class _Listed:
    """Where the command works, and what is there."""

    bucket: Bucket
    retrier: Retrier
    prefix: str
    listing: Listing
    say: Callable[[str], None]

    @property
    def url(self) -> str:
        return self.bucket.url(self.prefix)

    def measured(self, found: Sequence[UnfinishedUpload]) -> list[UnfinishedUpload]:
        from ...uploader.unfinished import measure

        return measure(self.bucket, self.retrier, found)


@contextmanager
def _opened(args: PrefixArgs, upload_id: str | None = None) -> Iterator[_Listed]:
    """Connect and list, and warn if the clocks differ.

    Where uploads cannot be listed, the one of this `upload_id`, of the key that is the prefix.
    """
    name, prefix = prefix_of(args.place)
    from ...model.unfinished_upload import UnfinishedUpload
    from ...runtime.cancel import CancelScope
    from ...runtime.retry import Retrier
    from ...s3.bucket import Bucket
    from ...uploader.unfinished import Listing, list_unfinished

    quietly: Callable[[str], None] = (lambda _: None) if args.output.quiet else say
    retries = retries_from(args.retries)
    with CancelScope() as scope:
        retrier = Retrier(
            retries,
            scope,
            lambda event, _: quietly(
                f"{event.reason}; trying again in {format_duration(event.wait_s)}"
            ),
        )
        bucket = Bucket(name, connection_from(args.connection), connections=_CONNECTIONS)
        try:
            listing = list_unfinished(bucket, retrier, prefix, check_for_s=retries.check_for_s)
        except UnsupportedError:
            if upload_id is None or not prefix:
                raise
            quietly("this endpoint cannot list unfinished uploads; taking the one that is named")
            now = datetime.now(timezone.utc)
            listing = Listing((UnfinishedUpload(prefix, upload_id, now),), None)
        finally:
            if warning := bucket.endpoint_warning():
                say(f"warning: {warning}")
        _say_clocks(listing)
        yield _Listed(bucket, retrier, prefix, listing, quietly)


def _say_clocks(listing: Listing) -> None:
    ahead_s = listing.clock_ahead_s
    if ahead_s is None:
        say("warning: the service does not tell the time, so nothing is known to be old")
    elif abs(ahead_s) > _CLOCKS_DIFFER_S:
        how = "ahead of" if ahead_s > 0 else "behind"
        say(
            f"warning: this machine's clock is {format_duration(abs(ahead_s))} {how} the "
            "service's; ages are by the service's"
        )


def _chosen(listed: _Listed, upload_id: str | None, older_than_s: float) -> list[UnfinishedUpload]:
    """The uploads to abort: old enough, and only the one that was named, if one was."""
    found = [each for each in listed.listing.uploads if upload_id in (None, each.upload_id)]
    if upload_id is not None and not found:
        raise AbsentError(f"there is no unfinished upload {upload_id} below {listed.url}")
    old = [each for each in found if each.is_older_than(older_than_s)]
    if upload_id is not None and not old:
        raise UsageError(
            f"upload {upload_id} is {_age(found[0])} old, younger than "
            f"{format_duration(older_than_s)}",
            hint="--older-than 0 aborts it, if no one is writing to it any more",
        )
    return old


def _abort_all(listed: _Listed, chosen: Sequence[UnfinishedUpload]) -> int:
    """Abort, say what happened to each, and return the worst exit status."""
    from ...uploader.unfinished import abort_each

    worst = 0
    gone: list[UnfinishedUpload] = []
    for upload, error in abort_each(listed.bucket, listed.retrier, chosen):
        name = f"upload {upload.upload_id} of {listed.bucket.url(upload.key)}"
        if error is None:
            gone.append(upload)
            listed.say(f"aborted {name}: {_contents(upload)}, {_age(upload)} old")
        else:
            worst = max(worst, _say_kept(name, error))
    listed.say(f"aborted {_summary(gone)}")
    return worst


def _say_kept(name: str, error: StoreError) -> int:
    say(f"error: {name} stays: {error.message}")
    if error.hint:
        say(f"hint: {error.hint}")
    return error.exit_status


def _confirmed(chosen: Sequence[UnfinishedUpload]) -> bool:
    for line in _table(chosen):
        write_line(line)
    return click.confirm(f"abort {_summary(chosen)}?", default=False, err=True)


def _summary(found: Sequence[UnfinishedUpload]) -> str:
    known_bytes = sum(each.size_bytes or 0 for each in found)
    return f"{plural(len(found), 'upload')} ({format_size(known_bytes)})"


def _contents(upload: UnfinishedUpload) -> str:
    if upload.parts is None or upload.size_bytes is None:
        return "parts unknown"
    return f"{plural(upload.parts, 'part')}, {format_size(upload.size_bytes)}"


def _age(upload: UnfinishedUpload) -> str:
    return "?" if upload.age_s is None else format_duration(max(0.0, upload.age_s))


def _table(found: Sequence[UnfinishedUpload]) -> Iterator[str]:
    """A line for each upload under a heading, numbers to the right; nothing for nothing."""
    if not found:
        return
    rows = [("AGE", "KEY", "PARTS", "BYTES", "UPLOAD ID")]
    for each in found:
        parts = "?" if each.parts is None else str(each.parts)
        size = "?" if each.size_bytes is None else format_size(each.size_bytes)
        rows.append((_age(each), escaped(each.key), parts, size, escaped(each.upload_id)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for age, key, parts, size, upload_id in rows:
        yield (
            f"{age:>{widths[0]}}  {key:<{widths[1]}}  {parts:>{widths[2]}}  "
            f"{size:>{widths[3]}}  {upload_id}"
        )


def _json(bucket: str, upload: UnfinishedUpload) -> str:
    initiated = upload.initiated.astimezone(timezone.utc).isoformat(timespec="milliseconds")
    return json.dumps(
        {
            "bucket": bucket,
            "key": upload.key,
            "upload_id": upload.upload_id,
            "initiated": initiated.replace("+00:00", "Z"),
            "age_s": upload.age_s,
            "parts": upload.parts,
            "size_bytes": upload.size_bytes,
        }
    )
