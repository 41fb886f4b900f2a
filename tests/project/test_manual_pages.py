"""The manual pages: what the program says, and right as man and mandoc read them."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from tests.project.commands_page import commands
from tests.project.manual_pages import MANUALS, manual_pages

PAGES = manual_pages()
pages = pytest.mark.parametrize("name", PAGES)


def test_they_are_what_the_program_says() -> None:
    """If this fails, run `make docs`."""
    assert {path.name: path.read_text(encoding="utf-8") for path in MANUALS.iterdir()} == PAGES


def test_there_is_one_for_the_program_and_for_each_command() -> None:
    names = ["-".join(("streamtos3", *words)) for words, _ in commands()]
    assert sorted(PAGES) == sorted(f"{name}.1" for name in names)
    assert {"streamtos3.1", "streamtos3-put.1", "streamtos3-uploads-list.1"} <= set(PAGES)


@pytest.mark.skipif(shutil.which("mandoc") is None, reason="mandoc is not installed")
@pages
def test_mandoc_finds_nothing_wrong(name: str) -> None:
    done = subprocess.run(
        ["mandoc", "-Tlint", MANUALS / name], capture_output=True, text=True, timeout=60
    )
    assert (done.stdout, done.returncode) == ("", 0)


@pytest.mark.skipif(shutil.which("man") is None, reason="man is not installed")
@pages
def test_man_shows_it(name: str) -> None:
    done = subprocess.run(
        ["man", "--warnings", "-l", MANUALS / name],
        env={**os.environ, "LC_ALL": "C.UTF-8", "MANPAGER": "cat", "MANWIDTH": "100"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.stderr, done.returncode) == ("", 0)
    shown = " ".join(done.stdout.replace("\u2010", "-").split())
    assert "NAME " + name.removesuffix(".1") + " - " in shown
    assert "EXIT STATUS 0 if and only if" in shown


def test_all_options_are_in_it() -> None:
    for words, command in commands():
        text = PAGES["-".join(("streamtos3", *words)) + ".1"].replace("\\-", "-")
        missing = [name for each in command.params for name in each.opts if name[:2] == "--"]
        assert [name for name in missing if name not in text] == []
