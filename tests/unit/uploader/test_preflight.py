"""What is known of the destination before the first byte, by what the store answers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import cast

import pytest

from streamtos3.errors import (
    AbsentError,
    ExistsError,
    RefusedError,
    RetriesUsedUpError,
    StreamToS3Error,
    TransientError,
    UnreachableError,
)
from streamtos3.model.options import Retries
from streamtos3.runtime.cancel import CancelScope
from streamtos3.runtime.retry import Retrier
from streamtos3.s3.bucket import NO_SIZE, Bucket
from streamtos3.s3.responses import ObjectInfo
from streamtos3.uploader.preflight import check_destination

NO_KEY = AbsentError("no key", code="NoSuchKey", http_status=404)
NO_BUCKET = AbsentError("no bucket", code="NoSuchBucket", http_status=404)
NO_CODE = AbsentError("not found", code="404", http_status=404)
DENIED = RefusedError("denied", code="AccessDenied", http_status=403)
EMPTY = RefusedError("empty", code="InvalidRange", http_status=416)
NOT_S3 = UnreachableError("does not speak S3")
THERE = ObjectInfo(1, "0" * 32, None, None, None, etag_is_md5=True)
NO_ETAG = ObjectInfo(1, None, None, None, None, etag_is_md5=True)


@dataclass
class Scripted:
    """`heads`, `buckets` and `peeks`: what each kind of question is answered with, in turn."""

    heads: list[ObjectInfo | Exception]
    buckets: list[Exception | None] = field(default_factory=list)
    peeks: list[Exception | None] = field(default_factory=list)

    def url(self, key: str) -> str:
        return f"s3://bucket/{key}"

    def not_s3(self) -> UnreachableError:
        return NOT_S3

    def head(self, key: str) -> ObjectInfo:
        answer = self.heads.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def head_bucket(self) -> None:
        _answer(self.buckets)

    def peek(self, key: str) -> None:
        _answer(self.peeks)


def _answer(answers: list[Exception | None]) -> None:
    answer = answers.pop(0)
    if answer is not None:
        raise answer


@pytest.fixture
def retrier() -> Iterator[Retrier]:
    with CancelScope() as scope:
        retries = Retries(first_wait_s=0, longest_wait_s=0, tries=2)
        yield Retrier(retries, scope, lambda *_: None, sleep=lambda _: None)


def check(bucket: Scripted, retrier: Retrier, *, overwrite: bool = False) -> None:
    check_destination(cast(Bucket, bucket), retrier, "k", overwrite=overwrite, check_for_s=5)


@pytest.mark.parametrize(
    "bucket",
    [
        pytest.param(Scripted([NO_KEY], [None]), id="no object"),
        pytest.param(Scripted([NO_KEY], [DENIED]), id="the bucket may not be looked at"),
        pytest.param(Scripted([DENIED], peeks=[DENIED]), id="the key may not be looked at"),
        pytest.param(Scripted([DENIED], peeks=[NO_KEY]), id="denied by HEAD, told by GET"),
        pytest.param(
            Scripted([TransientError("no answer"), NO_KEY], [None]), id="at the second try"
        ),
    ],
)
def test_the_upload_may_begin(bucket: Scripted, retrier: Retrier) -> None:
    check(bucket, retrier)
    assert (bucket.heads, bucket.buckets, bucket.peeks) == ([], [], [])


@pytest.mark.parametrize(
    ("bucket", "expected"),
    [
        pytest.param(Scripted([THERE]), ExistsError, id="exists"),
        pytest.param(Scripted([DENIED], peeks=[None]), ExistsError, id="exists, told by GET"),
        pytest.param(Scripted([DENIED], peeks=[EMPTY]), ExistsError, id="exists and is empty"),
        pytest.param(Scripted([NO_KEY], [NO_BUCKET], [NO_BUCKET]), AbsentError, id="no bucket"),
        pytest.param(Scripted([NO_ETAG]), UnreachableError, id="no ETag"),
        pytest.param(Scripted([NO_CODE], [NO_CODE], [NO_CODE]), UnreachableError, id="no code"),
        pytest.param(
            Scripted([TransientError("no size", code=NO_SIZE)]), UnreachableError, id="no size"
        ),
        pytest.param(
            Scripted([DENIED], peeks=[RefusedError("?", code="405", http_status=405)]),
            UnreachableError,
            id="405 without a code",
        ),
        pytest.param(
            Scripted([DENIED], peeks=[RefusedError("moved", code="PermanentRedirect")]),
            RefusedError,
            id="another region",
        ),
        pytest.param(
            Scripted([TransientError("no answer"), TransientError("no answer")]),
            RetriesUsedUpError,
            id="no answer",
        ),
    ],
)
def test_the_upload_would_fail(
    bucket: Scripted, expected: type[StreamToS3Error], retrier: Retrier
) -> None:
    with pytest.raises(expected):
        check(bucket, retrier)


def test_what_exists_may_be_overwritten_where_that_was_asked_for(retrier: Retrier) -> None:
    check(Scripted([THERE]), retrier, overwrite=True)
