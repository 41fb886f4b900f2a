"""The directory in memory: gone with the run, and one that a killed program left with the next."""

from __future__ import annotations

import os
from pathlib import Path

from streamtos3.cluster.run_directory import RunDirectory


def test_it_is_there_until_it_is_closed(tmp_path: Path) -> None:
    directory = RunDirectory(str(tmp_path))
    assert directory.path is not None
    (Path(directory.path) / "dask").mkdir()
    directory.close(0)
    assert list(tmp_path.iterdir()) == []


def test_that_of_a_program_that_runs_is_left_alone(tmp_path: Path) -> None:
    first = RunDirectory(str(tmp_path))
    second = RunDirectory(str(tmp_path))
    assert {str(each) for each in tmp_path.iterdir()} == {first.path, second.path}
    first.close(0)
    second.close(0)


def test_that_of_a_program_that_was_killed_is_removed(tmp_path: Path) -> None:
    killed = RunDirectory(str(tmp_path))
    os.close(killed._fd)  # as the system does
    (left,) = tmp_path.iterdir()
    directory = RunDirectory(str(tmp_path))
    assert [str(each) for each in tmp_path.iterdir()] == [directory.path] != [str(left)]
    directory.close(0)


def test_what_is_not_such_a_directory_stays(tmp_path: Path) -> None:
    (tmp_path / "another").mkdir()
    (tmp_path / "streamtos3-file").write_text("")
    (tmp_path / "streamtos3-link").symlink_to(tmp_path / "another")
    RunDirectory(str(tmp_path)).close(0)
    assert sorted(os.listdir(tmp_path)) == ["another", "streamtos3-file", "streamtos3-link"]


def test_a_system_without_such_a_place(tmp_path: Path) -> None:
    directory = RunDirectory(str(tmp_path / "none"))
    assert directory.path is None
    directory.close(0)
