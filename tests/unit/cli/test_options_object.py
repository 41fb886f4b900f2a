"""The options of an object, as far as no service is needed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from streamtos3.cli.options.common import ConnectionArgs
from streamtos3.cli.options.object import customer_key
from streamtos3.errors import CredentialsError

KEY = bytes(range(32))


def connection(*, insecure_keyfile: bool = False) -> ConnectionArgs:
    return ConnectionArgs(
        keyfile=None,
        insecure_keyfile=insecure_keyfile,
        profile=None,
        region=None,
        endpoint_url=None,
        addressing="auto",
        ca_bundle=None,
        no_verify_ssl=False,
        proxy=None,
    )


def key_file(directory: Path, mode: int, content: bytes = KEY) -> Path:
    path = directory / f"key-{mode:o}"
    path.write_bytes(content)
    path.chmod(mode)
    return path


def test_the_key_is_what_the_file_holds(tmp_path: Path) -> None:
    assert customer_key(None, connection()) is None
    assert customer_key(str(key_file(tmp_path, 0o600)), connection()) == KEY


def test_the_file_that_is_read_is_the_one_whose_mode_is_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The path was checked, then opened: it could name another file by then."""
    private, exposed = key_file(tmp_path, 0o600), key_file(tmp_path, 0o644)
    real = os.stat
    monkeypatch.setattr(os, "stat", lambda path, **more: real(private, **more))
    with pytest.raises(CredentialsError, match=r"can be read by others \(mode 0644\)"):
        customer_key(str(exposed), connection())


def test_an_exposed_key_is_taken_where_that_is_meant(tmp_path: Path) -> None:
    exposed = str(key_file(tmp_path, 0o644))
    assert customer_key(exposed, connection(insecure_keyfile=True)) == KEY


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_key_of_another_length_is_refused(tmp_path: Path, size: int) -> None:
    path = str(key_file(tmp_path, 0o600, bytes(size)))
    with pytest.raises(CredentialsError, match=f"has {size} bytes; a key has 32"):
        customer_key(path, connection())
