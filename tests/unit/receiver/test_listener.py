"""Senders who hold connections leave descriptors for the spool and the uploads."""

from __future__ import annotations

import resource

import pytest

from streamtos3.runtime.host import Descriptors, raise_open_file_limit


@pytest.mark.parametrize(
    ("soft", "hard", "asked", "found"),
    [
        (1024, 4096, 4096, 4096),
        (1024, resource.RLIM_INFINITY, 65536, 65536),
        (1024, 1 << 20, 65536, 65536),
        (1 << 20, 1 << 20, None, 1 << 20),
        (resource.RLIM_INFINITY, resource.RLIM_INFINITY, None, 65536),
    ],
)
def test_a_limit_is_never_lowered(
    soft: int, hard: int, asked: int | None, found: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_to: list[int] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda _, both: set_to.append(both[0]))
    assert raise_open_file_limit() == Descriptors(found)
    assert set_to == ([] if asked is None else [asked])


def test_a_limit_that_may_not_be_raised_is_kept_to(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbid(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(resource, "getrlimit", lambda _: (100, 200))
    monkeypatch.setattr(resource, "setrlimit", forbid)
    assert (raise_open_file_limit(), raise_open_file_limit().for_senders) == (Descriptors(100), 50)
