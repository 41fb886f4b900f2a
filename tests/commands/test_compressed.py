"""Compression on the way: what comes out unpacks to what was read, however it was read."""

from __future__ import annotations

import subprocess
import sys

import pytest

from streamtos3.runtime.cancel import CancelScope
from streamtos3.sources.compressed import CompressedSource
from tests.rig.tiny import InSteps

if sys.version_info >= (3, 14):
    pass
else:
    pass

LINES = b"".join(b"%d,some,fields\n" % number for number in range(60_000))


def compressed(source: InSteps, codec: str, view_bytes: int = 1 << 16) -> bytes:
    """All that comes out, read in steps of `view_bytes`."""
    stream = CompressedSource(source, codec)
    view = memoryview(bytearray(view_bytes))
    pieces = []
    with CancelScope() as scope:
        stream.start()
        while count := stream.readinto(view, scope):
            pieces.append(bytes(view[:count]))
        assert stream.readinto(view, scope) == 0
        stream.finish(scope)
    return b"".join(pieces)


@pytest.mark.parametrize("codec", [("gzip", "gzip"), ("zstd", "zstd")], ids=lambda each: each[0])
def test_the_usual_programs_unpack_it(codec: tuple[str, str]) -> None:
    name, program = codec
    packed = compressed(InSteps(LINES), name)
    done = subprocess.run([program, "-dc"], input=packed, capture_output=True, check=True)
    assert done.stdout == LINES
