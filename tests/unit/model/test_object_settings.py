"""What an object gets besides its bytes: said to S3 in the right requests, and checked first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamtos3.errors import UsageError
from streamtos3.model.object_settings import (
    ObjectSettings,
    decode_metadata,
    encode_metadata,
    guess_content_type,
    lock_problem,
)

TODAY = datetime.now(timezone.utc).replace(hour=0, minute=0, second=0, microsecond=0)
LATER = TODAY + timedelta(days=3)
LOCKED = ObjectSettings(lock_mode="GOVERNANCE", lock_until=LATER, legal_hold=True)
LOCK_IN_HEAD = {
    "ObjectLockMode": "GOVERNANCE",
    "ObjectLockRetainUntilDate": LATER,
    "ObjectLockLegalHoldStatus": "ON",
}


def test_nothing_asked_for_says_nothing() -> None:
    nothing = ObjectSettings()
    assert (
        nothing.for_every_request(),
        nothing.for_the_bytes(),
        nothing.for_a_new_object(),
    ) == ({}, {}, {})


def test_tags_are_sent_as_a_query() -> None:
    settings = ObjectSettings(tags={"team": "r&d", "π": "a b"})
    assert settings.for_a_new_object() == {"Tagging": "team=r%26d&%CF%80=a+b"}


def test_what_describes_the_content_is_sent_where_the_object_begins() -> None:
    settings = ObjectSettings(content_encoding="gzip", content_language="de, en")
    expected = {"ContentEncoding": "gzip", "ContentLanguage": "de, en"}
    assert expected == settings.for_a_new_object()


def test_a_document_beside_the_object_has_a_content_of_its_own() -> None:
    kept = ObjectSettings(metadata={"a": "1"}, cache_control="no-store", sse_c_key=bytes(32))
    settings = replace(
        kept, content_type="text/html", content_encoding="gzip", content_language="de"
    )
    expected = replace(kept, content_type="application/json")
    assert expected == settings.for_a_document("application/json")


def test_the_customers_key_goes_with_the_bytes_and_with_the_object() -> None:
    settings = ObjectSettings(sse_c_key=bytes(32))
    expected = {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": bytes(32)}
    assert expected == settings.for_the_bytes() == settings.for_a_new_object()


def test_the_customers_key_never_shows() -> None:
    assert "sesame" not in repr(ObjectSettings(sse_c_key=b"sesame".ljust(32)))


def test_owner_and_payer_go_with_every_request() -> None:
    settings = ObjectSettings(expected_bucket_owner="1", request_payer=True)
    expected = {"ExpectedBucketOwner": "1", "RequestPayer": "requester"}
    assert expected == settings.for_every_request()


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"lock_mode": "GOVERNANCE"}, "--lock-mode needs --lock-until or --lock-days"),
        ({"lock_until": LATER}, "--lock-until and --lock-days need --lock-mode"),
        (
            {"lock_mode": "COMPLIANCE", "lock_until": datetime(2020, 1, 1, tzinfo=timezone.utc)},
            "the lock would end in the past: 2020-01-01",
        ),
        ({"sse_c_key": bytes(32), "sse": "AES256"}, "--sse-c-key-file excludes --sse"),
        ({"sse_kms_key_id": "k"}, "--sse-kms-key-id needs --sse aws:kms"),
        ({"sse_kms_key_id": "k", "sse": "AES256"}, "--sse-kms-key-id needs --sse aws:kms"),
        ({"tags": {str(i): "" for i in range(11)}}, "11 tags; S3 allows 10"),
        ({"metadata": {"a": "two\nlines"}}, "metadata 'a' holds a control character"),
        ({"metadata": {"a": "é\nlines"}}, "metadata 'a' holds a control character"),
        ({"metadata": {"a": "\udcff"}}, "metadata 'a' holds a control character, or is no text"),
        ({"metadata": {"a": "é" * 700}}, "there is room for 1848"),
        ({"content_type": "a\r\nX: y"}, "--content-type 'a\\r\\nX: y' cannot be sent"),
        ({"content_language": "español"}, "--content-language 'español' cannot be sent"),
        ({"sse_kms_key_id": "ü", "sse": "aws:kms"}, "--sse-kms-key-id 'ü' cannot be sent"),
        ({"tags": {"a": "b\n"}}, "the tag 'a' holds a control character"),
        ({"metadata": {"a b": "x"}}, "'a b' is not a valid name for metadata"),
        ({"metadata": {"a:b": "x"}}, "'a:b' is not a valid name for metadata"),
        ({"metadata": {"": "x"}}, "'' is not a valid name for metadata"),
        ({"metadata": {"Case": "1", "case": "2"}}, "metadata 'case' is given twice"),
        ({"metadata": {"a": "x" * 1848}}, "the metadata has 1849 bytes; there is room for 1848"),
    ],
)
def test_settings_that_cannot_be_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        ObjectSettings(**changes).check()
    assert message in caught.value.message


@pytest.mark.parametrize(
    "name", [each.name for each in fields(ObjectSettings) if each.type == "str | None"]
)
def test_no_text_is_sent_that_could_not_be_a_header(name: str) -> None:
    changes: dict[str, Any] = {name: "a\r\nX: y"}
    with pytest.raises(UsageError, match="it is not plain ASCII text") as caught:
        ObjectSettings(**changes).check()
    assert caught.value.message.startswith(f"--{name.replace('_', '-')} ")


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"lock_mode": "COMPLIANCE", "lock_until": LATER},
        {"legal_hold": True},
        {"sse": "aws:kms:dsse", "sse_kms_key_id": "k"},
        {"tags": {str(i): "" for i in range(10)}},
        {"metadata": {"a": "x" * 1847}},
        {"metadata": {"a": "José", "b": "日本"}},
    ],
)
def test_settings_that_can_be_are_accepted(changes: dict[str, Any]) -> None:
    ObjectSettings(**changes).check()


@pytest.mark.parametrize(
    "key, expected",
    [
        ("a/b.json", "application/json"),
        ("dump.tar", "application/x-tar"),
        ("dump.tar.gz", "application/gzip"),
        ("dump.sql.xz", "application/x-xz"),
        ("photo.JPG", "image/jpeg"),
        ("a.json/b", None),
        ("sda", None),
    ],
)
def test_the_media_type_is_that_of_the_keys_ending(key: str, expected: str | None) -> None:
    assert expected == guess_content_type(key)


@pytest.mark.parametrize(
    "changes, expected",
    [
        ({}, None),
        ({"ObjectLockMode": None}, "the lock mode is none"),
        ({"ObjectLockMode": "COMPLIANCE"}, "the lock mode is COMPLIANCE"),
        ({"ObjectLockRetainUntilDate": None}, "the lock ends at once"),
        ({"ObjectLockRetainUntilDate": LATER - timedelta(seconds=1)}, None),
        ({"ObjectLockRetainUntilDate": LATER + timedelta(days=1)}, None),
        (
            {"ObjectLockRetainUntilDate": LATER - timedelta(seconds=2)},
            f"the lock ends {LATER - timedelta(seconds=2)}",
        ),
        ({"ObjectLockLegalHoldStatus": "OFF"}, "the legal hold is off"),
        ({"ObjectLockLegalHoldStatus": None}, "the legal hold is off"),
    ],
)
def test_what_is_missing_of_a_lock(changes: Mapping[str, Any], expected: str | None) -> None:
    assert expected == lock_problem(LOCKED, {**LOCK_IN_HEAD, **changes})


def test_a_lock_nobody_asked_for_is_no_problem() -> None:
    assert lock_problem(ObjectSettings(), LOCK_IN_HEAD) is None
    assert lock_problem(ObjectSettings(), {}) is None


@given(st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=100))
def test_metadata_comes_back_as_it_was_given(text: str) -> None:
    encoded = encode_metadata(text)
    assert encoded.isascii()
    assert "\n" not in encoded
    if not text.isascii():
        assert decode_metadata(encoded) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("=?UTF-8?Q?Jos=C3=A9?=", "José"),
        ("=?UTF-8?B?Sm9zw6k=?=", "José"),
        ("=?no-such-charset?Q?x?=", "=?no-such-charset?Q?x?="),
        ("=?UTF-8?B?Sm9zw?=", "=?UTF-8?B?Sm9zw?="),
        ("=?UTF-8?Q?=FF?=", "=?UTF-8?Q?=FF?="),
        ("a =? b", "a =? b"),
    ],
)
def test_what_a_service_answers_is_decoded_or_left_alone(text: str, expected: str) -> None:
    assert decode_metadata(text) == expected
