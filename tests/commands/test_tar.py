"""The archive: it unpacks to what was there, whoever unpacks it and whatever happened meanwhile."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from streamtos3.publish.tar_source import ArchiveSource
from streamtos3.publish.tree import walk
from streamtos3.runtime.cancel import CancelScope
from tests.rig.support import MIB, payload

ODD_NAMES = (
    *(
        "a",
        "-dash",
        "with space",
        "line\nbreak",
        "tab\there",
        "é",
        "\U0001f600",
        "*?",
        "back\\slash",
    ),
    *("{template}", "x" * 200, "d/" + "y" * 200, "d/e/" + "ü" * 100, "plus+%20", "'\"<>&"),
)


def source_of(directory: Path, *, follow_links: bool = False) -> ArchiveSource:
    return ArchiveSource(walk(str(directory), follow_links=follow_links))


def read(source: ArchiveSource, view_bytes: int = 1 << 16) -> bytes:
    view = memoryview(bytearray(view_bytes))
    pieces = []
    with CancelScope() as scope:
        source.start()
        while count := source.readinto(view, scope):
            pieces.append(bytes(view[:count]))
        source.finish(scope)
        source.close()
    return b"".join(pieces)


def contents(directory: Path) -> dict[str, object]:
    """Everything below a directory that an archive has to bring back."""
    found: dict[str, object] = {}
    for path in sorted(directory.rglob("*")):
        status = path.lstat()
        name = os.fsencode(path.relative_to(directory))
        what = (
            os.readlink(path)
            if path.is_symlink()
            else path.read_bytes()
            if path.is_file()
            else "directory"
        )
        mtime = status.st_mtime_ns if not path.is_symlink() else None
        found[os.fsdecode(name)] = (what, status.st_mode, status.st_uid, mtime)
    return found


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A directory with odd names, sizes around a block, links and empty directories."""
    directory = tmp_path / "results"
    directory.mkdir()
    for number, name in enumerate(ODD_NAMES):
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(payload(number * 7))
        os.utime(path, ns=(10**18, 10**18 + number * 12_345_679))
    (directory / os.fsdecode(b"latin-\xe9")).write_bytes(b"latin")
    for size_bytes in (0, 1, 511, 512, 513, 10240, 3 * MIB + 1):
        (directory / f"size{size_bytes}").write_bytes(payload(size_bytes))
    (directory / "empty" / "deeper").mkdir(parents=True)
    (directory / "link").symlink_to("a")
    (directory / "broken").symlink_to("no\nthing")
    (directory / "read-only").write_bytes(b"r")
    (directory / "read-only").chmod(0o444)
    return directory


def test_tar_unpacks_what_was_there(results: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    packed = read(source_of(results))
    done = subprocess.run(
        ["tar", "-xpf", "-", "-C", tmp_path / "out"], input=packed, capture_output=True, check=True
    )
    # What says that a name is not UTF-8; GNU tar needs no telling.
    told = done.stderr.replace(b"tar: Ignoring unknown extended header keyword 'hdrcharset'\n", b"")
    assert told == b""
    assert contents(tmp_path / "out") == contents(results)
