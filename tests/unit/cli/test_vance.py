"""The reference sink's configuration is read as it is, and what is wrong in it is named."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from streamtos3.cli.config.vance import VanceSettings, names_a_bucket, read_vance
from streamtos3.errors import CredentialsError, UsageError
from streamtos3.model.options import Credentials

# As its sources have it, but for the placeholder of the bucket.
REFERENCE_CONFIG = """{
  "region": "us-west-2",
  "v_port": "8080",
  "v_target": "http://127.0.0.1:8080",
  "bucketName": "mybucket",
  "flushSize": "60",
  "scheduledInterval": "120",
  "timeInterval": "HOURLY"
}"""
ACCESS_KEY, SECRET_KEY = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def config(directory: Path, content: str | dict[str, Any]) -> str:
    path = directory / "config.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(path)


def secret(directory: Path, content: str | dict[str, Any] | None = None, mode: int = 0o600) -> str:
    usual = {"awsAccessKeyID": encoded(ACCESS_KEY), "awsSecretAccessKey": encoded(SECRET_KEY)}
    path = directory / "secret.json"
    shown = usual if content is None else content
    path.write_text(shown if isinstance(shown, str) else json.dumps(shown))
    path.chmod(mode)
    return str(path)


def test_the_files_of_the_reference_are_read_as_they_are(tmp_path: Path) -> None:
    expected = VanceSettings(
        bucket="mybucket",
        region="us-west-2",
        port=8080,
        flush_count=60,
        flush_interval_s=120,
        partition="hourly",
        credentials=Credentials(ACCESS_KEY, SECRET_KEY),
    )
    assert expected == read_vance(config(tmp_path, REFERENCE_CONFIG), secret(tmp_path), {})


def test_numbers_may_be_numbers(tmp_path: Path) -> None:
    found = read_vance(
        config(tmp_path, {"v_port": 9, "flushSize": 7, "timeInterval": "DAILY"}), None, {}
    )
    assert VanceSettings(port=9, flush_count=7, partition="daily") == found


def test_what_is_not_set_stays_open(tmp_path: Path) -> None:
    empty = {"region": "", "bucketName": None, "flushSize": "0", "scheduledInterval": -1}
    assert VanceSettings() == read_vance(config(tmp_path, empty), None, {})
    assert VanceSettings() == read_vance(None, None, {})


@pytest.mark.parametrize("capitals", [str, str.upper])
def test_the_environment_has_the_same_names_and_wins_over_the_files(
    capitals: Any, tmp_path: Path
) -> None:
    environment = {
        capitals(name): value
        for name, value in {
            "bucketName": "other",
            "scheduledInterval": "5",
            "awsSecretAccessKey": encoded("another"),
        }.items()
    }
    found = read_vance(config(tmp_path, REFERENCE_CONFIG), secret(tmp_path), environment)
    assert (found.bucket, found.flush_interval_s, found.flush_count) == ("other", 5, 60)
    assert found.credentials == Credentials(ACCESS_KEY, "another")
    assert names_a_bucket(environment) and not names_a_bucket({"REGION": "x"})


def test_the_environment_alone_is_enough() -> None:
    environment = {
        "BUCKETNAME": "mybucket",
        "V_PORT": "0",
        "AWSACCESSKEYID": encoded("a"),
        "AWSSECRETACCESSKEY": encoded("b") + "\n",
    }
    expected = VanceSettings(bucket="mybucket", port=0, credentials=Credentials("a", "b"))
    assert expected == read_vance(None, None, environment)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("v_port", "http"),
        ("v_port", 65536),
        ("v_port", -1),
        ("v_port", True),
        ("v_port", 80.5),
        ("v_port", "٣"),
        ("flushSize", "many"),
        ("flushSize", [1]),
        ("flushSize", "9" * 5000),
        ("scheduledInterval", "1m"),
        ("timeInterval", "WEEKLY"),
        ("timeInterval", 1),
        ("bucketName", "${bucketName}"),
        ("bucketName", 5),
        ("region", {}),
    ],
)
def test_a_wrong_value_is_named_with_its_file(key: str, value: object, tmp_path: Path) -> None:
    path = config(tmp_path, {key: value})
    with pytest.raises(UsageError) as caught:
        read_vance(path, None, {})
    assert caught.value.message.startswith(f"{key} in {path}")


def test_a_wrong_variable_is_named() -> None:
    with pytest.raises(UsageError, match="^the environment variable FLUSHSIZE must be an integer"):
        read_vance(None, None, {"FLUSHSIZE": "x"})


@pytest.mark.parametrize("content", ["", "[]", "{", "null", "[" * 100_000])
def test_what_is_no_json_object_is_malformed(content: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="config.json is malformed"):
        read_vance(config(tmp_path, content), None, {})
    with pytest.raises(CredentialsError, match="secret.json is malformed"):
        read_vance(None, secret(tmp_path, content), {})


def test_a_configuration_that_is_not_there_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read the configuration .*: no such file"):
        read_vance(str(tmp_path / "absent"), None, {})


def test_secrets_that_others_can_read_are_refused(tmp_path: Path) -> None:
    path = secret(tmp_path, mode=0o644)
    with pytest.raises(CredentialsError, match="can be read by others"):
        read_vance(None, path, {})
    assert read_vance(None, path, {}, allow_insecure=True).credentials is not None


@pytest.mark.parametrize("value", [ACCESS_KEY, SECRET_KEY, "?", "====", encoded(" \n"), 5])
def test_a_secret_that_is_no_base64_is_refused_without_quoting_it(
    value: object, tmp_path: Path
) -> None:
    path = secret(tmp_path, {"awsAccessKeyID": encoded("a"), "awsSecretAccessKey": value})
    with pytest.raises(CredentialsError) as caught:
        read_vance(None, path, {})
    assert caught.value.message.startswith(f"awsSecretAccessKey in {path} is ")
    assert not value or str(value) not in caught.value.message.replace(path, "")
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("missing", ["awsAccessKeyID", "awsSecretAccessKey"])
def test_half_of_the_credentials_is_none(missing: str, tmp_path: Path) -> None:
    both = {"awsAccessKeyID": encoded("a"), "awsSecretAccessKey": encoded("b")}
    path = secret(tmp_path, {name: value for name, value in both.items() if name != missing})
    with pytest.raises(UsageError, match=f"^{missing} in .*secret.json is missing"):
        read_vance(None, path, {})


@pytest.mark.parametrize(
    "content", [{}, {"awsAccessKeyID": "", "awsSecretAccessKey": None}, {"AWSACCESSKEYID": "eA=="}]
)
def test_a_secret_file_without_the_secrets_does_not_fall_back_to_others(
    content: dict[str, object], tmp_path: Path
) -> None:
    path = secret(tmp_path, content)
    with pytest.raises(UsageError) as caught:
        read_vance(None, path, {})
    assert caught.value.exit_status == 2
    assert caught.value.message == (
        f"awsAccessKeyID in {path} and awsSecretAccessKey in {path} are missing"
    )
    assert "Base64" in (caught.value.hint or "")
    both = {"AWSACCESSKEYID": encoded("a"), "AWSSECRETACCESSKEY": encoded("b")}
    assert read_vance(None, path, both).credentials is not None


def test_no_secret_shows_in_the_settings(tmp_path: Path) -> None:
    assert SECRET_KEY not in repr(read_vance(None, secret(tmp_path), {}))
