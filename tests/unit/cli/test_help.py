"""Help: short and full, in groups, and the nearest name for one that does not exist."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from streamtos3.cli import program
from streamtos3.cli.help import GROUPS, Command, grouped_options, nearest
from tests.project.commands_page import commands

ALL = [(words, command) for words, command in commands() if isinstance(command, Command)]
each_command = pytest.mark.parametrize(
    ("words", "command"), ALL, ids=["-".join(words) for words, _ in ALL]
)


def run(*words: str) -> Result:
    return CliRunner().invoke(program, list(words), prog_name="streamtos3", terminal_width=100)


def titles(shown: str) -> list[str]:
    return re.findall(r"^(\S.*):$", shown, re.MULTILINE)


def test_every_command_has_the_two_kinds_of_help() -> None:
    names = {words for words, command in commands() if not isinstance(command, click.Group)}
    assert {words for words, _ in ALL} == names


@each_command
def test_every_option_is_in_a_group(words: tuple[str, ...], command: click.Command) -> None:
    """If this fails, name the option in its group in streamtos3/cli/help.py."""
    assert "Options" not in grouped_options(command.params)


def test_no_option_is_in_two_groups_and_none_is_unknown() -> None:
    names = [name for group in GROUPS.values() for name in group.split()]
    assert len(set(names)) == len(names)
    known = {each.name for _, command in ALL for each in command.params}
    assert set(names) - known == set()


@each_command
def test_the_short_help_fits_a_screen(words: tuple[str, ...], command: click.Command) -> None:
    shown = run(*words, "-h")
    assert (shown.exit_code, shown.stderr) == (0, "")
    assert len(shown.stdout.splitlines()) <= 24
    assert shown.stdout.startswith(f"Usage: streamtos3 {' '.join(words)} ")


def test_the_short_help_of_put_has_ten_options_and_says_where_the_others_are() -> None:
    shown = run("put", "-h").stdout
    assert titles(shown) == ["The most used options"]
    assert len(re.findall(r"^  (?:-., )?--", shown, re.MULTILINE)) == 10
    assert re.search(r"^All \d\d options: streamtos3 put --help$", shown, re.MULTILINE)


def test_the_full_help_of_put_is_in_groups() -> None:
    shown = titles(run("put", "--help").stdout)
    assert shown[-1] == "Help"
    assert [title for title in GROUPS if title in shown] == shown[:-1]
    eight = "Input, Parts and memory, Proof, Receipt and evidence, Object settings, Connection"
    assert {*eight.split(", "), "Retries", "Output"} <= set(shown)


@each_command
def test_the_options_of_a_group_are_in_its_order(
    words: tuple[str, ...], command: click.Command
) -> None:
    for title, options in grouped_options(command.params).items():
        names = GROUPS[title].split()
        shown = [each.name for each in options]
        assert shown == [name for name in names if name in shown]


@pytest.mark.parametrize("words", [["run"], ["uploads", "list"], ["get"], ["uploads"], []])
def test_help_of_a_command_is_its_own_full_help(words: list[str]) -> None:
    helped, asked = run("help", *words), run(*words, "--help")
    assert helped.exit_code == asked.exit_code == 0
    assert helped.stdout == asked.stdout


@pytest.mark.parametrize(
    ("words", "error", "hint"),
    [
        (
            ["put", "--expct-size", "1"],
            "no such option --expct-size",
            "did you mean --expect-size?",
        ),
        (["get", "--no-progres"], "no such option --no-progres", "did you mean --no-progress?"),
        (["--verion"], "no such option --verion", "did you mean --version?"),
        (["put", "--verfy"], "no such option --verfy", "did you mean --verify?"),
        (
            ["version"],
            "'version' is neither a command nor a file",
            "did you mean streamtos3 --version?",
        ),
        (
            ["completion"],
            "missing argument '{bash|zsh|fish}': one of bash, zsh, fish",
            "see streamtos3 completion --help",
        ),
        (["--overwrit", "x"], "no such option --overwrit", "did you mean --overwrite?"),
        (["put", "--xyzzy"], "no such option --xyzzy", "see streamtos3 put --help"),
        (["put", "-Z"], "no such option -Z", "see streamtos3 put --help"),
        (["uploads", "lst"], "streamtos3 uploads has no command 'lst'", "did you mean list?"),
        (["help", "gte"], "streamtos3 has no command 'gte'", "did you mean get?"),
        (["help", "put", "it"], "streamtos3 put has no command 'it'", "see streamtos3 put --help"),
        (
            ["pubish", "dir", "s3://bucket/key"],
            "'pubish' is neither a command nor a file",
            "did you mean streamtos3 publish?",
        ),
    ],
)
def test_a_mistyped_line_is_told_the_nearest(words: list[str], error: str, hint: str) -> None:
    said = run(*words)
    assert said.exit_code == 2
    first, second = said.stderr.splitlines()
    assert first == f"streamtos3: error: {error}"
    assert second.startswith(f"streamtos3: hint: {hint}")


def test_a_file_that_is_called_like_a_command_is_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "puts").write_text("x")
    assert "too many arguments" in run("puts", "more", "s3://bucket/key").stderr


@pytest.mark.parametrize(
    ("words", "environment"),
    [(["puts", "-D", "backup"], {}), (["puts"], {"STREAMTOS3_DESTINATION": "backup"})],
)
def test_with_a_named_destination_the_word_is_a_key(
    words: list[str], environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert "cannot read the configuration" in run(*words).stderr


def test_what_is_near() -> None:
    assert nearest("publsh", ["put", "publish"]) == "publish"
    assert nearest("disk.img", ["put", "publish"]) is None
