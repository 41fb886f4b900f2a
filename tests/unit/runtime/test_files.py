"""A file is there complete or not at all; a secret is read only from a private file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from streamtos3.errors import CredentialsError, os_reason
from streamtos3.runtime.files import NewFile, read_private_file


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


def private_file(path: Path, content: bytes, mode: int = 0o600) -> str:
    path.write_bytes(content)
    path.chmod(mode)
    return str(path)


@pytest.mark.parametrize("size_bytes", [0, 1, 64 * 1024])
def test_a_private_file_is_read_whole(tmp_path: Path, size_bytes: int) -> None:
    path = private_file(tmp_path / "secret", bytes(size_bytes))
    assert read_private_file(path, "secret", "a line") == bytes(size_bytes)


def test_a_private_file_of_absurd_length_is_malformed(tmp_path: Path) -> None:
    path = private_file(tmp_path / "secret", bytes(64 * 1024 + 1))
    with pytest.raises(CredentialsError, match="the secret .* is malformed") as caught:
        read_private_file(path, "secret", "a line")
    assert caught.value.hint == "a line"


def test_the_mode_is_that_of_the_file_that_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A link that names an exposed file by the time of the open, whatever it named before."""
    private = private_file(tmp_path / "private", b"mine")
    exposed = private_file(tmp_path / "exposed", b"theirs", 0o640)
    link = tmp_path / "link"
    link.symlink_to(private)
    real = open

    def swap_then_open(path: str, mode: str) -> object:
        link.unlink()
        link.symlink_to(exposed)
        return real(path, mode)

    monkeypatch.setattr("streamtos3.runtime.files.open", swap_then_open, raising=False)
    with pytest.raises(CredentialsError, match=r"can be read by others \(mode 0640\)"):
        read_private_file(str(link), "secret", "a line")


@pytest.mark.parametrize(
    "error, reason",
    [
        (PermissionError(13, "Permission denied"), "permission denied"),
        (OSError("No Such Thing"), "no such thing"),
        (OSError(), "oserror"),
    ],
)
def test_the_reason_of_a_system_error_is_in_lower_case(error: OSError, reason: str) -> None:
    assert os_reason(error) == reason
