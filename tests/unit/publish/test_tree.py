"""What is below a directory: all of it, in one order, and what cannot be read is not hidden."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from streamtos3.errors import SourceError
from streamtos3.publish.tree import TreeEntry, walk


def paths(directory: Path, *, follow_links: bool = False) -> list[str]:
    return [each.path for each in walk(str(directory), follow_links=follow_links).entries]


def test_directories_come_before_what_is_in_them_and_names_in_the_order_of_their_bytes(
    tmp_path: Path,
) -> None:
    for name in ("b", "a/z", "a/B", "a-b", "Z", "é", "a/c/d", "\U0001f600", "a b"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    expected = ["Z", "a", "a/B", "a/c", "a/c/d", "a/z", "a b", "a-b", "b", "é", "\U0001f600"]
    assert paths(tmp_path) == expected


def test_what_things_are_and_how_large(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    (tmp_path / "dir").mkdir()
    (tmp_path / "link").symlink_to("file")
    assert walk(str(tmp_path), follow_links=False).entries == [
        TreeEntry("dir", "directory"),
        TreeEntry("file", "file", 5),
        TreeEntry("link", "link"),
    ]
    assert walk(str(tmp_path), follow_links=True).entries[2] == TreeEntry("link", "file", 5)


def test_a_name_that_is_not_utf8_is_found(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"\xff")).write_bytes(b"")
    assert [os.fsencode(each) for each in paths(tmp_path)] == [b"\xff"]


def test_directories_behind_links_are_entered_only_when_links_are_followed(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "f").write_bytes(b"")
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "link").symlink_to("../outside")
    assert paths(inside) == ["link"]
    assert paths(inside, follow_links=True) == ["link", "link/f"]


def test_a_link_that_leads_back_up_ends_and_is_named(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "loop").symlink_to("../..")
    (tmp_path / "self").symlink_to("self")
    (tmp_path / "twice").symlink_to("a/b")
    tree = walk(str(tmp_path), follow_links=True)
    assert [each.path for each in tree.entries] == ["a", "a/b", "twice"]
    assert [(each.path, each.reason) for each in tree.unreadable] == [
        ("a/b/loop", "a/b/loop leads back to a directory above it"),
        ("self", "cannot read self: too many levels of symbolic links"),
        ("twice/loop", "twice/loop leads back to a directory above it"),
    ]


def test_a_link_to_nothing_is_named_when_it_is_to_be_followed(tmp_path: Path) -> None:
    (tmp_path / "broken").symlink_to("nothing")
    (unreadable,) = walk(str(tmp_path), follow_links=True).unreadable
    assert unreadable.reason == "cannot read broken: no such file or directory"
    assert walk(str(tmp_path), follow_links=False).unreadable == []


def test_what_has_no_content_is_named_and_never_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        (tmp_path / "tty").symlink_to("/dev/null")
        tree = walk(str(tmp_path), follow_links=True)
    assert tree.entries == []
    assert [each.reason for each in tree.unreadable] == [
        "fifo is a named pipe, not a regular file",
        "socket is a socket, not a regular file",
        "tty is a character device, not a regular file",
    ]


def test_a_deep_tree_is_walked(tmp_path: Path) -> None:
    deeper = [str(tmp_path) + "/d" * depth for depth in range(1, 1201)]
    for each in deeper:
        os.mkdir(each)
    assert len(paths(tmp_path)) == 1200
    for each in reversed(deeper):  # too deep for pytest's own cleaning up
        os.rmdir(each)


def test_the_directory_itself_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "f").write_bytes(b"")
    (tmp_path / "link").symlink_to("real")
    assert paths(tmp_path / "link") == ["f"]


@pytest.mark.parametrize(
    "name, reason",
    [("missing", "no such file or directory"), ("file", "not a directory"), ("a\0b", "null")],
)
def test_what_cannot_be_listed_is_an_error_of_the_input(
    tmp_path: Path, name: str, reason: str
) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(SourceError, match=reason):
        walk(str(tmp_path / name), follow_links=False)
