"""Standard input belongs to the stream: whoever else reads descriptor 0 gets nothing of it.

botocore starts a `credential_process` with our descriptors, and asks for an MFA code on standard
input where there is no terminal; both once swallowed thousands of bytes of the stream.
"""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from mypy_boto3_s3.client import S3Client

from tests.rig.process import Running, Store
from tests.rig.seaweed import SeaweedFS
from tests.rig.support import MIB, assert_nothing_left, payload

SIZE = 6 * MIB


@pytest.fixture
def store(seaweed: SeaweedFS, s3: S3Client, bucket: str) -> Store:
    return Store(seaweed, s3, bucket)


@pytest.fixture
def thirsty(seaweed: SeaweedFS, home: Path) -> Path:
    """A profile whose `credential_process` reads standard input to its end; what it got."""
    got = home / "got"
    keys = {
        "Version": 1,
        "AccessKeyId": seaweed.access_key,
        "SecretAccessKey": seaweed.secret_key,
    }
    program = home / "credentials.py"
    program.write_text(
        "import pathlib, sys\n"
        f"pathlib.Path({str(got)!r}).write_bytes(sys.stdin.buffer.read())\n"
        f"print({json.dumps(keys)!r})\n"
    )
    _write_config(home, f"[profile thirsty]\ncredential_process = {sys.executable} {program}\n")
    return got


def _write_config(home: Path, text: str) -> None:
    (home / ".aws").mkdir()
    (home / ".aws" / "config").write_text(text)


def _profile(seaweed: SeaweedFS) -> dict[str, str]:
    """An environment without keys, so that the profile's are asked for."""
    return {"AWS_ENDPOINT_URL_S3": seaweed.endpoint_url, "AWS_DEFAULT_REGION": "us-east-1"}


def test_a_credential_process_gets_nothing_of_the_stream(
    seaweed: SeaweedFS, store: Store, thirsty: Path
) -> None:
    data = payload(SIZE)
    words = ["--profile", "thirsty", "-c", "5MiB", f"s3://{store.bucket}/{store.key}"]
    with Running(*words, env=_profile(seaweed)) as program:
        program.write(data)
        program.end_input()
        assert program.wait() == 0, program.stderr
    assert thirsty.read_bytes() == b""
    assert store.body() == data


def test_a_credential_process_gets_nothing_of_what_the_command_reads(
    seaweed: SeaweedFS, store: Store, thirsty: Path
) -> None:
    data = payload(SIZE)
    words = ["run", "--profile", "thirsty", f"s3://{store.bucket}/{store.key}", "--", "cat"]
    with Running(*words, env=_profile(seaweed)) as program:
        program.write(data)
        program.end_input()
        assert program.wait() == 0, program.stderr
    assert thirsty.read_bytes() == b""
    assert store.body() == data


class TestMfaPrompt:
    """A role that wants a code; moto plays the token service, and S3, where any key will do."""

    @pytest.fixture
    def env(self, home: Path, moto_server: str) -> dict[str, str]:
        _write_config(
            home,
            "[profile base]\naws_access_key_id = base\naws_secret_access_key = secret\n"
            "[profile mfa]\nsource_profile = base\n"
            "role_arn = arn:aws:iam::123456789012:role/backup\n"
            "mfa_serial = arn:aws:iam::123456789012:mfa/somebody\n",
        )
        return {"AWS_ENDPOINT_URL": moto_server, "AWS_DEFAULT_REGION": "us-east-1"}

    def test_without_a_terminal_it_fails_and_takes_no_byte(
        self, env: dict[str, str], moto_s3: S3Client, moto_bucket: str
    ) -> None:
        data = payload(64 * 1024)
        read_fd, write_fd = os.pipe()
        fcntl.fcntl(write_fd, fcntl.F_SETPIPE_SZ, len(data))
        os.write(write_fd, data)
        os.close(write_fd)
        words = ["--profile", "mfa", f"s3://{moto_bucket}/dump"]
        with Running(*words, env=env, stdin=read_fd) as program:
            assert program.wait() == 3, program.stderr
            assert "error: cannot look at" in program.stderr
            assert "an MFA code is needed, and there is no terminal to ask on" in program.stderr
        with open(read_fd, "rb") as rest:
            assert rest.read() == data
        assert_nothing_left(moto_s3, moto_bucket, "dump")

    def test_on_a_terminal_it_asks_there(
        self, env: dict[str, str], moto_s3: S3Client, moto_bucket: str
    ) -> None:
        data = payload(SIZE)
        words = ["--profile", "mfa", f"s3://{moto_bucket}/dump"]
        with Running(*words, env=env, on_terminal=True) as program:
            shown = b""
            while b"MFA code" not in shown:
                shown += os.read(program.terminal, 1024)
            program.type(b"123456\n")
            program.write(data)
            program.end_input()
            assert program.wait() == 0, program.read_terminal()
        assert moto_s3.get_object(Bucket=moto_bucket, Key="dump")["Body"].read() == data


def test_a_closed_standard_input_is_status_7(store: Store) -> None:
    with store.put(prepare=lambda: os.close(0)) as program:
        store.assert_failed(program, 7, "error: cannot read standard input: it is closed\n")


def test_a_standard_input_that_cannot_be_read_is_status_7(store: Store, tmp_path: Path) -> None:
    with open(tmp_path / "file", "wb") as file, store.put(stdin=file.fileno()) as program:
        store.assert_failed(program, 7, "error: cannot read standard input: it is closed\n")


def test_closed_descriptors_are_never_taken_for_the_stream(store: Store) -> None:
    """All three are closed: what we open ourselves must not be read or written in their place."""
    with store.put("-", "--receipt", "/dev/null", prepare=lambda: os.closerange(0, 3)) as program:
        assert program.wait() in (2, 7)
    store.assert_nothing_left()


def test_an_empty_standard_input_is_an_empty_object(store: Store) -> None:
    with store.put(stdin=subprocess.DEVNULL) as program:
        assert program.wait() == 0, program.stderr
    assert store.body() == b""
