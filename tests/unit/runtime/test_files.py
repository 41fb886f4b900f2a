"""A file is there under its name complete, or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from streamtos3.runtime.files import NewFile


def test_it_has_no_name_before_it_is_published(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with NewFile(str(path)) as file:
        os.write(file.fd, b"content")
        assert not path.exists()
        file.publish(str(path), replace=False)
    assert path.read_bytes() == b"content"
    assert os.listdir(tmp_path) == ["file"]


def test_what_was_not_published_is_removed(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), NewFile(str(tmp_path / "file")):
        raise ZeroDivisionError
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("links", [True, False])
def test_a_taken_name_stays_taken_unless_it_may_be_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    """Also where the file system knows no hard links."""

    def refuse(*names: str) -> None:
        raise PermissionError(1, "Operation not permitted")

    if not links:
        monkeypatch.setattr(os, "link", refuse)
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(FileExistsError), NewFile(str(path)) as file:
        file.publish(str(path), replace=False)
    assert path.read_text() == "old"
    with NewFile(str(path)) as file:
        os.write(file.fd, b"new")
        file.publish(str(path), replace=True)
    assert path.read_text() == "new"
    with NewFile(str(path)) as file:
        file.publish(str(tmp_path / "other"), replace=False)
    assert sorted(os.listdir(tmp_path)) == ["file", "other"]


def test_it_works_in_the_current_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with NewFile("file") as file:
        file.publish("file", replace=False)
    assert os.listdir(tmp_path) == ["file"]
