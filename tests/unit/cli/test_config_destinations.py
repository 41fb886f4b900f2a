"""The configuration file: what its settings become, and what is wrong with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamtos3.cli.config.destinations import Destination, default_config_path, read_destinations
from streamtos3.errors import CredentialsError, UsageError


def read(directory: Path, text: str, mode: int = 0o600) -> dict[str, Destination]:
    path = directory / "config.toml"
    path.write_text(text)
    path.chmod(mode)
    return read_destinations(str(path))


def only(directory: Path, settings: str) -> Destination:
    """The destination `d` of bucket `b` with these settings."""
    return read(directory, f'[destination.d]\nbucket = "b"\n{settings}')["d"]


def test_a_bucket_is_enough(tmp_path: Path) -> None:
    assert only(tmp_path, "") == Destination("d", "b", "", {})


@pytest.mark.parametrize("text", ["", "[destination]"])
def test_no_destinations_is_no_error(tmp_path: Path, text: str) -> None:
    assert read(tmp_path, text) == {}


@pytest.mark.parametrize(
    ("settings", "options"),
    [
        ('endpoint = "https://h"', {"endpoint_url": "https://h"}),
        ('ca_file = "/ca.pem"', {"ca_bundle": "/ca.pem"}),
        ('ca_directory = "/ca"', {"ca_bundle": "/ca"}),
        ("verify_tls = true", {"no_verify_ssl": False}),
        ("verify_tls = false", {"no_verify_ssl": True}),
        ("part-size = 7", {"part_size": 7}),
        ('proxy = "http://p:1"', {"proxy": "http://p:1"}),
        ('proxy = "http://p:1"\nproxy_user = "me"', {"proxy": "http://me@p:1"}),
        (
            'proxy = "http://old@p:1"\nproxy_user = "m@e"\nproxy_password = "a:b/c"',
            {"proxy": "http://m%40e:a%3Ab%2Fc@p:1"},
        ),
    ],
)
def test_settings_become_options(tmp_path: Path, settings: str, options: dict[str, object]) -> None:
    assert only(tmp_path, settings).options == options


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("prefix = 1", "names no bucket"),
        ('ca_file = "a"\nca_directory = "b"', "names both ca_file and ca_directory"),
        ('profile = "a"\nkeyfile = "b"', "names both profile and keyfile"),
        ('session_token = "a"', "has a session_token, but no keyfile that it belongs to"),
        ('keyfile = "k"\nsession_token = 1', "session_token is not text"),
        ("proxy_password = 1", "proxy_password is not text"),
        ("endpoint = 1", "endpoint is not text"),
        ("ca_file = 1", "ca_file is not text"),
        ("ca_directory = 1", "ca_directory is not text"),
        ("proxy = 1", "proxy is not text"),
        ("proxy_user = 1", "proxy_user is not text"),
        ('destination = "a"', "sets destination, which no destination has"),
        ('config = "a"', "sets config, which no destination has"),
        ('obj = "a"', "sets obj, which no destination has"),
        ('verify_tls = "no"', "verify_tls is neither true nor false"),
        ('proxy_user = "a"', "proxy_password needs proxy_user, and that needs proxy"),
        ('proxy = "http://p"\nproxy_password = "a"', "proxy_password needs proxy_user"),
        # Of two mistakes the same one is always told.
        ('verify_tls = "no"\nproxy_user = "a"\nobj = "a"', "sets obj"),
        ('verify_tls = "no"\nproxy_user = "a"', "verify_tls is neither"),
    ],
)
def test_what_is_wrong_is_named_with_its_table(tmp_path: Path, settings: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        only(tmp_path, settings)
    assert caught.value.message.startswith(f"[destination.d] of {tmp_path}/config.toml")
    assert message in caught.value.message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[destination.d]", "names no bucket"),
        ('[destination.d]\nbucket = ""', "names no bucket"),
        ("[destination]\nd = 1", "is not a table"),
        ("destination = 1", "holds something other than destinations"),
        ("[other]", "holds something other than destinations"),
        ("[destination.d", "is malformed"),
    ],
)
def test_a_file_of_another_form_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read(tmp_path, text)


def test_a_file_that_is_missing_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read the configuration .*: no such file"):
        read_destinations(str(tmp_path / "none.toml"))


@pytest.mark.parametrize(
    "settings",
    ['proxy_password = "x"', 'session_token = "x"', 'proxy = "http://me:secret@p:1"'],
)
@pytest.mark.parametrize("mode", [0o640, 0o604])
def test_a_secret_that_others_can_read_is_refused(tmp_path: Path, settings: str, mode: int) -> None:
    with pytest.raises(CredentialsError, match="holds secrets of 'd' and can be read by others"):
        read(tmp_path, f'[destination.d]\nbucket = "b"\n{settings}', mode)


def test_a_file_without_secrets_may_be_read_by_others(tmp_path: Path) -> None:
    text = '[destination.d]\nbucket = "b"\nproxy = "http://me@p:1"'
    assert read(tmp_path, text, 0o644)["d"].bucket == "b"


def test_secrets_are_neither_public_nor_in_the_representation(tmp_path: Path) -> None:
    found = only(
        tmp_path,
        'keyfile = "k"\nsession_token = "sec1"\nproxy = "http://p:1"\n'
        'proxy_user = "me"\nproxy_password = "sec2"\nendpoint = "https://u:sec3@h"',
    )
    assert found.public_options == {
        "keyfile": "k",
        "proxy": "http://p:1",
        "endpoint_url": "https://h",
    }
    assert "sec" not in repr(found)


def test_the_file_is_in_the_users_configuration_directory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert default_config_path() == f"{tmp_path}/streamtos3/config.toml"
    monkeypatch.setenv("XDG_CONFIG_HOME", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_config_path() == f"{tmp_path}/.config/streamtos3/config.toml"
