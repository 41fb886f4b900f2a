"""A command's arguments as one frozen value, and what every command does first."""

from __future__ import annotations

import dataclasses
import functools
import sys
from collections.abc import Callable
from typing import Any, TypeVar

from .console import say
from .failures import telling

__all__ = ["arguments", "build"]

T = TypeVar("T")


def arguments(kind: type[T]) -> Callable[[Callable[[T], None]], Callable[..., None]]:
    """Call a command with one value of the dataclass `kind`, built from what click has parsed.

    What every command must do first is done here, so that none can forget it: `--debug` starts
    the debug log, `--json` has a failure told as JSON, too, and `--no-verify-ssl` warns.
    """

    def decorate(command: Callable[[T], None]) -> Callable[..., None]:
        def call(**values: Any) -> None:
            args = build(kind, values)
            assert not values, f"{kind.__name__} has no field for {', '.join(values)}"
            output, connection = getattr(args, "output", None), getattr(args, "connection", None)
            if getattr(output, "as_json", False):
                telling.as_json = True
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

    A field that is a dataclass is built likewise, from the values that its own fields name. Raises
    KeyError for a field that has neither a value nor a default.
    """
    taken: dict[str, Any] = {}
    for field in dataclasses.fields(kind):  # type: ignore[arg-type]
        # By its name in the module: to evaluate all annotations would take milliseconds.
        inner = getattr(sys.modules[_home_of(kind, field.name)], str(field.type), None)
        if dataclasses.is_dataclass(inner):
            taken[field.name] = build(inner, values)  # type: ignore[arg-type]
        elif field.name in values or field.default is dataclasses.MISSING:
            taken[field.name] = values.pop(field.name)
    return kind(**taken)


def _home_of(kind: type[Any], name: str) -> str:
    """The module of the class, `kind` or a base of it, that declares the field `name`."""
    declaring = (each for each in kind.__mro__ if name in vars(each).get("__annotations__", ()))
    return next(declaring).__module__
