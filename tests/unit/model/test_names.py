"""Destinations are taken apart, and names that no S3 takes are refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamtos3.errors import UsageError
from streamtos3.model.names import (
    check_destination_name,
    is_s3_url,
    split_s3_prefix,
    split_s3_url,
)

ARN = "arn:aws:s3:eu-west-1:123456789012:accesspoint/my-point"
OUTPOST = "arn:aws-cn:s3-outposts:cn-north-1:123456789012:outpost/op-01/accesspoint/p"


@pytest.mark.parametrize(
    "text, expected",
    [
        ("s3://b/k", True),
        ("S3://b/k", True),
        ("s3:b", True),
        ("s3", False),
        ("./s3://b", False),
        ("-", False),
        ("disk.img", False),
        ("", False),
    ],
)
def test_what_begins_like_an_address_means_a_destination(text: str, expected: bool) -> None:
    assert expected == is_s3_url(text)


@pytest.mark.parametrize(
    "url, expected",
    [
        ("s3://bucket/key", ("bucket", "key")),
        ("s3://bucket/a/b/c", ("bucket", "a/b/c")),
        ("s3://bucket//k", ("bucket", "/k")),
        ("s3://bucket/k?x=1#y", ("bucket", "k?x=1#y")),
        ("s3://bucket/a://b", ("bucket", "a://b")),
        ("s3://bucket/ü %41", ("bucket", "ü %41")),
        ("s3://bucket/prefix/", ("bucket", "prefix/")),
    ],
)
def test_an_address_is_taken_apart_without_unquoting(url: str, expected: tuple[str, str]) -> None:
    assert expected == split_s3_url(url)


@pytest.mark.parametrize(
    "arn",
    [
        ARN,
        OUTPOST,
        ARN.replace("/", ":"),
        "arn:aws:s3-object-lambda:us-west-2:123456789012:accesspoint/l",
        "arn:aws:s3::123456789012:accesspoint/mfzwi23gnjvgw.mrap",
    ],
)
def test_the_arn_of_an_access_point_has_slashes_of_its_own(arn: str) -> None:
    assert split_s3_url(f"s3://{arn}/a/b") == (arn, "a/b")
    assert split_s3_prefix(f"s3://{arn}") == (arn, "")
    assert split_s3_prefix(f"s3://{arn}/") == (arn, "")
    check_destination_name(arn, "k")


@pytest.mark.parametrize(
    "arn",
    [
        "arn:aws:s3:eu-west-1:1:accesspoint/x",
        "arn:aws:s3:::bucket",
        "arn:aws:iam::123456789012:role/x",
        f"{OUTPOST.partition('/accesspoint')[0]}",
    ],
)
def test_another_arn_is_refused_with_the_right_form(arn: str) -> None:
    for refused in (
        lambda: split_s3_url(f"s3://{arn}/k"),
        lambda: check_destination_name(arn, "k"),
    ):
        with pytest.raises(UsageError, match="is not the ARN of an access point") as caught:
            refused()
        assert "arn:aws:s3:REGION:ACCOUNT:accesspoint/NAME" in (caught.value.hint or "")


@given(
    bucket=st.from_regex(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", fullmatch=True),
    key=st.text(min_size=1, max_size=50),
)
def test_an_address_gives_back_what_it_was_made_of(bucket: str, key: str) -> None:
    assert (bucket, key) == split_s3_url(f"s3://{bucket}/{key}")


@pytest.mark.parametrize(
    "url", ["", "s3", "s3:", "s3:/b/k", "s3:b/k", "s3://", "s3:///k", "S3://b/k", "http://b/k"]
)
def test_a_malformed_address_is_refused_with_the_right_form(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        split_s3_url(url)
    assert f"{url!r} is not a destination" == caught.value.message
    assert caught.value.hint == "write it as s3://BUCKET/KEY"


@pytest.mark.parametrize("url", ["s3://bucket", "s3://bucket/"])
def test_an_address_without_a_key_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="names no key"):
        split_s3_url(url)


@pytest.mark.parametrize("bucket", ["abc", "a" * 63, "my.bucket-1", "Old_Bucket", ARN])
def test_a_bucket_name_is_accepted(bucket: str) -> None:
    check_destination_name(bucket, "key")


@pytest.mark.parametrize("bucket", ["", "ab", "a" * 64, "-abc", "abc.", "a b c", "a/b", "bücket"])
def test_what_is_no_bucket_name_is_refused(bucket: str) -> None:
    with pytest.raises(UsageError, match="is not a valid bucket name"):
        check_destination_name(bucket, "key")


@pytest.mark.parametrize("key", ["k", "a/b/c", "/k", "...", ".hidden", "a..b", "ü", "k" * 1024])
def test_a_key_is_accepted(key: str) -> None:
    check_destination_name("bucket", key)


@pytest.mark.parametrize(
    "key, message",
    [
        ("", "the key is empty"),
        ("k" * 1025, "the key has 1025 bytes; S3 allows 1024"),
        ("ü" * 513, "the key has 1026 bytes; S3 allows 1024"),
        ("a\nb", "holds a control character"),
        ("a\x00b", "holds a control character"),
        ("a\x7f", "holds a control character"),
        ("a\ufffe", "holds U+FFFE, which is not a character"),
        ("\uffffb", "holds U+FFFF, which is not a character"),
        ("\udcff", "is not valid UTF-8"),
        ("..", "has a segment '.' or '..'"),
        ("a/./b", "has a segment '.' or '..'"),
        ("../b", "has a segment '.' or '..'"),
    ],
)
def test_a_key_that_is_surely_a_mistake_is_refused(key: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_destination_name("bucket", key)
    assert message in caught.value.message


@given(key=st.text(max_size=600))
def test_any_key_is_either_accepted_or_refused_as_a_usage_mistake(key: str) -> None:
    try:
        check_destination_name("bucket", key)
    except UsageError:
        return
    assert 1 <= len(key.encode()) <= 1024
