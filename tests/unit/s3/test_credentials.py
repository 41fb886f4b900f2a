"""The keyfile: its forms, its mode, and that no secret is ever shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamtos3.errors import CredentialsError
from streamtos3.model.options import Credentials
from streamtos3.s3.credentials import read_keyfile
from tests.rig.support import unless_root

SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYzzz"


def keyfile(directory: Path, content: str | bytes, mode: int = 0o600) -> str:
    path = directory / "keyfile"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    path.chmod(mode)
    return str(path)


@pytest.mark.parametrize(
    "content, expected",
    [
        (f"AKIA:{SECRET}", Credentials("AKIA", SECRET)),
        (f"AKIA:{SECRET}\n", Credentials("AKIA", SECRET)),
        (f"  AKIA:{SECRET}\r\n\n", Credentials("AKIA", SECRET)),
        (f"AKIA:{SECRET}:tok/en==\n", Credentials("AKIA", SECRET, "tok/en==")),
    ],
)
def test_a_keyfile_holds_a_key_a_secret_and_perhaps_a_token(
    tmp_path: Path, content: str, expected: Credentials
) -> None:
    assert expected == read_keyfile(keyfile(tmp_path, content))


@pytest.mark.parametrize(
    "content",
    [
        "",
        "\n",
        "AKIA",
        f":{SECRET}",
        "AKIA:",
        f"AKIA:{SECRET}:",
        f"AKIA:{SECRET}:token:more",
        f"AKIA: {SECRET}",
        f"AKIA:{SECRET}\nAKIB:{SECRET}",
        f"# comment\nAKIA:{SECRET}",
        f"aws_access_key_id = AKIA\naws_secret_access_key = {SECRET}\n",
        b"AKIA:\xff\xfe" + SECRET.encode(),
        b"AKIA:" + SECRET.encode("utf-16"),
        f"AKIA:{SECRET}\x00",
        f"\ufeffAKIA:{SECRET}",
        "A:" + "s" * 70_000,
    ],
)
def test_a_malformed_keyfile_is_refused_without_quoting_it(
    tmp_path: Path, content: str | bytes
) -> None:
    path = keyfile(tmp_path, content)
    with pytest.raises(CredentialsError) as caught:
        read_keyfile(path)
    assert f"the keyfile {path} is malformed" == caught.value.message
    assert "KEY:SECRET" in str(caught.value.hint)
    assert_shows_no_secret(caught.value)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o444, 0o660, 0o777])
def test_a_keyfile_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = keyfile(tmp_path, f"AKIA:{SECRET}", mode)
    with pytest.raises(CredentialsError) as caught:
        read_keyfile(path)
    assert f"the keyfile {path} can be read by others (mode {mode:04o})" == caught.value.message
    assert f"chmod 600 {path}, or --insecure-keyfile if that is meant" == caught.value.hint
    assert_shows_no_secret(caught.value)


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o700])
def test_a_keyfile_of_ones_own_is_read(tmp_path: Path, mode: int) -> None:
    path = keyfile(tmp_path, f"AKIA:{SECRET}", mode)
    assert read_keyfile(path).access_key == "AKIA"


def test_a_keyfile_that_others_can_read_is_taken_if_that_is_meant(tmp_path: Path) -> None:
    path = keyfile(tmp_path, f"AKIA:{SECRET}", 0o644)
    assert read_keyfile(path, allow_insecure=True) == Credentials("AKIA", SECRET)


def test_a_missing_keyfile_is_named(tmp_path: Path) -> None:
    with pytest.raises(CredentialsError) as caught:
        read_keyfile(str(tmp_path / "none"))
    expected = f"cannot read the keyfile {tmp_path}/none: no such file or directory"
    assert expected == caught.value.message


def test_a_directory_is_no_keyfile(tmp_path: Path) -> None:
    with pytest.raises(CredentialsError, match="is a directory"):
        read_keyfile(str(tmp_path))


@unless_root
def test_an_unreadable_keyfile_is_a_matter_of_credentials(tmp_path: Path) -> None:
    with pytest.raises(CredentialsError, match="permission denied"):
        read_keyfile(keyfile(tmp_path, f"AKIA:{SECRET}", 0o000))


def test_credentials_never_show_their_secrets() -> None:
    shown = repr(Credentials("AKIA", SECRET, "token-" + SECRET))
    assert shown == "Credentials(access_key='AKIA')"


def assert_shows_no_secret(error: BaseException) -> None:
    """Neither in the error's own words nor in those of what led to it."""
    seen: BaseException | None = error
    while seen is not None:
        for text in (str(seen), repr(seen), repr(vars(seen))):
            assert SECRET not in text
            assert "AKI" not in text
        seen = seen.__cause__ or seen.__context__
