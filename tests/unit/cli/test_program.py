"""Each error becomes one message and one exit status."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from streamtos3.cli import program
from streamtos3.cli.commands import etag as etag_module
from streamtos3.errors import (
    ExistsError,
    Interrupted,
    ReportError,
    SourceError,
    StreamToS3Error,
    UsageError,
)


@pytest.fixture
def failing_with(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Result]:
    """Runs `etag` as if it ended with the given error."""

    def run(error: BaseException) -> Result:
        def fail(**_: object) -> None:
            raise error

        monkeypatch.setattr(etag_module.etag, "callback", fail)
        return CliRunner().invoke(program, ["etag", "file"], prog_name="streamtos3")

    return run


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (UsageError("no good"), 2),
        (ExistsError("no good"), 6),
        (SourceError("no good"), 7),
        (ReportError("no good"), 11),
        (StreamToS3Error("no good"), 1),
    ],
)
def test_an_error_of_ours_is_one_line_and_its_own_status(
    failing_with: Callable[..., Result], error: StreamToS3Error, status: int
) -> None:
    result = failing_with(error)
    assert (result.exit_code, result.stderr) == (status, "streamtos3: error: no good\n")
    assert result.stdout == ""


def test_what_is_left_and_what_to_do_follow_the_error(failing_with: Callable[..., Result]) -> None:
    result = failing_with(SourceError("no good", hint="try again", left_behind="upload 7"))
    assert result.stderr.splitlines() == [
        "streamtos3: error: no good",
        "streamtos3: left behind: upload 7",
        "streamtos3: hint: try again",
    ]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_is_its_shell_status(failing_with: Callable[..., Result], number: int) -> None:
    result = failing_with(Interrupted(number))
    assert result.exit_code == 128 + number
    assert signal.Signals(number).name in result.stderr


@pytest.mark.parametrize("error", [KeyboardInterrupt(), click.Abort()])
def test_an_interrupt_that_click_or_python_raises_is_sigint(
    failing_with: Callable[..., Result], error: BaseException
) -> None:
    result = failing_with(error)
    assert result.exit_code == 130
    assert result.stderr.strip() == "streamtos3: error: interrupted by SIGINT"


def test_a_reader_that_left_is_told_nothing(failing_with: Callable[..., Result]) -> None:
    result = failing_with(BrokenPipeError())
    assert (result.exit_code, result.output) == (141, "")


def test_an_error_of_click_keeps_its_status_and_names_the_help() -> None:
    result = CliRunner().invoke(program, ["etag", "--nonsense"], prog_name="streamtos3")
    assert result.exit_code == 2
    error, hint = result.stderr.splitlines()
    assert error.startswith("streamtos3: error: no such option") and "--nonsense" in error
    assert not error.endswith(".")
    assert hint == "streamtos3: hint: see streamtos3 etag --help"


def test_an_unexpected_error_is_called_a_bug_and_tells_what_is_left(
    failing_with: Callable[..., Result],
) -> None:
    error = RuntimeError("odd")
    error.left_behind = "upload 7"  # type: ignore[attr-defined]
    result = failing_with(error)
    assert result.exit_code == 1
    assert result.stderr.splitlines() == [
        "streamtos3: error: unexpected RuntimeError: odd",
        "streamtos3: left behind: upload 7",
        "streamtos3: hint: this is a bug; please report it with the output of the same command"
        " and --debug",
    ]


def test_a_first_word_that_is_no_command_belongs_to_put() -> None:
    result = CliRunner().invoke(program, ["--chunksize", "nonsense"], prog_name="streamtos3")
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1] == "streamtos3: hint: see streamtos3 put --help"
