"""What is said is one harmless line; what is printed arrives or is an error."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator

import pytest

from streamtos3.cli.console import (
    escaped,
    is_terminal,
    line,
    print_data,
    print_list,
    redacted,
    say,
)
from streamtos3.errors import ReportError


class Broken(io.TextIOBase):
    """An output that fails as the system would."""

    encoding = "utf-8"

    def __init__(self, error: Exception) -> None:
        self._error = error

    def write(self, text: str) -> int:
        raise self._error

    @property
    def buffer(self) -> Broken:
        return self

    def flush(self) -> None:
        pass


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, höflich, 日本", "plain, höflich, 日本"),
        ("\x1b[2Jgone", "\\x1b[2Jgone"),
        ("two\nlines\r", "two\\nlines\\r"),
        ("\u202etxt.exe", "\\u202etxt.exe"),
        ("a\u2028b\u2029c", "a\\u2028b\\u2029c"),
        ("\udcff", "\\udcff"),
    ],
)
def test_nothing_that_is_said_can_play_with_the_terminal(text: str, shown: str) -> None:
    assert escaped(text) == shown
    assert line(text) == f"streamtos3: {shown}"


def test_a_password_in_an_address_is_not_said() -> None:
    said = line("cannot reach http://me:secret@proxy:3128/ or s3://bkt/a@b")
    assert said == "streamtos3: cannot reach http://***@proxy:3128/ or s3://bkt/a@b"


@pytest.mark.parametrize(
    ("argument", "shown"),
    [
        ("http://me:secret@proxy:3128", "http://***@proxy:3128"),
        ("--proxy=me:secret@proxy:3128", "--proxy=***@proxy:3128"),
        ("me:secret@proxy:3128", "***@proxy:3128"),
        ("s3://bkt/mail@example.org", "s3://bkt/mail@example.org"),
        ("mail@example.org", "mail@example.org"),
    ],
)
def test_a_recorded_argument_holds_no_password(argument: str, shown: str) -> None:
    assert redacted(argument) == shown


@pytest.mark.parametrize("error", [BrokenPipeError(), OSError(28, "full"), ValueError("closed")])
def test_what_cannot_be_said_is_dropped(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    monkeypatch.setattr(sys, "stderr", Broken(error))
    say("nobody listens")


def test_a_standard_error_that_never_was_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    say("nobody listens")


def test_data_is_printed_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    print_data("a\x1bb\n", "thing")
    print_list(["one", "two"], "things")
    print_list([], "things")
    assert capsys.readouterr() == ("a\x1bb\none\ntwo\n", "")


def test_a_character_that_the_output_lacks_is_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    print_data("ü\n", "thing")
    assert raw.getvalue() == b"\\xfc\n"


def test_data_that_cannot_be_printed_is_an_error_that_names_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "stdout", Broken(OSError(28, "No space left on device")))
    with pytest.raises(ReportError, match="cannot print the receipt: no space left on device"):
        print_data("x\n", "receipt")
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(ReportError, match="cannot print the receipt: standard output is closed"):
        print_data("x\n", "receipt")


def test_only_a_list_may_end_before_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """`uploads list | head` is no failure; a receipt that nobody took is one."""
    monkeypatch.setattr(sys, "stdout", Broken(BrokenPipeError(32, "Broken pipe")))
    with pytest.raises(BrokenPipeError):
        print_list(["x"], "uploads")
    with pytest.raises(ReportError):
        print_data("x\n", "receipt")


@pytest.fixture
def terminal() -> Iterator[int]:
    ours, theirs = os.openpty()
    yield theirs
    os.close(ours)
    os.close(theirs)


def test_a_terminal_is_told_from_a_pipe_and_from_nothing(terminal: int) -> None:
    read, write = os.pipe()
    assert is_terminal(terminal) and not is_terminal(read)
    os.close(read)
    os.close(write)
    assert not is_terminal(read)
