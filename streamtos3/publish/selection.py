"""What of a directory becomes which object: one for each file, or one archive of them all.

All keys are known, and checked, before the first byte is sent.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

from ..errors import UsageError
from ..model.names import check_destination_name
from ..sources.base import Source
from ..sources.compressed import CompressedSource
from ..sources.regular_file import WatchedFile
from .tar_source import ArchiveSource, archive_key
from .tree import Tree, Unread

__all__ = ["Item", "Opened", "Selection", "select_archive", "select_files"]


@dataclass(frozen=True)
class Opened:
    """What an item's bytes are read from, and whom to ask afterwards how it went."""

    source: Source
    watched: WatchedFile | ArchiveSource

    @property
    def changed(self) -> bool | tuple[str, ...]:
        """Whether the file changed while it was read; of an archive, which files did."""
        changed = self.watched.changed
        return changed if isinstance(changed, bool) else tuple(changed)

    @property
    def unread(self) -> tuple[Unread, ...]:
        """What an archive had to leave out."""
        return () if isinstance(self.watched, WatchedFile) else tuple(self.watched.unread)


@dataclass(frozen=True)
class Item:
    """One object to be made. `open_source` raises SourceError, and may be called again.

    `size_bytes` is what was found when the directory was listed, None for an archive.
    """

    path: str
    key: str
    size_bytes: int | None
    open_source: Callable[[], Opened]


@dataclass(frozen=True)
class Selection:
    """All objects to be made of `directory`, and what cannot be read of it.

    `key` is the prefix of all keys, or the archive's key; `manifest_key` where the specification
    is to be stored.
    """

    directory: str
    bucket: str
    key: str
    items: tuple[Item, ...]
    unread: tuple[Unread, ...] = ()
    links_not_followed: int = 0
    manifest_key: str | None = None
    template: str | None = None


def select_files(
    tree: Tree, bucket: str, prefix: str, manifest_key: str | None = None
) -> Selection:
    """Every file under its own path below `prefix`. UsageError where a key will not do."""
    prefix = prefix + "/" if prefix and not prefix.endswith("/") else prefix
    if prefix:  # what somebody typed, which is held to more than the name of a file is
        check_destination_name(bucket, prefix)
    items = [
        Item(each.path, prefix + each.path, each.size_bytes, partial(_open_file, tree, each.path))
        for each in tree.of("file")
    ]
    items.sort(key=lambda item: os.fsencode(item.path))
    _check_keys(bucket, items)
    _check_manifest(bucket, manifest_key, items)
    return Selection(
        directory=tree.directory,
        bucket=bucket,
        key=prefix,
        items=tuple(items),
        unread=tuple(tree.unread),
        links_not_followed=sum(1 for _ in tree.of("link")),
        manifest_key=manifest_key,
    )


def select_archive(
    tree: Tree, bucket: str, key: str, codec: str | None, manifest_key: str | None = None
) -> Selection:
    """One tar of all that the tree lists, compressed where `codec` says how."""
    key = archive_key(key, tree.directory, codec)
    check_destination_name(bucket, key)
    items = (Item(".", key, None, partial(_open_archive, tree, codec)),)
    _check_manifest(bucket, manifest_key, items)
    return Selection(
        directory=tree.directory,
        bucket=bucket,
        key=key,
        items=items,
        unread=tuple(tree.unread),
        manifest_key=manifest_key,
    )


def _open_file(tree: Tree, path: str) -> Opened:
    file = WatchedFile(os.path.join(tree.directory, path), follow_links=tree.follows_links)
    return Opened(file, file)


def _open_archive(tree: Tree, codec: str | None) -> Opened:
    archive = ArchiveSource(tree)
    return Opened(CompressedSource(archive, codec) if codec else archive, archive)


def _check_keys(bucket: str, items: Iterable[Item]) -> None:
    seen: dict[str, Item] = {}
    for item in items:
        try:
            check_destination_name(bucket, item.key, of_a_file=True)
        except UsageError as error:
            raise UsageError(
                f"cannot publish {item.path}: {error.message}",
                hint="rename it; in an archive (--archive) any name will do",
            ) from error
        other = seen.setdefault(_as_some_servers_see(item.key), item)
        if other is not item:
            raise UsageError(
                f"cannot publish {other.path} and {item.path}: to some services they are one key",
                hint="rename one of them; in an archive (--archive) any name will do",
            )


def _check_manifest(bucket: str, key: str | None, items: Iterable[Item]) -> None:
    if key is None:
        return
    check_destination_name(bucket, key)
    if _as_some_servers_see(key) in {_as_some_servers_see(item.key) for item in items}:
        raise UsageError(f"the manifest's key {key} is that of a file")


def _as_some_servers_see(key: str) -> str:
    # SeaweedFS: a backslash is a slash, and slashes are one.
    return re.sub(r"[/\\]+", "/", key)
