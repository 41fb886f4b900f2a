"""Which objects a directory becomes: one for each file, or one archive of them all.

Every key is known and checked before the first byte is sent.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from ..errors import UsageError
from ..model.names import check_destination_name
from ..sources.base import Source
from ..sources.compressed import CompressedSource
from ..sources.regular_file import WatchedFile
from .tar_source import ArchiveSource, archive_key
from .tree import Tree, Unreadable

__all__ = [
    "Item",
    "OpenItem",
    "Selection",
    "as_some_servers_see",
    "check_key",
    "select_archive",
    "select_batch",
    "select_files",
]


@dataclass(frozen=True)
class OpenItem:
    """An item that is open: `source` is uploaded, `watched` tells afterwards what changed."""

    source: Source
    watched: WatchedFile | ArchiveSource

    @property
    def changed(self) -> bool | tuple[str, ...]:
        """Whether the file changed while it was read; for an archive, the files that did."""
        changed = self.watched.changed
        return changed if isinstance(changed, bool) else tuple(changed)

    @property
    def unreadable(self) -> tuple[Unreadable, ...]:
        """What an archive had to leave out; nothing for a file."""
        return () if isinstance(self.watched, WatchedFile) else tuple(self.watched.unreadable)


@dataclass(frozen=True, slots=True)
class Item:
    """One object to be stored. `size_bytes` is the size when the directory was listed, None for an
    archive.
    """

    path: str
    key: str
    size_bytes: int | None
    opener: Callable[[str], OpenItem]

    def open(self) -> OpenItem:
        """Raises SourceError, and may be called more than once."""
        return self.opener(self.path)


@dataclass(frozen=True)
class Selection:
    """The objects to be made from `directory`, and what in it cannot be read.

    `key` is the prefix of all keys, or the archive's key; `manifest_key` is where the
    specification is to be stored. `is_batch`: others publish the other files of the directory.
    """

    directory: str
    bucket: str
    key: str
    items: tuple[Item, ...]
    unreadable: tuple[Unreadable, ...] = ()
    links_not_followed: int = 0
    manifest_key: str | None = None
    template: str | None = None
    is_batch: bool = False


def select_batch(
    directory: str,
    bucket: str,
    prefix: str,
    files: Sequence[tuple[str, int]],
    *,
    follow_links: bool,
) -> Selection:
    """Files below `directory` that another process has listed and checked: path and size of each.

    `prefix` ends as the keys demand.
    """
    opener = partial(_open_file, directory, follow_links)
    items = tuple(Item(path, prefix + path, size, opener) for path, size in files)
    return Selection(directory, bucket, prefix, items, is_batch=True)


def check_key(bucket: str, path: str, key: str) -> None:
    """UsageError if a file at `path` cannot be published under `key`."""
    try:
        check_destination_name(bucket, key, of_a_file=True)
    except UsageError as error:
        raise UsageError(
            f"cannot publish {path}: {error.message}",
            hint="rename it; in an archive (--archive) any name will do",
        ) from error


def select_files(
    tree: Tree, bucket: str, prefix: str, manifest_key: str | None = None
) -> Selection:
    """Every file under its own path below `prefix`. UsageError if a key is not valid."""
    prefix = prefix + "/" if prefix and not prefix.endswith("/") else prefix
    if prefix:  # it was typed, and is checked more strictly than the name of a file
        check_destination_name(bucket, prefix)
    opener = partial(_open_file, tree.directory, tree.follows_links)  # the tree may be forgotten
    items = [
        Item(each.path, prefix + each.path, each.size_bytes, opener) for each in tree.of("file")
    ]
    items.sort(key=lambda item: os.fsencode(item.path))
    _check_keys(bucket, items)
    _check_manifest(bucket, manifest_key, items)
    return Selection(
        directory=tree.directory,
        bucket=bucket,
        key=prefix,
        items=tuple(items),
        unreadable=tuple(tree.unreadable),
        links_not_followed=sum(1 for _ in tree.of("link")),
        manifest_key=manifest_key,
    )


def select_archive(
    tree: Tree, bucket: str, key: str, codec: str | None, manifest_key: str | None = None
) -> Selection:
    """One tar of everything in the tree, compressed with `codec` if one is given."""
    key = archive_key(key, tree.directory, codec)
    check_destination_name(bucket, key)
    items = (Item(".", key, None, partial(_open_archive, tree, codec)),)
    _check_manifest(bucket, manifest_key, items)
    return Selection(
        directory=tree.directory,
        bucket=bucket,
        key=key,
        items=items,
        unreadable=tuple(tree.unreadable),
        manifest_key=manifest_key,
    )


def _open_file(directory: str, follows_links: bool, path: str) -> OpenItem:
    file = WatchedFile(os.path.join(directory, path), follow_links=follows_links)
    return OpenItem(file, file)


def _open_archive(tree: Tree, codec: str | None, _: str) -> OpenItem:
    archive = ArchiveSource(tree)
    return OpenItem(CompressedSource(archive, codec) if codec else archive, archive)


def _check_keys(bucket: str, items: Iterable[Item]) -> None:
    seen: dict[str, Item] = {}
    for item in items:
        check_key(bucket, item.path, item.key)
        other = seen.setdefault(as_some_servers_see(item.key), item)
        if other is not item:
            raise UsageError(
                f"cannot publish {other.path} and {item.path}: to some services they are one key",
                hint="rename one of them; in an archive (--archive) any name will do",
            )


def _check_manifest(bucket: str, key: str | None, items: Iterable[Item]) -> None:
    if key is None:
        return
    check_destination_name(bucket, key)
    if as_some_servers_see(key) in {as_some_servers_see(item.key) for item in items}:
        raise UsageError(f"the manifest's key {key} is that of a file")


def as_some_servers_see(key: str) -> str:
    """The key that some services take `key` for."""
    # SeaweedFS: a backslash is a slash, and slashes are one.
    return re.sub(r"[/\\]+", "/", key)
