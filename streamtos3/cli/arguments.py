"""A command's arguments as one frozen value, and what every command does before it works."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, TypeVar, get_type_hints

from .console import say

__all__ = ["arguments", "build"]

T = TypeVar("T")


def arguments(kind: type[T]) -> Callable[[Callable[[T], None]], Callable[..., None]]:
    """Call a command with one value of the dataclass `kind`, built from what click has parsed.

    What every command owes its user is done here, so that none can forget it: `--debug` starts
    the debug log, and `--no-verify-ssl` warns.
    """

    def decorate(command: Callable[[T], None]) -> Callable[..., None]:
        def call(**values: Any) -> None:
            args = build(kind, values)
            assert not values, f"{kind.__name__} has no field for {', '.join(values)}"
            output, connection = getattr(args, "output", None), getattr(args, "connection", None)
            if output is not None and output.debug:
                from .debug_log import start_debug_log

                start_debug_log()
            if connection is not None and connection.no_verify_ssl:
                say("warning: --no-verify-ssl: anyone on the way can read and change what is sent")
            command(args)

        return functools.update_wrapper(call, command)

    return decorate


def build(kind: type[T], values: dict[str, Any]) -> T:
    """A value of the dataclass `kind`, its fields taken out of `values` by their names.

    A field whose type is a dataclass is built likewise. Raises KeyError for a field that has
    neither a value nor a default.
    """
    hints = get_type_hints(kind)
    taken: dict[str, Any] = {}
    for field in dataclasses.fields(kind):  # type: ignore[arg-type]
        if dataclasses.is_dataclass(hints[field.name]):
            taken[field.name] = build(hints[field.name], values)
        elif field.name in values or field.default is dataclasses.MISSING:
            taken[field.name] = values.pop(field.name)
    return kind(**taken)
