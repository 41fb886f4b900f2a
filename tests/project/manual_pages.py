"""The manual pages in man/, made from the program: `python -m tests.project.manual_pages`.

Everything in them is what `--help` says, in the groups of `streamtos3.cli.help`, but for the exit
statuses, which are those of docs/guarantees.org. The form is man(7), as mandoc and groff read it.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

import click

from streamtos3 import __version__
from streamtos3.cli.help import Group, grouped_options
from tests.project.commands_page import commands

__all__ = ["MANUALS", "manual_pages"]

ROOT = Path(__file__).parents[2]
MANUALS = ROOT / "man"
_DATE = "2026-11-30"  # of the release that the pages are of
_FILES = """\
.TP
.I \\(ti/.config/streamtos3/config.toml
The destinations of
.BR \\-D ;
another file is named by
.B \\-\\-config
or
.BR STREAMTOS3_CONFIG .
"""
_ENVIRONMENT = """\
.TP
.B STREAMTOS3_\\fIOPTION\\fP
Any option by its long name, such as
.BR STREAMTOS3_ENDPOINT_URL ;
a repeatable one takes one value a line.
.TP
.BR AWS_ACCESS_KEY_ID ", " AWS_SECRET_ACCESS_KEY ", " AWS_PROFILE ", " AWS_ENDPOINT_URL ", ..."
As boto3 reads them.
"""


def manual_pages() -> dict[str, str]:
    """The text of each page by its file's name."""
    return {f"{_name(words)}.1": _page(words, command) for words, command in commands()}


def _name(words: tuple[str, ...]) -> str:
    return "-".join(("streamtos3", *words))


def _page(words: tuple[str, ...], command: click.Command) -> str:
    context = click.Context(command, info_name=" ".join(("streamtos3", *words)))
    first, *paragraphs = _paragraphs(command)
    sections = [
        f'.TH {_name(words).upper()} 1 {_DATE} "streamtos3 {__version__}" "streamtos3 manual"\n',
        f".SH NAME\n{_filled(f'{_name(words)} - ' + first.rstrip('.'))}\n",
        f".SH SYNOPSIS\n{_synopsis(command, context)}",
        f".SH DESCRIPTION\n{_filled(first)}\n{''.join(paragraphs)}",
    ]
    if isinstance(command, click.Group):
        sections.append(f".SH COMMANDS\n{''.join(_commands(words, command, context))}")
    sections.append(f".SH OPTIONS\n{''.join(_options(command, context))}")
    sections.append(f".SH EXIT STATUS\n{''.join(_statuses())}")
    sections += [f".SH ENVIRONMENT\n{_ENVIRONMENT}", f".SH FILES\n{_FILES}"]
    sections.append(f".SH SEE ALSO\n{_see_also(words)}")
    return "".join(sections)


def _paragraphs(command: click.Command) -> list[str]:
    """The first paragraph as text, the others as they stand in a page."""
    first, *others = (command.help or "").strip().split("\n\n")
    return [" ".join(first.split()), *map(_paragraph, others)]


def _paragraph(text: str) -> str:
    lines = [line.strip() if "\b" not in text else line for line in text.strip("\n").split("\n")]
    if "\b" in text:  # an example, which is not filled
        shown = "".join(f"{_plain(line)}\n" for line in lines if line.strip() != "\b")
        return f".PP\n.nf\n{shown}.fi\n"
    return f".PP\n{_filled(' '.join(lines))}\n"


def _synopsis(command: click.Command, context: click.Context) -> str:
    pieces = " ".join(command.collect_usage_pieces(context))
    return f".B {_plain(context.command_path)}\n{_plain(pieces)}\n"


def _commands(words: tuple[str, ...], group: click.Group, context: click.Context) -> Iterator[str]:
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        short = command.get_short_help_str(limit=200)
        yield f".TP\n.BR {_plain(_name((*words, name)))} (1)\n{_filled(short)}\n"


def _options(command: click.Command, context: click.Context) -> Iterator[str]:
    params = command.get_params(context)
    if isinstance(command, Group) or not _has_many(params):
        groups = {"": [each for each in params if isinstance(each, click.Option)]}
    else:
        groups = grouped_options(params)
    for title, options in groups.items():
        if title:
            yield f".SS {_plain(title)}\n"
        for each in options:
            record = each.get_help_record(context)
            if record is not None:
                yield f".TP\n.B {_plain(record[0])}\n{_filled(record[1])}\n"


def _has_many(params: list[click.Parameter]) -> bool:
    """Whether there are more options than those for help."""
    return len([each for each in params if isinstance(each, click.Option)]) > 2


def _statuses() -> Iterator[str]:
    """What docs/guarantees.org lists below its heading."""
    text = (ROOT / "docs" / "guarantees.org").read_text(encoding="utf-8")
    section = text.partition("\n* Exit status\n")[2].partition("\n* ")[0]
    for status, meaning in re.findall(r"^- =?(\S+?)=? :: (.*(?:\n  .*)*)", section, re.MULTILINE):
        yield f".TP\n.B {_plain(status)}\n{_filled(_without_marks(meaning))}\n"


def _without_marks(text: str) -> str:
    text = re.sub(r"\[\[[^]]+\]\[([^]]+)\]\]", r"\1", " ".join(text.split()))
    return re.sub(r"(?<!\w)[=~/*]([^=~/*]+)[=~/*](?!\w)", r"\1", text)


def _see_also(words: tuple[str, ...]) -> str:
    others = [found for found, _ in commands() if found[:1] != words[:1]]
    names = [_name(found) for found in others if len(found) < 2]
    return "".join(f".BR {_plain(name)} (1){',' if name != names[-1] else ''}\n" for name in names)


def _filled(text: str) -> str:
    """`text` in short lines, likewise; where they end does not show."""
    wrapped = textwrap.wrap(text, 70, break_long_words=False, break_on_hyphens=False)
    return _plain("\n".join(wrapped))


def _plain(text: str) -> str:
    """`text` so that no character of it is taken for a request."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("…", "\\&...")
    return re.sub(r"^([.'])", r"\\&\1", text, flags=re.MULTILINE)


if __name__ == "__main__":
    MANUALS.mkdir(exist_ok=True)
    for old in MANUALS.glob("*.1"):
        old.unlink()
    for name, text in manual_pages().items():
        (MANUALS / name).write_text(text, encoding="utf-8")
