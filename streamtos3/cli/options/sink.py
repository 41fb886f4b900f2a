"""Options for how a sink cuts its stream, what it calls the objects, and where records wait."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import click

from ...errors import UsageError
from ...sink.rotation import RotationRules
from .common import option, together
from .types import Choice, duration, size

__all__ = [
    "RotationArgs",
    "ObjectNameArgs",
    "SpoolArgs",
    "check_spool",
    "rotation_options",
    "rotation_rules_from",
    "name_options",
    "spool_options",
]

rotation_options = together(
    option(
        "--flush-count",
        type=click.IntRange(min=1),
        default=1000,
        show_default=True,
        metavar="N",
        help="An object ends after N records",
    ),
    option(
        "--flush-size",
        type=size,
        default="64MiB",
        show_default=True,
        help="or with the record that reaches this size",
    ),
    option(
        "--flush-interval",
        type=duration,
        default="60s",
        show_default=True,
        help="or this long after its first record",
    ),
    option(
        "--partition",
        type=Choice(["hourly", "daily", "none"]),
        default="hourly",
        show_default=True,
        help="or with its partition: PREFIX/YYYY/MM/DD/HH/, PREFIX/YYYY/MM/DD/, PREFIX/ (UTC).",
    ),
    option(
        "--max-record",
        type=size,
        default="1MiB",
        show_default=True,
        help="A longer line ends the sink, with status 7.",
    ),
)

name_options = together(
    option(
        "--name", default="events", show_default=True, help="What the objects' names begin with."
    ),
    option(
        "--suffix", default=".ndjson", show_default=True, help="What the objects' names end with."
    ),
    option(
        "--compress",
        type=Choice(["gzip", "zstd"]),
        help="Compress each object; .gz or .zst is appended to the suffix.",
    ),
)

spool_options = together(
    option(
        "--spool",
        metavar="DIR",
        help="Keep records in this local directory, synced, until they are stored.",
    ),
    option(
        "--spool-limit",
        type=size,
        default="1GiB",
        show_default=True,
        help="Largest size of the spool on the disk.",
    ),
)


@dataclass(frozen=True, eq=False, repr=False)
class RotationArgs:
    """When an object ends. Sizes are in bytes, times in seconds."""

    flush_count: int
    flush_size: int
    flush_interval: float
    partition: Literal["hourly", "daily", "none"]
    max_record: int


@dataclass(frozen=True, eq=False, repr=False)
class ObjectNameArgs:
    """What the objects are called."""

    name: str
    suffix: str
    compress: str | None


@dataclass(frozen=True, eq=False, repr=False)
class SpoolArgs:
    """Where records wait for their upload, and how much of the disk they may take, in bytes."""

    spool: str | None
    spool_limit: int


def rotation_rules_from(args: RotationArgs) -> RotationRules:
    """The rules by which the stream is cut. Raises UsageError for a size below one byte."""
    if args.flush_size < 1:
        raise UsageError("--flush-size must be at least one byte")
    return RotationRules(
        max_records=args.flush_count,
        max_bytes=args.flush_size,
        interval_s=args.flush_interval,
        partition=args.partition,
    )


def check_spool(args: SpoolArgs) -> None:
    """UsageError for a spool that was asked for and would silently not be used."""
    source = click.get_current_context().get_parameter_source("spool_limit")
    if args.spool is None:
        if source is click.core.ParameterSource.COMMANDLINE:
            raise UsageError("--spool-limit goes with --spool")
    elif not args.spool:
        raise UsageError("--spool names no directory")
