"""One file or another, changed or not."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from streamtos3.cluster.shared_file import SharedFile
from streamtos3.errors import SourceError

DATA = bytes(range(250)) * 8


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(DATA)
    return path


def test_any_range_is_read(path: Path) -> None:
    with SharedFile(str(path)) as file:
        view = memoryview(bytearray(500))
        file.read_into(view, 300)
        assert bytes(view) == DATA[300:800]
        assert file.size_bytes == len(DATA)


def test_a_range_beyond_the_end_means_that_it_is_shorter_now(path: Path) -> None:
    with SharedFile(str(path)) as file, pytest.raises(SourceError, match="it is shorter now"):
        file.read_into(memoryview(bytearray(10)), len(DATA) - 5)


@pytest.mark.parametrize("size", [0, 1, 99, 100, 101, 2000])
def test_the_same_file_is_the_same(tmp_path: Path, size: int) -> None:
    path = tmp_path / "other"
    path.write_bytes(DATA[:size])
    with SharedFile(str(path)) as file:
        identity = file.identify(100)
        file.check_same(identity)
        file.check_unchanged(identity)
    with SharedFile(str(path)) as again:
        again.check_same(identity)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda data: data + b"x", "it has 2001 bytes instead of 2000"),
        (lambda data: b"x" + data[1:], "its first part is another one"),
        (lambda data: data[:-1] + b"x", "its last part is another one"),
    ],
)
def test_another_file_of_that_name_is_told(
    path: Path, change: Callable[[bytes], bytes], said: str
) -> None:
    with SharedFile(str(path)) as file:
        identity = file.identify(100)
    path.write_bytes(change(DATA))
    with SharedFile(str(path)) as other, pytest.raises(SourceError, match=said):
        other.check_same(identity)


def test_on_one_machine_device_and_inode_tell_and_nothing_is_read(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def preadv(*_: object) -> int:
        raise AssertionError("read")

    monkeypatch.setattr(os, "preadv", preadv)
    with SharedFile(str(path)) as file, SharedFile(str(path)) as again:
        identity = file.identify(None)
        again.check_same(identity)
        again.check_unchanged(identity)
    copy = path.with_suffix(".copy")
    shutil.copy2(path, copy)
    copy.rename(path)
    with (
        SharedFile(str(path)) as other,
        pytest.raises(SourceError, match="it is another file of this name"),
    ):
        other.check_same(identity)


def test_a_copy_that_differs_in_the_middle_has_another_time(path: Path) -> None:
    with SharedFile(str(path)) as file:
        identity = file.identify(100)
    path.write_bytes(DATA[:1000] + b"x" + DATA[1001:])
    os.utime(path, ns=(1, 1))
    with SharedFile(str(path)) as other, pytest.raises(SourceError, match="at another time"):
        other.check_same(identity)


@pytest.mark.parametrize(
    "change",
    [
        lambda path: os.utime(path, (1, 1)),
        lambda path: path.unlink(),
        lambda path: os.truncate(path, 5),
        lambda path: (path.rename(path.with_suffix(".old")), path.write_bytes(DATA)),
    ],
    ids=["touched", "removed", "shorter", "replaced"],
)
def test_a_change_while_it_is_open_is_told(path: Path, change: Callable[[Path], object]) -> None:
    with SharedFile(str(path)) as file:
        identity = file.identify(100)
        change(path)
        with pytest.raises(SourceError, match="changed while it was read"):
            file.check_unchanged(identity)


def test_what_is_read_is_noted_in_pieces(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamtos3.cluster.shared_file._READ_BYTES", 200)
    noted: list[bytes] = []
    with SharedFile(str(path)) as file:
        file.read_into(memoryview(bytearray(500)), 300, lambda piece: noted.append(bytes(piece)))
    assert noted == [DATA[300:500], DATA[500:700], DATA[700:800]]
