"""Destinations by name, from one TOML file; their settings become defaults of the options.

One file and no layers: `--config`, else `STREAMTOS3_CONFIG`, else
`~/.config/streamtos3/config.toml`. The command line and the environment win.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

from ...errors import CredentialsError, UsageError, os_reason

__all__ = ["Destination", "default_config_path", "read_destinations"]

# The file's own words for some options; every other key is an option's long name.
_ALIASES = {"endpoint": "endpoint_url", "ca_file": "ca_bundle", "ca_directory": "ca_bundle"}
_SECRETS = ("session_token", "proxy_password")
_NO_OPTIONS = ("destination", "config", "obj")


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
        for name in {"proxy", "endpoint_url"} & public.keys():
            public[name] = _without_user(public[name])
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
    # Here, because most runs have no such file and every run waits for what is loaded.
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        with open(path, "rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            tables = tomllib.load(file)
    except OSError as error:
        reason = os_reason(error)
        raise UsageError(f"cannot read the configuration {path}: {reason}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"the configuration {path} is malformed: {error}") from error
    named = tables.pop("destination", {})
    if tables or not isinstance(named, dict):
        raise UsageError(
            f"the configuration {path} holds something other than destinations",
            hint="each is a table of its own: [destination.NAME]",
        )
    for name, table in named.items():
        if mode & (stat.S_IRGRP | stat.S_IROTH) and _holds_secrets(table):
            raise CredentialsError(
                f"the configuration {path} holds secrets of {name!r} and can be read by others",
                hint=f"chmod 600 {path}",
            )
    return {name: _destination(path, name, table) for name, table in named.items()}


def _destination(path: str, name: str, table: Any) -> Destination:
    where = f"[destination.{name}] of {path}"
    if not isinstance(table, dict):
        raise UsageError(f"{where} is not a table")
    options = {key.replace("-", "_"): value for key, value in table.items()}
    bucket, prefix = options.pop("bucket", None), options.pop("prefix", "")
    if not isinstance(bucket, str) or not bucket or not isinstance(prefix, str):
        raise UsageError(f"{where} names no bucket")
    _check(where, options)
    _translate_verify_tls(where, options)
    _join_proxy_and_user(where, options)
    renamed = {_ALIASES.get(key, key): value for key, value in options.items()}
    return Destination(name, bucket, prefix, renamed)


def _check(where: str, options: Mapping[str, Any]) -> None:
    """UsageError for settings that exclude or lack each other, or that no destination has."""
    if "ca_file" in options and "ca_directory" in options:
        raise UsageError(f"{where} names both ca_file and ca_directory")
    if "profile" in options and "keyfile" in options:
        raise UsageError(f"{where} names both profile and keyfile")
    if "session_token" in options and "keyfile" not in options:
        raise UsageError(f"{where} has a session_token, but no keyfile that it belongs to")
    for key in (*_SECRETS, *_ALIASES, "proxy", "proxy_user"):
        if not isinstance(options.get(key, ""), str):
            raise UsageError(f"{where}: {key} is not text")
    for key in _NO_OPTIONS:
        if key in options:
            raise UsageError(f"{where} sets {key}, which no destination has")


def _translate_verify_tls(where: str, options: dict[str, Any]) -> None:
    """Replace `verify_tls` by the option that turns it off."""
    verify_tls = options.pop("verify_tls", None)
    if not isinstance(verify_tls, bool | None):
        raise UsageError(f"{where}: verify_tls is neither true nor false")
    if verify_tls is not None:
        options["no_verify_ssl"] = not verify_tls


def _join_proxy_and_user(where: str, options: dict[str, Any]) -> None:
    """Put the proxy's user and password, separate in the file, into the proxy's address."""
    user, password = options.pop("proxy_user", None), options.pop("proxy_password", None)
    if user is None and password is not None or user is not None and "proxy" not in options:
        raise UsageError(f"{where}: proxy_password needs proxy_user, and that needs proxy")
    if user is not None:
        options["proxy"] = _with_user(options["proxy"], user, password)


def _holds_secrets(table: Any) -> bool:
    named = isinstance(table, dict) and any(key in table for key in _SECRETS)
    return named or isinstance(table, dict) and ":" in _user_of(str(table.get("proxy", "")))


def _user_of(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[0]


def _with_user(url: str, user: str, password: str | None) -> str:
    parts = urlsplit(url)
    login = quote(user, safe="") + (f":{quote(password, safe='')}" if password else "")
    return urlunsplit(parts._replace(netloc=f"{login}@{parts.netloc.rpartition('@')[2]}"))


def _without_user(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
