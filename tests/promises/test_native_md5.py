"""The C code for MD5 touches no memory but the messages', and is not needed."""

from __future__ import annotations

import hashlib
import mmap
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COMPILER = shutil.which(os.environ.get("CC", "cc"))
VALGRIND = shutil.which("valgrind")
ARM_COMPILER = shutil.which("aarch64-linux-gnu-gcc")
ARM = shutil.which("qemu-aarch64")
KINDS = ("avx512", "avx2", "sse2", "neon", "plain")
SIZES = [*range(301), *(64 * blocks + near for blocks in (9, 16, 33) for near in (-1, 0, 1, 56))]
_NOT_ON_THIS_PROCESSOR = 77

pytestmark = pytest.mark.slow
needs_compiler = pytest.mark.skipif(COMPILER is None, reason="there is no C compiler")
kinds = pytest.mark.parametrize("kind", KINDS)


def messages() -> list[bytes]:
    """256 messages, in an order in which long and short ones share the lanes."""
    chance = random.Random(7)
    return [chance.randbytes(size) for size in chance.sample(SIZES, 256)]


def compiled(folder: Path, *options: str, compiler: str | None = COMPILER) -> Path:
    """The harness around the code of the extension."""
    assert compiler is not None
    program = folder / "harness"
    source = ROOT / "tests" / "rig" / "md5_harness.c"
    words = [compiler, "-g", *options, "-I", str(ROOT / "native"), str(source), "-o", str(program)]
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode and "sanitize" in " ".join(options) and "lib" in done.stderr:
        pytest.skip(f"the compiler has no sanitizers: {done.stderr.splitlines()[-1]}")
    assert (done.returncode, done.stderr) == (0, "")
    return program


def check(kind: str, shift: int, *command: str | Path) -> None:
    """Run the harness. Skips where the processor has no such kind."""
    given = messages()
    stream = b"".join(len(each).to_bytes(4, sys.byteorder) + each for each in given)
    done = subprocess.run(
        [*map(str, command), kind, str(shift)], input=stream, capture_output=True, timeout=110
    )
    if done.returncode == _NOT_ON_THIS_PROCESSOR:
        pytest.skip(f"the processor, or what emulates it, has no {kind}")
    assert (done.returncode, done.stderr.decode()) == (0, "")
    expected = [hashlib.md5(each).hexdigest() for each in given]
    assert done.stdout.decode().split() == expected


@needs_compiler
@kinds
@pytest.mark.parametrize("shift", [0, 1, 13])
def test_no_sanitizer_complains(kind: str, shift: int, tmp_path: Path) -> None:
    sanitizers = "-fsanitize=address,undefined", "-fno-sanitize-recover=all"
    check(kind, shift, compiled(tmp_path, "-O1", "-Wall", "-Wextra", *sanitizers))


@needs_compiler
@kinds
@pytest.mark.skipif(VALGRIND is None, reason="there is no valgrind")
def test_valgrind_does_not_complain(kind: str, tmp_path: Path) -> None:
    """It also sees memory that was never written; it emulates no AVX-512."""
    valgrind = "valgrind", "--quiet", "--error-exitcode=9", "--leak-check=full"
    check(kind, 3, *valgrind, compiled(tmp_path, "-O2"))


@pytest.mark.skipif(
    not (ARM_COMPILER and ARM), reason="there is no compiler for ARM, or nothing that emulates it"
)
@pytest.mark.parametrize("kind", ["neon", "plain"])
@pytest.mark.parametrize("level", ["-O0", "-O3"])
def test_on_arm(kind: str, level: str, tmp_path: Path) -> None:
    """Debian: gcc-aarch64-linux-gnu, libc6-dev-arm64-cross and qemu-user."""
    options = level, "-static", "-Wall", "-Wextra"
    check(kind, 3, str(ARM), compiled(tmp_path, *options, compiler=ARM_COMPILER))


def test_the_length_of_a_message_needs_more_than_32_bits() -> None:
    """The padding counts bits, and half a GiB has 2**32 of them."""
    lanes = pytest.importorskip("streamtos3._md5lanes", reason="installed without a compiler")
    with mmap.mmap(-1, 513 << 20) as zeros, memoryview(zeros) as view:
        expected = [hashlib.md5(view).digest()] * 2
        for kind, _ in lanes.KINDS:
            assert lanes.digests(kind, [view, view]) == expected


def build(folder: Path, compiler: str) -> Sequence[Path]:
    """What is built of the extension, in a copy of the sources."""
    pytest.importorskip("setuptools")
    for name in ("setup.py", "setup.cfg", "pyproject.toml", "README.org", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    for name in ("native", "streamtos3"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("*.so"))
    subprocess.run(
        [sys.executable, "setup.py", "--quiet", "build"],
        cwd=folder,
        env={**os.environ, "CC": compiler},
        check=True,
        capture_output=True,
    )
    return list((folder / "build").rglob("*.so"))


def test_the_package_is_built_without_a_compiler(tmp_path: Path) -> None:
    assert build(tmp_path, "/bin/false") == []
    assert list((tmp_path / "build").rglob("streamtos3/integrity/md5.py"))


@needs_compiler
def test_the_extension_fits_any_later_python(tmp_path: Path) -> None:
    """Of Python 3.10 it is its own, because buffers came into the limited API with 3.11."""
    assert COMPILER is not None
    [library] = build(tmp_path, COMPILER)
    if sys.version_info >= (3, 11):
        assert library.name == "_md5lanes.abi3.so"
