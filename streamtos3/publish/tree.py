"""What is below a directory: files, directories and symbolic links, in the same order everywhere.

Each directory comes before what is in it, names in the order of their bytes. What cannot be
read, or is nothing that has content, is listed beside the rest; nothing is left out in silence.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from ..errors import SourceError
from ..runtime.files import os_reason

__all__ = ["Found", "Tree", "Unread", "walk"]

_Kind = Literal["file", "directory", "link"]
_Identity = tuple[int, int]
_NO_CONTENT = (
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISBLK, "a block device"),
    (stat.S_ISCHR, "a character device"),
)


@dataclass(frozen=True)
class Found:
    """Something below the directory; `path` is relative to it, with `/` between its names."""

    path: str
    kind: _Kind
    size_bytes: int = 0


@dataclass(frozen=True)
class Unread:
    """Something below the directory that could not be read, and why."""

    path: str
    reason: str


@dataclass(frozen=True)
class Tree:
    """All that is below `directory`."""

    directory: str
    follows_links: bool
    found: list[Found] = field(default_factory=list)
    unread: list[Unread] = field(default_factory=list)

    def of(self, kind: _Kind) -> Iterator[Found]:
        """What is of this kind."""
        return (each for each in self.found if each.kind == kind)


@dataclass(frozen=True)
class _Pending:
    """An entry that was listed and not looked at yet, below directories of these identities."""

    entry: os.DirEntry[str]
    path: str
    above: frozenset[_Identity]


def walk(directory: str, *, follow_links: bool) -> Tree:
    """Everything below `directory`. SourceError where that itself cannot be listed.

    With `follow_links` a link is what it points to, and one that leads back up is listed as
    unread: following it would never end.
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
            pending += _visited(tree, each)
        except OSError as error:
            tree.unread.append(Unread(each.path, f"cannot read {each.path}: {os_reason(error)}"))
    return tree


def _visited(tree: Tree, each: _Pending) -> list[_Pending]:
    """Add `each` to the tree; what is in it, where it is a directory."""
    if each.entry.is_symlink() and not tree.follows_links:
        tree.found.append(Found(each.path, "link"))
        return []
    status = each.entry.stat(follow_symlinks=tree.follows_links)
    if stat.S_ISREG(status.st_mode):
        tree.found.append(Found(each.path, "file", status.st_size))
    elif stat.S_ISDIR(status.st_mode):
        return _entered(tree, each, _identity(each.entry.stat()))
    else:
        kind = next((what for test, what in _NO_CONTENT if test(status.st_mode)), "no file")
        tree.unread.append(Unread(each.path, f"{each.path} is {kind}, not a regular file"))
    return []


def _entered(tree: Tree, each: _Pending, identity: _Identity) -> list[_Pending]:
    if identity in each.above:
        tree.unread.append(Unread(each.path, f"{each.path} leads back to a directory above it"))
        return []
    tree.found.append(Found(each.path, "directory"))
    above = each.above | {identity} if tree.follows_links else each.above
    return _children(each.entry.path, each.path + "/", above)


def _children(directory: str, prefix: str, above: frozenset[_Identity]) -> list[_Pending]:
    """The entries of a directory, the one to be looked at first at the end."""
    with os.scandir(directory) as entries:
        found = sorted(entries, key=lambda entry: os.fsencode(entry.name), reverse=True)
    return [_Pending(entry, prefix + entry.name, above) for entry in found]


def _identity(status: os.stat_result) -> _Identity:
    return status.st_dev, status.st_ino
