"""What `--dask` sets in motion while the command begins."""

from __future__ import annotations

import gc
import threading

import pytest

from streamtos3.cli.options.cluster import _loading
from tests.rig.process import wait_until


def test_dask_is_loaded_beside_and_what_was_loaded_is_no_garbage_until_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    threads: list[str] = []
    monkeypatch.setattr(
        "streamtos3.cluster.connection.load_dask",
        lambda: threads.append(threading.current_thread().name),
    )
    before = gc.get_threshold()
    with _loading():
        assert gc.get_threshold()[0] > 200_000
        wait_until(lambda: gc.get_freeze_count() > 10_000, lambda: "what was loaded to be frozen")
        assert threads == ["streamtos3-dask"]
    assert gc.get_threshold() == before
    assert gc.get_freeze_count() == 0
