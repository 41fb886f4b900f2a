"""Slow places in botocore, replaced from outside.

A TLS context that reads the certificate authorities once, a loader for its data files that
neither lists 400 services nor makes ordered dictionaries, and what it computes for each request
though it never changes. Where botocore's internals are not as expected, nothing is replaced.
"""

from __future__ import annotations

import functools
import gzip
import http.client
import json
import os
import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from botocore.session import Session
    from mypy_boto3_s3.client import S3Client

__all__ = [
    "Authorities",
    "compute_once",
    "read_directly",
    "read_quickly",
    "share_authorities",
]


_reading = threading.Lock()


class Authorities(ssl.SSLContext):
    """A TLS context that does not read a file twice unless it has changed in between.

    Nor do the threads that all open their first connection at once.
    """

    def load_verify_locations(
        self, cafile: Any = None, capath: Any = None, cadata: Any = None
    ) -> None:
        """As ssl.SSLContext does."""
        read: set[object] = vars(self).setdefault("files_read", set())
        only_file = cafile is not None and capath is None and cadata is None
        with _reading:
            found = _identity(cafile) if only_file else None
            if found is None or found not in read:
                super().load_verify_locations(cafile, capath, cadata)
                if found is not None:
                    read.add(found)


def share_authorities(client: S3Client, shared: ssl.SSLContext | None) -> ssl.SSLContext | None:
    """Make a new `client` use the context `shared`; returns the context for the next client.

    All clients must have the same settings. Without `shared`, the client's own context is
    returned. Where botocore's internals are not as expected the client keeps its own context.
    """
    inside: Any = client
    try:
        options = inside._endpoint.http_session._manager.connection_pool_kw
        own: ssl.SSLContext = options["ssl_context"]
    except (AttributeError, KeyError, TypeError):
        return shared
    if own.__class__ is not Authorities.__base__:  # another TLS implementation
        return None
    if shared is None:
        own.__class__ = Authorities
        return own
    options["ssl_context"] = shared
    return shared


def compute_once(client: S3Client) -> None:
    """Have a new `client` compute once what is the same for all its requests.

    Its User-Agent, and where the requests of one operation on one bucket go: the endpoint rules
    give an address without the key. Together a quarter of what botocore costs a request.
    """
    inside: Any = client
    with suppress(AttributeError):
        agent = inside._user_agent_creator
        agent.to_string = _once(agent.to_string)
    with suppress(AttributeError):
        resolver = inside._ruleset_resolver
        resolver.construct_endpoint = _for_each_bucket(resolver.construct_endpoint)


def _once(make: Callable[[], str]) -> Callable[[], str]:
    made: list[str] = []

    def once() -> str:
        if not made:
            made.append(make())
        return made[0]

    return once


def _for_each_bucket(construct: Callable[..., Any]) -> Callable[..., Any]:
    known: dict[tuple[str, Any], Any] = {}

    def construct_endpoint(operation_model: Any, call_args: Any, request_context: Any) -> Any:
        if "endpoint_properties" in (request_context or {}):
            known.clear()  # asked again for one request: the bucket is in another region
        of = operation_model.name, (call_args or {}).get("Bucket")
        if of not in known:
            known[of] = construct(operation_model, call_args, request_context)
        return known[of]

    return construct_endpoint


def _identity(path: Any) -> object:
    """A value that changes when the file does; None if the file cannot be examined."""
    try:
        found = os.stat(path)
    except (OSError, TypeError, ValueError):  # reported when it is read
        return None
    return os.fspath(path), found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


class _Services(list[str]):
    """The services with files of one type; each is looked up when it is asked for."""

    def __init__(self, loader: Any, type_name: str) -> None:
        super().__init__()
        self._loader = loader
        self._type_name = type_name

    def __contains__(self, name: object) -> bool:
        from botocore.exceptions import DataNotFoundError

        try:
            return bool(self._loader.list_api_versions(name, self._type_name))
        except DataNotFoundError:
            return False


def read_quickly(session: Session) -> None:
    """Make a new `session` read its data files quickly, if its internals are as expected."""
    loader: Any = session.get_component("data_loader")
    files: Any = getattr(loader, "file_loader", None)
    own_load_file = getattr(files, "load_file", None)
    if own_load_file is None or not hasattr(loader, "list_api_versions"):
        return

    def load_file(path: str) -> Any:
        found = _load_file(path)
        return own_load_file(path) if found is None else found

    loader.list_available_services = lambda type_name: _Services(loader, type_name)
    files.load_file = load_file


def read_directly(body: Any) -> None:
    """Have the `body` of an answer read into the caller's memory, if it is built as known here.

    urllib3's own `readinto` reads into new memory and copies, which costs more than the
    decryption. Its errors, its count of bytes and its care for the connection stay. So do those of
    http.client, which asks for one TLS record after the other.
    """
    raw: Any = getattr(body, "_raw_stream", None)
    answer: Any = getattr(raw, "_fp", None)
    known = (
        isinstance(answer, http.client.HTTPResponse)
        and hasattr(raw, "_error_catcher")
        and hasattr(raw, "_fp_bytes_read")
        and not answer.chunked
        and isinstance(getattr(raw, "length_remaining", None), int)
    )
    if not known or getattr(raw, "_decoded_buffer", None):
        return
    _decrypt_directly(getattr(answer.fp, "raw", None))

    def readinto(view: memoryview) -> int:
        with raw._error_catcher():
            count: int = answer.readinto(view)
        raw._fp_bytes_read += count
        raw.length_remaining -= count
        return count

    raw.readinto = readinto


def _decrypt_directly(connection: Any) -> None:
    """Spare each record of this `connection`, of 16 KiB, two functions of Python's `ssl`."""
    decrypt = getattr(getattr(getattr(connection, "_sock", None), "_sslobj", None), "read", None)
    if type(connection) is not socket.SocketIO or decrypt is None:
        return

    def readinto(view: memoryview) -> int:
        try:
            count: int = decrypt(len(view), view)
        except ssl.SSLEOFError:  # as ssl.SSLSocket does: the reader counts what is missing
            return 0
        return count

    setattr(connection, "readinto", readinto)  # noqa: B010 - a method, to mypy


@functools.cache  # for a process with several sessions: a client takes 18 ms instead of 56
def _load_file(path: str) -> Any:
    """The content of the JSON file `path`.json or `path`.json.gz; None if there is neither."""
    for name_end, open_file in ((".json", open), (".json.gz", gzip.open)):
        try:
            with open_file(path + name_end, "rb") as file:
                return json.loads(file.read().decode())
        except OSError:
            continue
    return None
