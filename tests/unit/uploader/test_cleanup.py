"""What is aborted after a failure, what is kept, and what the message says of it."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import cast

import pytest

from streamtos3.errors import (
    AbsentError,
    ExistsError,
    Interrupted,
    RetriesUsedUpError,
    SourceError,
)
from streamtos3.runtime.cancel import CancelScope
from streamtos3.runtime.workers import WorkerPool
from streamtos3.uploader.cleanup import Cleanup
from streamtos3.uploader.commit import Commit
from streamtos3.uploader.multipart import MultipartUpload

URL = "s3://bucket/a key"
UNDECIDED = f"the request that makes {URL} was sent, its answer is unknown"
UNDECIDED_ID = f"{UNDECIDED}; the upload id is id"
MADE = f"{URL} is there but was not proved"
KEPT = (
    f"unfinished upload id of {URL}, kept for --resume; "
    "its parts are billed until it is completed or aborted"
)
NOT_ABORTED = (
    f"unfinished upload id of {URL} could not be aborted; its parts are billed until it is: "
    "streamtos3 uploads abort 's3://bucket/a key' --upload-id id --older-than 0"
)
NO_ID = f"an upload of {URL} may have been begun; the answer with its id never arrived"


@dataclass
class Multipart:
    """Notes what it is told to do, and fails at it where it should."""

    upload_id: str = "id"
    fails: bool = False
    told: list[str] = field(default_factory=list)
    then: Callable[[], None] = lambda: None

    def abort(self) -> None:
        self.told.append("abort")
        self.then()
        if self.fails:
            raise RetriesUsedUpError("no answer")

    def sweep(self) -> None:
        self.told.append("sweep")


@dataclass
class Committing:
    left_behind: str | None
    is_undecided: bool = False


@pytest.fixture
def scope() -> Iterator[CancelScope]:
    with CancelScope() as scope:
        yield scope


def clean(
    scope: CancelScope,
    first: BaseException,
    multipart: Multipart | None,
    commit: Committing | None = None,
    *,
    keeps_parts: bool = False,
) -> str | None:
    scope.fail(first)
    workers = WorkerPool(2, scope)
    cleanup = Cleanup(URL, workers, scope, keeps_parts=keeps_parts)
    return cleanup.run(first, cast("MultipartUpload", multipart), cast("Commit", commit))


SOURCE = SourceError("the input failed")
EXISTS = ExistsError("there is one")
GONE = AbsentError("no upload", code="NoSuchUpload")


@pytest.mark.parametrize(
    ("first", "multipart", "commit", "keeps_parts", "told", "left_behind"),
    [
        # Nothing was begun.
        (SOURCE, None, None, False, [], None),
        (SOURCE, None, None, True, [], None),
        # An upload was begun.
        (SOURCE, Multipart(), None, False, ["abort"], None),
        (SOURCE, Multipart(), None, True, [], KEPT),
        (EXISTS, Multipart(), None, True, ["abort"], None),
        (GONE, Multipart(), None, True, ["abort"], None),
        (SOURCE, Multipart(fails=True), None, False, ["abort"], NOT_ABORTED),
        # Perhaps one was begun: its id never arrived.
        (SOURCE, Multipart(""), None, False, ["abort"], None),
        (SOURCE, Multipart(""), None, True, ["abort"], None),
        (SOURCE, Multipart("", fails=True), None, False, ["abort"], NO_ID),
        # The commit was reached and has made nothing.
        (EXISTS, Multipart(), Committing(None), False, ["abort"], None),
        (EXISTS, None, Committing(None), False, [], None),
        # It may have made something: nothing is aborted, whatever else is wanted.
        *(
            (SOURCE, Multipart(), Committing(UNDECIDED, True), keeps, ["sweep"], UNDECIDED_ID)
            for keeps in (False, True)
        ),
        (SOURCE, None, Committing(UNDECIDED, True), False, [], UNDECIDED),
        (SOURCE, Multipart(), Committing(MADE), False, ["sweep"], MADE),
        (SOURCE, None, Committing(MADE), False, [], MADE),
    ],
)  # fmt: skip
def test_what_is_aborted_and_what_is_said(
    scope: CancelScope,
    first: BaseException,
    multipart: Multipart | None,
    commit: Committing | None,
    keeps_parts: bool,
    told: list[str],
    left_behind: str | None,
) -> None:
    fresh = replace(multipart, told=[]) if multipart else None
    assert clean(scope, first, fresh, commit, keeps_parts=keeps_parts) == left_behind
    assert (fresh.told if fresh else []) == told


def test_nothing_is_aborted_before_requests_in_flight_have_ended(scope: CancelScope) -> None:
    """A part that arrives after the abort would stay, billed and unseen."""
    workers = WorkerPool(1, scope)
    order: list[str] = []

    def request() -> None:
        time.sleep(0.05)
        order.append("request")

    workers.submit(request, even_if_cancelled=True)
    multipart = Multipart(then=lambda: order.append("abort"))
    scope.fail(SOURCE)
    cleanup = Cleanup(URL, workers, scope, keeps_parts=False)
    assert cleanup.run(SOURCE, cast("MultipartUpload", multipart), None) is None
    assert order == ["request", "abort"]


def test_before_anything_was_begun_no_request_is_waited_for(scope: CancelScope) -> None:
    """As where the check of the destination hangs and the input has failed."""
    workers = WorkerPool(1, scope)
    with CancelScope() as other:
        workers.submit(lambda: other.wait_for(lambda: False, 5.0), even_if_cancelled=True)
        scope.fail(SOURCE)
        begun_s = time.monotonic()
        assert Cleanup(URL, workers, scope, keeps_parts=False).run(SOURCE, None, None) is None
        assert time.monotonic() - begun_s < 2
        other.fail(SOURCE)


def test_requests_that_hang_after_a_signal_are_not_waited_for_long(
    scope: CancelScope, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What they may begin after all cannot be excluded, and is said."""
    monkeypatch.setattr("streamtos3.uploader.cleanup.INTERRUPTED_SETTLE_S", 0.05)
    monkeypatch.setattr("streamtos3.uploader.cleanup.INTERRUPTED_CLEANUP_S", 0.1)
    workers = WorkerPool(1, scope)
    with CancelScope() as other:
        workers.submit(lambda: other.wait_for(lambda: False, 5.0), even_if_cancelled=True)
        first = Interrupted(signal.SIGTERM)
        scope.fail(first)
        cleanup = Cleanup(URL, workers, scope, keeps_parts=False)
        begun_s = time.monotonic()
        assert cleanup.run(first, cast("MultipartUpload", Multipart("")), None) == NO_ID
        assert time.monotonic() - begun_s < 2
        other.fail(SOURCE)


def test_an_abort_that_hangs_is_reported_as_not_done(
    scope: CancelScope, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamtos3.uploader.cleanup._ABORT_S", 0.05)
    with CancelScope() as other:

        def hang() -> None:
            other.wait_for(lambda: False, 5.0)

        assert clean(scope, SOURCE, Multipart(then=hang)) == NOT_ABORTED
        other.fail(SOURCE)


def test_a_system_without_threads_aborts_nothing_and_says_so(
    scope: CancelScope, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("threading.Thread.start", refuse)
    assert clean(scope, SOURCE, Multipart()) == NOT_ABORTED
