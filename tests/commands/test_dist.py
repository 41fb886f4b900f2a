"""`make dist`: the wheel and the source archive install in a fresh environment, and work there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from streamtos3 import __version__
from tests.project.manual_pages import manual_pages
from tests.rig.command import account
from tests.rig.seaweed import SeaweedFS

ROOT = Path(__file__).parents[2]
MADE_HERE = shutil.ignore_patterns(
    *(".git", ".venv", "build", "dist", "*.egg-info", "__pycache__", "*.so", ".*_cache"),
    ".hypothesis",
)
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `make dist` makes, of a copy: building writes beside the sources."""
    source = tmp_path_factory.mktemp("source") / "tree"
    shutil.copytree(ROOT, source, ignore=MADE_HERE)
    made = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "build", "--outdir", made, source],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return made


@pytest.mark.parametrize("pattern", ["*.whl", "*.tar.gz"])
def test_it_installs_and_passes_its_own_check(
    pattern: str, archives: Path, tmp_path: Path, seaweed: SeaweedFS, bucket: str
) -> None:
    (archive,) = archives.glob(pattern)
    assert archive.name.startswith(f"streamtos3-{__version__}")
    fresh = tmp_path / "fresh"
    subprocess.run([sys.executable, "-m", "venv", fresh], check=True)
    pip = [str(fresh / "bin" / "python"), "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, "--disable-pip-version-check", archive], check=True)
    program = str(fresh / "bin" / "streamtos3")
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [program, "check", "--write", f"s3://{bucket}/"],
        cwd=tmp_path,
        env={**env, **account(seaweed)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert ": 14 ok, 1 warning, 0 failed" in done.stderr
    shown = subprocess.run(
        [program, "--version"], cwd=tmp_path, env=env, capture_output=True, text=True, check=True
    )
    assert shown.stdout == f"streamtos3 {__version__}\n"
    pages = (fresh / "share" / "man" / "man1").iterdir()
    assert {path.name for path in pages} == set(manual_pages())


def test_what_the_archives_hold(archives: Path) -> None:
    (wheel,) = archives.glob("*.whl")
    with zipfile.ZipFile(wheel) as opened:
        names = opened.namelist()
    assert "streamtos3/py.typed" in names
    assert [name for name in names if name.startswith(("tests/", "bench/"))] == []
    (source,) = archives.glob("*.tar.gz")
    with tarfile.open(source) as opened_source:
        inside = {name.partition("/")[2] for name in opened_source.getnames()}
    wanted = "SECURITY.org CONTRIBUTING.org CHANGELOG.org LICENSE Makefile man/streamtos3.1"
    wanted += " contrib/lifecycle.json contrib/systemd/streamtos3-sink.service docs/recipes.org"
    assert set(wanted.split()) - inside == set()
