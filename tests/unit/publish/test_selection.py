"""Which keys the files of a directory get, and which keys are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamtos3.errors import SourceError, UsageError
from streamtos3.publish.selection import select_archive, select_files
from streamtos3.publish.tree import Tree, TreeEntry, Unreadable, walk


def tree_of(*paths: str) -> Tree:
    """A tree of files that need not exist."""
    return Tree("d", follows_links=False, entries=[TreeEntry(path, "file", 1) for path in paths])


@pytest.mark.parametrize("prefix", ["runs/7", "runs/7/"])
def test_a_prefix_ends_with_one_slash(prefix: str) -> None:
    selection = select_files(tree_of("a", "b/c"), "bucket", prefix)
    assert selection.key == "runs/7/"
    assert [item.key for item in selection.items] == ["runs/7/a", "runs/7/b/c"]


def test_an_empty_prefix_adds_nothing() -> None:
    assert [item.key for item in select_files(tree_of("a"), "bucket", "").items] == ["a"]


def test_items_are_in_the_order_of_the_bytes_of_their_paths() -> None:
    selection = select_files(tree_of("ä", "b", "a/z", "a-"), "bucket", "")
    assert [item.path for item in selection.items] == ["a-", "a/z", "b", "ä"]


def test_links_are_counted_and_what_is_unreadable_is_kept() -> None:
    tree = tree_of("a")
    tree.entries.extend(
        [TreeEntry("l", "link"), TreeEntry("m", "link"), TreeEntry("s", "directory")]
    )
    tree.unreadable.append(Unreadable("x", "cannot read x"))
    selection = select_files(tree, "bucket", "")
    assert (len(selection.items), selection.links_not_followed) == (1, 2)
    assert selection.unreadable == (Unreadable("x", "cannot read x"),)


@pytest.mark.parametrize(("one", "other"), [("a\\b", "a/b"), ("a//b", "a/b")])
def test_two_files_that_some_services_store_under_one_key_are_refused(one: str, other: str) -> None:
    with pytest.raises(UsageError, match="to some services they are one key"):
        select_files(tree_of(one, other), "bucket", "")


def test_a_manifest_may_not_take_the_key_of_a_file() -> None:
    with pytest.raises(UsageError, match="the manifest's key p/a is that of a file"):
        select_files(tree_of("a"), "bucket", "p", "p/a")
    with pytest.raises(UsageError, match=r"the manifest's key k\.tar is that of a file"):
        select_archive(tree_of("a"), "bucket", "k", None, "k.tar")


def test_an_archive_is_one_item_of_unknown_size() -> None:
    selection = select_archive(tree_of("a", "b"), "bucket", "p/", "gzip")
    (item,) = selection.items
    assert (item.path, item.key, item.size_bytes) == (".", "p/d.tar.gz", None)
    assert selection.key == item.key


def test_an_item_can_be_opened_more_than_once_until_its_file_is_gone(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    (item,) = select_files(walk(str(tmp_path), follow_links=False), "bucket", "").items
    for _ in range(2):
        open_item = item.open()
        assert (open_item.changed, open_item.unreadable) == (False, ())
        open_item.source.close()
    (tmp_path / "a").unlink()
    with pytest.raises(SourceError, match="no such file"):
        item.open()
