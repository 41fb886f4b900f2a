"""What is taken out of the options before they travel, and that nothing shows it."""

from __future__ import annotations

import pickle
from dataclasses import replace

import pytest

from streamtos3.cluster import secrets as module
from streamtos3.cluster.address import parse_address
from streamtos3.cluster.credentials import secrets_to_send, with_read_keyfile
from streamtos3.cluster.secrets import Secrets, accept_secrets, forget_secrets, split_options
from streamtos3.errors import CredentialsError, UsageError
from streamtos3.model.object_settings import ObjectSettings
from streamtos3.model.options import Connection, Credentials, Options

REMOTE = parse_address("tcp://host:1")
TEMPORARY = Credentials("AKID", "a-secret", "a-token")
FULL = Options(
    connection=Connection(credentials=TEMPORARY, proxy="http://u:password@h:1", profile="p"),
    settings=ObjectSettings(sse_c_key=b"k" * 32),
)
WORDS = (b"a-secret", b"a-token", b"password", b"kkkk")


def test_options_that_travel_hold_no_secret_and_get_them_back() -> None:
    openly, secrets = split_options(FULL)
    assert not [word for word in WORDS if word in pickle.dumps(openly)]
    assert secrets.put_into(openly) == FULL


def test_secrets_show_nothing() -> None:
    _, secrets = split_options(FULL)
    shown = f"{secrets!r} {secrets}"
    assert not [word for word in WORDS if word.decode() in shown]
    assert not secrets.are_none
    assert Secrets().are_none


def test_a_proxy_without_a_password_is_no_secret() -> None:
    plain = Options(connection=Connection(proxy="http://h:1"))
    assert split_options(plain) == (plain, Secrets())


def test_elsewhere_nothing_is_sent_unless_asked_for() -> None:
    with pytest.raises(UsageError, match="credentials of the keyfile would have to be sent"):
        secrets_to_send(REMOTE, FULL, sends=False)
    for part in (
        Options(settings=ObjectSettings(sse_c_key=b"k" * 32)),
        Options(connection=Connection(proxy="http://u:p@h:1")),
    ):
        with pytest.raises(UsageError, match="would have to be sent"):
            secrets_to_send(REMOTE, part, sends=False)
    plain = Options(connection=Connection(profile="p"))
    assert secrets_to_send(REMOTE, plain, sends=False) == (plain, Secrets())


def test_this_machines_processes_are_sent_what_they_cannot_find() -> None:
    openly, secrets = secrets_to_send(parse_address("local:2"), FULL, sends=False)
    assert secrets.credentials == TEMPORARY
    assert openly.connection.profile is None


def test_permanent_credentials_are_never_sent() -> None:
    permanent = Connection(endpoint_url="http://h:1", credentials=Credentials("AKID", "s"))
    with pytest.raises(CredentialsError, match="permanent credentials are not sent"):
        secrets_to_send(REMOTE, Options(connection=permanent), sends=True)


def test_temporary_credentials_of_the_environment_are_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKID")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-secret")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "a-token")
    _, secrets = secrets_to_send(REMOTE, Options(), sends=True)
    assert secrets.credentials == TEMPORARY


def test_a_keyfile_that_is_a_pipe_is_read_once(tmp_path_factory: pytest.TempPathFactory) -> None:
    import os

    read_fd, write_fd = os.pipe()
    os.write(write_fd, b"AKID:a-secret:a-token\n")
    os.close(write_fd)
    try:
        path = f"/proc/self/fd/{read_fd}"
        given = Options(connection=Connection(keyfile=path, insecure_keyfile=True))
        found = with_read_keyfile(given)
    finally:
        os.close(read_fd)
    assert found.connection.credentials == TEMPORARY
    assert found.connection.keyfile is None


def test_tasks_wait_for_the_secrets_and_give_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_WAIT_S", 0.01)
    with pytest.raises(CredentialsError, match="did not arrive"):
        module.wait_for_secrets("operation")
    newer = replace(Secrets(credentials=TEMPORARY), proxy="p")
    accept_secrets("operation", newer)
    assert module.wait_for_secrets("operation") == newer
    forget_secrets("operation")
    with pytest.raises(CredentialsError):
        module.wait_for_secrets("operation")
