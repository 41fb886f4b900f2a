"""Compression on the way: what comes out unpacks to what was read, however it was read."""

from __future__ import annotations

import builtins
import gzip
import sys
import tracemalloc
from typing import Any

import pytest

from streamtos3.errors import Interrupted, SourceError, UsageError
from streamtos3.runtime.cancel import Cancelled, CancelScope
from streamtos3.sources import compressed as compress
from streamtos3.sources.command import command_report_of
from streamtos3.sources.compressed import COMPRESSION_SUFFIXES, CompressedSource, check_codec
from tests.rig.support import MIB, payload
from tests.rig.tiny import InSteps, broken_input

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

LINES = b"".join(b"%d,some,fields\n" % number for number in range(60_000))
codecs = pytest.mark.parametrize("codec", COMPRESSION_SUFFIXES)


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


def unpacked(data: bytes, codec: str) -> bytes:
    return gzip.decompress(data) if codec == "gzip" else zstd.decompress(data)


@codecs
@pytest.mark.parametrize(
    "data", [b"", b"a", LINES, payload(3 * MIB), b"\0" * MIB], ids=["0", "1", "text", "noise", "0s"]
)
def test_what_comes_out_unpacks_to_what_was_read(codec: str, data: bytes) -> None:
    assert unpacked(compressed(InSteps(data), codec), codec) == data


@pytest.mark.slow
@codecs
def test_the_steps_of_reading_and_writing_do_not_show_in_the_output(codec: str) -> None:
    """Nor does the time: what was stored once can be made again and compared."""
    data = LINES[:300_000] + payload(MIB)
    ways = [(MIB, 1 << 16), (1, MIB), (4099, 7)]
    assert len({compressed(InSteps(data, step), codec, view) for step, view in ways}) == 1


@codecs
def test_the_compressor_is_always_fed_the_same_amount(
    codec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of itself no compressor promises that its output does not depend on how it was fed."""
    fed = []

    class Plain:
        def compress(self, data: memoryview) -> bytes:
            fed.append(len(data))
            return bytes(data)

        def flush(self) -> bytes:
            return b""

    monkeypatch.setitem(compress._COMPRESSORS, codec, Plain)
    for step_bytes in (4099, MIB):
        fed.clear()
        assert compressed(InSteps(LINES, step_bytes), codec, 1000) == LINES
        assert set(fed[:-1]) == {1 << 18} and sum(fed) == len(LINES)


@codecs
def test_text_becomes_smaller_and_noise_hardly_larger(codec: str) -> None:
    assert len(compressed(InSteps(LINES), codec)) < len(LINES) / 3
    noise = payload(3 * MIB)
    assert len(noise) < len(compressed(InSteps(noise), codec)) < len(noise) * 1.01


@codecs
def test_memory_does_not_grow_with_the_input(codec: str) -> None:
    class Endless(InSteps):
        left_bytes = 64 * MIB

        def readinto(self, view: memoryview, scope: CancelScope) -> int:
            count = min(len(view), self.left_bytes)
            self.left_bytes -= count
            return count

    stream = CompressedSource(Endless(b""), codec)
    view = memoryview(bytearray(MIB))
    with CancelScope() as scope:
        tracemalloc.start()
        try:
            while stream.readinto(view, scope):
                continue
            _, peak_bytes = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak_bytes < 4 * MIB


@codecs
def test_a_stop_passes_through(codec: str) -> None:
    stream = CompressedSource(InSteps(LINES, 100), codec)
    with CancelScope() as scope:
        scope.fail(Interrupted(15))
        with pytest.raises(Cancelled):
            stream.readinto(memoryview(bytearray(10)), scope)


@codecs
def test_an_error_of_the_input_is_not_taken_for_its_end(codec: str) -> None:
    with pytest.raises(SourceError, match="input/output error"):
        compressed(InSteps(LINES, at_end=broken_input), codec)
    with pytest.raises(SourceError, match="input/output error"):
        compressed(InSteps(b"", at_finish=broken_input), codec)


def test_what_the_source_has_to_say_and_its_end_are_passed_on() -> None:
    source = InSteps(b"")
    stream = CompressedSource(source, "gzip")
    assert (stream.name, stream.length_bytes) == ("steps", None)
    assert command_report_of(stream) is None
    stream.close()
    assert source.closed


def test_without_the_library_zstd_is_a_mistake_that_names_the_extra(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = builtins.__import__

    def without_zstd(name: str, *arguments: Any, **more: Any) -> Any:
        if name in ("backports", "compression"):
            raise ImportError(name)
        return real(name, *arguments, **more)

    monkeypatch.setattr(builtins, "__import__", without_zstd)
    check_codec("gzip")
    with pytest.raises(UsageError) as caught:
        check_codec("zstd")
    assert caught.value.hint == "pip install 'streamtos3[zstd]'"


def test_an_unknown_codec_is_a_mistake() -> None:
    with pytest.raises(UsageError, match="'lzo' is not a known compression: gzip, zstd"):
        check_codec("lzo")
