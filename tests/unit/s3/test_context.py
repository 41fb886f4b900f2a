"""What upload, download and verification share, without a server."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import cast

import pytest

from streamtos3 import Options, Retries
from streamtos3.errors import (
    AbsentError,
    IntegrityError,
    RefusedError,
    StoreError,
    TransientError,
    UnreachableError,
)
from streamtos3.model.events import Event, Retrying
from streamtos3.runtime.cancel import CancelScope
from streamtos3.runtime.rate import RateLimit
from streamtos3.s3.bucket import Bucket
from streamtos3.s3.context import OperationContext
from streamtos3.s3.responses import ObjectInfo

OPTIONS = Options(jobs=2, retries=Retries(first_wait_s=0.001, tries=3))
INFO = ObjectInfo(7, "0" * 32, None, None, None, etag_is_md5=True)
BUSY = TransientError("busy", code="SlowDown", http_status=503)


@dataclass
class Answers:
    """A bucket that answers each HEAD of the object, and each of a part, in turn."""

    heads: list[ObjectInfo | StoreError] = field(default_factory=list)
    parts: dict[int, list[tuple[int, int] | StoreError | None]] = field(default_factory=dict)
    name: str = "bucket"
    limit: RateLimit = field(default_factory=lambda: RateLimit(None))

    def url(self, key: str) -> str:
        return f"s3://{self.name}/{key}"

    def head(self, key: str, version_id: str | None, **_: object) -> ObjectInfo:
        answer = self.heads.pop(0)
        if isinstance(answer, StoreError):
            raise answer
        return answer

    head_explained = head

    def peek(self, *_: object) -> None:
        """The GET after a HEAD that was refused has nothing to add."""

    def endpoint_warning(self) -> None:
        """Nothing is odd about it."""

    def not_s3(self) -> UnreachableError:
        return UnreachableError("what answers does not speak S3")

    def head_part(self, key: str, number: int, version_id: str | None) -> tuple[int, int] | None:
        answer = self.parts[number].pop(0)
        if isinstance(answer, StoreError):
            raise answer
        return answer


class Operation:
    """A context of these answers, and what it has reported."""

    def __init__(self, scope: CancelScope, answers: Answers) -> None:
        self.events: list[Event] = []
        self.throttled = 0
        self.context = OperationContext(cast("Bucket", answers), OPTIONS, scope, self.events.append)
        self.context.on_throttled = self._note

    def _note(self) -> None:
        self.throttled += 1


def test_a_scope_of_its_own_is_closed_in_the_end() -> None:
    with OperationContext.open("bucket", OPTIONS) as context:
        fd = context.scope.wake_fd
        os.fstat(fd)
    assert context.scope.wake_fd == -1


@pytest.mark.parametrize("error", [None, IntegrityError("failed")])
def test_a_scope_that_is_given_stays_open(error: IntegrityError | None) -> None:
    with CancelScope() as scope:
        try:
            with OperationContext.open("bucket", OPTIONS, scope=scope) as context:
                assert context.scope is scope
                if error is not None:
                    raise error
        except IntegrityError as caught:
            assert caught is error
        os.fstat(scope.wake_fd)


def test_a_child_that_is_given_stays_the_child_of_its_parent() -> None:
    with CancelScope() as parent, parent.child() as child:
        with OperationContext.open("bucket", OPTIONS, scope=child):
            pass
        parent.fail(IntegrityError("all of it"))
        assert child.error is parent.error


def test_retries_are_counted_and_reported_and_throttling_is_passed_on() -> None:
    with CancelScope() as scope:
        answers = Answers([TransientError("broken"), BUSY, INFO])
        operation = Operation(scope, answers)
        assert operation.context.find("key", None) == INFO
        assert [type(event) for event in operation.events] == [Retrying, Retrying]
        assert (operation.context.retries, operation.throttled) == (2, 1)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (AbsentError("absent"), AbsentError),
        (RefusedError("denied"), RefusedError),
        (ObjectInfo(7, None, None, None, None, etag_is_md5=True), UnreachableError),
    ],
)
def test_an_object_that_cannot_be_read_fails_the_scope(
    answer: ObjectInfo | StoreError, kind: type[StoreError]
) -> None:
    with CancelScope() as scope:
        operation = Operation(scope, Answers([answer]))
        with pytest.raises(BaseException) as caught:
            operation.context.find("key", None)
        assert type(scope.fail_with(caught.value)) is kind


def test_the_etags_of_a_directory_bucket_are_never_md5s() -> None:
    with CancelScope() as scope:
        answers = Answers([INFO], name="bucket--x-s3")
        assert not Operation(scope, answers).context.find("key", None).etag_is_md5


def test_parts_are_asked_for_each_and_come_back_in_the_order_of_their_numbers() -> None:
    """A part that was tried again, one of a server that tells nothing, one that is refused."""
    with CancelScope() as scope:
        answers = Answers(
            parts={1: [BUSY, (5, 4)], 2: [None], 3: [RefusedError("no")], 4: [(1, 4)]}
        )
        context = Operation(scope, answers).context
        assert context.ask_parts("key", None, [4, 3, 2, 1]) == [(1, 4), None, None, (5, 4)]
        assert context.ask_parts("key", None, []) == []
