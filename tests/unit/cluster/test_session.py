"""What a worker process remembers of an operation."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from streamtos3.cluster.session import compare_once
from streamtos3.cluster.shared_file import SharedFile
from streamtos3.errors import SourceError


def test_a_file_is_compared_once_in_each_operation(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"one")
    with SharedFile(str(path)) as file:
        identity = file.identify(3)
        compare_once("first", file, identity)
        path.write_bytes(b"two")
        os.utime(path, ns=(identity.mtime_ns or 0,) * 2)
        compare_once("first", file, identity)
        with pytest.raises(SourceError, match="its first part is another one"):
            compare_once("second", file, identity)


def test_a_file_that_takes_its_place_for_a_while_is_told(tmp_path: Path) -> None:
    path, kept = tmp_path / "file", tmp_path / "kept"
    path.write_bytes(b"one")
    shutil.copy2(path, kept)
    with SharedFile(str(path)) as file:
        identity = file.identify(3)
        compare_once("third", file, identity)
    kept.rename(path)
    with (
        SharedFile(str(path)) as other,
        pytest.raises(SourceError, match="changed while it was read"),
    ):
        compare_once("third", other, identity)
