"""docs/commands.org, made from the program: `python -m tests.project.commands_page` writes it anew.

An option that several commands share is described once, in a group; a command names the groups that
it takes. An option whose help differs from the group's is described with its command, so nothing
that the page says of a group is untrue of one of its commands.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

import click

from streamtos3.cli import program
from streamtos3.cli.help import GROUPS

__all__ = ["COMMANDS", "commands", "page"]

COMMANDS = Path(__file__).parents[2] / "docs" / "commands.org"
_WIDTH = 100
_JOINED = "\0"
_LONG_NAME = re.compile(r"--[a-z0-9-]+")
_INTRODUCTION = """\
#+title: Commands and options

# This page is made by `make docs` from the program itself; do not edit it.

- A word that begins with =s3://= is the destination, any other is the input; with =-D= the last
  word is the key. A first word that is not a command belongs to =put=.
- Every option can be set in the environment as =STREAMTOS3_= and its long name
  (=STREAMTOS3_ENDPOINT_URL=, =STREAMTOS3_RETRY_FOR=), the same for all commands; a repeatable
  option takes one value a line there.
- Standard output carries only receipts, reports and what =get= and =--tee= write; all messages go
  to standard error.
- Options that several commands share are described once, in the groups at the end.
"""


def commands() -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command with the words that call it, the program itself first."""
    pending: list[tuple[tuple[str, ...], click.Command]] = [((), program)]
    while pending:
        words, command = pending.pop(0)
        yield words, command
        if isinstance(command, click.Group):
            context = click.Context(command)
            for name in command.list_commands(context):
                found = command.get_command(context, name)
                assert found is not None
                pending.append(((*words, name), found))


Record = tuple[str, str]


def page() -> str:
    """The whole page, as org text."""
    shared = _shared_records()
    sections = [_command(words, command, shared) for words, command in commands()]
    groups = [
        f"** {title}\n\n#+begin_example\n{_columns(list(records.values()))}#+end_example\n"
        for title, records in shared.items()
    ]
    return "\n".join(
        [_INTRODUCTION, "* Commands\n", *sections, "* Options that commands share\n", *groups]
    )


def _records(words: tuple[str, ...], command: click.Command) -> dict[str, Record]:
    """What `--help` says of each option, by click's name for it."""
    context = click.Context(command, info_name=" ".join(["streamtos3", *words]))
    found = {}
    for each in command.get_params(context):
        record = each.get_help_record(context)
        if isinstance(each, click.Option) and record and each.name and "help" not in each.name:
            found[each.name] = record
    return found


def _shared_records() -> dict[str, dict[str, Record]]:
    """By group and option, the description that most commands have, where at least two share it."""
    seen: dict[str, list[Record]] = {}
    for words, command in commands():
        for name, record in _records(words, command).items():
            seen.setdefault(name, []).append(record)
    groups = {}
    for title, names in GROUPS.items():
        usual = {name: max(seen[name], key=seen[name].count) for name in names.split()}
        shared = {name: record for name, record in usual.items() if seen[name].count(record) > 1}
        if shared:
            groups[title] = shared
    return groups


def _command(
    words: tuple[str, ...], command: click.Command, shared: dict[str, dict[str, Record]]
) -> str:
    name = " ".join(["streamtos3", *words])
    context = click.Context(command, info_name=name)
    formatter = click.HelpFormatter(width=_WIDTH)
    command.format_usage(context, formatter)
    command.format_help_text(context, formatter)
    records = _records(words, command)
    taken = [
        title
        for title, group in shared.items()
        if any(records.get(option) == record for option, record in group.items())
    ]
    common = {option: record for group in shared.values() for option, record in group.items()}
    own = [record for option, record in records.items() if common.get(option) != record]
    text = f"** =streamtos3{''.join(f' {word}' for word in words)}=\n\n#+begin_example\n"
    text += _lines(formatter.getvalue())
    if isinstance(command, click.Group):
        listed = click.HelpFormatter(width=_WIDTH)
        command.format_commands(context, listed)
        text += "\n" + _lines(listed.getvalue())
    if own:
        text += f"\nOptions:\n{_columns(own)}"
    text += "#+end_example\n"
    if taken:
        links = (_taken(title, shared[title], records) for title in taken)
        said = f"Shared options: {', '.join(links)}."
        filled = textwrap.fill(said, _WIDTH, break_on_hyphens=False)
        text += f"\n{filled.replace(_JOINED, ' ')}\n"
    return text


def _taken(title: str, group: dict[str, Record], records: dict[str, Record]) -> str:
    """A link to a group of shared options, with what a command takes of it where not all."""
    # Unbroken, because a link whose text is broken at a line's end is no link.
    link = f"[[*{title}][{title}]]".replace(" ", _JOINED)
    absent = [record for name, record in group.items() if name not in records]
    present = [record for name, record in group.items() if records.get(name) == record]
    if not absent:
        return link
    word, few = ("only", present) if len(present) < len(absent) else ("without", absent)
    names = ", ".join(f"={_LONG_NAME.findall(record[0])[0]}=" for record in few)
    return f"{link} ({word} {names})"


def _columns(records: list[Record]) -> str:
    formatter = click.HelpFormatter(width=_WIDTH)
    with formatter.indentation():
        formatter.write_dl(records)
    return _lines(formatter.getvalue())


def _lines(text: str) -> str:
    return "".join(f"{line.rstrip()}\n" for line in text.strip("\n").splitlines())


if __name__ == "__main__":
    COMMANDS.write_text(page(), encoding="utf-8")
