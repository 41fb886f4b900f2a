"""The command line: options to values, signals to errors, errors to one message and a status.

The only package that knows click, prints, or exits. Commands import what they need when they
run, so that `--help` and a mistyped option answer at once.
"""

from __future__ import annotations

import logging
import os
import sys
import warnings
from typing import NoReturn

from .program import program
from .signals import default_signals

__all__ = ["main", "program"]


def _guard_descriptors() -> None:
    """Occupy closed standard descriptors, or the next socket would be taken for one of them.

    Input is opened for writing and output for reading, so that using them still fails.
    """
    for fd, mode in ((0, os.O_WRONLY), (1, os.O_RDONLY), (2, os.O_RDONLY)):
        try:
            os.fstat(fd)
        except OSError:
            null = os.open(os.devnull, mode)
            if null != fd:
                os.dup2(null, fd)
                os.close(null)


def _silence_warnings_of_libraries() -> None:
    """Keep their log records off standard error, where `logging` would print them by itself."""
    logging.getLogger().addHandler(logging.NullHandler())


def main() -> NoReturn:
    """The console entry point."""
    # Nothing is written to the disk but what was asked for, byte code included.
    sys.dont_write_bytecode = True
    default_signals.install()
    _guard_descriptors()
    _silence_warnings_of_libraries()
    # Warnings for programmers, such as urllib3's about each unverified request.
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    try:
        program.main(prog_name="streamtos3")
    except SystemExit as request:
        status = request.code if isinstance(request.code, int) else 1
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):  # closed, or never there
            continue
    # Not by way of the interpreter's own exit: a thread stuck in a dead connection, or a closed
    # standard output, must not change the status.
    os._exit(status)
