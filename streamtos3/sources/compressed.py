"""A source that compresses what another source yields.

Deterministic: equal input gives equal output with the same library, in whatever steps it was
read. At most one block of input and its compressed form are in memory.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable
from typing import Protocol

from ..errors import UsageError
from ..runtime.cancel import CancelScope
from .base import Source, WrappedSource

__all__ = ["COMPRESSION_SUFFIXES", "CompressedSource", "check_codec"]

COMPRESSION_SUFFIXES = {"gzip": ".gz", "zstd": ".zst"}
"""The codecs, and the suffix that each adds to a name."""

_BLOCK_BYTES = 1 << 18
_GZIP_LEVEL = 6
_GZIP_WINDOW_BITS = 31  # 15, and 16 for a gzip header, in which zlib leaves the time 0


class _Compressor(Protocol):
    def compress(self, data: memoryview, /) -> bytes: ...

    def flush(self) -> bytes: ...


def check_codec(codec: str) -> None:
    """UsageError if `codec` is not known, or its library is not installed."""
    _new_compressor(codec)


class CompressedSource(WrappedSource):
    """What `source` yields, compressed; `codec` is one of COMPRESSION_SUFFIXES."""

    def __init__(self, source: Source, codec: str) -> None:
        super().__init__(source)
        self.length_bytes = None
        self._compressor: _Compressor | None = _new_compressor(codec)
        # Some builds of zlib cut their blocks by what they are fed at once: always the same.
        self._block = memoryview(bytearray(_BLOCK_BYTES))
        self._filled_bytes = 0
        self._compressed = memoryview(b"")

    def readinto(self, view: memoryview, scope: CancelScope) -> int:
        """Read compressed bytes; reads the wrapped source until the compressor yields some."""
        while not self._compressed and self._compressor is not None:
            self._compressed = memoryview(self._next(self._compressor, scope))
        count = min(len(view), len(self._compressed))
        view[:count] = self._compressed[:count]
        self._compressed = self._compressed[count:]
        return count

    def _next(self, compressor: _Compressor, scope: CancelScope) -> bytes:
        """Read until a block is full or the input ends; returns what the compressor then yields."""
        while self._filled_bytes < _BLOCK_BYTES:
            count = self.wrapped.readinto(self._block[self._filled_bytes :], scope)
            if not count:
                self._compressor = None
                return compressor.compress(self._block[: self._filled_bytes]) + compressor.flush()
            self._filled_bytes += count
        self._filled_bytes = 0
        return compressor.compress(self._block)


def _new_compressor(codec: str) -> _Compressor:
    if codec not in _COMPRESSORS:
        raise UsageError(f"{codec!r} is not a known compression: {', '.join(_COMPRESSORS)}")
    return _COMPRESSORS[codec]()


def _gzip() -> _Compressor:
    return zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, _GZIP_WINDOW_BITS)


def _zstd() -> _Compressor:
    try:
        if sys.version_info >= (3, 14):
            from compression import zstd
        else:
            from backports import zstd
    except ImportError as error:
        raise UsageError(
            "the compression zstd needs a library that is not installed",
            hint="pip install 'streamtos3[zstd]'",
        ) from error
    # With a checksum, as the zstd program does, so that unpacking detects damage.
    made: _Compressor = zstd.ZstdCompressor(options={zstd.CompressionParameter.checksum_flag: 1})
    return made


_COMPRESSORS: dict[str, Callable[[], _Compressor]] = {"gzip": _gzip, "zstd": _zstd}
