"""A file source that detects changes made while it is read."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from streamtos3.errors import SourceError
from streamtos3.runtime.cancel import CancelScope
from streamtos3.sources.regular_file import WatchedFile


def replace_file(path: Path) -> None:
    """Another file of the same size and time under the same name."""
    status = path.stat()
    other = path.with_name("other")
    other.write_bytes(path.read_bytes())
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.replace(path)


def read_with(path: Path, change: Callable[[Path], object]) -> bool:
    """Whether a change between the first byte and the end was detected."""
    source = WatchedFile(str(path), follow_links=False)
    with CancelScope() as scope:
        source.start()
        assert source.readinto(memoryview(bytearray(8)), scope) == 5
        change(path)
        source.finish(scope)
    source.close()
    return source.changed


@pytest.mark.parametrize(
    "change",
    [
        lambda path: path.write_bytes(b"longer than it was"),
        lambda path: os.utime(path, ns=(0, 1)),
        lambda path: path.unlink(),
        replace_file,
    ],
    ids=["size", "time", "removed", "replaced"],
)
def test_a_change_is_detected(tmp_path: Path, change: Callable[[Path], object]) -> None:
    (tmp_path / "a").write_bytes(b"bytes")
    assert read_with(tmp_path / "a", change)


def test_a_file_that_stays_as_it_is_has_not_changed(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"bytes")
    assert not read_with(tmp_path / "a", lambda path: path.read_bytes())


def test_a_link_is_refused_unless_links_are_followed(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"bytes")
    (tmp_path / "link").symlink_to("a")
    with pytest.raises(SourceError, match="cannot read"):
        WatchedFile(str(tmp_path / "link"), follow_links=False)
    source = WatchedFile(str(tmp_path / "link"), follow_links=True)
    assert source.status.st_size == 5
    source.close()


def test_a_pipe_is_refused_without_waiting_for_its_writer(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SourceError, match="it is not a regular file"):
        WatchedFile(str(tmp_path / "pipe"), follow_links=False)
