"""The types of option values: how click converts them, and what `--help` calls them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from ...units import parse_duration, parse_rate, parse_size

__all__ = ["Choice", "Text", "duration", "rate", "size", "statuses"]

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


def rate(value: str | int) -> int:
    """Bytes a second, likewise."""
    try:
        return value if isinstance(value, int) else parse_rate(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def statuses(value: str | frozenset[int]) -> frozenset[int]:
    """Exit statuses, separated by commas, as click converts them."""
    if isinstance(value, frozenset):
        return value
    words = [word.strip() for word in value.split(",")]
    if not all(word.isdecimal() and int(word) < 256 for word in words):
        raise click.BadParameter(f"{value!r} is not a list of exit statuses such as 0,1")
    return frozenset(int(word) for word in words)


def duration(value: str | float) -> float:
    """A duration in seconds, with or without a unit, as click converts it."""
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
