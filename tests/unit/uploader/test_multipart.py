"""One multipart upload against a scripted bucket: parts proved, answers lost, nothing left."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any, cast

import pytest

from streamtos3.errors import AbsentError, RefusedError, RetriesUsedUpError, TransientError
from streamtos3.model.options import Retries
from streamtos3.model.parts import ListedPart
from streamtos3.model.unfinished_upload import UnfinishedUpload
from streamtos3.runtime.cancel import CancelScope
from streamtos3.runtime.retry import Retrier
from streamtos3.s3.bucket import Bucket
from streamtos3.s3.responses import Answer
from streamtos3.uploader.multipart import MultipartUpload

NOW = datetime(2026, 1, 2, tzinfo=timezone.utc)
DATA = b"part one"
MD5 = hashlib.md5(DATA, usedforsecurity=False).hexdigest()
LOST = TransientError("no answer")
REFUSED = RefusedError("denied", code="AccessDenied")


@dataclass
class Scripted:
    """Answers in turn: `creates` and `parts` hold what each request is answered with."""

    server_time: datetime | None = NOW
    creates: list[tuple[str, bool] | Exception] = field(default_factory=list)
    parts: list[Answer | Exception] = field(default_factory=list)
    uploads: list[UnfinishedUpload] = field(default_factory=list)
    stored: dict[str, list[ListedPart]] = field(default_factory=dict)
    refusal: Exception | None = None
    aborted: list[str] = field(default_factory=list)
    sent: list[tuple[int, bytes, bytes]] = field(default_factory=list)

    def url(self, key: str) -> str:
        return f"s3://bucket/{key}"

    def create(self, key: str, metadata: Any) -> tuple[str, bool]:
        answer = self.creates.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def put_part(
        self, key: str, upload_id: str, number: int, body: Any, md5: bytes, *, checksum: str | None
    ) -> Answer:
        self.sent.append((number, body.read(), md5))
        answer = self.parts.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def abort(self, key: str, upload_id: str) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.aborted.append(upload_id)

    def list_uploads(self, prefix: str = "") -> Iterator[UnfinishedUpload]:
        if self.refusal is not None:
            raise self.refusal
        yield from self.uploads

    def list_parts(self, key: str, upload_id: str) -> Iterator[ListedPart]:
        if upload_id in self.aborted:
            raise AbsentError("gone", code="NoSuchUpload")
        yield from self.stored.get(upload_id, [])


@pytest.fixture
def retrier() -> Iterator[Retrier]:
    with CancelScope() as scope:
        retries = Retries(first_wait_s=0, longest_wait_s=0, tries=3, damage_tries=3)
        yield Retrier(retries, scope, lambda *_: None, sleep=lambda _: None)


def upload_to(bucket: Scripted, retrier: Retrier, checksum: str | None = None) -> MultipartUpload:
    return MultipartUpload(cast(Bucket, bucket), retrier, "key", checksum)


def store(upload: MultipartUpload) -> Any:
    return upload.store_part(1, 0, memoryview(DATA), lambda: None)


def test_a_part_is_sent_with_its_md5_and_proved_by_its_etag(retrier: Retrier) -> None:
    bucket = Scripted(creates=[("id", True)], parts=[Answer(MD5)])
    upload = upload_to(bucket, retrier)
    upload.create({})
    part = store(upload)
    assert (part.md5, part.etag, part.tries, part.etag_is_md5) == (MD5, MD5, 1, True)
    assert bucket.sent == [(1, DATA, bytes.fromhex(MD5))]


def test_a_part_whose_etag_differs_is_sent_again(retrier: Retrier) -> None:
    bucket = Scripted(creates=[("id", True)], parts=[Answer("0" * 32), Answer(MD5)])
    upload = upload_to(bucket, retrier)
    upload.create({})
    assert store(upload).tries == 2
    assert [data for _, data, _ in bucket.sent] == [DATA, DATA]


def test_a_part_without_an_answer_is_sent_again_and_in_the_end_given_up(retrier: Retrier) -> None:
    bucket = Scripted(creates=[("id", True)], parts=[LOST, LOST, LOST])
    upload = upload_to(bucket, retrier)
    upload.create({})
    with pytest.raises(RetriesUsedUpError, match="no answer; gave up after 3 tries"):
        store(upload)


def test_a_part_of_an_encrypted_object_is_stored_and_not_proved(retrier: Retrier) -> None:
    bucket = Scripted(creates=[("id", False)], parts=[Answer("f" * 32, etag_is_md5=False)])
    upload = upload_to(bucket, retrier)
    upload.create({})
    part = store(upload)
    assert not part.etag_is_md5
    assert part.checksum is not None  # what AWS may tell of it costs nothing


@pytest.mark.parametrize("is_same", [True, False])
def test_a_resumed_upload_sends_only_what_it_does_not_hold(is_same: bool, retrier: Retrier) -> None:
    bucket = Scripted(parts=[Answer(MD5)])
    upload = upload_to(bucket, retrier)
    listed = ListedPart(1, len(DATA), MD5 if is_same else "0" * 32)
    upload.resume(UnfinishedUpload("key", "id", NOW, listed=(listed,)))
    assert store(upload).resumed is is_same
    assert len(bucket.sent) == (0 if is_same else 1)


def test_an_upload_is_aborted_until_it_is_gone(retrier: Retrier) -> None:
    bucket = Scripted(creates=[("id", True)])
    upload = upload_to(bucket, retrier)
    upload.create({})
    upload.abort()
    assert bucket.aborted == ["id"]


def begun(upload_id: str, seconds: float, key: str = "key") -> UnfinishedUpload:
    return UnfinishedUpload(key, upload_id, NOW + timedelta(seconds=seconds))


def test_what_was_begun_without_an_answer_is_looked_for_and_aborted(retrier: Retrier) -> None:
    """Only what has no part, is of this key, and began while the answer was awaited."""
    bucket = Scripted(
        creates=[LOST, ("id", True)],
        uploads=[
            begun("lost", 0),
            begun("id", 0),
            begun("live", 0),
            begun("of another key", 0, "key2"),
            begun("earlier", -5),
            begun("later", 5),
        ],
        stored={"live": [ListedPart(1, 5, MD5)]},
    )
    upload = upload_to(bucket, retrier)
    upload.create({})
    upload.sweep()
    assert bucket.aborted == ["lost"]


def test_nothing_is_looked_for_where_each_answer_came(retrier: Retrier) -> None:
    bucket = Scripted(creates=[("id", True)], uploads=[begun("a stranger's", 0)])
    upload = upload_to(bucket, retrier)
    upload.create({})
    upload.sweep()
    assert bucket.aborted == []


def test_a_refused_create_has_begun_nothing(retrier: Retrier) -> None:
    bucket = Scripted(creates=[REFUSED], uploads=[begun("a stranger's", 0)])
    upload = upload_to(bucket, retrier)
    with pytest.raises(RefusedError):
        upload.create({})
    upload.sweep()
    assert bucket.aborted == []


def test_a_sweep_that_may_not_list_says_nothing(retrier: Retrier) -> None:
    """What it might have left is empty and costs nothing."""
    bucket = Scripted(creates=[LOST, ("id", True)], refusal=REFUSED)
    upload = upload_to(bucket, retrier)
    upload.create({})
    upload.sweep()
    assert bucket.aborted == []
