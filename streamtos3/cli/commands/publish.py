"""`publish`: a directory of results becomes objects, or one archive, with a record of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import click

from ...errors import ReportError, UsageError
from ...model.events import Event
from ...model.options import Options
from ...sources.compressed import COMPRESSION_SUFFIXES, check_codec
from ...units import format_duration, format_size, plural
from ..arguments import arguments
from ..console import print_data, say
from ..options.addresses import PublicationAddress, publication_address_from
from ..options.cluster import ClusterArgs, cluster_from, cluster_options
from ..options.common import (
    ConnectionArgs,
    DigestArgs,
    OutputArgs,
    PartArgs,
    RetryArgs,
    argument,
    command_line,
    connection_from,
    connection_options,
    digest_option,
    digests_from,
    option,
    output_options,
    part_options,
    rate_option,
    retries_from,
    retry_options,
    together,
)
from ..options.destination import DestinationArgs, DestinationCommand, destination_options
from ..options.object import ObjectArgs, object_options, settings_from
from ..options.types import Choice, Text
from ..running import Run, running

if TYPE_CHECKING:
    from ...cluster.processes import ClusterOptions
    from ...cluster.publish import ClusterPublication
    from ...publish.manifest import Specification
    from ...publish.publication import Publication
    from ...publish.selection import Selection

__all__ = ["PublishArgs", "publish"]

_USAGE = "streamtos3 publish DIR s3://BUCKET/PREFIX/; see streamtos3 publish --help"

_CODECS = list(COMPRESSION_SUFFIXES)
_SPECS = ["streamtos3", "bacalhau", "bacalhau-json"]

_publish_options = together(
    option("--archive", is_flag=True, help="Store one tar archive, not an object for each file."),
    option(
        "--compress",
        type=Choice(_CODECS),
        help="Make one archive and compress it, with gzip where neither is named. zstd needs the"
        " extra streamtos3[zstd].",
    ),
    option("--follow", is_flag=True, help="Follow symbolic links."),
    option(
        "--manifest",
        metavar="KEY",
        help="Also store the specification, under this key, last and only if it is complete.",
    ),
    option(
        "--spec",
        type=Choice(_SPECS),
        default=_SPECS[0],
        show_default=True,
        help="The form in which standard output tells where all is: our own, or the published"
        " result of Bacalhau's S3 publisher, as YAML or as JSON.",
    ),
    option(
        "--var",
        type=Text(),
        multiple=True,
        metavar="NAME=TEXT",
        help="What {NAME} stands for in PREFIX and in the manifest's key; repeatable.",
    ),
    option("--no-template", is_flag=True, help="Use both literally, braces included."),
    option(
        "--files",
        type=click.IntRange(1, 100),
        default=16,
        show_default=True,
        metavar="N",
        help="Files at a time, at most. They share --jobs and --memory.",
    ),
    part_options,
    option("--equal-parts", is_flag=True, help="Never let the part size grow."),
    option(
        "--resume",
        is_flag=True,
        help="Skip what is already there and equal; resume unfinished uploads, and keep"
        " their parts if this run fails.",
    ),
    option("--overwrite", is_flag=True, help="Replace objects that exist."),
    digest_option,
    connection_options,
    rate_option,
    retry_options,
    output_options,
)


@dataclass(frozen=True, eq=False, repr=False)
class PublishArgs:
    """The command line of `publish`."""

    words: tuple[str, ...]
    archive: bool
    compress: str | None
    follow: bool
    manifest: str | None
    spec: str
    var: tuple[str, ...]
    no_template: bool
    files: int
    equal_parts: bool
    resume: bool
    overwrite: bool
    named: DestinationArgs
    parts: PartArgs
    digests: DigestArgs
    object: ObjectArgs
    connection: ConnectionArgs
    retries: RetryArgs
    output: OutputArgs
    cluster: ClusterArgs


class _PublishCommand(DestinationCommand):
    """Knows that `--compress` may stand alone; click would take the directory for its value."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Fill in gzip."""
        end = args.index("--") if "--" in args else len(args)
        filled = list(args)
        for at, word in enumerate(args[:end]):
            if word == "--compress" and args[at + 1 : at + 2] not in [[c] for c in _CODECS]:
                filled[at] = "--compress=gzip"
        return super().parse_args(ctx, filled)


@click.command(
    cls=_PublishCommand,
    first="archive compress manifest files overwrite resume endpoint_url keyfile limit_rate quiet",
)
@argument("words", nargs=-1, metavar="DIR s3://BUCKET/PREFIX/")
@destination_options
@_publish_options
@cluster_options
@object_options
@arguments(PublishArgs)
def publish(args: PublishArgs) -> None:
    """Store every file below DIR as one S3 object, under its path below PREFIX, and prove it.

    With --archive or --compress all that is below DIR becomes one tar, which never exists on
    disk. Its key is the destination, with DIR's name where that ends in a slash, and .tar,
    .tar.gz or .tar.zst where that is missing.

    The specification is printed to standard output: where each object is, its size, ETag and
    SHA-256. Exit status 0 if and only if everything is there, proved, and was not seen to change
    while it was read. A file that cannot be read is named, and the rest is published: status 7.
    """
    address = publication_address_from(
        args.words,
        _USAGE,
        manifest=args.manifest,
        variables=args.var,
        no_template=args.no_template,
    )
    given = click.get_current_context().get_parameter_source("compress")
    is_archive = args.archive or given is click.core.ParameterSource.COMMANDLINE
    codec = args.compress if is_archive else None  # elsewhere it is only a default
    if codec:
        check_codec(codec)
    if args.spec != _SPECS[0] and not address.key:
        raise UsageError(f"--spec {args.spec} needs a prefix", hint="Bacalhau takes no empty Key")
    options = _options(args)
    cluster = cluster_from(args.cluster)
    if cluster is not None:
        if is_archive:
            raise UsageError("--dask shares out files, and an archive is one stream")
        _publish_on(cluster, address, options, args)
        return
    from ...publish.selection import select_archive, select_files
    from ...publish.tree import walk

    where = address.bucket, address.key
    tree = walk(address.directory, follow_links=args.follow)
    if is_archive:
        selection = select_archive(tree, *where, codec, address.manifest_key)
    else:
        selection = select_files(tree, *where, address.manifest_key)
        del tree  # half of what is known of many files, and of no more use
    _publish(replace(selection, template=address.template), options, args)


def _options(args: PublishArgs) -> Options:
    """For all uploads together; the content type is each key's own unless it was given."""
    settings = settings_from(args.object, "", args.connection)
    return Options(
        connection=connection_from(args.connection),
        chunk_bytes=args.parts.chunksize,
        jobs=args.parts.jobs,
        memory_bytes=args.parts.memory,
        equal_parts=args.equal_parts,
        overwrite=args.overwrite,
        resume=args.resume,
        digests=digests_from(args.digests),
        verify=args.object.verify,
        checksum=args.object.checksum,
        settings=replace(settings, content_type=args.object.content_type),
        retries=retries_from(args.retries),
        command_line=command_line(),
    )


def _publish(selection: Selection, options: Options, args: PublishArgs) -> None:
    """Publish, and print the specification, whatever became of it."""
    with running(args.output, "published") as run:
        from ...publish.publication import Publication
        from ...runtime.host import raise_open_file_limit

        raise_open_file_limit()  # a file, a scope and connections for each of --files

        def on_event(event: Event) -> None:
            run.reporter(event)
            run.reporter.upload_id = ", ".join(publication.upload_ids) or None

        publication = Publication(
            selection, options, files=args.files, scope=run.scope, on_event=on_event
        )
        _run_and_print(publication, f"s3://{selection.bucket}/{selection.key}", run, args)


def _publish_on(
    cluster: ClusterOptions, address: PublicationAddress, options: Options, args: PublishArgs
) -> None:
    """The same by the workers of a cluster."""
    with running(args.output, "published") as run:
        from ...cluster.publish import ClusterPublication

        publication = ClusterPublication(
            address.directory,
            address.bucket,
            address.key,
            options,
            how=cluster,
            files=args.files,
            scope=run.scope,
            follow_links=args.follow,
            manifest_key=address.manifest_key,
            template=address.template,
            on_event=run.reporter,
        )
        _run_and_print(publication, f"s3://{address.bucket}/{address.key}", run, args)


def _run_and_print(
    publication: Publication | ClusterPublication, where: str, run: Run, args: PublishArgs
) -> None:
    try:
        publication.run()
        run.interrupts.stored = where
        publication.check()
    except BaseException:
        run.reporter.close()
        _print_in_spite_of_the_error(publication)
        raise
    run.reporter.close()
    if not args.output.quiet:
        say(_summary(publication.specification))
    print_data(_document(publication, args.spec), "specification")


def _document(publication: Publication | ClusterPublication, spec: str) -> str | Iterator[str]:
    """What is printed of a publication that is complete."""
    from ...publish.bacalhau import published_result_json, published_result_yaml

    forms = {"bacalhau": published_result_yaml, "bacalhau-json": published_result_json}
    form = forms.get(spec)
    return publication.document if form is None else form(publication.specification)


def _print_in_spite_of_the_error(publication: Publication | ClusterPublication) -> None:
    """Print the specification; only warn if that fails, as the first error is reported.

    In our own form whatever was asked for, because no other says what is missing.
    """
    try:
        print_data(publication.document, "specification")
    except ReportError as error:
        say(f"warning: {error.message}")


def _summary(specification: Specification) -> str:
    """What was published where, how fast, and which links were not followed."""
    elapsed_s = (specification.ended_at - specification.started_at).total_seconds()
    objects = plural(specification.objects, "object")
    told = [
        f"published {objects}, {format_size(specification.size_bytes)}, "
        f"at s3://{specification.bucket}/{specification.key} in {format_duration(elapsed_s)}"
    ]
    if specification.already_there:
        told.append(f"{specification.already_there} were there already, equal")
    if specification.links_not_followed:
        told.append(f"symbolic links not followed: {specification.links_not_followed} (--follow)")
    return ", ".join(told)
