"""The input: every way it can be given, fail, end, or keep silent."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from streamtos3.runtime.cancel import CancelScope
from streamtos3.sources.base import Source
from streamtos3.sources.open import open_file
from tests.rig.support import payload, running_as_root

LONG_S = 60.0


@pytest.fixture
def scope() -> Iterator[CancelScope]:
    with CancelScope() as scope:
        yield scope


def read_all(source: Source, scope: CancelScope, step_bytes: int = 7) -> bytes:
    view = memoryview(bytearray(step_bytes))
    pieces = []
    while count := source.readinto(view, scope):
        pieces.append(bytes(view[:count]))
    return b"".join(pieces)


# Descriptors


# Files


@pytest.fixture
def block_device(tmp_path: Path) -> Iterator[str]:
    """A loop device of 1 MiB, where the machine lets us make one."""
    losetup = shutil.which("losetup")
    if not running_as_root or losetup is None:
        pytest.skip("only root can make a loop device")
    image = tmp_path / "image"
    image.write_bytes(payload(1 << 20))
    made = subprocess.run(
        [losetup, "--find", "--show", str(image)], capture_output=True, text=True, check=False
    )
    if made.returncode:
        pytest.skip(f"no loop device: {made.stderr.strip()}")
    yield made.stdout.strip()
    subprocess.run([losetup, "--detach", made.stdout.strip()], check=True)


def test_the_length_of_a_block_device_is_known(block_device: str, scope: CancelScope) -> None:
    source = open_file(block_device)
    assert source.length_bytes == 1 << 20
    assert read_all(source, scope, 65536) == payload(1 << 20)
    source.close()


# Python objects


# What the library accepts


# Standard input, each in a process of its own

TAKE = """
import os, subprocess, sys
from streamtos3.errors import SourceError, UsageError
from streamtos3.runtime.cancel import CancelScope
from streamtos3.sources.open import take_standard_input
"""


def run_python(program: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", TAKE + program],
        capture_output=True,
        text=True,
        timeout=LONG_S,
        check=False,
        **options,
    )


def test_standard_input_is_ours_alone_and_a_child_reads_nothing_of_it() -> None:
    """A credential_process inherits descriptor 0 and was measured to swallow the stream."""
    done = run_python(
        """
source = take_standard_input()
child = subprocess.run(["cat"], stdout=subprocess.PIPE, close_fds=False)
view = memoryview(bytearray(100))
read = source.readinto(view, CancelScope())
print(child.stdout, bytes(view[:read]), os.readlink("/proc/self/fd/0"))
""",
        input="the stream",
    )
    assert done.stdout == "b'' b'the stream' /dev/null\n", done.stderr


def test_standard_input_that_is_a_file_has_a_length(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    with path.open("rb") as file:
        file.seek(4)
        os.lseek(file.fileno(), 4, os.SEEK_SET)
        done = run_python("print(take_standard_input().length_bytes)", stdin=file)
    assert done.stdout == "6\n", done.stderr


def test_closed_standard_input_is_said_so() -> None:
    program = """
try:
    take_standard_input()
except SourceError as error:
    print(error.message)
"""
    done = run_python(program, preexec_fn=lambda: os.close(0))
    assert done.stdout == "cannot read standard input: it is closed\n", done.stderr


def test_a_directory_as_standard_input_is_said_so(tmp_path: Path) -> None:
    program = f"""
os.dup2(os.open({str(tmp_path)!r}, os.O_RDONLY), 0)
try:
    take_standard_input()
except SourceError as error:
    print(error.message)
"""
    done = run_python(program)
    assert done.stdout == "cannot read standard input: it is a directory\n", done.stderr


def test_the_stream_never_lands_on_the_number_of_a_closed_standard_output(
    tmp_path: Path,
) -> None:
    program = f"""
os.close(1); os.close(2)
source = take_standard_input()
with open({str(tmp_path / "fd")!r}, "w") as file:
    print(source._fd >= 3, file=file)
    view = memoryview(bytearray(10))
    print(bytes(view[: source.readinto(view, CancelScope())]), file=file)
os._exit(0)
"""
    run_python(program, input="data")
    assert (tmp_path / "fd").read_text() == "True\nb'data'\n"


def test_descriptor_0_is_taken_as_standard_input() -> None:
    program = """
from streamtos3.sources.open import as_source
print(as_source(0).name, os.readlink("/proc/self/fd/0"))
"""
    assert run_python(program, input="x").stdout == "standard input /dev/null\n"


# What is nearly a source
