"""`--dask` and what belongs to it: one operation on many workers."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import click

from ...errors import UsageError
from .common import option, together

if TYPE_CHECKING:
    from ...cluster.processes import ClusterOptions

__all__ = ["ClusterArgs", "cluster_from", "cluster_options", "cross_check_option"]

_OBJECTS = 400_000  # as in `__main__`, for this program and Dask

cluster_options = together(
    option(
        "--dask",
        metavar="ADDRESS",
        help="Share the work out to a Dask cluster: local:N for N processes of this machine,"
        " tcp://HOST:PORT, tls://HOST:PORT, or a scheduler file. Needs the extra"
        " streamtos3[dask].",
    ),
    option(
        "--dask-credentials",
        is_flag=True,
        help="Send temporary credentials to the workers, which have none of their own.",
    ),
)


def _percent(value: str | float) -> float:
    """A percentage as a share, 0 to 1."""
    if isinstance(value, float):
        return value
    try:
        share = float(value.strip().removesuffix("%")) / 100
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise click.BadParameter(f"{value!r} is not a percentage, such as 1%")
    return share


_percent.__name__ = "percent"

cross_check_option = option(
    "--cross-check",
    type=_percent,
    default=0.0,
    metavar="PERCENT",
    help="With --dask: so many of the parts are read again by a second worker, and compared.",
)


@dataclass(frozen=True, eq=False, repr=False)
class ClusterArgs:
    """How a command line uses a cluster; `dask` is None where it does not."""

    dask: str | None
    dask_credentials: bool
    cross_check: float = 0.0


def cluster_from(args: ClusterArgs) -> ClusterOptions | None:
    """The cluster that --dask names, None without it; a local one gets ready from now on."""
    if args.dask is None:
        if args.dask_credentials or args.cross_check:
            raise UsageError("--dask-credentials and --cross-check go with --dask")
        return None
    from ...cluster.address import parse_address
    from ...cluster.processes import ClusterOptions, processes_of

    how = ClusterOptions(parse_address(args.dask), args.dask_credentials, args.cross_check)
    # They take longer to get ready than this program does; what ends the command ends them.
    command = click.get_current_context()
    processes = command.with_resource(processes_of(how))
    command.with_resource(_loading())
    return replace(how, processes=processes)


@contextmanager
def _loading() -> Iterator[None]:
    """Dask is loaded while the command begins, by a thread that nobody waits for.

    All that was loaded by then, 200,000 objects, is kept out of the search for garbage, because
    one search among them takes 40 ms, and the end of every operation on a cluster is one.
    """
    from ...cluster.connection import load_dask

    def load() -> None:
        load_dask()
        gc.freeze()

    before = gc.get_threshold()
    gc.set_threshold(_OBJECTS)
    threading.Thread(target=load, name="streamtos3-dask", daemon=True).start()
    try:
        yield
    finally:
        gc.unfreeze()
        gc.set_threshold(*before)
