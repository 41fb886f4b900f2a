"""`--debug`: botocore's own log on standard error, without the secrets that it would show.

That log was not made to be shown, so three rules apply one after another. Bodies that are not S3's
own documents are left out. What follows the name of a secret is replaced. And each value that is
known from the start, or was once found by its name, is replaced wherever else it appears.
"""

from __future__ import annotations

import base64
import logging
import os
import re
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import click

from ..errors import StreamToS3Error
from .config.vance import read_vance
from .console import escaped, redacted, write_line
from .options.common import DESTINATION_META

__all__ = ["RedactingLog", "start_debug_log"]

# A name may stand in a header, a query, JSON, XML, an ini file or a Python repr.
_NAMED = re.compile(
    r"""(?ix)
    ( (?: secret | (?<!streamtos3-) token | passw | signature | assertion | customer-?key
        | dpop | verifier )
      [\w.-]{0,40} [\\]*['"]? \s*[:=>,]\s* b?[\\]*['"]? )
    ( (?<=['"])[^'"\n]+ | [^\s,;&<>'"\\(){}\[\]]+ )
    """
)
_AUTHORIZATION = re.compile(r"(?i)(authorization[\\]*['\"]?\s*[:=,]\s*b?[\\]*['\"]?)([^'\"\n<]+)")
# The documents that S3 sends and is sent; the answers of token services are not among them.
_S3_DOCUMENT = re.compile(
    rb"\s*(?:<\?xml[^>]*>\s*)?<(?:Error|ListPartsResult|ListMultipartUploadsResult"
    rb"|InitiateMultipartUploadResult|CompleteMultipartUpload(?:Result)?|ListBucketResult"
    rb"|ListVersionsResult)\b"
)
_SHORTEST_FOUND = 16
_SHORTEST_KNOWN = 4
_ENVIRONMENT = (
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_SECURITY_TOKEN",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
)
_PROXIES = ("http_proxy", "https_proxy", "all_proxy")


class RedactingLog(logging.Handler):
    """Writes records to standard error, each secret replaced by `***`.

    `secrets` are values that are known to be secret, in whatever form they may appear.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        super().__init__()
        self._secrets: set[str] = set()
        for secret in secrets:
            if len(secret) >= _SHORTEST_KNOWN:
                self._secrets |= {secret, quote(secret, safe=""), repr(secret)[1:-1]}

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record, each line escaped, so that a server cannot control the terminal."""
        try:
            text = self.redacted(self.format(_without_bodies(record)))
        except Exception:  # noqa: BLE001 - as logging itself does: a log must not end the work
            text = f"a record of {record.name} could not be shown"
        for line in text.splitlines():
            write_line(escaped(line))

    def redacted(self, text: str) -> str:
        """`text` without secrets. What is found by its name is remembered."""
        text = _AUTHORIZATION.sub(r"\1***", _NAMED.sub(self._remember, redacted(text)))
        for secret in sorted(self._secrets, key=len, reverse=True):
            text = text.replace(secret, "***")
        return text

    def _remember(self, found: re.Match[str]) -> str:
        value = found[2].rstrip("\\")
        if len(value) >= _SHORTEST_FOUND:
            self._secrets |= {value, unquote(value)}
        return f"{found[1]}***"


def _without_bodies(record: logging.LogRecord) -> logging.LogRecord:
    """`record`, its request's or answer's body left out unless it is a document of S3."""
    if not isinstance(record.args, tuple):
        return record
    copy = logging.makeLogRecord(record.__dict__)
    if record.name == "botocore.parsers":
        copy.args = tuple(_shown(each) for each in record.args)
    elif record.name == "botocore.endpoint":
        copy.args = tuple(
            {**each, "body": _shown(each["body"])}
            if isinstance(each, dict) and "body" in each
            else each
            for each in record.args
        )
    return copy


def _shown(body: Any) -> Any:
    """What may be shown of a body: S3's own documents, and nothing that names no content."""
    if isinstance(body, dict):
        return f"(left out: {len(body)} fields)"
    if not isinstance(body, bytes | bytearray | str) or not body:
        return body
    data = body.encode() if isinstance(body, str) else bytes(body)
    return body if _S3_DOCUMENT.match(data) else f"(left out: {len(data)} bytes)"


def start_debug_log() -> None:
    """Log everything that this program, botocore and urllib3 report."""
    handler = RedactingLog(_known_secrets())
    handler.setFormatter(logging.Formatter("%(asctime)s %(threadName)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)


def _known_secrets() -> Iterator[str]:
    """The values that the environment and the command line call secret."""
    context = click.get_current_context(silent=True)
    params = context.params if context else {}
    named = context.meta.get(DESTINATION_META) if context else None
    if named is not None:
        yield str(named.options.get("session_token", ""))
    yield from (os.environ.get(name, "") for name in _ENVIRONMENT)
    yield from _keyfile_secrets(params.get("keyfile"))
    yield from _vance_secrets(params.get("vance_secret"))
    proxies = [os.environ.get(each) or os.environ.get(each.upper()) for each in _PROXIES]
    for proxy in (params.get("proxy"), *proxies):
        yield from _url_secrets(proxy or "")


def _keyfile_secrets(path: str | None) -> list[str]:
    if not path or not os.path.isfile(path):  # a pipe can be read only once, and not by us
        return []
    try:
        with open(path, encoding="utf-8") as keyfile:
            return keyfile.read(65536).strip().split(":")[1:]
    except (OSError, ValueError):  # whoever needs it will say so
        return []


def _vance_secrets(path: str | None) -> list[str]:
    try:
        found = read_vance(None, path, os.environ, allow_insecure=True).credentials
    except StreamToS3Error:  # whoever needs it will say so
        return []
    return [found.secret_key] if found else []


def _url_secrets(url: str) -> list[str]:
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        user, password = unquote(parts.username or ""), parts.password or ""
    except ValueError:
        return []
    pair = f"{user}:{unquote(password)}".encode()
    return [password, unquote(password), base64.b64encode(pair).decode()] if password else []
