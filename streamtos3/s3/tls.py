"""The TLS of a connection that is open: what the service showed, as far as it can be seen.

By the very connections that requests go over, so that authorities, proxies and versions are those
of an upload. botocore keeps them inside; where it is built differently, nothing is seen.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

__all__ = ["Tls", "tls_of"]


@dataclass(frozen=True)
class Tls:
    """`expires_at` and `issuer` are None where the certificate was not checked."""

    version: str
    expires_at: datetime | None
    issuer: str | None


def tls_of(client: S3Client) -> Tls | None:
    """The TLS of an idle connection of `client`; None where none is seen."""
    try:
        for each in _sockets(client):
            if isinstance(each, ssl.SSLSocket):
                return _seen(each)
    except (AttributeError, KeyError, TypeError, OSError, ValueError):
        return None
    return None


def _sockets(client: Any) -> Iterator[Any]:
    session = client._endpoint.http_session
    for manager in (session._manager, *session._proxy_managers.values()):
        for key in manager.pools.keys():  # noqa: SIM118 - its own container, which is no dict
            pool = manager.pools.get(key)
            for connection in list(pool.pool.queue if pool else ()):
                yield getattr(connection, "sock", None)


def _seen(sock: ssl.SSLSocket) -> Tls:
    certificate: Any = sock.getpeercert() or {}
    expires_at = None
    if "notAfter" in certificate:
        seconds = ssl.cert_time_to_seconds(certificate["notAfter"])
        expires_at = datetime.fromtimestamp(seconds, timezone.utc)
    names = {name: value for part in certificate.get("issuer", ()) for name, value in part}
    issuer = names.get("organizationName") or names.get("commonName")
    return Tls(sock.version() or "TLS", expires_at, issuer)
