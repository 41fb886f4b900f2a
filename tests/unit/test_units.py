"""Sizes and durations: every unit is read, and what is printed reads back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamtos3.units import (
    GIB,
    KIB,
    MIB,
    TIB,
    format_duration,
    format_size,
    parse_duration,
    parse_rate,
    parse_size,
    plural,
)

SIZES = {
    "4096": 4096,
    "0": 0,
    "1b": 1,
    "1k": KIB,
    "1KiB": KIB,
    "1kB": 1000,
    "64M": 64 * MIB,
    "8MiB": 8 * MIB,
    "8 MiB": 8 * MIB,
    " 8mib ": 8 * MIB,
    "1MB": 1000**2,
    "1g": GIB,
    "5GiB": 5 * GIB,
    "5GB": 5 * 1000**3,
    "1T": TIB,
    "2TiB": 2 * TIB,
    "2tb": 2 * 1000**4,
    "1.5MiB": 3 * MIB // 2,
    "0.1k": 102,
    "9007199254740993b": 2**53 + 1,
}
DURATIONS_S = {
    "30": 30.0,
    "0.5": 0.5,
    "250ms": 0.25,
    "90s": 90.0,
    "15m": 900.0,
    "15min": 900.0,
    "2h": 7200.0,
    "1.5H": 5400.0,
    "7 d": 604800.0,
}


@pytest.mark.parametrize("text, size_bytes", SIZES.items())
def test_a_size_is_read(text: str, size_bytes: int) -> None:
    assert size_bytes == parse_size(text)


@pytest.mark.parametrize("text, duration_s", DURATIONS_S.items())
def test_a_duration_is_read(text: str, duration_s: float) -> None:
    assert duration_s == parse_duration(text)


@pytest.mark.parametrize(
    "text",
    ["", " ", "M", "-1", "+1", "1 2", "8XiB", "8MiBs", "1e3", "0x10", ".5", "1,5M", "inf", "²"],
)
def test_what_is_no_size_is_refused_in_words(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size: a number with one of"):
        parse_size(text)


@pytest.mark.parametrize("text", ["", "s", "-1s", "1w", "1h30m", "nan", "1e3", "8MiB", "²"])
def test_what_is_no_duration_is_refused_in_words(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration: a number with one of"):
        parse_duration(text)


@pytest.mark.parametrize("digits", [400, 5000])
def test_a_number_of_absurd_length_is_refused_or_read_but_never_fails_otherwise(
    digits: int,
) -> None:
    for parse in (parse_size, parse_duration):
        for unit in ("", "m"):
            with pytest.raises(ValueError, match="is too long"):
                parse("9" * digits + unit)


@given(number=st.integers(0, 10**12), unit=st.sampled_from(["", "b", "k", "M", "GiB", "TB"]))
def test_whole_numbers_of_any_unit_are_exact(number: int, unit: str) -> None:
    factor = {"": 1, "b": 1, "k": KIB, "M": MIB, "GiB": GIB, "TB": 1000**4}[unit]
    assert number * factor == parse_size(f"{number}{unit}")


@given(size_bytes=st.integers(0, 1023))
def test_sizes_under_a_kibibyte_read_back_exactly(size_bytes: int) -> None:
    assert size_bytes == parse_size(format_size(size_bytes))


@given(size_bytes=st.integers(KIB, 1000 * TIB))
def test_larger_sizes_read_back_to_a_twentieth(size_bytes: int) -> None:
    assert size_bytes == pytest.approx(parse_size(format_size(size_bytes)), rel=0.05)


@pytest.mark.parametrize(
    "size_bytes, text",
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (KIB, "1 KiB"),
        (1536, "1.5 KiB"),
        (8 * MIB, "8 MiB"),
        (5 * GIB, "5 GiB"),
        (8_184_000 * MIB, "7.8 TiB"),
        (12.6, "13 B"),
        (MIB - 1, "1 MiB"),
        (GIB - 1, "1 GiB"),
    ],
)
def test_a_size_is_printed_for_people(size_bytes: float, text: str) -> None:
    assert text == format_size(size_bytes)


@pytest.mark.parametrize(
    "duration_s, text",
    [
        (0, "0.0 s"),
        (0.44, "0.4 s"),
        (9.94, "9.9 s"),
        (9.97, "10 s"),
        (12.3, "12 s"),
        (59.4, "59 s"),
        (59.7, "1 min 00 s"),
        (185, "3 min 05 s"),
        (3599.7, "1 h 00 min"),
        (7620, "2 h 07 min"),
        (86_399, "23 h 59 min"),
        (200_000, "2 d 07 h"),
    ],
)
def test_a_duration_is_printed_for_people(duration_s: float, text: str) -> None:
    assert text == format_duration(duration_s)


@pytest.mark.parametrize(
    "count, text",
    [(0, "0 objects"), (1, "1 object"), (2, "2 objects"), (1000, "1,000 objects")],
)
def test_a_count_is_printed_with_its_noun(count: int, text: str) -> None:
    assert plural(count, "object") == text


@pytest.mark.parametrize("text", ["20MiB", "20MiB/s", " 20m/s ", "20971520"])
def test_a_rate_is_a_size_for_each_second(text: str) -> None:
    assert parse_rate(text) == 20 * 1024**2


@pytest.mark.parametrize("text", ["", "/s", "20MiB/min", "20Mbit/s", "fast"])
def test_anything_else_is_no_rate(text: str) -> None:
    with pytest.raises(ValueError):
        parse_rate(text)
