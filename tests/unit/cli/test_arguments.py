"""A command's arguments as one value, and what no command may forget."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from streamtos3.cli import program
from streamtos3.cli.arguments import arguments, build
from streamtos3.cli.options.common import connection_options, quiet_options
from streamtos3.receipts.file import write_receipt
from tests.rig.made_receipts import receipt_of


@dataclass(frozen=True)
class Inner:
    a: int
    b: str | None = None


@dataclass(frozen=True)
class Outer:
    c: bool
    inner: Inner


def test_a_value_is_built_from_the_options_of_its_groups() -> None:
    values: dict[str, Any] = {"a": 1, "c": True, "rest": 0}
    assert build(Outer, values) == Outer(True, Inner(1, None))
    assert values == {"rest": 0}


def test_an_option_that_is_missing_is_a_mistake_of_ours() -> None:
    with pytest.raises(KeyError, match="a"):
        build(Outer, {"c": True})


def test_an_option_without_a_field_is_a_mistake_of_ours() -> None:
    @click.command()
    @click.option("--a", type=int, default=1)
    @click.option("--stray", default="")
    @arguments(Inner)
    def command(args: Inner) -> None:
        raise AssertionError(args)

    with pytest.raises(AssertionError, match="Inner has no field for stray"):
        CliRunner().invoke(command, [], catch_exceptions=False)


def leaves() -> Iterator[tuple[str, click.Command]]:
    """Every command that does something, with the words that call it."""
    pending: list[tuple[str, click.Command]] = [("", program)]
    while pending:
        words, command = pending.pop(0)
        if not isinstance(command, click.Group):
            yield words.strip(), command
            continue
        context = click.Context(command)
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            pending.append((f"{words} {name}", found))


def commands_with(option: str) -> list[str]:
    return [
        words for words, command in leaves() if any(option in each.opts for each in command.params)
    ]


ARGUMENTS = {
    "put": ["s3://bkt/k", "{file}"],
    "run": ["s3://bkt/k", "--", "true"],
    "sink": ["s3://bkt/p"],
    "publish": ["{directory}", "s3://bkt/p/"],
    "get": ["s3://bkt/k", "{new}"],
    "verify": ["s3://bkt/k"],
    "receipt verify": ["{receipt}", "--object"],
    "check": ["s3://bkt/"],
    "uploads list": ["s3://bkt/"],
    "uploads abort": ["s3://bkt/", "--dry-run"],
}


def test_all_commands_that_talk_to_s3_are_tried_here() -> None:
    assert sorted(ARGUMENTS) == sorted(commands_with("--no-verify-ssl"))
    assert sorted(ARGUMENTS) == sorted(commands_with("--debug"))


def invoked(words: str, tmp_path: Path, *options: str) -> str:
    """What the command says before the dead endpoint is given up."""
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "directory").mkdir()
    (tmp_path / "directory" / "file").write_bytes(b"x")
    write_receipt(receipt_of([1]), str(tmp_path / "receipt"))
    names = {name: str(tmp_path / name) for name in ("file", "directory", "new", "receipt")}
    rest = [each.format(**names) for each in ARGUMENTS[words]]
    keyfile = tmp_path / "keys"
    keyfile.write_text("KEY:SECRET\n")
    keyfile.chmod(0o600)
    dead = ["--endpoint-url", "https://127.0.0.1:1", "-k", str(keyfile), "-r", "1", "-s", "0"]
    line = [*words.split(), *options, *dead, *rest]
    return CliRunner().invoke(program, line, prog_name="streamtos3").stderr


@pytest.mark.parametrize("words", ARGUMENTS)
def test_no_verify_ssl_warns_whatever_the_command(words: str, tmp_path: Path) -> None:
    """`sink` once did not, because the warning was copied into every command but that one."""
    said = invoked(words, tmp_path, "--no-verify-ssl")
    assert said.count("warning: --no-verify-ssl: anyone on the way can read and change") == 1


@pytest.mark.parametrize("words", ARGUMENTS)
def test_debug_starts_the_debug_log_whatever_the_command(
    words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[bool] = []
    monkeypatch.setattr("streamtos3.cli.debug_log.start_debug_log", lambda: started.append(True))
    said = invoked(words, tmp_path, "--debug")
    assert started == [True]
    assert "--no-verify-ssl" not in said


def test_without_these_options_nothing_is_done() -> None:
    @dataclass(frozen=True)
    class Args:
        a: int

    @click.command()
    @click.option("--a", type=int, default=1)
    @arguments(Args)
    def command(args: Args) -> None:
        click.echo(args.a)

    assert CliRunner().invoke(command, []).stdout == "1\n"
    assert callable(connection_options) and callable(quiet_options)
