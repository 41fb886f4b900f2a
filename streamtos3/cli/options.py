"""Options that several commands share, and the types of their values.

Every option can also be set by the environment variable `STREAMTOS3_<OPTION>`, the same for all
commands; a repeatable option takes one value a line there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ..model import Connection, Retries
from ..units import parse_duration, parse_size

__all__ = [
    "Choice",
    "connection_from",
    "connection_options",
    "duration",
    "option",
    "report_options",
    "retries_from",
    "retry_options",
    "size",
]

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


def duration(value: str | float) -> float:
    """A duration with or without a unit, likewise."""
    try:
        return value if isinstance(value, int | float) else parse_duration(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


class Choice(_Choice):
    """A choice that, in an environment variable, is given one value a line."""

    def split_envvar_value(self, rv: str) -> Sequence[str]:
        """Its lines; the last one may end as lines do."""
        return rv.splitlines()


def option(*names: str, **attributes: Any) -> Callable[[F], F]:
    """`click.option` with the environment variable of its long name."""
    long_name = next(name for name in names if name.startswith("--")).split("/")[0]
    variable = "STREAMTOS3_" + long_name.removeprefix("--").replace("-", "_").upper()
    return click.option(*names, envvar=variable, **attributes)


def _together(*decorators: Callable[[F], F]) -> Callable[[F], F]:
    """One decorator for several options, shown in `--help` in this order."""

    def decorate(function: F) -> F:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return decorate


connection_options = _together(
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

retry_options = _together(
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
    option(
        "--retry-for",
        type=duration,
        help="Give a request up when it has failed for so long.  [default: 15m]",
    ),
)

report_options = _together(
    option("--json", "as_json", is_flag=True, help="Print the receipt to standard output."),
    option("--receipt", metavar="FILE", help="Write the receipt to FILE once all is proved."),
    option(
        "--progress/--no-progress",
        default=None,
        help="Progress on standard error.  [default: on a terminal]",
    ),
    option("-q", "--quiet", is_flag=True, help="Say nothing but errors."),
    option("-d", "--debug", is_flag=True, help="Add botocore's log and tracebacks."),
)


def connection_from(values: dict[str, Any]) -> Connection:
    """The connection that the command line describes."""
    return Connection(
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
