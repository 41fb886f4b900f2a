"""`etag`: the ETag that an object made of a local file will have."""

from __future__ import annotations

import click

from ...errors import Interrupted
from ...runtime.cancel import Cancelled, CancelScope
from ..console import print_data, say
from ..help import Command
from ..options.common import argument, option
from ..options.types import size

__all__ = ["etag"]


@click.command(cls=Command)
@argument("infile", metavar="FILE")
@option(
    "-c", "--chunksize", type=size, default="8MiB", show_default=True, help="Part size, as in put."
)
def etag(infile: str, chunksize: int) -> None:
    """Print the ETag that S3 computes of FILE (- for standard input) when `put` stores it.

    The plain MD5 of what fits one part; else the MD5 of the parts' MD5s, a dash, and their
    number. The parts are those of `put` with the same -c: larger where a file has more than
    10,000 of them, growing after 2,500 where the length of the stream is unknown.
    """
    from ...downloader.local_etag import etag_as_stored
    from ...integrity.md5 import problem_to_report
    from ...sources.open import open_file, take_standard_input
    from ..signals import on_signals

    source = take_standard_input() if infile == "-" else open_file(infile)
    with CancelScope() as scope, on_signals(lambda signum: scope.fail(Interrupted(signum))):
        try:
            found = etag_as_stored(source, scope, chunk_bytes=chunksize)
        except Cancelled:
            assert scope.error is not None
            raise scope.error from None
        finally:
            source.close()
    if problem := problem_to_report():
        say(f"warning: {problem}")
    print_data(f"{found}\n", "ETag")
