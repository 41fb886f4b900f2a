"""Names of destinations (pure): addresses split, names checked."""

from __future__ import annotations

import re
import unicodedata

from ..errors import UsageError

__all__ = [
    "check_destination_name",
    "check_object_name",
    "is_s3_url",
    "split_s3_prefix",
    "split_s3_url",
]

_MAX_KEY_BYTES = 1024  # UTF-8; S3 user guide, "Creating object key names"
# As aws-cli writes them; the region is empty for an access point in several regions.
_ARN_FORM = "arn:aws:s3:REGION:ACCOUNT:accesspoint/NAME"
_ARN = re.compile(
    r"arn:[a-z0-9-]+:s3(-outposts|-object-lambda)?:[a-z0-9-]*:[0-9]{12}:"
    r"(outpost[/:][A-Za-z0-9-]{1,63}[/:])?accesspoint[/:][A-Za-z0-9.-]{1,63}"
)
_NO_CHARACTERS = "\ufffe\uffff"
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]")


def is_s3_url(text: str) -> bool:
    """Whether `text` is meant as a destination, not as a file."""
    return text.lower().startswith("s3:")


def split_s3_url(url: str) -> tuple[str, str]:
    """Bucket and key of `s3://BUCKET/KEY`; UsageError if it is malformed or lacks one of them."""
    bucket, key = _split(url, "destination", "s3://BUCKET/KEY")
    if not key:
        raise UsageError(f"{url!r} names no key", hint="write it as s3://BUCKET/KEY")
    return bucket, key


def split_s3_prefix(url: str) -> tuple[str, str]:
    """Bucket and prefix of `s3://BUCKET[/PREFIX]`; the prefix may be empty: the whole bucket."""
    form = "s3://BUCKET/PREFIX"
    bucket, prefix = _split(url, "bucket or prefix in S3", form)
    if not _is_bucket_name(bucket):
        raise UsageError(f"{bucket!r} is not a valid bucket name", hint=f"write it as {form}")
    return bucket, prefix


def _split(url: str, what: str, form: str) -> tuple[str, str]:
    scheme, separator, rest = url.partition("://")
    bucket, _, key = rest.partition("/")
    if scheme != "s3" or not separator or not bucket:
        raise UsageError(f"{url!r} is not a {what}", hint=f"write it as {form}")
    if bucket.startswith("arn:"):  # it has slashes of its own
        arn = _ARN.match(rest)
        if arn is None or rest[arn.end() : arn.end() + 1] not in ("", "/"):
            raise _no_access_point(rest)
        bucket, key = arn[0], rest[arn.end() + 1 :]
    return bucket, key


def _no_access_point(arn: str) -> UsageError:
    return UsageError(f"{arn!r} is not the ARN of an access point", hint=f"as {_ARN_FORM}")


def check_object_name(bucket: str, key: str) -> None:
    """Raise UsageError if no S3 service can hold an object of this name."""
    if bucket.startswith("arn:") and not _ARN.fullmatch(bucket):
        raise _no_access_point(bucket)
    if not _is_bucket_name(bucket):
        raise UsageError(f"{bucket!r} is not a valid bucket name")
    if not key:
        raise UsageError("the key is empty", hint="write the destination as s3://BUCKET/KEY")
    try:
        size_bytes = len(key.encode("utf-8"))
    except UnicodeEncodeError as error:
        raise UsageError(f"the key {key!r} is not valid UTF-8") from error
    if size_bytes > _MAX_KEY_BYTES:
        raise UsageError(f"the key has {size_bytes} bytes; S3 allows {_MAX_KEY_BYTES}")


def check_destination_name(bucket: str, key: str, *, of_a_file: bool = False) -> None:
    """UsageError where no S3 takes this bucket name or key, or where it is surely a mistake.

    `of_a_file`: the key is made of a file's name. Line breaks are no mistake then; only those
    characters are refused that S3's XML cannot carry (XML 1.0, 2.2).
    """
    check_object_name(bucket, key)
    for character in "" if key.isprintable() else key:  # else there is nothing to find
        if character in _NO_CHARACTERS:
            raise UsageError(
                f"the key {key!r} holds U+{ord(character):04X}, which is not a character"
            )
        if unicodedata.category(character) != "Cc":
            continue
        if not of_a_file or (character < " " and character not in "\t\n\r"):
            raise UsageError(f"the key {key!r} holds a control character")
    if any(segment in (".", "..") for segment in key.split("/")):
        raise UsageError(
            f"the key {key!r} has a segment '.' or '..', which many programs cannot address"
        )


def _is_bucket_name(name: str) -> bool:
    return _BUCKET.fullmatch(name) is not None or _ARN.fullmatch(name) is not None
