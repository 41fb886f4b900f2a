"""The first line of a spool file: what it keeps of an object, and that no damage of it passes."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamtos3.errors import SpoolError, UsageError
from streamtos3.model.object_settings import ObjectSettings
from streamtos3.model.options import Options
from streamtos3.sink.spool_header import BegunWith, ObjectHeader, header_of

SETTINGS = ObjectSettings(
    metadata={"a": "b", "case": "1\t2"},
    tags={"team": "x&y"},
    content_type="text/x",
    content_encoding="x",
    content_language="de",
    cache_control="no-store",
    storage_class="GLACIER",
    acl="private",
    sse="aws:kms",
    sse_kms_key_id="key",
    lock_mode="GOVERNANCE",
    lock_until=datetime(2036, 1, 2, 3, 4, 5, 6, tzinfo=timezone.utc),
    legal_hold=True,
)
OPTIONS = Options(chunk_bytes=7 << 20, checksum="crc32", settings=SETTINGS)
SECRET = b"k" * 32


def header(options: Options = OPTIONS) -> ObjectHeader:
    return ObjectHeader("b", "k/\u00fc", "2026-11-21T12:00:00+00:00", "gzip", BegunWith.of(options))


def test_all_that_an_object_was_begun_with_comes_back() -> None:
    found = header_of(header().line)
    assert found == header()
    assert found.begun_with is not None
    other = Options(settings=ObjectSettings(content_type="text/y", metadata={"c": "d"}))
    assert found.begun_with.apply(other) == OPTIONS


def test_no_setting_is_forgotten() -> None:
    """A new field of the settings is in the header, or left out on purpose."""
    unset = ObjectSettings()
    missing = {name for name, value in vars(SETTINGS).items() if value == getattr(unset, name)}
    assert missing == {"sse_c_key", "expected_bucket_owner", "request_payer", "lock_for"}


def test_what_is_about_requests_is_the_new_process_s() -> None:
    given = ObjectSettings(expected_bucket_owner="1", request_payer=True)
    found = header_of(header().line).begun_with
    assert found is not None
    assert found.apply(Options(settings=given)).settings == replace(
        SETTINGS, expected_bucket_owner="1", request_payer=True
    )


def test_a_customer_s_key_is_asked_for_again_and_never_written_down() -> None:
    with_key = Options(settings=ObjectSettings(sse_c_key=SECRET))
    line = header(with_key).line
    assert SECRET not in line
    found = header_of(line).begun_with
    assert found is not None
    assert found.apply(with_key) == with_key
    with pytest.raises(UsageError, match="--sse-c-key-file"):
        found.apply(Options())
    without = header_of(header(Options()).line).begun_with
    assert without is not None
    assert without.apply(with_key).settings.sse_c_key is None


@given(st.integers(0, 10_000), st.integers(0, 7))
def test_a_flipped_bit_is_damage(place: int, bit: int) -> None:
    line = bytearray(header().line)
    line[place % len(line)] ^= 1 << bit
    with pytest.raises(SpoolError):
        header_of(bytes(line))


@given(st.integers(0, 10_000))
def test_a_header_that_was_cut_is_damage(length: int) -> None:
    line = header().line
    with pytest.raises(SpoolError):
        header_of(line[: length % len(line)])
