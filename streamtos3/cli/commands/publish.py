"""`publish`: a directory of results becomes objects, or one archive, with a record of them."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from ...errors import ReportError, UsageError
from ...model.events import Event
from ...model.options import Options
from ...sources.compressed import COMPRESSION_SUFFIXES, check_codec
from ...units import format_duration, format_size
from ..console import redacted, say
from ..interrupts import Interrupts
from ..options.addresses import publication_place_from
from ..options.common import (
    Choice,
    Text,
    connection_from,
    connection_options,
    option,
    part_options,
    retries_from,
    retry_options,
    talk_options,
    together,
)
from ..options.destination import DestinationCommand, destination_options
from ..options.object import object_options, settings_from
from ..reporting import Show, print_document
from ..signals import on_signals

if TYPE_CHECKING:
    from ...publish.manifest import Specification
    from ...publish.publication import Publication
    from ...publish.selection import Selection
    from ...runtime.cancel import CancelScope

__all__ = ["publish"]

_USAGE = "streamtos3 publish DIR s3://BUCKET/PREFIX/; see streamtos3 publish --help"

_publish_options = together(
    option("--archive", is_flag=True, help="Make one tar of all, and not an object for each file."),
    option(
        "--compress",
        type=Choice(list(COMPRESSION_SUFFIXES)),
        help="Compress the archive. zstd needs the extra streamtos3[zstd].",
    ),
    option("--follow", is_flag=True, help="Take what symbolic links point to."),
    option(
        "--manifest",
        metavar="KEY",
        help="Store the specification, too, under this key, last and only if all is there.",
    ),
    option(
        "--var",
        type=Text(),
        multiple=True,
        metavar="NAME=TEXT",
        help="What {NAME} stands for in PREFIX and in the manifest's key; repeatable.",
    ),
    option("--no-template", is_flag=True, help="Take both as they are, braces and all."),
    option(
        "--files",
        type=click.IntRange(1, 100),
        default=4,
        show_default=True,
        metavar="N",
        help="Files at a time, at most. They share --jobs and --memory.",
    ),
    part_options,
    option("--equal-parts", is_flag=True, help="Never let the part size grow."),
    option(
        "--resume",
        is_flag=True,
        help="Skip what is there already and equal; go on with unfinished uploads, and keep"
        " their parts if this run fails.",
    ),
    option("--overwrite", is_flag=True, help="Replace objects that exist."),
    connection_options,
    retry_options,
    talk_options,
)


@click.command(
    cls=DestinationCommand,
)
@click.argument("words", nargs=-1, metavar="DIR s3://BUCKET/PREFIX/")
@destination_options
@_publish_options
@object_options
@click.pass_context
def publish(ctx: click.Context, /, **values: Any) -> None:
    """Store every file below DIR as one S3 object, under its path below PREFIX, and prove it.

    With --archive all that is below DIR becomes one tar, which never exists on disk. Its key is
    the destination, with DIR's name where that ends in a slash, and .tar, .tar.gz or .tar.zst
    where that is missing.

    Standard output has the published specification: where each object is, its size, ETag and
    SHA-256. Exit status 0 if and only if everything is there, proved, and was not seen to change
    while it was read. A file that cannot be read is named, and the rest is published: status 7.
    """
    place = publication_place_from(values["words"], values, _USAGE)
    given = ctx.get_parameter_source("compress") is click.core.ParameterSource.COMMANDLINE
    if given and not values["archive"]:
        raise UsageError("--compress is for an archive", hint="add --archive")
    codec = values["compress"] if values["archive"] else None
    if codec:
        check_codec(codec)
    options = _options(values, ctx.obj)
    if values["debug"]:
        from ..debug_log import start_debug_log

        start_debug_log()
    if not options.connection.verify_tls:
        say("warning: --no-verify-ssl: anybody on the way can read and change what is sent")
    from ...publish.selection import select_archive, select_files
    from ...publish.tree import walk

    tree = walk(place.directory, follow_links=values["follow"])
    where = place.bucket, place.key
    if values["archive"]:
        selection = select_archive(tree, *where, codec, place.manifest_key)
    else:
        selection = select_files(tree, *where, place.manifest_key)
    _publish(replace(selection, template=place.template), options, values)


def _options(values: dict[str, Any], argv: list[str] | None) -> Options:
    """For all uploads together; the content type is each key's own unless it was given."""
    settings = replace(settings_from(values, ""), content_type=values["content_type"])
    return Options(
        connection=connection_from(values),
        chunk_bytes=values["chunksize"],
        jobs=values["jobs"],
        memory_bytes=values["memory"],
        equal_parts=values["equal_parts"],
        overwrite=values["overwrite"],
        resume=values["resume"],
        verify=values["verify"],
        checksum=values["checksum"],
        settings=settings,
        retries=retries_from(values),
        command_line=tuple(redacted(word) for word in argv) if argv else None,
    )


def _publish(selection: Selection, options: Options, values: dict[str, Any]) -> None:
    """Publish, and print the specification, whatever became of it."""
    from ...runtime.cancel import CancelScope

    with CancelScope() as scope:
        _run(selection, options, values, scope)


def _run(
    selection: Selection, options: Options, values: dict[str, Any], scope: CancelScope
) -> None:
    show = Show(values, "published")
    interrupts = Interrupts(scope, show, finish=False)
    with on_signals(interrupts), closing(interrupts):
        from ...publish.publication import Publication
        from ...runtime.host import raise_limit

        raise_limit()  # a file, a scope and connections for each of --files

        def on_event(event: Event) -> None:
            show(event)
            show.upload_id = ", ".join(publication.upload_ids) or None

        publication = Publication(
            selection, options, files=values["files"], scope=scope, on_event=on_event
        )
        try:
            publication.run()
            interrupts.stored = f"s3://{selection.bucket}/{selection.key}"
            publication.check()
        except BaseException:
            show.close()
            _print_all_the_same(publication)
            raise
        show.close()
        if not values["quiet"]:
            say(_summary(publication.specification))
        print_document(publication.document, "specification")


def _print_all_the_same(publication: Publication) -> None:
    """What cannot be printed is the smaller trouble: the error that ends the program stays."""
    try:
        print_document(publication.document, "specification")
    except ReportError as error:
        say(f"warning: {error.message}")


def _summary(specification: Specification) -> str:
    """What was published where, how fast, and what was not looked into."""
    elapsed_s = (specification.ended_at - specification.started_at).total_seconds()
    count = specification.objects
    told = [
        f"published {count} object{'s' * (count != 1)}, {format_size(specification.size_bytes)}, "
        f"at s3://{specification.bucket}/{specification.key} in {format_duration(elapsed_s)}"
    ]
    if specification.already_there:
        told.append(f"{specification.already_there} were there already, equal")
    if specification.links_not_followed:
        told.append(f"symbolic links not followed: {specification.links_not_followed} (--follow)")
    return ", ".join(told)
