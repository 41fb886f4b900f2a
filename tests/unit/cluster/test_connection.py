"""The TLS of a local cluster, in a file in memory where the system has such."""

from __future__ import annotations

import os
from typing import Any

import pytest

from streamtos3.cluster.connection import _private_security

distributed = pytest.importorskip("distributed", reason="Dask is not installed")


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
