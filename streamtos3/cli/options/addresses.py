"""Where things are in S3: s3:// words, -b and -o, or what -D names."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import click

from ...errors import UsageError
from ...model.names import check_destination_name, is_s3_url, split_s3_prefix, split_s3_url
from .destination import current_destination
from .templates import expand_template, job_values, own_values, template_values

__all__ = [
    "BucketArgs",
    "ObjectAddress",
    "PublicationAddress",
    "address_of",
    "destination_from",
    "prefix_of",
    "publication_address_from",
]


@dataclass(frozen=True, eq=False, repr=False)
class BucketArgs:
    """The reference's spelling of a destination, and whether keys are templates."""

    bucket: str | None
    obj: str | None
    no_template: bool


@dataclass(frozen=True)
class ObjectAddress:
    """Where an object goes; `template` is what its key was made from, if it was one."""

    bucket: str
    key: str
    template: str | None


def destination_from(
    words: Sequence[str], args: BucketArgs, usage: str
) -> tuple[list[str], ObjectAddress]:
    """The words that are not a destination, and the destination.

    That is an s3:// word, -b and -o, or with -D the last word, under the named prefix.
    """
    inputs = [word for word in words if not is_s3_url(word)]
    urls = [word for word in words if is_s3_url(word)]
    named = current_destination()
    if named is not None:
        if urls or _is_given("bucket") or _is_given("obj") or not inputs:
            raise UsageError("with -D give just the key", hint=usage)
        bucket, template = named.bucket, named.prefix + inputs.pop()
    else:
        bucket, template = _written_out(urls, args, usage)
    if len(inputs) > 1:
        raise UsageError(f"too many arguments: {' '.join(words)}", hint=usage)
    if args.no_template:
        return inputs, ObjectAddress(bucket, template, None)
    key = expand_template(template, template_values(), os.environ)
    return inputs, ObjectAddress(bucket, key, template if key != template else None)


@dataclass(frozen=True)
class PublicationAddress:
    """Where a directory goes: `key` is a prefix, or the archive's key; then the manifest's."""

    directory: str
    bucket: str
    key: str
    template: str | None
    manifest_key: str | None


def publication_address_from(
    words: Sequence[str],
    usage: str,
    *,
    manifest: str | None,
    variables: Sequence[str],
    no_template: bool,
) -> PublicationAddress:
    """The directory and where it goes: an s3:// word, or with -D what goes below its prefix."""
    urls = [word for word in words if is_s3_url(word)]
    others = [word for word in words if not is_s3_url(word)]
    named = current_destination()
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
    known = {**template_values(), **job_values(os.environ), **own_values(variables)}

    def expanded(text: str) -> str:
        return text if no_template else expand_template(text, known, os.environ)

    key = expanded(template)
    return PublicationAddress(
        directory=others[0],
        bucket=bucket,
        key=key,
        template=template if key != template else None,
        manifest_key=None if manifest is None else expanded(above + manifest),
    )


def address_of(word: str) -> tuple[str, str]:
    """Bucket and key of an object that exists: an s3:// address, or with -D a key.

    Templates are not expanded: the key of what was stored yesterday does not name today.
    """
    named = current_destination()
    if named is None:
        return split_s3_url(word)
    bucket, key = named.bucket, named.prefix + _just_the_key(word)
    check_destination_name(bucket, key)
    return bucket, key


def prefix_of(word: str | None) -> tuple[str, str]:
    """Bucket and prefix, likewise; with -D `word` may be missing and goes below the prefix."""
    named = current_destination()
    if named is not None:
        return named.bucket, named.prefix + _just_the_key(word or "")
    if word is None:
        raise UsageError("no address in S3", hint="write it as s3://BUCKET/PREFIX, or use -D")
    return split_s3_prefix(word)


def _just_the_key(word: str) -> str:
    if is_s3_url(word):
        raise UsageError("with -D give just the key")
    return word


def _written_out(urls: list[str], args: BucketArgs, usage: str) -> tuple[str, str]:
    """Bucket and key from the s3:// word, or from -b and -o."""
    if len(urls) > 1:
        raise UsageError(f"too many arguments: {' '.join(urls)}", hint=usage)
    if urls and (_is_given("bucket") or _is_given("obj")):
        raise UsageError("give either s3://BUCKET/KEY or -b and -o, not both")
    if urls:
        return split_s3_url(urls[0])
    if args.bucket and args.obj is not None:
        return args.bucket, args.obj
    raise UsageError("no destination", hint=usage)


def _is_given(name: str) -> bool:
    """Whether an option is on the command line; from the environment it is only a default."""
    source = click.get_current_context().get_parameter_source(name)
    return source is click.core.ParameterSource.COMMANDLINE
