"""What is below a directory: files, directories and symbolic links, in the same order everywhere.

Each directory comes before what is in it, names in the order of their bytes. What cannot be
read, or has no content (a socket, a device), is listed apart; nothing is left out silently.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from ..errors import SourceError, os_reason

__all__ = ["TreeEntry", "Tree", "Unreadable", "iterate", "walk"]

_Kind = Literal["file", "directory", "link"]
_Identity = tuple[int, int]
_NO_CONTENT = (
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISBLK, "a block device"),
    (stat.S_ISCHR, "a character device"),
)


@dataclass(frozen=True, slots=True)
class TreeEntry:
    """Something below the directory; `path` is relative to it, with `/` between its names."""

    path: str
    kind: _Kind
    size_bytes: int = 0


@dataclass(frozen=True)
class Unreadable:
    """Something below the directory that could not be read, and why."""

    path: str
    reason: str


@dataclass(frozen=True)
class Tree:
    """Everything below `directory`: `entries` that can be published, and what is `unreadable`."""

    directory: str
    follows_links: bool
    entries: list[TreeEntry] = field(default_factory=list)
    unreadable: list[Unreadable] = field(default_factory=list)

    def of(self, kind: _Kind) -> Iterator[TreeEntry]:
        """The entries of this kind."""
        return (each for each in self.entries if each.kind == kind)


@dataclass(frozen=True, slots=True)
class _Pending:
    """A listed entry that is still to be visited; `above` are the directories it is in."""

    entry: os.DirEntry[str]
    path: str
    above: frozenset[_Identity]


def iterate(directory: str, *, follow_links: bool) -> Iterator[TreeEntry | Unreadable]:
    """Everything below `directory`, one after the other: only open directories are in memory.

    SourceError if the directory itself cannot be listed. With `follow_links`, a link counts as what
    it points to; one that leads back to a directory above it comes as unreadable, since following
    it would never end.
    """
    tree = Tree(directory, follow_links)
    try:
        status = os.stat(directory)
        pending = _children(directory, "", frozenset([_identity(status)]))
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        raise SourceError(f"cannot read {directory}: {os_reason(error)}") from error
    while pending:
        each = pending.pop()
        try:
            pending += _visit(tree, each)
        except OSError as error:
            yield Unreadable(each.path, f"cannot read {each.path}: {os_reason(error)}")
        yield from tree.entries
        yield from tree.unreadable
        tree.entries.clear()
        tree.unreadable.clear()


def walk(directory: str, *, follow_links: bool) -> Tree:
    """All that `iterate` finds below `directory`, at once. Raises as it does."""
    tree = Tree(directory, follow_links)
    for each in iterate(directory, follow_links=follow_links):
        if isinstance(each, Unreadable):
            tree.unreadable.append(each)
        else:
            tree.entries.append(each)
    return tree


def _visit(tree: Tree, each: _Pending) -> list[_Pending]:
    """Add `each` to the tree; returns the entries in it if it is a directory."""
    if each.entry.is_symlink() and not tree.follows_links:
        tree.entries.append(TreeEntry(each.path, "link"))
        return []
    status = each.entry.stat(follow_symlinks=tree.follows_links)
    if stat.S_ISREG(status.st_mode):
        tree.entries.append(TreeEntry(each.path, "file", status.st_size))
    elif stat.S_ISDIR(status.st_mode):
        return _enter(tree, each, _identity(each.entry.stat()))
    else:
        kind = next((name for test, name in _NO_CONTENT if test(status.st_mode)), "special")
        tree.unreadable.append(Unreadable(each.path, f"{each.path} is {kind}, not a regular file"))
    return []


def _enter(tree: Tree, each: _Pending, identity: _Identity) -> list[_Pending]:
    """Add a directory to the tree; returns the entries in it."""
    if identity in each.above:
        tree.unreadable.append(
            Unreadable(each.path, f"{each.path} leads back to a directory above it")
        )
        return []
    tree.entries.append(TreeEntry(each.path, "directory"))
    above = each.above | {identity} if tree.follows_links else each.above
    return _children(each.entry.path, each.path + "/", above)


def _children(directory: str, prefix: str, above: frozenset[_Identity]) -> list[_Pending]:
    """The entries of a directory, the first to be visited last, where `pop` takes it."""
    with os.scandir(directory) as entries:
        ordered = sorted(entries, key=lambda entry: os.fsencode(entry.name), reverse=True)
    return [_Pending(entry, prefix + entry.name, above) for entry in ordered]


def _identity(status: os.stat_result) -> _Identity:
    return status.st_dev, status.st_ino
