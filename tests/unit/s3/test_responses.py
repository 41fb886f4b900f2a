"""S3's answers as values: ETags without dress, our own metadata, what an encryption means."""

from __future__ import annotations

from typing import Any

import pytest

from streamtos3.model.object_settings import ObjectSettings
from streamtos3.s3.responses import (
    Answer,
    etag_is_md5,
    is_cut,
    object_info,
    unquoted_etag,
    write_answer,
)


@pytest.mark.parametrize(
    "etag, expected",
    [
        ('"abc"', "abc"),
        ("abc", "abc"),
        ('W/"abc-2"', "abc-2"),
        ('""', None),
        ("", None),
        (None, None),
        ('"abc', None),
        ('"', None),
    ],
)
def test_an_etag_is_without_quotes_or_missing(etag: str | None, expected: str | None) -> None:
    assert unquoted_etag({"ETag": etag}) == expected


@pytest.mark.parametrize(
    "etag, cut", [('"abc"', False), ("abc", False), ("", False), ('"', True), ('W/"ab', True)]
)
def test_an_etag_that_lacks_its_end_is_cut(etag: str, cut: bool) -> None:
    assert is_cut({"ETag": etag}) == cut


@pytest.mark.parametrize(
    "answer, expected",
    [
        ({}, True),
        ({"ServerSideEncryption": "AES256"}, True),
        ({"ServerSideEncryption": "aws:kms"}, False),
        ({"ServerSideEncryption": "aws:kms:dsse"}, False),
        ({"SSECustomerAlgorithm": "AES256"}, False),
    ],
)
def test_an_encryption_by_key_means_that_the_etag_is_not_an_md5(
    answer: dict[str, str], expected: bool
) -> None:
    assert etag_is_md5(answer) == expected


@pytest.mark.parametrize("version_id, expected", [("v1", "v1"), ("null", None), (None, None)])
def test_the_null_version_is_not_a_version(version_id: str | None, expected: str | None) -> None:
    answer = {"ETag": '"abc"', "VersionId": version_id}
    assert write_answer(answer) == Answer("abc", version_id=expected)


def test_checksums_keep_their_members_names() -> None:
    answer = {"ChecksumCRC32": "AAAA", "ChecksumType": "COMPOSITE", "ETag": '"abc"'}
    assert write_answer(answer).checksums == {"ChecksumCRC32": "AAAA"}


@pytest.mark.parametrize("name", ["streamtos3-token", "Streamtos3-Token", "STREAMTOS3-TOKEN"])
def test_our_metadata_is_found_in_any_capitals(name: str) -> None:
    answer: dict[str, Any] = {"ContentLength": 3, "Metadata": {name: "t"}}
    info = object_info(answer, ObjectSettings())
    assert (info.size_bytes, info.token, info.part_plan) == (3, "t", None)


def test_an_object_of_others_has_neither_token_nor_plan() -> None:
    info = object_info({"ContentLength": 0, "Metadata": {"theirs": "x"}}, ObjectSettings())
    assert (info.token, info.part_plan, info.etag) == (None, None, None)
