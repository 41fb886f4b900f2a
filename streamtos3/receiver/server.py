"""Receives CloudEvents over HTTP until a scope ends it.

Where it listens and who may send is checked here; the libraries that it needs (the extra `[sink]`)
are loaded by `bind` and `serve`. Nothing is printed, and signals are left alone.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from ..errors import CredentialsError, UsageError, os_reason
from ..runtime.cancel import CancelScope
from ..runtime.files import read_private_file
from ..runtime.host import Descriptors, raise_open_file_limit
from .activity import Activity
from .batcher import Batcher, ByteBudget, ReceiverLimits, RecordStore
from .listener import CountingListener
from .session import Sessions

__all__ = ["Address", "TlsFiles", "bind", "check_exposure", "parse_address", "read_token", "serve"]

_LOOPBACK = "127.0.0.1"
_FORM = "write it as HOST:PORT, such as 127.0.0.1:8080 or [::1]:8080"
_TOKEN_FORM = "it holds one line, the token"
_USUAL_LIMITS = ReceiverLimits()


@dataclass(frozen=True)
class Address:
    """Where to listen. Port 0: any that is free."""

    host: str
    port: int

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it; a name other than localhost counts as not."""
        if self.host.lower() == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True)
class TlsFiles:
    """A certificate with its chain, and its key, which may stand in the same file."""

    certificate: str
    key: str | None = None

    def context(self) -> ssl.SSLContext:
        """The TLS context of a server that uses them. UsageError if they cannot be used."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        names = " and ".join(filter(None, (self.certificate, self.key)))
        try:
            # An empty password, or OpenSSL would ask the terminal for the key's.
            context.load_cert_chain(self.certificate, self.key, password=str)
        except ssl.SSLError as error:
            reason = (error.reason or str(error)).lower().replace("_", " ")
            raise UsageError(f"cannot use the certificate {names}: {reason}") from error
        except OSError as error:
            raise UsageError(f"cannot read the certificate {names}: {os_reason(error)}") from error
        return context


def parse_address(text: str) -> Address:
    """The address that HOST:PORT, [HOST]:PORT, :PORT or PORT means; loopback without a host."""
    host, colon, port = text.strip().rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise UsageError(f"{text!r} is not an address to listen on", hint=_FORM)
    if not (port.isascii() and port.isdecimal()) or int(port) > 65535 or (host and not colon):
        raise UsageError(f"{text!r} is not an address to listen on", hint=_FORM)
    return Address(host or _LOOPBACK, int(port))


def read_token(path: str, *, allow_insecure: bool = False) -> str:
    """The bearer token in the file at `path`; CredentialsError as for a keyfile."""
    content = read_private_file(path, "token file", _TOKEN_FORM, allow_insecure=allow_insecure)
    token = content.decode("ascii", "replace").strip()
    if not token or not all("!" <= character <= "~" for character in token):
        raise CredentialsError(f"the token file {path} is malformed", hint=_TOKEN_FORM)
    return token


def check_exposure(
    address: Address, *, has_token: bool, has_tls: bool, insecure: bool
) -> str | None:
    """UsageError if anyone could send; returns a warning if a token is sent in the clear."""
    if address.is_loopback:
        return None
    if not has_token and not insecure:
        raise UsageError(
            f"listening on {address} without a token would accept events from anyone",
            hint="give --token-file, or --insecure-listen if that is meant",
        )
    if has_token and not has_tls:
        return f"without --tls-cert the token goes over the network to {address} in the clear"
    return None


def bind(address: Address) -> socket.socket:
    """A socket bound to the address, for `serve`; connections are refused until then.

    UsageError if nothing can listen there, or a library for it is missing.
    """
    with _extra():
        from . import app, metrics, uvicorn_server  # noqa: F401 - a missing one is reported now
    with _usable(address):
        found = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        family, _, _, _, where = min(found, key=lambda each: each[0] != socket.AF_INET)
        bound = socket.socket(family, socket.SOCK_STREAM)
        try:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            bound.bind(where)
        except OSError:
            bound.close()
            raise
    return bound


def serve(
    store: RecordStore,
    *,
    address: Address,
    scope: CancelScope,
    token: str | None = None,
    tls: TlsFiles | None = None,
    limits: ReceiverLimits = _USUAL_LIMITS,
    on_listening: Callable[[str], None] = lambda url: None,
    bound: socket.socket | None = None,
    activity: Activity | None = None,
) -> None:
    """Take events and hand them to `store` until `scope` fails; then return.

    `activity` is what `GET /` shows beside the store's figures; the caller tells it of objects and
    errors.

    `on_listening` is called with the URL once connections are accepted. At the end no more are
    accepted, and requests under way are answered. An error of the store, other than a full spool
    and Cancelled, fails the scope and is raised at the end. UsageError if nothing can listen; to
    learn that earlier, call `bind` and pass its socket as `bound`, which is closed at the end.

    Raises the process's limit of open files as far as its hard limit allows, and keeps some of
    the descriptors from senders.
    """
    activity = activity or Activity()
    with _extra():
        from .app import ReceiverApp
        from .metrics import SinkMetrics
        from .uvicorn_server import run_server
    metrics: SinkMetrics
    context = tls.context() if tls else None
    descriptors = raise_open_file_limit()
    limits = _within(limits, descriptors)
    budget = ByteBudget(limits.max_pending_bytes)
    with CountingListener(
        bound or bind(address),
        descriptors,
        limits.accepted_connections,
        lambda reason: metrics.closed.update((reason,)),
    ) as listener:
        with _usable(address):  # another may have bound it, too, and have listened first
            listener.listen(limits.backlog)
        batcher = Batcher(store, scope.fail)
        metrics = SinkMetrics(store, batcher, budget, lambda: listener.connections)
        sessions = Sessions(token, secure=tls is not None)
        app = ReceiverApp(
            batcher,
            budget,
            metrics,
            limits,
            sessions,
            activity,
            lambda: listener.connections > limits.max_connections,
        )
        at = Address(address.host, listener.getsockname()[1])
        try:
            with activity.sampled(store.figures):
                run_server(
                    app.application(),
                    listener,
                    context,
                    limits,
                    metrics,
                    scope,
                    on_started=lambda: on_listening(f"http{'s' if tls else ''}://{at}"),
                    on_ending=app.end,
                    close=app.close,
                )
        finally:
            batcher.close(limits.grace_s)
    if batcher.error is not None:
        raise batcher.error


def _within(limits: ReceiverLimits, descriptors: Descriptors) -> ReceiverLimits:
    """`limits` with at most half as many connections as descriptors: up to twice are answered."""
    connections = min(limits.max_connections, descriptors.for_senders // 2)
    return replace(limits, max_connections=connections)


@contextmanager
def _extra() -> Iterator[None]:
    """UsageError where a library is missing that is imported inside."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise UsageError(
            f"listening needs {error.name}, which is not installed",
            hint="pip install 'streamtos3[sink]'",
        ) from error


@contextmanager
def _usable(address: Address) -> Iterator[None]:
    """UsageError where nothing can listen on the address."""
    try:
        yield
    except socket.gaierror as error:
        raise UsageError(f"cannot listen on {address}: {os_reason(error)}") from error
    except OSError as error:  # whose text repeats the address
        plain = os.strerror(error.errno).lower() if error.errno else os_reason(error)
        raise UsageError(f"cannot listen on {address}: {plain}") from error
