"""The border to Dask: a task whose scheduler goes away, and the TLS of a local cluster."""

from __future__ import annotations

import asyncio
import logging
import os
import queue
import threading
import warnings
from collections.abc import Iterator
from concurrent.futures import CancelledError
from types import SimpleNamespace
from typing import Any

import distributed
import pytest
from distributed.comm import CommClosedError

from streamtos3.cluster.connection import Cluster, _private_security, _quiet
from streamtos3.errors import RetriesUsedUpError


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield loop
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@pytest.mark.parametrize("error", [CancelledError(), CommClosedError("in <TCP (closed)>")])
def test_a_scheduler_that_goes_away_is_one_error_whoever_notices_first(
    loop: asyncio.AbstractEventLoop, error: BaseException
) -> None:
    async def gather(*_: Any, **__: Any) -> Any:
        raise error

    client = SimpleNamespace(
        loop=SimpleNamespace(asyncio_loop=loop),
        submit=lambda *_, **__: SimpleNamespace(release=lambda: None),
        gather=gather,
    )
    delivered: queue.Queue[Any] = queue.Queue()
    Cluster(client, "tcp://127.0.0.1:1").submit(len, (), delivered.put)
    value = delivered.get(timeout=60)
    assert isinstance(value, RetriesUsedUpError)
    assert str(value) == "the connection to the Dask scheduler tcp://127.0.0.1:1 was lost"


@pytest.mark.parametrize("has_files_in_memory", [True, False])
def test_each_role_has_a_certificate_that_openssl_takes(
    monkeypatch: pytest.MonkeyPatch, has_files_in_memory: bool
) -> None:
    """memfd_create is Linux's; elsewhere Dask is given the text."""
    if not has_files_in_memory:
        monkeypatch.delattr(os, "memfd_create", raising=False)
    opened: list[Any] = []
    security = _private_security(distributed, opened)
    for role in ("client", "scheduler", "worker"):
        assert security.get_connection_args(role)["ssl_context"] is not None
    assert len(opened) == (2 if has_files_in_memory else 0)
    for each in opened:
        each.close(0.0)


def test_blocks_that_overlap_restore_what_was_before_the_first() -> None:
    logger = logging.getLogger("distributed")
    before, filters = logger.level, list(warnings.filters)
    first, second = _quiet(), _quiet()
    first.__enter__()
    second.__enter__()
    assert logger.level == logging.CRITICAL
    first.__exit__(None, None, None)
    assert logger.level == logging.CRITICAL
    second.__exit__(None, None, None)
    assert logger.level == before
    assert list(warnings.filters) == filters
