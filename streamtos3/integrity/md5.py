"""MD5 of several buffers at once, on the lanes of vector registers where the processor has them.

A single MD5 is a chain of 64 dependent steps a block, and nothing makes it faster; several can be
computed side by side. The C extension that does so is optional, and is compared with hashlib before
its first use: where it is missing, or ever differs, hashlib computes one MD5 after the other.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from typing import NamedTuple

from .digests import part_md5

__all__ = ["METHOD_VARIABLE", "Md5Method", "md5_method", "md5s", "problem_to_report"]

METHOD_VARIABLE = "STREAMTOS3_MD5"
"""The environment variable that chooses a method by its name."""

_NAMES = {"avx512": "AVX-512", "avx2": "AVX2", "sse2": "SSE2", "neon": "NEON", "plain": "plain C"}
# Around the borders of the blocks, and around where the length still fits the last one.
_CHECKED_BYTES = (0, 1, 55, 56, 63, 64, 65, 119, 120, 127, 128, 129, 183, 184, 500, 1000, 4097)


class Md5Method(NamedTuple):
    """How MD5s are computed.

    kind: the extension's name for its way to do it; None for hashlib.
    lanes: how many buffers of a size take hardly longer than one of them.
    problem: why the extension is not used although it is there; None where all is well.
    """

    kind: str | None
    lanes: int
    problem: str | None = None

    def __str__(self) -> str:
        """As `--version` says it."""
        if self.kind is None:
            return "hashlib, one part at a time"
        return f"{_NAMES[self.kind]}, {self.lanes} parts at a time"


_HASHLIB = Md5Method(None, 1)


@functools.cache
def md5_method() -> Md5Method:
    """The method in use: the widest that the processor has, or the one that STREAMTOS3_MD5 names.

    The extension is loaded and checked by the first call, which takes half a millisecond.
    """
    wanted = os.environ.get(METHOD_VARIABLE)
    try:
        from .. import _md5lanes
    except ImportError:  # installed without a compiler
        return _HASHLIB
    kinds = dict(_md5lanes.KINDS)
    if wanted and wanted not in (*kinds, "hashlib"):
        known = ", ".join([*kinds, "hashlib"])
        problem = f"{METHOD_VARIABLE} is {wanted!r}; this machine has {known}"
        return _HASHLIB._replace(problem=problem)
    kind = wanted or next(iter(kinds))
    if kind == "hashlib" or (not wanted and kinds[kind] == 1):  # alone, OpenSSL is no slower
        return _HASHLIB
    if not _agrees_with_hashlib(kind):
        problem = f"the {_NAMES[kind]} code for MD5 does not work on this machine; hashlib is used"
        return _HASHLIB._replace(problem=problem)
    return Md5Method(kind, kinds[kind])


@functools.cache
def _unreported() -> list[str]:
    """The problem with the method, until it is taken out."""
    problem = md5_method().problem
    return [problem] if problem else []


def problem_to_report() -> str | None:
    """Why the extension is not used although it is there; once for a process, None after that."""
    try:
        return _unreported().pop()
    except IndexError:
        return None


def md5s(buffers: Sequence[bytes | bytearray | memoryview]) -> list[bytes]:
    """Binary MD5 of each buffer, in their order; of any lengths, without a copy.

    The interpreter's lock is released meanwhile.
    """
    kind = md5_method().kind if len(buffers) > 1 else None
    if kind is None:
        return [part_md5(buffer) for buffer in buffers]
    from .. import _md5lanes

    return _md5lanes.digests(kind, list(buffers))


def _agrees_with_hashlib(kind: str) -> bool:
    """Whether the extension computes what hashlib does."""
    from .. import _md5lanes

    # Not random: a check that fails once must fail again.
    data = memoryview(bytes(each * each % 251 for each in range(max(_CHECKED_BYTES) + 64)))
    buffers = [data[at : at + size] for at, size in enumerate(_CHECKED_BYTES, 1)]
    return _md5lanes.digests(kind, list(buffers)) == [part_md5(buffer) for buffer in buffers]
