"""`--dask ADDRESS`: which cluster is meant (pure)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..errors import UsageError

__all__ = ["ClusterAddress", "parse_address"]

_LOCAL = re.compile(r"local(?::(\d{1,4}))?")
_SCHEMES = ("tcp", "tls", "ws", "wss", "ucx")
_FORMS = "local:N, tcp://HOST:PORT, tls://HOST:PORT or a scheduler file"


@dataclass(frozen=True)
class ClusterAddress:
    """Exactly one of these: processes on this machine, a scheduler's URL, or its file.

    `processes` is 0 for one process a processor.
    """

    processes: int | None = None
    url: str | None = None
    scheduler_file: str | None = None

    @property
    def is_local(self) -> bool:
        """Whether the cluster is our own and ends with us."""
        return self.processes is not None

    def __str__(self) -> str:
        if self.url or self.scheduler_file:
            return self.url or self.scheduler_file or ""
        return f"local:{self.processes}" if self.processes else "local"


def parse_address(text: str) -> ClusterAddress:
    """The cluster that `text` names; UsageError where it names none."""
    local = _LOCAL.fullmatch(text)
    if local is not None:
        processes = int(local[1] or 0)
        if local[1] is not None and not processes:
            raise UsageError(f"--dask {text!r}: at least one process", hint="--dask local:2")
        return ClusterAddress(processes=processes)
    scheme, separator, rest = text.partition("://")
    if separator:
        if scheme not in _SCHEMES or not rest:
            raise UsageError(f"--dask {text!r} is not the address of a scheduler", hint=_FORMS)
        return ClusterAddress(url=text)
    if not text or text.startswith("local:"):
        raise UsageError(f"--dask {text!r} is not the address of a scheduler", hint=_FORMS)
    return ClusterAddress(scheduler_file=text)
