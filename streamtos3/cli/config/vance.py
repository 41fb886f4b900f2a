"""The configuration of the reference sink, read as it is.

That is `config.json` and `secret.json`, and environment variables of the same names, in the
reference's own capitals (`BUCKETNAME`) or as the files write them; a variable wins over a file.
The secrets are Base64 everywhere. Keys that mean nothing to a sink, such as `v_target`, are
passed over.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ...errors import CredentialsError, UsageError, os_reason
from ...model.names import check_object_name
from ...model.options import Credentials
from ...runtime.files import read_private_file

__all__ = ["VanceSettings", "names_a_bucket", "read_vance"]

_ACCESS_KEY, _SECRET_KEY = "awsAccessKeyID", "awsSecretAccessKey"
_SECRET_FORM = f"it holds a JSON object with {_ACCESS_KEY} and {_SECRET_KEY}, each in Base64"
_LARGEST_PORT = 65535
_LARGEST = 2**31 - 1
_INTEGER = re.compile(r"-?[0-9]{1,10}")


@dataclass(frozen=True)
class VanceSettings:
    """What the reference's configuration sets; None where it does not.

    `port` is 0 to 65535; `flush_count` and `flush_interval_s` are greater than 0, as anything
    else means the default there.
    """

    bucket: str | None = None
    region: str | None = None
    port: int | None = None
    flush_count: int | None = None
    flush_interval_s: int | None = None
    partition: Literal["hourly", "daily"] | None = None
    credentials: Credentials | None = field(default=None, repr=False)


def names_a_bucket(environment: Mapping[str, str]) -> bool:
    """Whether the environment alone configures a sink, as a container's does."""
    return any(environment.get(name) for name in ("bucketName", "BUCKETNAME"))


def read_vance(
    config_path: str | None,
    secret_path: str | None,
    environment: Mapping[str, str],
    *,
    allow_insecure: bool = False,
) -> VanceSettings:
    """The settings in both files, where they are named, and in the environment.

    UsageError names the file and the key that is wrong or missing, CredentialsError a secret that
    is malformed; neither quotes one. `allow_insecure`: others may read the file of the secrets.
    """
    config = _Given(_config(config_path), config_path, environment)
    secrets: dict[str, Any] = {}
    if secret_path is not None:
        content = read_private_file(
            secret_path, "secret file", _SECRET_FORM, allow_insecure=allow_insecure
        )
        secrets = _table(content, CredentialsError(f"the secret file {secret_path} is malformed"))
    return VanceSettings(
        bucket=_bucket(config),
        region=config.text("region"),
        port=config.number("v_port", 0, _LARGEST_PORT),
        flush_count=_positive(config.number("flushSize", -_LARGEST, _LARGEST)),
        flush_interval_s=_positive(config.number("scheduledInterval", -_LARGEST, _LARGEST)),
        partition=_partition(config),
        credentials=_credentials(_Given(secrets, secret_path, environment)),
    )


class _Given:
    """Values by the names that the reference gives them."""

    def __init__(
        self, table: dict[str, Any], path: str | None, environment: Mapping[str, str]
    ) -> None:
        self._table = table
        self._path = path
        self._environment = environment

    @property
    def has_file(self) -> bool:
        """Whether a file was named, which then has to say something."""
        return self._path is not None

    def where(self, name: str) -> str:
        """What messages call the source of `name`."""
        for each in (name, name.upper()):
            if self._environment.get(each):
                return f"the environment variable {each}"
        if self._path is None:
            return f"the environment variable {name.upper()}"
        return f"{name} in {self._path}"

    def value(self, name: str) -> Any:
        """As it was written; None where it is missing, null or empty."""
        for each in (name, name.upper()):
            if self._environment.get(each):
                return self._environment[each]
        found = self._table.get(name)
        return None if found == "" else found

    def text(self, name: str) -> str | None:
        """A value that must be text."""
        found = self.value(name)
        if found is not None and not isinstance(found, str):
            raise UsageError(f"{self.where(name)} is not text: {found!r}")
        return found

    def number(self, name: str, least: int, largest: int) -> int | None:
        """An integer, or text that is one."""
        found = self.value(name)
        if found is None:
            return None
        is_number = isinstance(found, int | str) and _INTEGER.fullmatch(str(found).strip())
        if not is_number or not least <= int(found) <= largest:
            raise UsageError(
                f"{self.where(name)} must be an integer from {least} to {largest}, not {found!r}"
            )
        return int(found)


def _config(path: str | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        with open(path, "rb") as file:
            content = file.read()
    except OSError as error:
        reason = os_reason(error)
        raise UsageError(f"cannot read the configuration {path}: {reason}") from error
    return _table(content, UsageError(f"the configuration {path} is malformed: not a JSON object"))


def _table(content: bytes, malformed: UsageError | CredentialsError) -> dict[str, Any]:
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        raise malformed from None  # what it says may quote a secret
    if not isinstance(found, dict):
        raise malformed
    return found


def _positive(number: int | None) -> int | None:
    """`number` if it is positive, else None: the default, as in the reference."""
    return number if number is not None and number > 0 else None


def _bucket(given: _Given) -> str | None:
    bucket = given.text("bucketName")
    if bucket is not None:
        try:
            check_object_name(bucket, "any")
        except UsageError as error:
            raise UsageError(f"{given.where('bucketName')}: {error.message}") from error
    return bucket


def _partition(given: _Given) -> Literal["hourly", "daily"] | None:
    found = given.text("timeInterval")
    if found is None:
        return None
    if found.upper() == "HOURLY":
        return "hourly"
    if found.upper() == "DAILY":
        return "daily"
    raise UsageError(f"{given.where('timeInterval')} is neither HOURLY nor DAILY: {found!r}")


def _credentials(given: _Given) -> Credentials | None:
    keys = {name: _secret(given, name) for name in (_ACCESS_KEY, _SECRET_KEY)}
    missing = [given.where(name) for name, key in keys.items() if key is None]
    access_key, secret_key = keys.values()
    if access_key is not None and secret_key is not None:
        return Credentials(access_key, secret_key)
    if len(missing) == len(keys) and not given.has_file:
        return None  # nobody has said a word of them
    verb = "is" if len(missing) == 1 else "are"
    raise UsageError(f"{' and '.join(missing)} {verb} missing", hint=_SECRET_FORM)


def _secret(given: _Given, name: str) -> str | None:
    encoded = given.value(name)
    if encoded is None:
        return None
    try:
        decoded = base64.b64decode(str(encoded).strip(), validate=True).decode("ascii").strip()
    except ValueError:  # not chained: its message quotes the secret
        decoded = ""
    if not decoded or not all("!" <= character <= "~" for character in decoded):
        raise CredentialsError(
            f"{given.where(name)} is not a key in Base64", hint=f"printf %s {name} | base64"
        ) from None
    return decoded
