"""Options that several commands share, and the values that a command is given for them.

Every option can also be set by the environment variable `STREAMTOS3_<OPTION>`, the same for all
commands; a repeatable option takes one value a line there.

A command takes one frozen value, whose fields are its options; the options of a group are a value
of their own inside it (see `cli.arguments`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import click

from ...errors import UsageError
from ...model.options import Addressing, Connection, Retries
from ..console import redacted
from .types import Choice, duration, rate, size

__all__ = [
    "DESTINATION_META",
    "OPTION_NAMES",
    "ConnectionArgs",
    "DigestArgs",
    "OutputArgs",
    "PartArgs",
    "RetryArgs",
    "argument",
    "command_line",
    "connection_from",
    "connection_options",
    "digest_option",
    "digests_from",
    "option",
    "output_options",
    "pairs",
    "part_options",
    "quiet_options",
    "rate_option",
    "retries_from",
    "retry_options",
    "together",
    "wait_options",
]

_DIGESTS = ("sha256", "md5", "sha1", "sha512", "blake2b", "none")

DESTINATION_META = "streamtos3.destination"
"""Where click's context keeps the destination that -D named."""

F = TypeVar("F", bound=Callable[..., object])

OPTION_NAMES: dict[str, str] = {}
"""Long names of all options, as a configuration file writes them, to click's names."""


def option(*names: str, **attributes: Any) -> Callable[[F], F]:
    """`click.option` with the environment variable of its long name."""
    long_name = next(name for name in names if name.startswith("--")).split("/")[0]
    plain = long_name.removeprefix("--").replace("-", "_")
    OPTION_NAMES[plain] = next((name for name in names if name[0] != "-"), plain)
    variable = "STREAMTOS3_" + plain.upper()
    if attributes.get("metavar") in ("FILE", "DIR"):
        kind = str(attributes["metavar"]).lower()
        attributes["shell_complete"] = lambda _, __, word: [_path_item(word, kind)]
    return click.option(*names, envvar=variable, **attributes)


def argument(*names: str, **attributes: Any) -> Callable[[F], F]:
    """`click.argument` that completes to a bucket, a key or a file."""

    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:
        from ..completion import complete_word

        return list(complete_word(ctx, param, incomplete))

    return click.argument(*names, shell_complete=complete, **attributes)


def _path_item(word: str, kind: str) -> Any:
    """For the shell: complete `word` to a file, or to a directory, itself."""
    from click.shell_completion import CompletionItem

    return CompletionItem(word, type=kind)


def together(*decorators: Callable[[F], F]) -> Callable[[F], F]:
    """One decorator for several options, shown in `--help` in this order."""

    def decorate(function: F) -> F:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return decorate


def pairs(name: str, words: Sequence[str]) -> dict[str, str]:
    """The KEY=VALUE words of a repeatable option. UsageError if one is malformed or repeated."""
    found: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise UsageError(f"{name} {word!r} is not of the form KEY=VALUE")
        if key in found:
            raise UsageError(f"{name} gives {key!r} twice")
        found[key] = value
    return found


@dataclass(frozen=True, eq=False, repr=False)
class ConnectionArgs:
    """How the service is reached, as the command line says it; `limit_rate` in bytes a second."""

    keyfile: str | None
    insecure_keyfile: bool
    profile: str | None
    region: str | None
    endpoint_url: str | None
    addressing: Addressing
    ca_bundle: str | None
    no_verify_ssl: bool
    proxy: str | None
    limit_rate: int | None = None


@dataclass(frozen=True, eq=False, repr=False)
class RetryArgs:
    """How long a failing request is tried again. Times are in seconds."""

    secs_wait: float
    retry: int | None
    retry_for: float | None


@dataclass(frozen=True, eq=False, repr=False)
class OutputArgs:
    """What is printed. `progress` is None where a terminal decides."""

    quiet: bool
    debug: bool
    progress: bool | None = None
    as_json: bool = False


@dataclass(frozen=True, eq=False, repr=False)
class PartArgs:
    """How the bytes are cut and held. Sizes are in bytes; `memory` is None for the default."""

    chunksize: int
    jobs: int
    memory: int | None


@dataclass(frozen=True, eq=False, repr=False)
class DigestArgs:
    """Digests of the whole stream, as they were given; empty means the default."""

    digest: tuple[str, ...]


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

rate_option = option(
    "--limit-rate",
    type=rate,
    help="Send and receive no more than this a second, by all connections together: 20MiB.",
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
        help="Stop retrying a request after N tries, not after --retry-for.",
    ),
)

retry_options = together(
    wait_options,
    option(
        "--retry-for",
        type=duration,
        help="Stop retrying a request after this long.  [default: 15m]",
    ),
)

quiet_options = together(
    option("-q", "--quiet", is_flag=True, help="Print nothing but warnings and errors."),
    option("-d", "--debug", is_flag=True, help="Add botocore's log and tracebacks."),
)

output_options = together(
    option(
        "--progress/--no-progress",
        default=None,
        help="Progress on standard error.  [default: on a terminal]",
    ),
    quiet_options,
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
        "--memory", type=size, help="Memory for part buffers.  [default: 1/4 of free, at most 1GiB]"
    ),
)

digest_option = option(
    "--digest",
    type=Choice(_DIGESTS),
    multiple=True,
    help="Digest of the whole stream, for the receipt; repeatable.  [default: sha256]",
)


def digests_from(args: DigestArgs) -> tuple[str, ...]:
    """The digests that --digest names, each once; none for "none"."""
    digests = args.digest or ("sha256",)
    if "none" in digests:
        if len(digests) > 1:
            raise UsageError("--digest none allows no other --digest")
        return ()
    return tuple(dict.fromkeys(digests))


def command_line() -> tuple[str, ...] | None:
    """The words of the command line without secrets, for receipts. None outside the program."""
    argv: list[str] | None = click.get_current_context().obj
    return tuple(redacted(word) for word in argv) if argv else None


def connection_from(args: ConnectionArgs) -> Connection:
    """The connection that the command line describes."""
    named = click.get_current_context().meta.get(DESTINATION_META)
    return Connection(
        session_token=named.options.get("session_token") if named else None,
        endpoint_url=args.endpoint_url,
        region=args.region,
        profile=args.profile,
        keyfile=args.keyfile,
        insecure_keyfile=args.insecure_keyfile,
        addressing=args.addressing,
        ca_bundle=args.ca_bundle,
        verify_tls=not args.no_verify_ssl,
        proxy=args.proxy,
        limit_bytes_per_s=args.limit_rate,
        proxy_origin=_origin_of("proxy"),
    )


def _origin_of(name: str) -> str | None:
    """Where the running command has an option's value from, for messages; None: nowhere."""
    context = click.get_current_context()
    source = context.get_parameter_source(name)
    if source is click.core.ParameterSource.COMMANDLINE:
        return "--" + name
    if source is click.core.ParameterSource.ENVIRONMENT:
        return "STREAMTOS3_" + name.upper()
    named = context.meta.get(DESTINATION_META)
    return f"destination {named.name}" if named and name in named.options else None


def retries_from(args: RetryArgs) -> Retries:
    """The retry policy that the command line describes."""
    return Retries(
        first_wait_s=args.secs_wait,
        longest_wait_s=max(60.0, args.secs_wait),
        retry_for_s=args.retry_for,
        tries=args.retry,
    )
