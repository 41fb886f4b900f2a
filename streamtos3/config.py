"""Destinations by name, from one TOML file; their settings become defaults of the options.

One file and no layers: `--config`, else `STREAMTOS3_CONFIG`, else
`~/.config/streamtos3/config.toml`. What is said on the command line or in the environment wins.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

from .errors import CredentialsError, UsageError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["Destination", "default_config_path", "read_destinations"]

# The file's own words for some options; every other key is an option's long name.
_ALIASES = {"endpoint": "endpoint_url", "ca_file": "ca_bundle", "ca_directory": "ca_bundle"}
_SECRETS = ("session_token", "proxy_password")


@dataclass(frozen=True)
class Destination:
    """A named place to store things.

    `options` maps option names, as click knows them, to values; `proxy` and `session_token`
    among them may be secret and never show in `repr`.
    """

    name: str
    bucket: str
    prefix: str
    options: Mapping[str, Any] = field(repr=False)

    @property
    def public_options(self) -> dict[str, Any]:
        """The options without what is secret."""
        public = {name: value for name, value in self.options.items() if name not in _SECRETS}
        if "proxy" in public:
            public["proxy"] = _without_user(public["proxy"])
        return public


def default_config_path() -> str:
    """`config.toml` in the user's configuration directory (XDG)."""
    base = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    return os.path.join(base, "streamtos3", "config.toml")


def read_destinations(path: str) -> dict[str, Destination]:
    """All destinations in the file at `path`, by name.

    UsageError when it cannot be read or is malformed; CredentialsError when it holds a secret
    and others can read it.
    """
    try:
        with open(path, "rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            tables = tomllib.load(file)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise UsageError(f"cannot read the configuration {path}: {reason}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"the configuration {path} is malformed: {error}") from error
    named = tables.pop("destination", {})
    if tables or not isinstance(named, dict):
        raise UsageError(
            f"the configuration {path} holds something else than destinations",
            hint="each is a table of its own: [destination.NAME]",
        )
    for name, table in named.items():
        if any(key in table for key in _SECRETS) and mode & (stat.S_IRGRP | stat.S_IROTH):
            raise CredentialsError(
                f"the configuration {path} holds secrets of {name!r} and can be read by others",
                hint=f"chmod 600 {path}",
            )
    return {name: _destination(path, name, table) for name, table in named.items()}


def _destination(path: str, name: str, table: Any) -> Destination:
    where = f"[destination.{name}] of {path}"
    if not isinstance(table, dict):
        raise UsageError(f"{where} is no table")
    options = {key.replace("-", "_"): value for key, value in table.items()}
    bucket, prefix = options.pop("bucket", None), options.pop("prefix", "")
    if not isinstance(bucket, str) or not bucket or not isinstance(prefix, str):
        raise UsageError(f"{where} names no bucket")
    if "ca_file" in options and "ca_directory" in options:
        raise UsageError(f"{where} names both ca_file and ca_directory")
    if "profile" in options and "keyfile" in options:
        raise UsageError(f"{where} names both profile and keyfile")
    if "verify_tls" in options:
        options["no_verify_ssl"] = not options.pop("verify_tls")
    user, password = options.pop("proxy_user", None), options.pop("proxy_password", None)
    if user is not None and "proxy" in options:
        options["proxy"] = _with_user(options["proxy"], user, password)
    renamed = {_ALIASES.get(key, key): value for key, value in options.items()}
    return Destination(name, bucket, prefix, renamed)


def _with_user(url: str, user: str, password: str | None) -> str:
    parts = urlsplit(url)
    login = quote(user, safe="") + (f":{quote(password, safe='')}" if password else "")
    return urlunsplit(parts._replace(netloc=f"{login}@{parts.netloc.rpartition('@')[2]}"))


def _without_user(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
