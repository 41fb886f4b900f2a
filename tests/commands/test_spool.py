"""The spool: what a crash, or a disk, can do to it, and what of it is found again."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamtos3.sink.spool import Spool

LIMIT = 1 << 20


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    spool = Spool(str(tmp_path / "spool"), LIMIT)
    yield spool
    spool.close()


def test_one_spool_is_for_one_process(spool: Spool) -> None:
    program = (
        "import sys; from streamtos3.sink.spool import Spool\n"
        "from streamtos3.errors import UsageError\n"
        "try: Spool(sys.argv[1], 1)\n"
        "except UsageError as error: print(error.message)"
    )
    command = [sys.executable, "-c", program, spool.directory]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    assert said == f"the spool {spool.directory} is used by another process\n"
