"""Options that several commands share, and the types of their values.

Every option can also be set by the environment variable `STREAMTOS3_<OPTION>`, the same for all
commands; a repeatable option takes one value a line there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ...errors import UsageError
from ...model.options import Connection, Options, Retries
from ...units import parse_duration, parse_size
from ..console import redacted

__all__ = [
    "DESTINATION_META",
    "OPTION_NAMES",
    "Choice",
    "Text",
    "command_line_from",
    "connection_from",
    "connection_options",
    "digest_option",
    "digests_from",
    "duration",
    "option",
    "pairs",
    "part_options",
    "quiet_options",
    "report_options",
    "retries_from",
    "retry_options",
    "size",
    "statuses",
    "talk_options",
    "together",
    "upload_options",
    "upload_options_from",
    "wait_options",
]

_DIGESTS = ("sha256", "md5", "sha1", "sha512", "blake2b", "none")

DESTINATION_META = "streamtos3.destination"
"""Where click's context keeps the destination that -D named."""

F = TypeVar("F", bound=Callable[..., object])

if TYPE_CHECKING:
    _Choice = click.Choice[str]
else:  # not generic before click 8.2
    _Choice = click.Choice


def size(value: str | int) -> int:
    """A size with or without a unit, as click converts it; the name is what `--help` shows."""
    try:
        return value if isinstance(value, int) else parse_size(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def statuses(value: str | frozenset[int]) -> frozenset[int]:
    """Exit statuses, separated by commas, likewise."""
    if isinstance(value, frozenset):
        return value
    words = [word.strip() for word in value.split(",")]
    if not all(word.isdecimal() and int(word) < 256 for word in words):
        raise click.BadParameter(f"{value!r} is no list of exit statuses such as 0,1")
    return frozenset(int(word) for word in words)


def duration(value: str | float) -> float:
    """A duration with or without a unit, likewise."""
    try:
        return value if isinstance(value, int | float) else parse_duration(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


class Text(click.types.StringParamType):
    """Any text; in an environment variable, one value a line."""

    def split_envvar_value(self, rv: str) -> Sequence[str]:
        """Its lines; the last one may end as lines do."""
        return rv.splitlines()


class Choice(_Choice):
    """A choice that, in an environment variable, is given one value a line."""

    def split_envvar_value(self, rv: str) -> Sequence[str]:
        """Its lines; the last one may end as lines do."""
        return rv.splitlines()


OPTION_NAMES: dict[str, str] = {}
"""Long names of all options, as a configuration file writes them, to click's names."""


def option(*names: str, **attributes: Any) -> Callable[[F], F]:
    """`click.option` with the environment variable of its long name."""
    long_name = next(name for name in names if name.startswith("--")).split("/")[0]
    plain = long_name.removeprefix("--").replace("-", "_")
    OPTION_NAMES[plain] = next((name for name in names if name[0] != "-"), plain)
    variable = "STREAMTOS3_" + plain.upper()
    return click.option(*names, envvar=variable, **attributes)


def together(*decorators: Callable[[F], F]) -> Callable[[F], F]:
    """One decorator for several options, shown in `--help` in this order."""

    def decorate(function: F) -> F:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return decorate


def pairs(name: str, words: Sequence[str]) -> dict[str, str]:
    """What a repeatable option gives as KEY=VALUE."""
    found: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise UsageError(f"{name} {word!r} is not of the form KEY=VALUE")
        if key in found:
            raise UsageError(f"{name} gives {key!r} twice")
        found[key] = value
    return found


connection_options = together(
    option(
        "-k",
        "--keyfile",
        metavar="FILE",
        help="Credentials: one line, KEY:SECRET or KEY:SECRET:TOKEN. Without it, boto3's chain.",
    ),
    option(
        "--insecure-keyfile", is_flag=True, help="Accept a keyfile that group or world can read."
    ),
    option("--profile", metavar="NAME", help="Profile of the AWS configuration files."),
    option("--region", metavar="NAME", help="Region of the bucket."),
    option("--endpoint-url", metavar="URL", help="An S3-compatible service instead of AWS."),
    option(
        "--addressing",
        type=Choice(["auto", "path", "virtual"]),
        default="auto",
        show_default=True,
        help="Bucket in the path or in the host name.",
    ),
    option("--ca-bundle", metavar="FILE", help="Certificates of the authorities to trust."),
    option(
        "--no-verify-ssl", is_flag=True, help="Accept any certificate. Warns each time it is used."
    ),
    option("--proxy", metavar="URL", help="HTTP proxy, http://[USER:PASSWORD@]HOST:PORT."),
)

wait_options = together(
    option(
        "-s",
        "--secs-wait",
        type=duration,
        default="1s",
        show_default=True,
        help="Wait before the first retry; later waits double, up to 60s.",
    ),
    option(
        "-r",
        "--retry",
        type=click.IntRange(min=1),
        metavar="N",
        help="Give a request up after N tries, instead of after --retry-for.",
    ),
)

retry_options = together(
    wait_options,
    option(
        "--retry-for",
        type=duration,
        help="Give a request up when it has failed for so long.  [default: 15m]",
    ),
)

quiet_options = together(
    option("-q", "--quiet", is_flag=True, help="Say nothing but warnings and errors."),
    option("-d", "--debug", is_flag=True, help="Add botocore's log and tracebacks."),
)

talk_options = together(
    option(
        "--progress/--no-progress",
        default=None,
        help="Progress on standard error.  [default: on a terminal]",
    ),
    quiet_options,
)

report_options = together(
    option("--json", "as_json", is_flag=True, help="Print the receipt to standard output."),
    option("--receipt", metavar="FILE", help="Write the receipt to FILE once all is proved."),
    talk_options,
)

part_options = together(
    option(
        "-c",
        "--chunksize",
        type=size,
        default="8MiB",
        show_default=True,
        help="Part size. A stream of unknown length doubles it after 2,500 parts, then every 750.",
    ),
    option(
        "-j",
        "--jobs",
        type=click.IntRange(1, 1000),
        default=16,
        show_default=True,
        metavar="N",
        help="Parts in flight, at most.",
    ),
    option(
        "--memory", type=size, help="Part buffers, at most.  [default: 1/4 of what is free, 1GiB]"
    ),
)

digest_option = option(
    "--digest",
    type=Choice(_DIGESTS),
    multiple=True,
    help="Digest of the whole stream, for the receipt; repeatable.  [default: sha256]",
)

upload_options = together(
    option("-b", "--bucket", metavar="NAME", help="Bucket, where no s3:// destination is given."),
    option("-o", "--obj", metavar="KEY", help="Key, where no s3:// destination is given."),
    option("--no-template", is_flag=True, help="Take the key as it is, braces and all."),
    part_options,
    option("--expect-size", type=size, help="The input's exact size; any other stores nothing."),
    option("--min-size", type=size, default=0, help="A shorter input stores nothing."),
    option(
        "--size-hint", type=size, help="About how long the input is; only guides the part size."
    ),
    option("--expect-sha256", metavar="HEX", help="The input's SHA-256; any other stores nothing."),
    option("--equal-parts", is_flag=True, help="Never let the part size grow."),
    option(
        "--resume",
        is_flag=True,
        help="Go on with this key's unfinished upload; keep the parts if this run fails.",
    ),
    option("--overwrite", is_flag=True, help="Replace an object that exists."),
    digest_option,
    option("--tee", is_flag=True, help="Pass what is read on to standard output as well."),
    option("--receipt-object", is_flag=True, help="Store the receipt, too, as KEY.receipt.json."),
    option("--log", metavar="FILE", help="Append a readable acquisition log to FILE."),
    option(
        "--on-interrupt",
        type=Choice(["abort", "finish"]),
        default="abort",
        show_default=True,
        help="What the first SIGINT or SIGTERM means: store nothing, or read on to the end of"
        " the input and store it all.",
    ),
    connection_options,
    retry_options,
    report_options,
)


def upload_options_from(values: dict[str, Any], argv: list[str] | None) -> Options:
    """What the command line tells the engine; UsageError where it contradicts itself."""
    digests = digests_from(values)
    expect_sha256 = (values["expect_sha256"] or "").strip().lower() or None
    if expect_sha256 and (len(expect_sha256) != 64 or set(expect_sha256) - set("0123456789abcdef")):
        raise UsageError(f"{expect_sha256!r} is no SHA-256: 64 hexadecimal digits")
    if expect_sha256 and "sha256" not in digests:
        digests = (*digests, "sha256")
    return Options(
        connection=connection_from(values),
        chunk_bytes=values["chunksize"],
        jobs=values["jobs"],
        memory_bytes=values["memory"],
        expect_size_bytes=values["expect_size"],
        min_size_bytes=values["min_size"],
        expect_sha256=expect_sha256,
        size_hint_bytes=values["size_hint"],
        equal_parts=values["equal_parts"],
        overwrite=values["overwrite"],
        resume=values["resume"],
        digests=digests,
        retries=retries_from(values),
        command_line=command_line_from(argv),
    )


def digests_from(values: dict[str, Any]) -> tuple[str, ...]:
    """The digests that --digest names, each once; none for "none"."""
    digests = values["digest"] or ("sha256",)
    if "none" in digests:
        if len(digests) > 1:
            raise UsageError("--digest none allows no other --digest")
        return ()
    return tuple(dict.fromkeys(digests))


def command_line_from(argv: list[str] | None) -> tuple[str, ...] | None:
    """The command line, for receipts: without secrets."""
    return tuple(redacted(word) for word in argv) if argv else None


def connection_from(values: dict[str, Any]) -> Connection:
    """The connection that the command line describes."""
    named = click.get_current_context().meta.get(DESTINATION_META)
    return Connection(
        session_token=named.options.get("session_token") if named else None,
        endpoint_url=values["endpoint_url"],
        region=values["region"],
        profile=values["profile"],
        keyfile=values["keyfile"],
        insecure_keyfile=values["insecure_keyfile"],
        addressing=values["addressing"],
        ca_bundle=values["ca_bundle"],
        verify_tls=not values["no_verify_ssl"],
        proxy=values["proxy"],
    )


def retries_from(values: dict[str, Any]) -> Retries:
    """The retry policy that the command line describes."""
    first_wait_s = values["secs_wait"]
    return Retries(
        first_wait_s=first_wait_s,
        longest_wait_s=max(60.0, first_wait_s),
        retry_for_s=values["retry_for"],
        tries=values["retry"],
    )
