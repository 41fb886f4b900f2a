"""Key templates: what `{date}`, `{hostname}` and the like stand for, and how they are filled in."""

from __future__ import annotations

import socket
import string
import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone

from ...errors import UsageError
from ...runtime.host import user_name
from .common import pairs

__all__ = ["expand_template", "job_values", "own_values", "template_values", "time_values"]


def expand_template(
    template: str, values: Mapping[str, str], environment: Mapping[str, str]
) -> str:
    """`template` with `{name}` filled in from `values` and `{env:NAME}` from `environment`.

    `{{` and `}}` stand for braces. UsageError for a name that is not known, a variable that is
    not set, and a brace that is not closed.
    """
    expanded = []
    try:
        for literal, name, spec, conversion in string.Formatter().parse(template):
            expanded.append(literal)
            if name is not None:
                expanded.append(_value(name, spec or "", conversion, values, environment))
    except ValueError as error:
        raise UsageError(
            f"the key {template!r} is not a valid template: {error}",
            hint="write {{ and }} for braces, or use --no-template",
        ) from error
    return "".join(expanded)


def _value(
    name: str,
    spec: str,
    conversion: str | None,
    values: Mapping[str, str],
    environment: Mapping[str, str],
) -> str:
    if name == "env" and spec and not conversion:
        if spec not in environment:
            raise UsageError(f"the key asks for the environment variable {spec}, which is not set")
        return environment[spec]
    if name not in values or spec or conversion:
        known = ", ".join(f"{{{each}}}" for each in (*values, "env:NAME"))
        raise UsageError(
            f"the key asks for {{{name}{':' if spec else ''}{spec}}}, which is not known",
            hint=f"known are {known}; write {{{{ for a brace, or use --no-template",
        )
    return values[name]


def template_values() -> dict[str, str]:
    """What a template's names stand for, now and here."""
    return {
        **time_values(datetime.now(timezone.utc)),
        "hostname": socket.gethostname(),
        "user": user_name(),
        "uuid": str(uuid.uuid4()),
    }


def time_values(now: datetime) -> dict[str, str]:
    """What `{date}`, `{time}`, `{year}`, `{month}`, `{day}` and `{hour}` stand for, in UTC."""
    utc = now.astimezone(timezone.utc)
    formats = {
        "date": "%Y%m%d",
        "time": "%H%M%S",
        "year": "%Y",
        "month": "%m",
        "day": "%d",
        "hour": "%H",
    }
    return {name: utc.strftime(form) for name, form in formats.items()}


def job_values(environment: Mapping[str, str]) -> dict[str, str]:
    """What `{jobID}`, `{executionID}` and `{nodeID}` stand for inside a Bacalhau job.

    Names and variables are Bacalhau's; outside a job there are none.
    """
    names = {
        "jobID": "BACALHAU_JOB_ID",
        "executionID": "BACALHAU_EXECUTION_ID",
        "nodeID": "BACALHAU_NODE_ID",
    }
    return {name: environment[of] for name, of in names.items() if environment.get(of)}


def own_values(words: Sequence[str]) -> dict[str, str]:
    """The values that --var gives. UsageError if one would redefine a name of ours."""
    own = pairs("--var", words)
    for name in own:
        if not name.isidentifier():
            raise UsageError(f"--var {name!r} is not a valid name: letters, digits and underscores")
        if name in template_values() or name == "env":
            raise UsageError(f"--var {name} would hide what {{{name}}} stands for already")
    return own
