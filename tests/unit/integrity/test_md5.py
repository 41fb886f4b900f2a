"""MD5s computed side by side are those of hashlib, whatever the processor offers."""

from __future__ import annotations

import hashlib
import mmap
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import streamtos3
from streamtos3.integrity import md5
from streamtos3.integrity.md5 import METHOD_VARIABLE, md5_method, md5s, problem_to_report

_md5lanes = pytest.importorskip("streamtos3._md5lanes", reason="installed without a compiler")

KINDS = [kind for kind, _ in _md5lanes.KINDS]
# The borders of the blocks, and of the last one that the length still fits.
BORDERS = sorted({block * 64 + near for block in range(5) for near in (0, 1, 55, 56, 57, 63)})
DATA = memoryview(bytes(index * 7 % 253 for index in range(4096)))

kinds = pytest.mark.parametrize("kind", KINDS)
lengths = st.integers(0, 300) | st.sampled_from(BORDERS)


@st.composite
def buffers(draw: st.DrawFn) -> list[memoryview]:
    """Up to forty messages, more than any register has lanes, at any address."""
    sizes = draw(st.lists(lengths, max_size=40))
    starts = draw(st.lists(st.integers(0, 1000), min_size=len(sizes), max_size=len(sizes)))
    return [DATA[start : start + size] for start, size in zip(starts, sizes, strict=True)]


def expected(messages: list[memoryview]) -> list[str]:
    return [hashlib.md5(message).hexdigest() for message in messages]


def as_hex(digests: list[bytes]) -> list[str]:
    return [digest.hex() for digest in digests]


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """The method is chosen anew, and once more after the test."""
    for cached in (md5_method, md5._unreported):
        cached.cache_clear()
    yield monkeypatch
    for cached in (md5_method, md5._unreported):
        cached.cache_clear()


def test_the_kinds_end_with_plain_and_the_widest_is_the_first() -> None:
    lanes = [lanes for _, lanes in _md5lanes.KINDS]
    assert lanes == sorted(lanes, reverse=True)
    assert _md5lanes.KINDS[-1] == ("plain", 1)


@kinds
@given(messages=buffers())
def test_digests_are_those_of_hashlib(kind: str, messages: list[memoryview]) -> None:
    assert as_hex(_md5lanes.digests(kind, messages)) == expected(messages)


@kinds
def test_every_length_up_to_three_hundred(kind: str) -> None:
    messages = [DATA[size : 2 * size] for size in range(301)]
    assert as_hex(_md5lanes.digests(kind, messages)) == expected(messages)


@kinds
@pytest.mark.parametrize("count", range(1, 18))
def test_any_number_of_messages_of_one_size(kind: str, count: int) -> None:
    messages = [DATA[start : start + 1000] for start in range(count)]
    assert as_hex(_md5lanes.digests(kind, messages)) == expected(messages)


@kinds
@pytest.mark.parametrize("start", range(65))
def test_memory_at_any_address(kind: str, start: int) -> None:
    messages = [DATA[start + each : start + each + 200] for each in range(5)]
    assert as_hex(_md5lanes.digests(kind, messages)) == expected(messages)


@kinds
def test_any_object_with_a_buffer_is_taken(kind: str) -> None:
    mapped = mmap.mmap(-1, 4096)
    messages: list[Any] = [b"bytes", bytearray(b"bytearray"), memoryview(b"view")[1:], mapped]
    assert as_hex(_md5lanes.digests(kind, messages)) == [
        hashlib.md5(each).hexdigest() for each in messages
    ]
    mapped.close()  # BufferError if the memory were still held


def test_nothing_gives_nothing() -> None:
    assert _md5lanes.digests("plain", []) == md5s([]) == []


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda: _md5lanes.digests("none", [b""]), ValueError),
        (lambda: _md5lanes.digests("plain", (b"",)), TypeError),
        (lambda: _md5lanes.digests("plain", [b"good", "text"]), TypeError),
        (lambda: _md5lanes.digests("plain", [memoryview(b"abcd")[::2]]), BufferError),
    ],
)
def test_what_cannot_be_hashed_is_an_error(call: object, error: type[Exception]) -> None:
    assert callable(call)
    with pytest.raises(error):
        call()


def test_an_error_holds_on_to_no_memory() -> None:
    good = bytearray(64)
    with pytest.raises(TypeError):
        _md5lanes.digests("plain", [good, "text"])
    good.append(0)  # BufferError if it were still held


# The module in front of the extension


@pytest.mark.parametrize("method", [*KINDS, "hashlib"])
def test_every_method_computes_the_same(method: str, fresh: pytest.MonkeyPatch) -> None:
    fresh.setenv(METHOD_VARIABLE, method)
    messages = [DATA[: each * 100] for each in range(20)]
    assert as_hex(md5s(messages)) == expected(messages)
    assert md5_method().kind == (None if method == "hashlib" else method)


def test_the_widest_method_is_chosen(fresh: pytest.MonkeyPatch) -> None:
    wide = [each for each in _md5lanes.KINDS if each[1] > 1]
    assert md5_method()[:2] == (wide[0] if wide else (None, 1))


def test_a_method_that_is_not_there_is_named_with_those_that_are(fresh: pytest.MonkeyPatch) -> None:
    fresh.setenv(METHOD_VARIABLE, "abacus")
    assert md5_method().kind is None
    known = ", ".join([*KINDS, "hashlib"])
    assert md5_method().problem == f"STREAMTOS3_MD5 is 'abacus'; this machine has {known}"


def test_without_the_extension_hashlib_does_it(fresh: pytest.MonkeyPatch) -> None:
    fresh.delattr(streamtos3, "_md5lanes")
    fresh.setitem(sys.modules, "streamtos3._md5lanes", None)  # an import fails
    assert md5_method() == (None, 1, None)
    assert as_hex(md5s([DATA, DATA[1:]])) == expected([DATA, DATA[1:]])


class Broken(ModuleType):
    """The extension on a processor that computes something else."""

    KINDS = _md5lanes.KINDS

    def __init__(self) -> None:
        super().__init__("_md5lanes")

    def digests(self, kind: str, buffers: list[memoryview]) -> list[bytes]:
        return [*_md5lanes.digests(kind, buffers)[:-1], bytes(16)]


def test_wrong_code_is_found_and_switched_off(fresh: pytest.MonkeyPatch) -> None:
    fresh.setattr(streamtos3, "_md5lanes", Broken())
    fresh.setitem(sys.modules, "streamtos3._md5lanes", Broken())
    fresh.setenv(METHOD_VARIABLE, KINDS[0])
    method = md5_method()
    assert method.kind is None
    assert "does not work on this machine; hashlib is used" in (method.problem or "")
    assert as_hex(md5s([DATA, DATA[1:]])) == expected([DATA, DATA[1:]])


def test_a_method_says_what_it_is(fresh: pytest.MonkeyPatch) -> None:
    assert str(md5.Md5Method("avx512", 16)) == "AVX-512, 16 parts at a time"
    assert str(md5.Md5Method(None, 1)) == "hashlib, one part at a time"


def test_a_problem_is_reported_once(fresh: pytest.MonkeyPatch) -> None:
    fresh.setenv(METHOD_VARIABLE, "abacus")
    assert (problem_to_report() or "").startswith("STREAMTOS3_MD5 is 'abacus'")
    assert problem_to_report() is None


def test_where_all_is_well_nothing_is_reported(fresh: pytest.MonkeyPatch) -> None:
    assert problem_to_report() is None
