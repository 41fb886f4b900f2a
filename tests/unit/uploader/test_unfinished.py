"""Unfinished uploads, found, measured and aborted: against a scripted bucket."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import cast

import pytest

from streamtos3.errors import (
    AbsentError,
    CredentialsError,
    RefusedError,
    RetriesUsedUpError,
    StoreError,
    TransientError,
)
from streamtos3.model.options import Retries
from streamtos3.model.parts import ListedPart
from streamtos3.model.unfinished_upload import UnfinishedUpload
from streamtos3.runtime.cancel import CancelScope
from streamtos3.runtime.retry import Retrier
from streamtos3.s3.bucket import Bucket
from streamtos3.uploader.unfinished import (
    abort_each,
    abort_until_gone,
    find_unfinished,
    list_unfinished,
    measure,
)

NOW = datetime(2026, 1, 2, tzinfo=timezone.utc)
PART = ListedPart(1, 5, "0" * 32)
OTHER = ListedPart(1, 6, "1" * 32)
SECOND = ListedPart(2, 3, "2" * 32)
GONE = AbsentError("gone", code="NoSuchUpload")
DENIED = RefusedError("denied", code="AccessDenied")


def upload(upload_id: str, age_s: float = 10, key: str = "key") -> UnfinishedUpload:
    return UnfinishedUpload(key, upload_id, NOW - timedelta(seconds=age_s))


class Uploads:
    """A bucket of these uploads. `parts` answers each listing of an upload's parts in turn."""

    def __init__(
        self, *uploads: UnfinishedUpload, **parts: list[tuple[ListedPart, ...] | StoreError]
    ) -> None:
        self.server_time: datetime | None = NOW
        self.uploads = uploads
        self.parts = parts
        self.refusal: StoreError | None = None
        self.aborted: list[str] = []

    def url(self, key: str) -> str:
        return f"s3://bucket/{key}"

    def list_uploads(self, prefix: str) -> Iterator[UnfinishedUpload]:
        return (each for each in self.uploads if each.key.startswith(prefix))

    def list_parts(self, key: str, upload_id: str) -> Iterator[ListedPart]:
        answer = self.parts[upload_id].pop(0)
        if isinstance(answer, StoreError):
            raise answer
        return iter(answer)

    def abort(self, key: str, upload_id: str) -> None:
        self.aborted.append(upload_id)
        if self.refusal is not None:
            raise self.refusal


@pytest.fixture
def retrier() -> Iterator[Retrier]:
    with CancelScope() as scope:
        yield Retrier(Retries(tries=2), scope, lambda *_: None, sleep=lambda _: None)


def bucket(uploads: Uploads) -> Bucket:
    return cast("Bucket", uploads)


# The value


@pytest.mark.parametrize(
    ("age_s", "older_than_s", "expected"),
    [(None, 0, True), (None, 1, False), (0, 0, True), (10, 9, True), (10, 9.5, False)],
)
def test_an_age_counts_only_where_it_is_sure(
    age_s: float | None, older_than_s: float, expected: bool
) -> None:
    """The dates have a resolution of a second, and none at all where no time is told."""
    assert replace(upload("id"), age_s=age_s).is_older_than(older_than_s) == expected


def test_a_part_that_is_listed_twice_counts_once_and_either_is_held() -> None:
    """SeaweedFS lists both after a part was sent again."""
    parts = (PART, OTHER, SECOND)
    found = replace(upload("id").measured(parts), listed=parts)
    assert (found.parts, found.size_bytes) == (2, 9)
    assert found.find_part(1, 5, PART.etag)
    assert found.find_part(1, 6, OTHER.etag)


@pytest.mark.parametrize(
    ("number", "size_bytes", "md5"), [(2, 5, PART.etag), (1, 4, PART.etag), (1, 5, OTHER.etag)]
)
def test_a_part_of_another_number_size_or_md5_is_not_held(
    number: int, size_bytes: int, md5: str
) -> None:
    assert not replace(upload("id"), listed=(PART, OTHER)).find_part(number, size_bytes, md5)


# Found for --resume


def test_the_newest_upload_of_exactly_this_key_is_found_with_its_parts(retrier: Retrier) -> None:
    uploads = Uploads(
        upload("old", 30), upload("new", 20), upload("other", 10, "key2"), new=[(PART, SECOND)]
    )
    found = find_unfinished(bucket(uploads), retrier, "key", 1.0)
    assert found is not None
    assert (found.upload_id, found.listed) == ("new", (PART, SECOND))
    assert (found.parts, found.size_bytes) == (2, 8)


def test_one_that_was_aborted_a_moment_ago_is_passed_over(retrier: Retrier) -> None:
    uploads = Uploads(upload("old", 30), upload("new", 20), old=[(PART,)], new=[GONE])
    found = find_unfinished(bucket(uploads), retrier, "key", 1.0)
    assert found is not None
    assert found.upload_id == "old"


@pytest.mark.parametrize("uploads", [Uploads(), Uploads(upload("id", key="key2"))])
def test_where_there_is_none_nothing_is_found(retrier: Retrier, uploads: Uploads) -> None:
    assert find_unfinished(bucket(uploads), retrier, "key", 1.0) is None


# Listed and measured


def test_a_listing_is_sorted_by_age_and_dated_by_the_service(retrier: Retrier) -> None:
    uploads = Uploads(upload("b", 10), upload("a", 10), upload("c", 20))
    ours = NOW + timedelta(seconds=7)
    listing = list_unfinished(bucket(uploads), retrier, clock=lambda: ours)
    assert [(each.upload_id, each.age_s) for each in listing.uploads] == [
        ("c", 20),
        ("a", 10),
        ("b", 10),
    ]
    assert listing.clock_ahead_s == 7


def test_a_service_that_tells_no_time_leaves_the_age_unknown(retrier: Retrier) -> None:
    uploads = Uploads(upload("id"))
    uploads.server_time = None
    listing = list_unfinished(bucket(uploads), retrier)
    assert ([each.age_s for each in listing.uploads], listing.clock_ahead_s) == ([None], None)


def test_measuring_keeps_the_order_and_leaves_out_what_has_gone(retrier: Retrier) -> None:
    found = [upload("a"), upload("gone"), upload("b"), upload("hidden")]
    uploads = Uploads(
        *found, a=[TransientError("once"), (PART,)], gone=[GONE], b=[()], hidden=[DENIED]
    )
    measured = measure(bucket(uploads), retrier, found)
    assert [(each.upload_id, each.parts, each.size_bytes) for each in measured] == [
        ("a", 1, 5),
        ("b", 0, 0),
        ("hidden", None, None),
    ]
    assert [each.listed for each in measured] == [(), (), ()]  # there may be many of 10,000 parts


def test_a_key_that_xml_cannot_carry_is_not_asked_for(retrier: Retrier) -> None:
    odd = upload("id", key="a\x01b")
    assert measure(bucket(Uploads(odd)), retrier, [odd]) == [odd]


def test_an_error_that_concerns_all_ends_the_measuring(retrier: Retrier) -> None:
    uploads = Uploads(upload("a"), a=[CredentialsError("rejected")])
    with pytest.raises(CredentialsError):
        measure(bucket(uploads), retrier, uploads.uploads)


# Aborted


def test_an_abort_is_repeated_until_no_part_is_listed() -> None:
    uploads = Uploads(a=[(PART,), (PART,), ()])
    abort_until_gone(bucket(uploads), "key", "a")
    assert uploads.aborted == ["a", "a", "a"]


@pytest.mark.parametrize("answer", [GONE, DENIED])
def test_an_abort_is_over_where_parts_cannot_be_listed(answer: StoreError) -> None:
    uploads = Uploads(a=[answer])
    abort_until_gone(bucket(uploads), "key", "a")
    assert uploads.aborted == ["a"]


def test_an_upload_that_is_gone_already_is_aborted() -> None:
    uploads = Uploads()
    uploads.refusal = GONE
    abort_until_gone(bucket(uploads), "key", "a")


def test_parts_that_keep_arriving_are_worth_another_try_later() -> None:
    uploads = Uploads(a=[(PART,)] * 5)
    with pytest.raises(TransientError, match="parts of upload a keep arriving"):
        abort_until_gone(bucket(uploads), "key", "a")
    assert len(uploads.aborted) == 5


@pytest.mark.parametrize(
    ("refusal", "kind"),
    [
        (DENIED, RefusedError),
        (TransientError("busy", code="SlowDown", http_status=503), RetriesUsedUpError),
    ],
)
def test_each_upload_comes_out_with_the_error_that_kept_it(
    retrier: Retrier, refusal: StoreError, kind: type[StoreError]
) -> None:
    uploads = Uploads(upload("a"), upload("b"))
    uploads.refusal = refusal
    outcome = list(abort_each(bucket(uploads), retrier, uploads.uploads))
    assert [(each.upload_id, type(error)) for each, error in outcome] == [("a", kind), ("b", kind)]


def test_what_was_aborted_comes_out_without_an_error(retrier: Retrier) -> None:
    uploads = Uploads(upload("a"), upload("b"), a=[()], b=[GONE])
    assert [error for _, error in abort_each(bucket(uploads), retrier, uploads.uploads)] == [
        None,
        None,
    ]


@pytest.mark.parametrize(
    ("refusal", "kind"),
    [
        (CredentialsError("rejected"), CredentialsError),
        (TransientError("no answer", answered=False), RetriesUsedUpError),
    ],
)
def test_an_error_that_concerns_all_ends_the_aborting(
    retrier: Retrier, refusal: StoreError, kind: type[StoreError]
) -> None:
    uploads = Uploads(upload("a"), upload("b"))
    uploads.refusal = refusal
    with pytest.raises(kind):
        list(abort_each(bucket(uploads), retrier, uploads.uploads))
    assert set(uploads.aborted) == {"a"}
