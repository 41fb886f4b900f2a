"""The rules by which an answer proves, disproves, or says nothing."""

from __future__ import annotations

import hashlib
from dataclasses import FrozenInstanceError

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamtos3.errors import IntegrityError, TransientError
from streamtos3.integrity.etag import Expected, judge_object, part_is_proved

MINE = hashlib.md5(b"mine").hexdigest()
OTHER = hashlib.md5(b"other").hexdigest()
UUID = "6a1e35ad-0f6c-4a9f-a1a4-1e6e44de3c12"
UUID_2 = "0b8de2fc-65c2-4c36-8a4e-0dcb3c4bb7ad"

PROVED = True
UNPROVED = False
DAMAGED = None


# A part, or an object that went as one request


@pytest.mark.parametrize(
    "etag, create_says_md5, answer_says_md5, earlier_etag, expected",
    [
        # The MD5 proves, whatever else was said.
        (MINE, True, True, None, PROVED),
        (MINE, False, True, None, PROVED),
        (MINE, True, False, OTHER, PROVED),
        # Without an ETag nothing was answered, encrypted or not.
        (None, True, True, None, DAMAGED),
        (None, False, False, UUID, DAMAGED),
        # Another MD5 is damage, on every try.
        (OTHER, True, True, None, DAMAGED),
        (OTHER, True, True, OTHER, DAMAGED),
        # Under KMS and customer keys an ETag looks like an MD5 and is none.
        (OTHER, False, True, None, UNPROVED),
        (OTHER, True, False, None, UNPROVED),
        # Another form: once it may be an answer cut short, twice it is this server's way.
        (UUID, True, True, None, DAMAGED),
        (UUID, True, True, UUID_2, UNPROVED),
        (MINE[:20], True, True, None, DAMAGED),
        (MINE[:20], True, True, MINE[:19], DAMAGED),
        (UUID, True, True, OTHER, DAMAGED),
        (MINE.upper(), True, True, None, PROVED),  # Aliyun OSS
    ],
)
def test_what_an_etag_says_of_a_part(
    etag: str | None,
    create_says_md5: bool,
    answer_says_md5: bool,
    earlier_etag: str | None,
    expected: bool | None,
) -> None:
    def judge() -> bool:
        return part_is_proved(
            "part 7",
            MINE,
            etag,
            etags_are_md5=create_says_md5,
            etag_is_md5=answer_says_md5,
            earlier_etag=earlier_etag,
        )

    if expected is not DAMAGED:
        assert expected == judge()
        return
    with pytest.raises(TransientError) as caught:
        judge()
    assert caught.value.damaged
    assert caught.value.message.startswith("part 7: ")


def test_a_different_md5_is_named_with_the_one_computed_here() -> None:
    with pytest.raises(TransientError) as caught:
        part_is_proved("part 7", MINE, OTHER, etags_are_md5=True)
    assert caught.value.message == (
        "part 7: the service stored other bytes than were sent "
        f"(ETag {OTHER}, MD5 computed here {MINE})"
    )


@given(etag=st.from_regex(r"[0-9a-f]{32}", fullmatch=True))
def test_no_md5_but_the_right_one_proves_a_part(etag: str) -> None:
    with pytest.raises(TransientError):
        part_is_proved("part 1", MINE, etag, etags_are_md5=True)


# The object

COMPOSITE = f"{MINE}-3"
WHOLE = hashlib.md5(b"whole").hexdigest()
PROOFS = [
    # (answer to complete, HEAD) -> what proves it
    ((COMPOSITE, COMPOSITE), "composite-etag"),
    ((COMPOSITE, None), "composite-etag"),
    ((None, COMPOSITE), "composite-etag"),
    (("", COMPOSITE), "composite-etag"),  # Ceph 16.2 answers with an empty ETag
    ((COMPOSITE, WHOLE), "composite-etag"),  # rclone serve s3: HEAD shows the whole MD5
    ((COMPOSITE, OTHER), "composite-etag"),
    ((WHOLE, WHOLE), "whole-md5-etag"),  # Alluxio
    ((None, WHOLE), "whole-md5-etag"),
    ((None, None), None),
    ((UUID, UUID), None),
    ((OTHER, OTHER), None),
    ((f"{OTHER}-2", None), None),  # another number of parts: another form, no contradiction
    ((f"{OTHER[:30]}-3", None), None),
]


def test_what_is_expected_cannot_be_changed_later() -> None:
    wanted = Expected(size_bytes=9, etag=COMPOSITE, etags_are_md5=True)
    with pytest.raises(FrozenInstanceError):
        wanted.etags_are_md5 = False  # type: ignore[misc]


@pytest.mark.parametrize("etags, expected", PROOFS)
def test_what_the_etags_say_of_a_multipart_object(
    etags: tuple[str | None, str | None], expected: str | None
) -> None:
    wanted = Expected(size_bytes=9, etag=COMPOSITE, etags_are_md5=True, whole_md5=WHOLE)
    assert expected == judge_object("s3://b/k", wanted, list(etags))


@pytest.mark.parametrize(
    "etags",
    [[f"{OTHER}-3", None], [None, f"{OTHER}-3"], [COMPOSITE, f"{OTHER}-3"], [f"{OTHER}-3", WHOLE]],
)
def test_another_composite_of_our_number_of_parts_disproves_the_object(
    etags: list[str | None],
) -> None:
    wanted = Expected(size_bytes=9, etag=COMPOSITE, etags_are_md5=True, whole_md5=WHOLE)
    with pytest.raises(IntegrityError) as caught:
        judge_object("s3://b/k", wanted, etags)
    expected = f"s3://b/k is not what was read: its ETag is {OTHER}-3, the one computed here "
    assert expected + COMPOSITE == caught.value.message


def test_opaque_part_etags_make_an_opaque_composite_no_contradiction() -> None:
    """Under KMS the composite is made of the opaque ETags, if of anything."""
    wanted = Expected(size_bytes=9, etag=COMPOSITE, etags_are_md5=False)
    assert judge_object("s3://b/k", wanted, [f"{OTHER}-3", f"{OTHER}-3"]) is None


def test_the_whole_md5_proves_nothing_where_it_was_not_computed() -> None:
    wanted = Expected(size_bytes=9, etag=COMPOSITE, etags_are_md5=True)
    assert judge_object("s3://b/k", wanted, [WHOLE, WHOLE]) is None


@pytest.mark.parametrize(
    "etags, expected",
    [([MINE, None], "md5-etag"), ([MINE, MINE], "md5-etag"), ([UUID], None), ([None], None)],
)
def test_what_the_etags_say_of_a_one_request_object(
    etags: list[str | None], expected: str | None
) -> None:
    wanted = Expected(size_bytes=4, etag=MINE, etags_are_md5=True)
    assert expected == judge_object("s3://b/k", wanted, etags)


@pytest.mark.parametrize("etags", [[OTHER], [MINE, OTHER]])
def test_another_md5_disproves_a_one_request_object(etags: list[str | None]) -> None:
    wanted = Expected(size_bytes=4, etag=MINE, etags_are_md5=True)
    with pytest.raises(IntegrityError):
        judge_object("s3://b/k", wanted, etags)


def test_a_composite_says_nothing_of_a_one_request_object() -> None:
    wanted = Expected(size_bytes=4, etag=MINE, etags_are_md5=True)
    assert judge_object("s3://b/k", wanted, [f"{OTHER}-1"]) is None
