"""The exception tree: what each error carries on its way to the command line."""

from __future__ import annotations

import errno
import os
import signal
import threading

import pytest

from streamtos3 import errors
from streamtos3.errors import (
    IntegrityError,
    Interrupted,
    InvalidEventError,
    RetriesUsedUpError,
    StreamToS3Error,
    TransientError,
    leave_behind,
    leave_behind_of,
    os_reason,
)


def test_every_exported_error_is_of_the_one_tree() -> None:
    kinds = [each for name in errors.__all__ if isinstance(each := getattr(errors, name), type)]
    for kind in kinds:
        assert issubclass(kind, StreamToS3Error) or kind is Interrupted
        assert kind.__doc__


def test_an_interruption_is_not_swallowed_by_except_exception() -> None:
    assert not issubclass(Interrupted, Exception)
    assert Interrupted(signal.SIGTERM).exit_status == 143
    assert str(Interrupted(signal.SIGTERM)) == "interrupted by SIGTERM"


def test_what_is_left_adds_up() -> None:
    error = IntegrityError("wrong")
    leave_behind(error, "upload 1")
    leave_behind(error, "upload 2")
    assert error.left_behind == "upload 1; upload 2"


def test_what_is_left_is_noted_on_errors_of_any_kind() -> None:
    error = ValueError("a bug")
    leave_behind(error, "upload 1")
    assert vars(error)["left_behind"] == "upload 1"


def test_many_threads_may_leave_something_at_once() -> None:
    error = IntegrityError("wrong")
    threads = [
        threading.Thread(target=leave_behind, args=(error, f"upload {number}"))
        for number in range(50)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert error.left_behind is not None
    assert len(set(error.left_behind.split("; "))) == 50


def test_the_error_that_is_told_also_says_what_others_left() -> None:
    first, later, third = RetriesUsedUpError("1"), RetriesUsedUpError("2"), RetriesUsedUpError("3")
    later.left_behind = "upload 2"
    leave_behind_of(later, first)
    leave_behind_of(third, first)
    leave_behind_of(first, first)
    assert first.left_behind == "upload 2"


@pytest.mark.parametrize(
    ("code", "expected"), [("SlowDown", True), ("Throttling", True), ("InternalError", False)]
)
def test_a_throttling_answer_is_known_by_its_code(code: str, expected: bool) -> None:
    assert TransientError("busy", code=code).throttled is expected


def test_an_event_is_named_by_its_place_and_the_message_is_cut() -> None:
    error = InvalidEventError("x" * 1000, http_status=413).at(3)
    assert error.http_status == 413
    assert error.message.startswith("event 3: xxx")
    assert len(error.message) <= 300


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OSError(errno.EACCES, os.strerror(errno.EACCES), "/f"), "permission denied"),
        (ValueError("Embedded null byte"), "embedded null byte"),
        (OSError(), "oserror"),
    ],
)
def test_the_reason_of_the_system_is_short(error: Exception, expected: str) -> None:
    assert os_reason(error) == expected
